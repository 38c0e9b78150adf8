"""Made-up ticks: a true book of some levels round a price that walks, told as an exchange tells it."""

from __future__ import annotations

import numpy as np

from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE, Events
from qframe_rl.book.state import BUY, SELL
from qframe_rl.feeds.ticks import TickRun

MS = 1_000_000
START = 1_700_000_000_000 * MS
_FIRST, _LEVELS, _MOST_LOTS = 1000, 8, 20
_TRADES = 0.35
Row = tuple[int, int, int, int, int, int, int]


def synthetic_ticks(seed: int = 0, n_messages: int = 20_000, jumps: float = 0.03) -> TickRun:
    """A run that is made up, without a gap.

    Parameters
    ----------
    seed
        Of its random numbers.
    n_messages
        How many.
    jumps
        Share of messages that take out up to four levels at once, so that resting orders are run through.
    """
    events = events_of(rows_of(seed, n_messages, jumps))
    return TickRun(f"synthetic-{seed}", "MADE/USDT:USDT", 0.1, 0.001, events, 0, START, "it was made so long", {})


def rows_of(seed: int, n_messages: int, jumps: float) -> list[Row]:
    """The rows of `synthetic_ticks`: both stamps, kind, side, tick, lots, message.

    Parameters
    ----------
    seed, n_messages, jumps
        As there.
    """
    rng = np.random.default_rng(seed)
    book = _MadeBook(rng)
    rows: list[Row] = [
        (START, START, SNAPSHOT, side, tick, lots, 0) for side in (BUY, SELL) for tick, lots in book.sides[side].items()
    ]
    at = START
    for message in range(1, n_messages):
        at += int(rng.integers(0, 4)) * MS
        late = at + 2 * MS + int(rng.integers(0, MS))
        side = int(rng.integers(2))
        best = book.best(side)
        what = rng.random()
        if what < _TRADES:
            rows.append((at, late, TRADE, 1 - side, best, int(rng.integers(1, book.sides[side][best] + 1)), message))
        else:
            told = book.moved(side, best, jump=what < _TRADES + jumps)
            rows += [(at, late, DEPTH, s, tick, lots, message) for (s, tick), lots in told.items()]
    return rows


class _MadeBook:
    """Two sides that never cross and are never empty."""

    def __init__(self, rng: np.random.Generator):
        self._rng = rng
        self.sides: tuple[dict[int, int], dict[int, int]] = (
            {_FIRST - k: int(rng.integers(1, _MOST_LOTS)) for k in range(_LEVELS)},
            {_FIRST + 1 + k: int(rng.integers(1, _MOST_LOTS)) for k in range(_LEVELS)},
        )

    def best(self, side: int) -> int:
        """Best price of a side."""
        return max(self.sides[BUY]) if side == BUY else min(self.sides[SELL])

    def moved(self, side: int, best: int, *, jump: bool) -> dict[tuple[int, int], int]:
        """Change a side; levels that changed, those too that the other side lost by it."""
        told: dict[tuple[int, int], int] = {}
        if jump:
            for tick in sorted(self.sides[side], reverse=side == BUY)[: int(self._rng.integers(1, 5))]:
                told[side, tick] = 0
        for _ in range(int(self._rng.integers(1, 4))):
            near = best + int(self._rng.integers(-6, 2) if side == BUY else self._rng.integers(-1, 7))
            told[side, near] = int(self._rng.integers(0, _MOST_LOTS))
        for (_, tick), lots in told.items():
            self.sides[side][tick] = lots
        for tick in [tick for tick, lots in self.sides[side].items() if lots == 0]:
            del self.sides[side][tick]
        self._refill(side, told)
        other, reach = 1 - side, self.best(side)
        for tick in [tick for tick in self.sides[other] if (tick <= reach if side == BUY else tick >= reach)]:
            del self.sides[other][tick]
            told[other, tick] = 0
        self._refill(other, told)
        return told

    def _refill(self, side: int, told: dict[tuple[int, int], int]) -> None:
        if not self.sides[side]:
            tick = max(self.sides[BUY], default=_FIRST) + 1 if side == SELL else min(self.sides[SELL]) - 1
            self.sides[side][tick] = told[side, tick] = 5


def events_of(rows: list[Row]) -> Events:
    """Rows as columns."""
    exchange, local, kind, side, tick, lots, message = np.array(rows, np.int64).T
    return Events(exchange, local, kind.astype(np.int8), side.astype(np.int8), tick, lots, message)


def poisson_ticks(seed: int, seconds: int, intensity: float, decay: float, spread: int = 400) -> TickRun:
    """A market whose optimal quotes are known: nothing moves, and trades reach in by an exponential distance.

    Best prices stand still so far apart that whoever quotes between them is alone there. Trades of one lot come on each
    side at a rate, and print at the distance from the mid price that they reach, rounded down; of those that would
    reach further than the best price, at the best price. See `qframe_rl.theory.grid_quoting`.

    Parameters
    ----------
    seed
        Of its random numbers.
    seconds
        How long.
    intensity
        Trades of one side a second that reach the mid price.
    decay
        k: a trade reaches d ticks or more with probability exp(-k d).
    spread
        Between the best prices, ticks; even.
    """
    rng = np.random.default_rng(seed)
    mid, half, told = _FIRST * 10, spread // 2, []
    for side in (BUY, SELL):
        n = rng.poisson(intensity * seconds)
        at = START + 1 + np.sort(rng.integers(0, seconds * 1000 * MS - 1, n))
        reach = np.minimum(np.floor(rng.exponential(1.0 / decay, n)), half).astype(np.int64)
        tick = mid + reach if side == BUY else mid - reach
        told.append((at, np.full(n, side), tick))
    rows = np.concatenate([np.stack(columns, axis=1) for columns in told])
    at, sides, tick = rows[np.argsort(rows[:, 0], kind="stable")].T
    n = len(at)
    best = np.array([[BUY, mid - half], [SELL, mid + half]])
    both = np.concatenate([[START, START], at, [START + seconds * 1000 * MS]])
    events = Events(
        both, both.copy(), np.array([SNAPSHOT] * 2 + [TRADE] * n + [DEPTH], np.int8),
        np.array([*best[:, 0], *sides, BUY], np.int8), np.array([*best[:, 1], *tick, mid - half], np.int64),
        np.array([10**6] * 2 + [1] * n + [10**6], np.int64), np.array([0, 0, *range(1, n + 2)], np.int64),
    )  # fmt: skip
    return TickRun(f"poisson-{seed}", "MADE/USDT:USDT", 0.1, 0.001, events, 0, START, "it was made so long", {})
