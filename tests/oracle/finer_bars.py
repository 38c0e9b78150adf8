"""Random finer bars within random bars, and single orders compared on them."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import numpy as np

from qframe_rl.kernel.rules import Rules, rules_of
from qframe_rl.kernel.settle import settle
from qframe_rl.orders import slots_of
from qframe_rl.types import SECOND, Bar, Float
from qframe_rl.venues.simulated import SimulatedVenue
from tests.oracle.asking import drawn_orders
from tests.oracle.compare import differences
from tests.oracle.doors import resumed, rulebook
from tests.oracle.draws import NO_PRICES, Scene, on_grid, scene, traded
from tests.oracle.grids import meaning
from tests.oracle.records import Candle, Outcome, State, candles_of
from tests.oracle.slots import settle_slots
from tests.oracle.standing import slots_in
from tests.oracle.walks import N_BARS, SALT, Walk


def with_finer(drawn: Scene, r: Random) -> Scene:
    """The same market, of which most bars consist of several finer ones."""
    ticks = [one.tick for one in drawn.instruments]
    bars = (bar if r.random() < 0.1 else bar._replace(finer=inside(r, bar, ticks)) for bar in drawn.bars)
    return replace(drawn, bars=tuple(bars))


def rules_inside(drawn: Scene) -> Rules:
    """The rules of a market, by which finer bars are looked at where there are any."""
    return rules_of(drawn.instruments, **drawn.rules, detail_ns=SECOND)


def inside(r: Random, bar: Bar, ticks: list[float]) -> Float:
    """(F, A, 4) a way through each bar that adds up to it."""
    n = r.choice((2, 3, 5, 8))
    ways = [way(r, row[:5], n, tick) for row, tick in zip(bar.values.tolist(), ticks, strict=True)]
    return np.ascontiguousarray(np.moveaxis(np.array(ways), 0, 1))


def way(r: Random, row: list[float], n: int, tick: float) -> list[tuple[float, ...]]:
    """Finer bars of one instrument; some are missing, but neither those at the ends of prices nor all."""
    first, high, low, last = row[:4]
    if first != first:
        return [NO_PRICES[:4]] * n
    at_high, at_low = r.randrange(n), r.randrange(n)
    missing = {k for k in range(n) if r.random() < 0.1} - {0, n - 1, at_high, at_low}
    closes = [on_grid(r.uniform(low, high), tick) for _ in range(n - 1)] + [last]
    parts, before = [], first
    for k, close in enumerate(min(max(c, low), high) for c in closes):
        if k in missing:
            parts.append(NO_PRICES[:4])
            continue
        begin = before if r.random() < 0.5 or k == 0 else min(max(on_grid(r.uniform(low, high), tick), low), high)
        top, bottom = max(begin, close), min(begin, close)
        top, bottom = high if k == at_high else top, low if k == at_low else bottom
        parts.append((begin, top, bottom, close))
        before = close
    return parts


def finer_of(bar: Bar) -> tuple[tuple[Candle, ...], ...]:
    """The candles of a bar's finer bars; none where it is looked at as a whole."""
    if bar.finer is None:
        return ()
    nothing = np.full((*bar.finer.shape[1:2], 1), math.nan)
    return tuple(candles_of(bar._replace(values=np.hstack([part, nothing]))) for part in bar.finer)


class PlainDoor:
    """One order per instrument: the venue for what begins with cash, single settlements for others."""

    def __init__(self, drawn: Scene):
        self.rules, self.account = rules_inside(drawn), drawn.account
        cash_alone = not np.any(drawn.account.position)
        self.venue = SimulatedVenue(self.rules, float(drawn.account.cash)) if cash_alone else None

    def step(self, orders, bar: Bar):
        if self.venue is None:
            self.account, fills = settle(self.account, orders, bar, self.rules)
            return fills
        self.venue.submit(orders)
        fills = self.venue.advance(bar)
        self.account = self.venue.account
        return fills


def plain_compared(seed: int) -> Walk:
    """Walk kernel and oracle through a sequence with one order per instrument, on finer bars."""
    drawn, r, walk = with_finer(scene(seed, N_BARS), Random(-seed)), Random(seed + SALT), Walk(seed)
    book, door = rulebook(drawn), PlainDoor(drawn)
    state, tradable = State.of(drawn.account), ~np.isnan(drawn.account.mark)
    for bar in drawn.bars:
        orders = drawn_orders(r, drawn, door.account, tradable, bar)
        before = resumed(door.account, state)
        fills = door.step(orders, bar)
        walk.bars, tradable = walk.bars + 1, traded(bar)

        def asked(flips: frozenset[int] = frozenset(), before=before, orders=orders, bar=bar) -> Outcome:
            slots = slots_in(slots_of(orders))
            return settle_slots(book, before, slots, candles_of(bar), meaning(bar.cash_rate), flips, finer_of(bar))[0]

        outcome = asked()
        over = outcome.terminated if door.venue is None else door.venue.terminated
        found = differences(book, before, outcome, door.account, fills, over)
        for k in range(min(len(outcome.edges), 6) if found else 0):
            other = asked(frozenset({k}))
            if not differences(book, before, other, door.account, fills, over):
                outcome, found, walk.flipped = other, [], walk.flipped + 1
                break
        walk.notes += outcome.notes
        if found:
            walk.found = f"seed {seed}, bar {walk.bars - 1}: {found}"
        state = outcome.state
        if found or outcome.terminated:
            break
    return walk
