"""Many backtests in one call: settings, periods and price paths as accounts of one batch, settled by the one kernel.

It serves agents that can state their targets ahead (`qframe_rl.agent.Planner`). What comes out is what a session gives,
to the last bit; `tests/contracts` holds every such agent of the catalogue to it.
"""

from __future__ import annotations

import hashlib
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
from qframe_rl.jit import compiled
from qframe_rl.kernel.rows import ABSORBED
from qframe_rl.types import CLOSE, Account, Bool, Fills, Float, History, Orders, Record, Segment

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


def batch(market: Market, lanes: Sequence[Lane]) -> list[Result]:
    """Settle all lanes, and return what each came to, in their order.

    Lanes that share a band are laid on one tape, longest first, as many at once as memory allows.
    """
    found: dict[int, Result] = {}
    for group in _groups(lanes, _MOST // len(market.instruments)):
        walk = _Walk(market, [lanes[k] for k in group])
        found |= dict(zip(group, walk.results(), strict=True))
    return [found[k] for k in range(len(lanes))]


def records(market: Market, lanes: Sequence[Lane]) -> list[Record]:
    """Settle all lanes, and return the journal of each: the same numbers and digest as a session's."""
    found: dict[int, Record] = {}
    for group in _groups(lanes, _MOST // (20 * len(market.instruments))):
        walk = _Walk(market, [lanes[k] for k in group])
        found |= dict(zip(group, walk.records(), strict=True))
    return [found[k] for k in range(len(lanes))]


def _groups(lanes: Sequence[Lane], most: int) -> Iterator[list[int]]:
    """Indices of lanes to settle together: at most ``most`` bars, the longest lane's times their number."""
    order = sorted(range(len(lanes)), key=lambda k: (lanes[k].band, -len(lanes[k].targets), k))
    at = 0
    while at < len(order):
        longest, stop = len(lanes[order[at]].targets), at + 1
        while stop < len(order) and lanes[order[stop]].band == lanes[order[at]].band:
            if longest * (stop + 1 - at) > most:
                break
            stop += 1
        yield order[at:stop]
        at = stop


def planner(agent: Agent) -> Planner | None:
    """Return the agent if it can state its targets ahead."""
    return agent if isinstance(agent, Planner) else None


class _Walk:
    """A group of lanes on one engine."""

    def __init__(self, market: Market, lanes: Sequence[Lane]):
        self.market, self.lanes = market, lanes
        tape, offsets = _tape(lanes)
        n, b = len(market.instruments), len(lanes)
        self.length = np.array([len(one.targets) for one in lanes])
        self.targets = np.full((int(self.length.max()), b, n), np.nan)
        for k, one in enumerate(lanes):
            self.targets[: len(one.targets), k] = one.targets
        self.engine = Engine(tape, _plain(lanes[0].band, n), market.rules, market.reward, market.cash, None, b)
        rows = np.array([offset + one.first for offset, one in zip(offsets, lanes, strict=True)])
        _begin(self.engine, lanes, rows, rows + self.length)

    def _steps(self) -> Iterator[tuple[int, Bool]]:
        """Walk along the bars; yields the number of each and who was active in it."""
        alive = np.ones(len(self.lanes), dtype=np.bool_)
        for t in range(len(self.targets)):
            active = alive & (t < self.length)
            _, ruined, _ = self.engine.step(self.targets[t], active)
            yield t, active
            alive &= ~ruined

    def results(self) -> list[Result]:
        engine, b = self.engine, len(self.lanes)
        equity = np.empty((len(self.targets) + 1, b))
        equity[0] = engine.equity
        sums = np.zeros((b, 3))
        for t, active in self._steps():
            _count(engine.fills, active, sums)
            equity[t + 1] = engine.equity
        return [
            Result(equity[: n + 1, k].copy(), float(sums[k, 0]), float(sums[k, 1]), int(sums[k, 2]))
            for k, n in enumerate(self.length.tolist())
        ]

    def records(self) -> list[Record]:
        """Journals: rows of cash, loss absorbed, positions, marks, orders and fills, chained as `Journal` chains."""
        engine, a = self.engine, len(self.market.instruments)
        rows = np.zeros((len(self.targets) + 1, len(self.lanes), 2 + 14 * a))
        rows[0, :, 0], rows[0, :, 2 : 2 + 2 * a] = engine.cash, np.concatenate([engine.position, engine.mark], axis=1)
        rows[0, :, 2 + 3 * a : 2 + 5 * a] = np.nan
        ends = np.zeros(len(self.lanes), dtype=np.int64)
        for t, active in self._steps():
            row = rows[t + 1]
            row[:, 0], row[:, 1] = engine.cash, np.where(active, engine._book[:, ABSORBED], 0.0)
            row[:, 2 : 2 + a], row[:, 2 + a : 2 + 2 * a] = engine.position, engine.mark
            row[:, 2 + 2 * a : 2 + 5 * a] = engine.orders.transpose(0, 2, 1).reshape(len(row), -1)
            row[:, 2 + 5 * a :] = engine.fills.transpose(0, 2, 1).reshape(len(row), -1)
            ends += active
        return [self._record(rows[: ends[k] + 1, k], one) for k, one in enumerate(self.lanes)]

    def _record(self, rows: Float, one: Lane) -> Record:
        time = one.history.time[one.first : one.first + len(rows)]
        chain = b""
        for moment, row in zip(time.tolist(), rows, strict=True):
            chain = hashlib.sha256(chain + moment.to_bytes(8, "little") + row.tobytes()).digest()
        per = rows[:, 2:].reshape(len(rows), -1, len(self.market.instruments))
        return Record(
            self.market.instruments, self.market.bar_ns, time.copy(), Account(rows[:, 0].copy(), per[:, 0], per[:, 1]),
            Orders(per[:, 2], per[:, 3], per[:, 4]), Fills.of(np.moveaxis(per[:, 5:], 1, -1), rows[:, 1].copy()),
            chain.hex(),
        )  # fmt: skip


@compiled
def _count(fills: Float, active: Bool, sums: Float) -> None:
    """Add what a bar cost, traded and filled to ``sums`` (B, 3); ``fills`` (B, A, 9) as in `qframe_rl.types.Fills`."""
    for b in range(len(active)):
        if active[b]:
            for a in range(fills.shape[1]):
                f = fills[b, a]
                sums[b, 0] += f[2] + f[3] + f[4] + f[5]
                sums[b, 1] += abs(f[0]) * f[1] + abs(f[7]) * f[8]
                sums[b, 2] += 1.0 if f[0] != 0.0 else 0.0


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
