"""Many backtests in one call: settings, periods and price paths as accounts of one batch, settled by the one kernel.

It serves agents that can state their targets ahead (`qframe_rl.agent.Planner`). What comes out is what a session gives,
to the last bit; `tests/contracts` holds every such agent of the catalogue to it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar, cast

import numpy as np

from qframe_rl.agent import Agent, Planner, Runs, Sparse
from qframe_rl.config import UserError
from qframe_rl.gym.market import Market
from qframe_rl.gym.packed import joined
from qframe_rl.kernel.columns import (
    CASH,
    CASH_RATE,
    COSTS,
    DUE,
    EQUITY,
    LAST,
    LAST_OUTSIDE,
    LIMIT,
    MARK,
    MARKS,
    N_FILLS,
    N_HEAD,
    N_ORDER,
    N_PANELS,
    N_SUMS,
    N_TAIL,
    NOTIONAL,
    ORDERS,
    ROW_CASH,
    STANDING,
    STOP,
    TRADES,
    bars_of,
    opened,
)
from qframe_rl.kernel.lanes import LANES, scratch
from qframe_rl.kernel.rules import OWNED, Rules, sizes_of
from qframe_rl.kernel.walk import seats, walk_rows
from qframe_rl.listeners import chain_of, record_of
from qframe_rl.risk.columns import Watch, watch_for, watch_of
from qframe_rl.risk.rows import begin_rows
from qframe_rl.runner.noted import walk_guarded, walk_noted
from qframe_rl.runner.noted_finer import walk_finer
from qframe_rl.types import CLOSE, NO_FINER, Float, History, Int, Record, Segment

T = TypeVar("T")
_AT_ONCE = {True: 16, False: 128}
"""Lanes of a sweep that are walked in one go: few where their curves are kept, so that those stay in the cache."""
_AHEAD = 1
"""Groups of a sweep that may wait while another is walked."""
_TOGETHER = LANES
"""Lanes that are walked side by side: as many accounts as the kernel settles at once."""


@dataclass(frozen=True, eq=False)
class Lane:
    """One backtest of a batch: an account, the bars it walks along, and what it asks for."""

    history: History
    first: int
    """Row of the first decision; orders settle from the next row on."""
    runs: Runs
    """Target exposures of N decisions at rows ``first``, ``first + 1``, ...; NaN = leave as it is."""
    band: float
    window: int
    """Bars shown at the first decision: those from which the first marks are taken."""

    @property
    def targets(self) -> Float:
        """(N, A) target exposures, decision by decision."""
        return self.runs.dense()


@dataclass(frozen=True, eq=False)
class BacktestResult:
    """What one lane came to."""

    equity: Float
    """(N + 1,) quote currency: before and after each bar, unchanged after ruin; (2,), first and last without curves."""
    costs: float
    """Fees, spread, impact and funding paid, quote currency."""
    notional: float
    """Traded, forced closes included, quote currency."""
    trades: int
    """Fills."""
    time: Int
    """(N + 1,) closes, before and after each bar, ns UTC."""
    cash: Float
    """(N,) what idle cash earned in each bar, fraction of it."""


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
        Bars by which what it sees of the market is late: a stress test.

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
    if start < delay:
        raise UserError(f"{history.source.origin}: {delay} more bars are needed before the first decision.")
    seen = slice(start - delay, segment.stop - delay)
    shown = history.values[seen], history.time[seen], window - 1
    runs = cast(Sparse, agent).runs(*shown) if hasattr(agent, "runs") else _runs_of(agent.targets(*shown))
    return Lane(history, first, runs.until(runs.length - 1), agent.band, window)


def _runs_of(targets: Float) -> Runs:
    same = (targets[1:] == targets[:-1]) | (np.isnan(targets[1:]) & np.isnan(targets[:-1]))
    starts = np.concatenate([[0], 1 + np.flatnonzero(~same.all(axis=1))])
    return Runs(len(targets), starts, targets[starts])


def batch(market: Market, lanes: Sequence[Lane]) -> list[BacktestResult]:
    """Settle all lanes, and return what each came to, in their order.

    Lanes that share a band are walked side by side, longest first.
    """
    found: dict[int, BacktestResult] = {}
    for group in _groups(lanes):
        walk = _Walk(market, [lanes[k] for k in group])
        found |= dict(zip(group, walk.results(np.empty), strict=True))
    return [found[k] for k in range(len(lanes))]


def sweep(
    market: Market, lanes: Iterable[Lane], score: Callable[[BacktestResult], T], *, curves: bool = True
) -> list[T]:
    """Settle any number of lanes, and keep of each no more than its score.

    Lanes are taken as they come, so they may be made on the way, and the memory of their curves is used again: a
    thousand settings over a hundred thousand bars never lie in memory at once. While some are walked in a thread of
    their own, the next are made.

    Parameters
    ----------
    market
        Rules and cash.
    lanes
        The backtests; they must share a band.
    score
        What to keep of a result, asked for in that thread; its arrays are only good until it returns.
    curves
        Whether a result has its whole equity curve; else only what it began and ended with, which is faster.

    Raises
    ------
    ValueError
        If the lanes do not share a band.
    """
    buffer = np.empty(0)

    def room(shape: tuple[int, ...]) -> Float:
        nonlocal buffer
        size = math.prod(shape)
        buffer = buffer if len(buffer) >= size else np.empty(size)
        return buffer[:size].reshape(shape)

    def scores(group: list[Lane], tape: _Tape) -> list[T]:
        return [score(result) for result in _Walk(market, group, tape).results(room if curves else None)]

    under_way: deque[Future[list[T]]] = deque()
    kept, coming, tape = [], iter(lanes), None
    with ThreadPoolExecutor(1) as pool:
        while group := list(islice(coming, _AT_ONCE[curves])):
            if any(one.band != group[0].band for one in group):
                raise ValueError("the lanes of a sweep must share a band")
            tape = tape if tape is not None and tape.serves(group) else _Tape(market, group)
            under_way.append(pool.submit(scores, group, tape))
            while len(under_way) > _AHEAD:
                kept += under_way.popleft().result()
        for last in under_way:
            kept += last.result()
    return kept


def records(market: Market, lanes: Sequence[Lane]) -> list[Record]:
    """Settle all lanes, and return the journal of each: the same numbers and digest as a session's."""
    found: dict[int, Record] = {}
    for group in _groups(lanes):
        walk = _Walk(market, [lanes[k] for k in group])
        found |= dict(zip(group, walk.records(), strict=True))
    return [found[k] for k in range(len(lanes))]


