"""Many backtests in one call: settings, periods and price paths as accounts of one batch, settled by the one kernel.

It serves agents that can state their targets ahead (`qframe_rl.agent.Planner`). What comes out is what a session gives,
to the last bit; `tests/contracts` holds every such agent of the catalogue to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from qframe_rl.agent import Agent, Planner
from qframe_rl.config import UserError
from qframe_rl.gym.engine import Engine
from qframe_rl.gym.market import Market
from qframe_rl.gym.tape import Tape
from qframe_rl.interface import MarketInterface
from qframe_rl.types import CLOSE, Float, History, Segment

_MOST = 8_000_000
"""Numbers of targets that are held at once: 64 MB."""


@dataclass(frozen=True, eq=False)
class Lane:
    """One backtest of a batch: an account, the bars it walks along, and what it asks for."""

    history: History
    first: int
    """Row of the first decision; orders settle from the next row on."""
    targets: Float
    """(N, A) target exposures decided at rows ``first``, ``first + 1``, ...; NaN = leave as it is."""
    band: float
    window: int
    """Bars shown at the first decision: those from which the first marks are taken."""


@dataclass(frozen=True, eq=False)
class Result:
    """What one lane came to."""

    equity: Float
    """(N + 1,) quote currency: before the first bar, and after each bar. After ruin it stays what it was."""
    costs: float
    """Fees, spread, impact and funding paid, quote currency."""
    notional: float
    """Traded, forced closes included, quote currency."""
    trades: int
    """Fills."""


def lane(agent: Planner, history: History, segment: Segment, window: int, *, delay: int = 0) -> Lane:
    """Prepare the backtest of a planner on a segment.

    Parameters
    ----------
    agent
        States its targets.
    history
        Bars; those before the segment serve as warm-up.
    segment
        Rows in which orders settle.
    window
        As in `qframe_rl.runner.backtest.backtest`.
    delay
        Bars by which each decision comes late: a stress test.

    Raises
    ------
    UserError
        If the period is shorter than the window.
    """
    start = max(0, segment.start - window)
    first = start + window - 1
    if segment.stop - 1 <= first:
        raise UserError(
            f"{history.source.origin}: the period has {max(0, segment.stop - start)} bars with its warm-up, but "
            f"{window} are needed before the first decision and one after; take a longer period."
        )
    bars, times = history.values[start : segment.stop], history.time[start : segment.stop]
    targets = agent.targets(bars, times, window - 1)[:-1]
    if delay:
        late = np.full((delay, targets.shape[1]), np.nan)
        targets = np.concatenate([late, targets[:-delay]])
    return Lane(history, first, targets, agent.band, window)


def batch(market: Market, lanes: Sequence[Lane]) -> Iterator[Result]:
    """Settle all lanes, and yield what each came to, in their order.

    Lanes are laid on one tape per run of lanes that share a band, as many at once as memory allows.
    """
    at = 0
    while at < len(lanes):
        stop, longest = at, 0
        while stop < len(lanes) and lanes[stop].band == lanes[at].band:
            longest = max(longest, len(lanes[stop].targets))
            if longest * (stop + 1 - at) * len(market.instruments) > _MOST and stop > at:
                break
            stop += 1
        yield from _settled(market, lanes[at:stop])
        at = stop


def planner(agent: Agent) -> Planner | None:
    """Return the agent if it can state its targets ahead."""
    return agent if isinstance(agent, Planner) else None


def _settled(market: Market, lanes: Sequence[Lane]) -> list[Result]:
    tape, offsets = _tape(lanes)
    n, b = len(market.instruments), len(lanes)
    length = np.array([len(one.targets) for one in lanes])
    steps = int(length.max())
    targets = np.full((steps, b, n), np.nan)
    for k, one in enumerate(lanes):
        targets[: len(one.targets), k] = one.targets
    engine = Engine(tape, _plain(lanes[0].band, n), market.rules, market.reward, market.cash, None, b)
    rows = np.array([offset + one.first for offset, one in zip(offsets, lanes, strict=True)])
    _begin(engine, lanes, rows, rows + length)
    equity = np.empty((steps + 1, b))
    equity[0] = engine.equity
    spent, notional, trades = np.zeros(b), np.zeros(b), np.zeros(b, dtype=np.int64)
    alive = np.ones(b, dtype=np.bool_)
    for t in range(steps):
        active = alive & (t < length)
        _, ruined, _ = engine.step(targets[t], active)
        _count(engine.fills, active, spent, notional, trades)
        alive &= ~ruined
        equity[t + 1] = engine.equity
    return [
        Result(equity[: length[k] + 1, k].copy(), float(spent[k]), float(notional[k]), int(trades[k])) for k in range(b)
    ]


def _count(fills: Float, active: NDArray[np.bool_], spent: Float, notional: Float, trades: NDArray[np.int64]) -> None:
    """Add up what a bar cost and traded; fields of ``fills`` (B, A, 9) are those of `qframe_rl.types.Fills`."""
    busy = np.flatnonzero(active & ((fills[:, :, 0] != 0.0) | (fills[:, :, 5] != 0.0) | (fills[:, :, 7] != 0.0)).any(1))
    if len(busy):
        done = fills[busy]
        spent[busy] += done[:, :, 2:6].sum(axis=(1, 2))
        notional[busy] += (np.abs(done[:, :, 0]) * done[:, :, 1] + np.abs(done[:, :, 7]) * done[:, :, 8]).sum(axis=1)
        trades[busy] += (done[:, :, 0] != 0.0).sum(axis=1)


def _begin(engine: Engine, lanes: Sequence[Lane], first: NDArray[np.int64], last: NDArray[np.int64]) -> None:
    """Set every account to where its session would be at the first decision."""
    marks = np.stack([_marks(one) for one in lanes])
    state = engine.snapshot()
    state |= {"row": first, "last": last, "mark": marks}
    engine.restore(state)


def _marks(one: Lane) -> Float:
    """(A,) last traded close among the bars of the warm-up, NaN where there is none."""
    seen = one.history.values[max(0, one.first - one.window + 1) : one.first + 1, :, CLOSE]
    rows = np.where(np.isnan(seen), -1, np.arange(len(seen))[:, None]).max(axis=0)
    return np.where(rows < 0, np.nan, seen[np.maximum(rows, 0), np.arange(seen.shape[1])])


def _tape(lanes: Sequence[Lane]) -> tuple[Tape, list[int]]:
    """Lay the distinct histories of the lanes end to end; and where each lane's begins."""
    begins: dict[int, int] = {}
    parts: list[History] = []
    total = 0
    for one in lanes:
        if id(one.history) not in begins:
            begins[id(one.history)] = total
            parts.append(one.history)
            total += len(one.history)
    values = _joined([part.values[:, :, :5] for part in parts])
    tape = Tape(
        time=_joined([part.time for part in parts]), values=values,
        funding=_joined([part.funding for part in parts]), final=_joined([part.final for part in parts]),
        tradable=~np.isnan(values[:, :, CLOSE]), features=np.empty((total, 0), dtype=np.float32),
        runs=np.array([[0, total - 1]]),
    )  # fmt: skip
    return tape, [begins[id(one.history)] for one in lanes]


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.ascontiguousarray(parts[0]) if len(parts) == 1 else np.concatenate(parts)


