"""Sequences of bars with several orders per instrument, in which kernel and oracle are compared, bar by bar."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import combinations
from random import Random

import numpy as np

from qframe_rl.kernel.settle import settle_resting
from qframe_rl.orders import merged, orders_of, slots_of
from qframe_rl.types import Account, Bar, Bool, Fills, Float
from qframe_rl.venues.simulated import SimulatedVenue
from tests.oracle.asking import drawn_orders
from tests.oracle.compare import CLOSE_TO, differences, line, priced, reference
from tests.oracle.doors import resumed, rulebook
from tests.oracle.draws import Scene, scene, traded
from tests.oracle.finer_bars import finer_of, rules_inside, with_finer
from tests.oracle.grids import meaning
from tests.oracle.records import Outcome, Rulebook, State, candles_of
from tests.oracle.slots import settle_slots
from tests.oracle.standing import Part, Slots, slots_in
from tests.oracle.walks import N_BARS, Walk

SALT, INSIDE_SALT = 2_000_000, 3_000_000
Result = tuple[Outcome, list[list[Part]], Slots]


class SlotDoor:
    """The venue for what begins with cash, single settlements for what begins with positions."""

    def __init__(self, drawn: Scene, k: int):
        self.rules, self.account = rules_inside(drawn), drawn.account
        cash_alone = not np.any(drawn.account.position)
        self.venue = SimulatedVenue(self.rules, float(drawn.account.cash)) if cash_alone else None
        self.account = self.venue.account if self.venue else drawn.account
        self.slots = np.zeros((len(drawn.instruments), 8, k))

    def step(self, asked: Float, bar: Bar) -> tuple[Float, Fills]:
        """What met the bar, and what it did."""
        met = merged(asked, self.slots)
        if self.venue is None:
            self.account, fills, self.slots = settle_resting(self.account, met, bar, self.rules)
            return met, fills
        self.venue.submit(orders_of(asked))
        fills = self.venue.advance(bar)
        self.account, left = self.venue.account, self.venue.resting
        self.slots = np.zeros_like(met) if left is None else slots_of(left)
        return met, fills

    def over(self, expected: bool) -> bool:
        return expected if self.venue is None else self.venue.terminated


def drawn_slots(r: Random, drawn: Scene, account: Account, tradable: Bool, bar: Bar, slots: Float) -> Float:
    """A decision: some slots are left, some cancelled, some replaced, brackets among them."""
    out = slots.copy()
    out[:, 0] = np.nan
    for j in range(slots.shape[-1]):
        fresh = slots_of(drawn_orders(r, drawn, account, tradable, bar))[..., 0]
        for i, order in enumerate(fresh):
            if r.random() < (0.5 if slots[i, 0, j] == 0.0 else 0.2) and tradable[i]:
                out[i, :, j] = attributes(r, order)
    for i in range(len(slots)):
        if slots.shape[-1] >= 3 and r.random() < 0.25 and tradable[i]:
            bracket(r, out[i], float(account.position[i]), bar.values[i].tolist())
    return out


def attributes(r: Random, order: Float) -> Float:
    """Random attributes of an order."""
    order = order.copy()
    order[3] = r.choice((1.0, 1.0, 2.0, 3.0, math.inf))
    order[4] = r.choice((0.0, 0.0, 0.0, 0.0, 1.0, 2.0))
    order[5] = r.choice((math.nan, 0.001, 0.01)) if order[2] == order[2] else math.nan
    order[6] = (r.random() < 0.3 and order[1] == order[1]) + 2.0 * (r.random() < 0.3)
    order[7] = r.choice((0.0, 0.0, 1.0, 2.0))
    return order


def bracket(r: Random, row: Float, held: float, candle: list[float]) -> None:
    """An entry with a stop, and a target, of one group, near the bar's own prices."""
    first, high, low = candle[:3]
    if first != first:
        return
    size = abs(row[0, 0]) if row[0, 0] == row[0, 0] and row[0, 0] else abs(held) or 1.0
    side = 1.0 if r.random() < 0.5 else -1.0
    if held and r.random() < 0.5:
        side = math.copysign(1.0, held)
    bad, good = (low, high) if side > 0 else (high, low)
    kind = r.random()
    if not held:
        entry = first + (bad - first) * r.random() * 0.5
        limit, stop = (math.nan, math.nan) if kind < 0.5 else (entry, math.nan)
        row[:, 0] = (side * size, limit, stop, r.choice((1.0, 3.0)), 0.0, math.nan, 0.0, 0.0)
    at, to = first + (bad - first) * r.uniform(0.3, 1.3), first + (good - first) * r.uniform(0.3, 1.3)
    at, to = max(float(f"{at:.8g}"), 1e-6), max(float(f"{to:.8g}"), 1e-6)
    size *= r.choice((1.0, 1.0, 0.5, 2.0))
    row[:, 1] = (-side * size, math.nan, at, math.inf, 0.0, r.choice((math.nan, 0.01)), 2.0, 3.0)
    row[:, 2] = (-side * size, to, math.nan, math.inf, 0.0, math.nan, 2.0, r.choice((3.0, 0.0)))