def _groups(lanes: Sequence[Lane]) -> Iterator[list[int]]:
    """Indices of lanes to walk side by side: of one band, and of about the same length."""
    order = sorted(range(len(lanes)), key=lambda k: (lanes[k].band, -lanes[k].runs.length, k))
    at = 0
    while at < len(order):
        stop = at + 1
        while stop < len(order) and stop - at < _TOGETHER and lanes[order[stop]].band == lanes[order[at]].band:
            stop += 1
        yield order[at:stop]
        at = stop


def planner(agent: Agent) -> Planner | None:
    """Return the agent if it can state its targets ahead."""
    return agent if isinstance(agent, Planner) else None


class _Tape:
    """The distinct histories of lanes, end to end."""

    def __init__(self, market: Market, lanes: Sequence[Lane]):
        # Held, so that as long as the tape lives no other history can have the identity of one of these.
        self.histories = list({id(one.history): one.history for one in lanes}.values())
        begins = np.cumsum([0, *(len(history) for history in self.histories)]).tolist()
        self._begins = {id(history): begin for history, begin in zip(self.histories, begins, strict=False)}
        parts = [bars_of(h.values, h.funding, h.final, h.cash_rate, h.columns) for h in self.histories]
        self.bars = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self.finer = joined(self.histories) if market.rules.detail_ns else NO_FINER
        self.earning = bool(self.bars[..., CASH_RATE].any())
        self.marks = np.empty(0) if self.earning else _marks_alone(self.bars, market.rules)
        self._first: dict[tuple[int, int, int], Float] = {}

    def serves(self, lanes: Sequence[Lane]) -> bool:
        """Whether the bars of all these lanes are on it."""
        return all(id(one.history) in self._begins for one in lanes)

    def rows(self, lanes: Sequence[Lane]) -> Int:
        """(B,) row of each lane's first decision."""
        return np.array([self._begins[id(one.history)] + one.first for one in lanes])

    def first_marks(self, one: Lane) -> Float:
        """(A,) last traded close among the bars of a lane's warm-up, NaN where there is none."""
        key = (id(one.history), one.first, one.window)
        if key not in self._first:
            self._first[key] = last_closes(one.history, one.first, one.window)
        return self._first[key]