class _Scheme:
    """An action is the target itself."""

    space: gymnasium.Space[Any] = gymnasium.spaces.Box(-np.inf, np.inf, (1,))

    def __init__(self, band: float):
        self.band = band
        self._market: Float = np.empty((0, 0))

    def targets(self, actions: NDArray[Any]) -> tuple[Float, Float]:
        if self._market.shape != actions.shape:
            self._market = np.full(actions.shape, np.nan)
        return actions, self._market


class _Blind:
    n_rows, n_numbers = 1, 0


@dataclass
class _Plain:
    """The interface of an engine that nobody observes."""

    scheme: _Scheme
    observer: Any


def _plain(band: float, n: int) -> MarketInterface:
    return cast(MarketInterface, _Plain(_Scheme(band), _Blind()))


def with_costs(market: Market, factor: float) -> Market:
    """Return the market with fees, half-spread and impact times ``factor``.

    Raises
    ------
    ValueError
        If they could take a price to zero.
    """
    from qframe_rl.kernel.rules import HALF_SPREAD, IMPACT, MAKER, TAKER, VOLUME_SHARE

    table = market.rules.table.copy()
    table[:, [MAKER, TAKER, HALF_SPREAD, IMPACT]] *= factor
    if (table[:, HALF_SPREAD] + table[:, IMPACT] * np.sqrt(table[:, VOLUME_SHARE]) >= 1.0).any():
        raise ValueError(f"{factor} times the costs would take a price to zero")
    table.setflags(write=False)
    return replace(market, rules=replace(market.rules, table=table))