def slots_compared(seed: int, *, inside: bool = False) -> Walk:
    """Walk kernel and oracle through the sequence of a seed; the oracle begins each bar with the kernel's account.

    With ``inside`` bars consist of finer ones.
    """
    drawn, r, walk = scene(seed, N_BARS), Random(seed + SALT), Walk(seed)
    drawn = with_finer(drawn, Random(seed + INSIDE_SALT)) if inside else drawn
    book, door = rulebook(drawn), SlotDoor(drawn, r.choice((1, 2, 3, 4, 4, 8)))
    state, tradable = State.of(drawn.account), ~np.isnan(drawn.account.mark)
    for bar in drawn.bars:
        asked = drawn_slots(r, drawn, door.account, tradable, bar, door.slots)
        before = resumed(door.account, state)
        met, fills = door.step(asked, bar)
        outcome, found, flipped = matching(book, before, met, bar, door, fills)
        walk.flipped += flipped
        walk.bars, tradable = walk.bars + 1, traded(bar)
        walk.notes += outcome.notes
        if found:
            walk.found = told(walk, drawn, before, met, bar, outcome, found)
            break
        state = outcome.state
        if outcome.terminated:
            break
    return walk


def matching(
    book: Rulebook, before: State, met: Float, bar: Bar, door: SlotDoor, fills: Fills
) -> tuple[Outcome, list[str], bool]:
    """The outcome that the kernel's agrees with: the decimal one, or one that turns decisions on knife's edges."""
    result = asked_of(book, before, met, bar)
    found = different(book, before, result, met, door, fills)
    if not found:
        return result[0], [], False
    edges = range(min(len(result[0].edges), 6))
    some = (flips for n in range(1, len(edges) + 1) for flips in combinations(edges, n))
    # Where one edge is met again in each finer bar, it shows only once those before it are turned.
    for flips in (*some, *(range(n) for n in range(2, 9 if edges and bar.finer is not None else 0))):
        other = asked_of(book, before, met, bar, frozenset(flips))
        if not different(book, before, other, met, door, fills):
            return other[0], [], True
    return result[0], found, False


def asked_of(book: Rulebook, before: State, met: Float, bar: Bar, flips: frozenset[int] = frozenset()) -> Result:
    """The oracle, asked in doubles."""
    return settle_slots(book, before, slots_in(met), candles_of(bar), meaning(bar.cash_rate), flips, finer_of(bar))


def different(book: Rulebook, before: State, result: Result, met: Float, door: SlotDoor, fills: Fills) -> list[str]:
    """One line for each number that differs."""
    outcome, parts, left = result
    found = differences(book, before, outcome, door.account, fills, door.over(outcome.terminated))
    found = [text for text in found if " cancelled: " not in text]
    assert fills.slots is not None
    scale = float(max(before.size, outcome.state.size, Decimal("1e-300")))
    for i, row in enumerate(parts):
        unit = CLOSE_TO * scale / reference(before, outcome.state, outcome.fills[i], i)
        asked = float(np.abs(met[i, 0]).sum())
        found += [line(f"[{i}] cancelled", float(fills.cancelled[i]), outcome.fills[i].cancelled, unit + 1e-9 * asked)]
        for j, part in enumerate(row):
            quantity, kept = left[i][j].quantity, float(door.slots[i, 0, j])
            texts = [
                line("filled", float(fills.slots.quantity[i, j]), part.quantity, unit),
                priced("price", float(fills.slots.price[i, j]), part.price, part.quantity, scale),
                line("fee", float(fills.slots.fee[i, j]), part.fee, CLOSE_TO * scale),
                line("left", kept, quantity, unit + CLOSE_TO * abs(float(quantity))),
                *attributes_off(door.slots[i, :, j], left[i][j]),
            ]
            found += [f"[{i}] slot {j} {text}" for text in texts if text]
    return [text for text in found if text]


def attributes_off(column: Float, slot: object) -> list[str]:
    """What differs of an order that is left."""
    if column[0] == 0.0 or slot.quantity == 0:
        return []
    found = [] if column[3] == slot.good and column[4] == slot.after else [f"ages: {column} {slot}"]
    stop = math.nan if slot.stop is None else float(slot.stop)
    same = (stop != stop and column[2] != column[2]) or abs(column[2] - stop) <= CLOSE_TO * abs(stop)
    return found if same else [*found, f"stop: kernel {column[2]}, oracle {stop}"]


def told(walk: Walk, drawn: Scene, before: State, met: Float, bar: Bar, outcome: Outcome, found: list[str]) -> str:
    """All that is needed to work the bar out by hand."""
    lines = (
        f"seed {walk.seed}, bar {walk.bars - 1}:",
        *(f"  {text}" for text in found),
        f"  what the oracle did: {dict(outcome.notes)}, edges {outcome.edges}",
        f"  rules {drawn.rules}",
        *(f"  {one}" for one in drawn.instruments),
        f"  before {before}",
        *(f"  slots {i}: {column.tolist()}" for i, row in enumerate(met) for column in row.T if column[0]),
        f"  bar {bar}",
    )
    return "\n".join(lines)