def last_closes(history: History, row: int, window: int) -> Float:
    """Last traded closes, (A,); NaN where there is none.

    Parameters
    ----------
    history
        The bars.
    row, window
        Where to look: at so many bars up to this one.
    """
    seen = history.values[max(0, row - window + 1) : row + 1, :, CLOSE]
    rows = np.where(np.isnan(seen), -1, np.arange(len(seen))[:, None]).max(axis=0)
    close = seen[np.maximum(rows, 0), np.arange(seen.shape[1])]
    return np.where(rows < 0, np.nan, close)


class _Walk:
    """A group of lanes: accounts, the tape that they walk along, and where they are on it."""

    def __init__(self, market: Market, lanes: Sequence[Lane], tape: _Tape | None = None):
        self.market, self.lanes = market, lanes
        self.tape = tape or _Tape(market, lanes)
        n, b = len(market.instruments), len(lanes)
        self.length = np.array([one.runs.length for one in lanes])
        self.row = self.tape.rows(lanes)
        self.account, self.holding = opened(market.cash, b, market.rules.n_columns), np.zeros((b, n, 2))
        self.holding[:, :, MARK] = np.stack([self.tape.first_marks(one) for one in lanes])
        self.watch = watch_for(market.limits, market.rules.table, b)
        if market.rules.detail_ns and self.watch is None:  # the loops over time know no finer bars
            self.watch = watch_of(market.limits, sizes_of(market.instruments), b)

    def results(self, room: Callable[[tuple[int, ...]], Float] | None) -> list[BacktestResult]:
        """What each account came to; ``room`` makes the array of their curves, which are not kept without it."""
        b, steps, before = len(self.lanes), int(self.length.max()), self.account[:, EQUITY, None].copy()
        sums, kept = np.zeros((b, N_SUMS)), room is not None or self.watch is not None
        curves = (room or np.empty)((b, steps + 1 if kept else 0))
        curves[:, :1] = before
        if self.watch is not None:
            self._guarded(self.watch, self._targets(), curves, sums, np.empty((0, b, 0)))
        else:
            self._free(curves, sums)
        ends = np.hstack([before, self.account[:, EQUITY, None]])
        return [
            BacktestResult(
                ends[k] if room is None else curves[k, : n + 1], *summed(sums[k]),
                one.history.time[one.first : one.first + n + 1],
                one.history.cash_rate[one.first + 1 : one.first + n + 1],
            )
            for k, (n, one) in enumerate(zip(self.length.tolist(), self.lanes, strict=True))
        ]  # fmt: skip

    def _free(self, curves: Float, sums: Float) -> None:
        """Walk without limits, from change to change of what is asked for."""
        a, rules, runs = self.holding.shape[1], self.market.rules, [one.runs for one in self.lanes]
        walk_rows(
            np.cumsum([0, *(len(part.starts) for part in runs)]), np.concatenate([part.starts for part in runs]),
            np.concatenate([part.values for part in runs]), self.length, self.lanes[0].band, self.account, self.holding,
            self.tape.bars, self.tape.marks, self.tape.earning, self.row, rules.table, rules.leverage, rules.shorting,
            curves, sums, seats(a, rules.n_columns), np.empty((0, a)) if rules.tiered else None, scratch(a),
        )  # fmt: skip

    def _targets(self) -> Float:
        """(B, N, A) target exposures, decision by decision."""
        out = np.full((len(self.lanes), int(self.length.max()), self.holding.shape[1]), np.nan)
        for k, one in enumerate(self.lanes):
            out[k, : one.runs.length] = one.targets
        return out

    def records(self) -> list[Record]:
        """Journals: rows of cash, loss absorbed, positions, marks, orders and fills, chained as `Journal` chains."""
        (b, a, _), steps, rules = self.holding.shape, int(self.length.max()), self.market.rules
        targets, rows = self._targets(), np.zeros((steps + 1, b, N_HEAD + N_PANELS * a + N_TAIL))
        panels = rows[0, :, N_HEAD:-N_TAIL].reshape(b, N_PANELS, a)
        rows[0, :, ROW_CASH], panels[:, MARKS] = self.account[:, CASH], self.holding[:, :, MARK]
        panels[:, [ORDERS + LIMIT, ORDERS + STOP]] = np.nan
        ends, active = np.zeros(b, dtype=np.int64), np.zeros(b, dtype=np.bool_)
        if self.watch is not None:
            ends = self._guarded(self.watch, targets, np.empty((b, steps + 1)), np.zeros((b, N_SUMS)), rows)
        else:
            walk_noted(
                np.ascontiguousarray(np.moveaxis(targets, 0, 1)), self.lanes[0].band, self.account, self.holding,
                self.tape.bars, self.row, self.length, rules.table, rules.leverage, rules.shorting,
                np.zeros((b, a, N_FILLS)), np.zeros((b, a, N_ORDER)), scratch(a),
                np.empty((0, a)) if rules.tiered else None, active, ends, rows,
            )  # fmt: skip
        return [self._record(rows[: ends[k] + 1, k], one) for k, one in enumerate(self.lanes)]

    def _guarded(self, watch: Watch, targets: Float, equity: Float, sums: Float, rows: Float) -> Int:
        """Walk held to limits; ``rows`` of journals are written if there is room for any. Return the bars of each."""
        (b, _, a), rules, ends = targets.shape, self.market.rules, np.zeros(len(targets), dtype=np.int64)
        time = np.concatenate([history.time for history in self.tape.histories])
        begin_rows(np.ones(b, dtype=np.bool_), self.account, self.holding, time, self.row, watch)
        if rules.detail_ns:
            walk_finer(
                targets, self.length, self.lanes[0].band, self.account, self.holding, self.tape.bars, time, self.row,
                rules, watch, equity, sums, rows, ends, self.tape.finer,
            )  # fmt: skip
            return ends
        walk_guarded(
            targets, self.length, self.lanes[0].band, self.account, self.holding, self.tape.bars, time, self.row,
            rules.table, rules.leverage, rules.shorting, watch, equity, sums, rows, ends, np.zeros(b, dtype=np.bool_),
            np.zeros((b, a)), np.empty((0, a)), np.zeros((b, a, N_FILLS)), scratch(a),
        )  # fmt: skip
        return ends

    def _record(self, rows: Float, one: Lane) -> Record:
        time = one.history.time[one.first : one.first + len(rows)]
        digest = chain_of(time, rows, {})
        return record_of(self.market.instruments, self.market.bar_ns, time.copy(), rows, digest)


def summed(sums: Float) -> tuple[float, float, int]:
    """Costs, notional and number of fills, from (N_SUMS,)."""
    return float(sums[COSTS]), float(sums[NOTIONAL]), int(sums[TRADES])


def _marks_alone(bars: Float, rules: Rules) -> Float:
    """(T,) last known close of each row, if it is all that can change what is held; else empty. See `walk_rows`."""
    spot = not rules.shorting and rules.leverage == 1.0
    if (
        bars.shape[1] > 1
        or not spot
        or rules.table[0, OWNED]
        or bars[..., DUE].any()
        or np.isin(bars[..., STANDING], (LAST, LAST_OUTSIDE)).any()
    ):
        return np.empty(0)
    close = bars[:, 0, CLOSE]
    known = np.maximum.accumulate(np.where(np.isnan(close), 0, np.arange(len(close))))
    return close[known]
