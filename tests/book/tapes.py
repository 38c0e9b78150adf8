"""Made-up markets: a true book whose messages, trades and stamps are what a recorder would have seen."""

from __future__ import annotations

import numpy as np

from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE, Events
from qframe_rl.book.tape import Tape, tape_of

MS = 1_000_000
START = 1_700_000_000_000 * MS
Row = tuple[int, int, int, int, int, int, int]


def drawn_tape(seed: int, n: int = 2_000, jumps: float = 0.03) -> Tape:
    """A book of some levels round a price that walks and at times jumps, so that resting quotes are run through."""
    rng = np.random.default_rng(seed)
    books: tuple[dict[int, int], dict[int, int]] = (
        {1000 - k: int(rng.integers(1, 20)) for k in range(8)}, {1001 + k: int(rng.integers(1, 20)) for k in range(8)},
    )  # fmt: skip
    rows: list[Row] = [
        (START, START, SNAPSHOT, side, tick, lots, 0) for side in (0, 1) for tick, lots in books[side].items()
    ]
    at = START
    for message in range(1, n):
        at += int(rng.integers(0, 4)) * MS
        late = at + 2 * MS + int(rng.integers(0, MS))
        side = int(rng.integers(2))
        best = max(books[0]) if side == 0 else min(books[1])
        what = rng.random()
        if what < 0.35:
            lots = int(rng.integers(1, books[side][best] + 1))
            rows.append((at, late, TRADE, 1 - side, best, lots, message))
            continue
        told: dict[tuple[int, int], int] = {}
        if what < 0.35 + jumps:
            for tick in sorted(books[side], reverse=side == 0)[: int(rng.integers(1, 5))]:
                told[side, tick] = 0
        for _ in range(int(rng.integers(1, 4))):
            near = best + (int(rng.integers(-6, 2)) if side == 0 else int(rng.integers(-1, 7)))
            told[side, near] = int(rng.integers(0, 20))
        for (s, tick), lots in told.items():
            books[s][tick] = lots
        for s in (0, 1):
            for tick in [t for t, lots in books[s].items() if lots == 0]:
                del books[s][tick]
            if not books[s]:
                tick = max(books[0], default=999) + 1 if s == 1 else min(books[1]) - 1
                books[s][tick] = 5
                told[s, tick] = 5
        for s in (0, 1):  # what would be crossed is gone in the same message
            for tick in list(books[s]):
                if s != side and (tick >= min(books[1]) if s == 0 else tick <= max(books[0])):
                    del books[s][tick]
                    told[s, tick] = 0
            if not books[s]:
                tick = min(books[1]) - 1 if s == 0 else max(books[0]) + 1
                books[s][tick] = 5
                told[s, tick] = 5
        rows += [(at, late, DEPTH, s, tick, lots, message) for (s, tick), lots in told.items()]
    return tape_of(events(rows))


def events(rows: list[Row]) -> Events:
    """Rows as columns."""
    exchange, local, kind, side, tick, lots, message = np.array(rows, np.int64).T
    return Events(exchange, local, kind.astype(np.int8), side.astype(np.int8), tick, lots, message)
