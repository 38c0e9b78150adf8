"""Many backtests in one call: settings, periods and price paths as accounts of one batch, settled by the one kernel.

It serves agents that can state their targets ahead (`qframe_rl.agent.Planner`). What comes out is what a session gives,
to the last bit; `tests/contracts` holds every such agent of the catalogue to it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np

from qframe_rl.agent import Agent, Planner
from qframe_rl.config import UserError
from qframe_rl.gym.market import Market
from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel.columns import (
    ABSORBED,
    CASH,
    DUE,
    EQUITY,
    FINAL,
    MARK,
    N_FILLS,
    POSITION,
    RUINED,
    bars_of,
    opened,
)
from qframe_rl.kernel.lanes import LANES, scratch
from qframe_rl.kernel.rows import advance_rows, target_rows
from qframe_rl.kernel.rules import HALF_SPREAD, IMPACT, MAKER, OWNED, TAKER, VOLUME_SHARE, Rules
from qframe_rl.kernel.walk import count, walk_rows
from qframe_rl.risk.columns import Watch, watch_for
from qframe_rl.risk.rows import begin_rows, guarded_rows
from qframe_rl.types import CLOSE, Account, Bool, Fills, Float, History, Int, Orders, Record, Segment

T = TypeVar("T")
_AT_ONCE = 16
"""Lanes of a sweep that are in memory at once: few, so that their targets and curves stay in the cache."""
_TOGETHER = LANES
"""Lanes that are walked side by side: as many accounts as the kernel settles at once."""


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
    targets = agent.targets(history.values[seen], history.time[seen], window - 1)[:-1]
    return Lane(history, first, targets, agent.band, window)


def batch(market: Market, lanes: Sequence[Lane]) -> list[Result]:
    """Settle all lanes, and return what each came to, in their order.

    Lanes that share a band are walked side by side, longest first.
    """
    found: dict[int, Result] = {}
    for group in _groups(lanes):
        walk = _Walk(market, [lanes[k] for k in group])
        found |= dict(zip(group, walk.results(np.empty), strict=True))
    return [found[k] for k in range(len(lanes))]


def sweep(market: Market, lanes: Iterable[Lane], score: Callable[[Result], T]) -> list[T]:
    """Settle any number of lanes, and keep of each no more than its score.

    Lanes are taken as they come, so they may be made on the way, and the memory of their curves is used again: a
    thousand settings over a hundred thousand bars never lie in memory at once.

    Parameters
    ----------
    market
        Rules and cash.
    lanes
        The backtests.
    score
        What to keep of a result; its arrays are only good until it returns.
    """
    buffers: dict[int, Float] = {}

    def room(shape: tuple[int, ...]) -> Float:
        size = math.prod(shape)
        if len(buffers.get(len(shape), ())) < size:
            buffers[len(shape)] = np.empty(size)
        return buffers[len(shape)][:size].reshape(shape)

    kept, coming = [], iter(lanes)
    tape: tuple[tuple[int, ...], tuple[Float, list[int]]] = ((), (np.empty(0), []))
    while group := list(islice(coming, _AT_ONCE)):
        for band in dict.fromkeys(one.band for one in group):
            if band != group[0].band:
                raise ValueError("the lanes of a sweep must share a band")
        names = tuple(id(one.history) for one in group)
        if tape[0] != names:
            tape = (names, _tape(group))
        kept += [score(result) for result in _Walk(market, group, tape[1]).results(room)]
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
    order = sorted(range(len(lanes)), key=lambda k: (lanes[k].band, -len(lanes[k].targets), k))
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


class _Walk:
    """A group of lanes: accounts, the tape that they walk along, and where they are on it."""

    def __init__(self, market: Market, lanes: Sequence[Lane], tape: tuple[Float, list[int]] | None = None):
        self.market, self.lanes = market, lanes
        self.bars, offsets = tape or _tape(lanes)
        n, b = len(market.instruments), len(lanes)
        self.length = np.array([len(one.targets) for one in lanes])
        self.row = np.array([offset + one.first for offset, one in zip(offsets, lanes, strict=True)])
        self.account, self.holding = opened(market.cash, b), np.zeros((b, n, 2))
        self.holding[:, :, MARK] = np.stack([_marks(one) for one in lanes])
        self.watch = watch_for(market.limits, market.rules.table, b)

    def results(self, room: Callable[[tuple[int, ...]], Float]) -> list[Result]:
        """What each account came to; ``room`` makes arrays."""
        (b, a, _), steps, rules = self.holding.shape, int(self.length.max()), self.market.rules
        targets, equity, sums = room((b, steps, a)), room((b, steps + 1)), np.zeros((b, 3))
        for k, one in enumerate(self.lanes):
            targets[k, : len(one.targets)] = one.targets
        equity[:, 0] = self.account[:, EQUITY]
        if self.watch is not None:
            self._guarded(self.watch, targets, equity, sums, np.empty((0, b, 0)))
        else:
            walk_rows(
                targets, self.length, self.lanes[0].band, self.account, self.holding, self.bars,
                _marks_alone(self.bars, rules), self.row, rules.table, rules.leverage, rules.shorting, equity, sums,
                np.zeros(b, dtype=np.int64), np.zeros(b, dtype=np.bool_), np.empty((b, a)), np.empty((0, a)),
                np.zeros((b, a, N_FILLS)), scratch(a),
            )  # fmt: skip
        return [
            Result(equity[k, : n + 1], float(sums[k, 0]), float(sums[k, 1]), int(sums[k, 2]))
            for k, n in enumerate(self.length.tolist())
        ]

    def records(self) -> list[Record]:
        """Journals: rows of cash, loss absorbed, positions, marks, orders and fills, chained as `Journal` chains."""
        (b, a, _), steps, rules = self.holding.shape, int(self.length.max()), self.market.rules
        targets, rows = np.full((steps, b, a), np.nan), np.zeros((steps + 1, b, 2 + 14 * a))
        for k, one in enumerate(self.lanes):
            targets[: len(one.targets), k] = one.targets
        rows[0, :, 0], rows[0, :, 2 + a : 2 + 2 * a] = self.account[:, CASH], self.holding[:, :, MARK]
        rows[0, :, 2 + 3 * a : 2 + 5 * a] = np.nan
        ends, active = np.zeros(b, dtype=np.int64), np.zeros(b, dtype=np.bool_)
        if self.watch is not None:
            planned = np.ascontiguousarray(np.moveaxis(targets, 0, 1))
            ends = self._guarded(self.watch, planned, np.empty((b, steps + 1)), np.zeros((b, 3)), rows)
        else:
            _walk(
                targets, self.lanes[0].band, self.account, self.holding, self.bars, self.row, self.length, rules.table,
                rules.leverage, rules.shorting, np.zeros((b, a, N_FILLS)), np.zeros((b, a, 3)), scratch(a),
                np.empty((0, a)), active, ends, rows,
            )  # fmt: skip
        return [self._record(rows[: ends[k] + 1, k], one) for k, one in enumerate(self.lanes)]

    def _guarded(self, watch: Watch, targets: Float, equity: Float, sums: Float, rows: Float) -> Int:
        """Walk held to limits; ``rows`` of journals are written if there is room for any. Return the bars of each."""
        (b, _, a), rules, ends = targets.shape, self.market.rules, np.zeros(len(targets), dtype=np.int64)
        time = np.concatenate(
            [history.time for history in {id(one.history): one.history for one in self.lanes}.values()]
        )
        begin_rows(np.ones(b, dtype=np.bool_), self.account, time, self.row, watch)
        _walk_guarded(
            targets, self.length, self.lanes[0].band, self.account, self.holding, self.bars, time, self.row,
            rules.table, rules.leverage, rules.shorting, watch, equity, sums, rows, ends, np.zeros(b, dtype=np.bool_),
            np.zeros((b, a)), np.empty((0, a)), np.zeros((b, a, N_FILLS)), scratch(a),
        )  # fmt: skip
        return ends

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


def _marks_alone(bars: Float, rules: Rules) -> Float:
    """(T,) last known close of each row, if it is all that can change what is held; else empty. See `walk_rows`."""
    spot = not rules.shorting and rules.leverage == 1.0
    if bars.shape[1] > 1 or not spot or rules.table[0, OWNED] or bars[..., DUE].any() or bars[..., FINAL].any():
        return np.empty(0)
    close = bars[:, 0, CLOSE]
    known = np.maximum.accumulate(np.where(np.isnan(close), 0, np.arange(len(close))))
    return close[known]


@compiled
def _walk(
    targets: Float, band: float, account: Float, holding: Float, bars: Float, row: Int, length: Int, table: Float,
    leverage: float, shorting: bool, fills: Float, orders: Float, work: Float, offset: Float, active: Bool, ends: Int,
    rows: Float,
) -> None:  # fmt: skip
    """Move all accounts along their bars, bar by bar, and note each; ``ends`` (B,) counts the bars of each."""
    for t in range(len(targets)):
        for b in range(len(row)):
            active[b] = t < length[b] and account[b, RUINED] == 0.0
            ends[b] += 1 if active[b] else 0
        target_rows(targets[t], offset, band, account, holding, bars, row, orders, work)
        advance_rows(
            targets[t], offset, band, account, holding, bars, row, active, table, leverage, shorting, True, fills, work
        )
        for b in range(len(row)):
            if active[b]:
                _note(account[b], holding[b], orders[b], fills[b], rows[t + 1, b])


@compiled
def _walk_guarded(
    targets: Float, length: Int, band: float, account: Float, holding: Float, bars: Float, time: Int, row: Int,
    table: Float, leverage: float, shorting: bool, watch: Watch, equity: Float, sums: Float, rows: Float, ends: Int,
    active: Bool, target: Float, offset: Float, fills: Float, work: Float,
) -> None:  # fmt: skip
    """Do what `walk_rows` and `_walk` do, bar by bar, with accounts held to limits."""
    for t in range(targets.shape[1]):
        for b in range(len(row)):
            active[b] = t < length[b] and account[b, RUINED] == 0.0
            ends[b] += 1 if active[b] else 0
            for a in range(target.shape[1]):
                target[b, a] = targets[b, t, a]
        guarded_rows(
            target, offset, band, account, holding, bars, time, row, active, table, leverage, shorting, watch, fills,
            work,
        )  # fmt: skip
        for b in range(len(row)):
            equity[b, t + 1] = account[b, EQUITY]
            if active[b]:
                count(fills[b], sums[b])
                if len(rows) > 0:
                    _note(account[b], holding[b], watch.asked[b], fills[b], rows[t + 1, b])


@inlined
def _note(account: Float, holding: Float, orders: Float, fills: Float, out: Float) -> None:
    """Write one row of a journal."""
    n = len(holding)
    out[0], out[1] = account[CASH], account[ABSORBED]
    for a in range(n):
        out[2 + a], out[2 + n + a] = holding[a, POSITION], holding[a, MARK]
        for k in range(3):
            out[2 + (2 + k) * n + a] = orders[a, k]
        for k in range(9):
            out[2 + (5 + k) * n + a] = fills[a, k]


def _marks(one: Lane) -> Float:
    """(A,) last traded close among the bars of the warm-up, NaN where there is none."""
    seen = one.history.values[max(0, one.first - one.window + 1) : one.first + 1, :, CLOSE]
    rows = np.where(np.isnan(seen), -1, np.arange(len(seen))[:, None]).max(axis=0)
    return np.where(rows < 0, np.nan, seen[np.maximum(rows, 0), np.arange(seen.shape[1])])


def _tape(lanes: Sequence[Lane]) -> tuple[Float, list[int]]:
    """Lay the distinct histories of the lanes end to end, (T, A, 8); and say where each lane's begins."""
    begins: dict[int, int] = {}
    parts: list[Float] = []
    total = 0
    for one in lanes:
        if id(one.history) not in begins:
            begins[id(one.history)] = total
            history = one.history
            parts.append(bars_of(history.values, history.funding, history.final))
            total += len(history)
    return (parts[0] if len(parts) == 1 else np.concatenate(parts)), [begins[id(one.history)] for one in lanes]


def with_costs(market: Market, factor: float) -> Market:
    """Return the market with fees, half-spread and impact times ``factor``.

    Raises
    ------
    ValueError
        If they could take a price to zero.
    """
    table = market.rules.table.copy()
    table[:, [MAKER, TAKER, HALF_SPREAD, IMPACT]] *= factor
    if (table[:, HALF_SPREAD] + table[:, IMPACT] * np.sqrt(table[:, VOLUME_SHARE]) >= 1.0).any():
        raise ValueError(f"{factor} times the costs would take a price to zero")
    table.setflags(write=False)
    return replace(market, rules=replace(market.rules, table=table))
