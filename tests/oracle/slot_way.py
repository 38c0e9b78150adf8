"""Orders in slots that rest and are met in a bar: steps 1 to 6 of decision 27."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from tests.oracle.bar import (
    fails,
    given_room,
    kept,
    lost_by_closing,
    moment,
    room_on_margin,
)
from tests.oracle.grids import MISS, ZERO, down
from tests.oracle.orders import may_be_short, reducible
from tests.oracle.standing import (
    Bench,
    Going,
    rounded,
    trade,
)
from tests.oracle.work import Work


def fill_resting(b: Bench, plans: list[Going]) -> None:
    """8. The orders that rest and are met."""
    w = b.w
    met = resting_sizes(b, plans)
    plain = [plan.need_free for plan in met]
    room = w.state.cash - w.interest, abs(w.state.cash)
    room, terms = room if w.book.spot else resting_room(w, met)
    sizes = given_room(w, list(plain), room, terms, "in the bar")
    coming: list[tuple[Going, Decimal]] = []
    for plan, size in zip(met, sizes, strict=True):
        whole = replace(plan, closing=plan.size) if plan.only else plan
        fits = kept(w, whole, plan.size if plan.only else size)
        if fits:
            granted = ZERO if plan.only else max(ZERO, fits - plan.closing)
            coming.append((replace(plan, size=fits), granted))
    if coming:
        walk(b, coming)


def resting_room(w: Work, met: list[Going]) -> tuple[Decimal, Decimal]:
    """8. Room of a margin account: closing parts cost, and do not lessen what counts as gross."""
    room, terms = room_on_margin(w, [], w.state.position, w.interest)
    costs = sum((lost_by_closing(w, plan) for plan in met if w.book.contract(plan.i)), ZERO)
    return room - w.book.leverage * costs, terms + w.book.leverage * costs


def resting_sizes(b: Bench, plans: list[Going]) -> list[Going]:
    """1. Sizes against what is held after the open, and the worst that stops can pay."""
    w, met = b.w, list[Going]()
    closable = {i: abs(p) for i, p in enumerate(w.state.position)}
    for plan in plans:
        slot, i = b.slots[plan.i][plan.j], plan.i
        if slot.quantity == 0:
            continue
        against = reducible(w, i, plan.side)
        opposite = (against if plan.only else closable[i]) if against else ZERO
        bound = not plan.only and plan.side < 0 and not may_be_short(w, i)
        size = rounded(w, i, min(abs(slot.quantity), b.left[i]), opposite, bound)
        closing = min(size, opposite)
        closable[i] -= ZERO if plan.only else closing
        if size:
            met.append(replace(plan, size=size, closing=closing, asked=abs(slot.quantity)))
    stops = {key: sum((p.size for p in met if p.takes and (p.i, p.side) == key), ZERO) for key in sides(met)}
    return [replace(p, before=b.before(p.i, p.side) + stops[p.i, p.side] - p.size) if p.takes else p for p in met]


def sides(plans: list[Going]) -> set[tuple[int, int]]:
    """Instruments and sides of plans."""
    return {(plan.i, plan.side) for plan in plans}


def walk(b: Bench, coming: list[tuple[Going, Decimal]]) -> None:
    """3. to 6.: on the way to the worst prices, and after it."""
    w, progress = b.w, ZERO
    indices = range(len(w.candles)) if w.book.spot else w.contracts
    way = {i: worst_way(w, i, coming) for i in indices}
    waiting = [entry for entry in coming if waits(w, entry[0])]
    moving = [entry for entry in coming if not waits(w, entry[0])]
    while True:
        able = [entry for entry in moving if not entry[0].only or reducible(w, entry[0].i, entry[0].side)]
        due = [(max(progress, share(w, plan, way)), plan, granted) for plan, granted in able]
        nearest = first_of(w, due)
        if tested(w, way, nearest[0] if nearest else Decimal(1)):
            w.note("cancelled by liquidation on the way")
            return
        if nearest is None:
            break
        progress, plan, granted = nearest
        moving.remove((plan, granted))
        meet(b, passed(w, plan, way, progress), granted, reducible(w, plan.i, plan.side))
        if tested(w, way, progress):
            return
    for plan, granted in sorted(waiting, key=lambda entry: (entry[0].i, not entry[0].takes, entry[0].j)):
        meet(b, plan, granted, b.held_on[plan.i] if reducible(w, plan.i, plan.side) else ZERO)


def tested(w: Work, way: dict[int, tuple[Decimal, Decimal]], s: Decimal) -> bool:
    """Whether the account fails at a share of the way."""
    w.failed = w.failed or (not w.book.spot and fails(w, moment(way, s)))
    return w.failed


Due = tuple[Decimal, Going, Decimal]
"""When an order is met, its plan, and how much it may open."""


def first_of(w: Work, due: list[Due]) -> Due | None:
    """4. The least share, of instruments and then of slots in their order."""
    best: Due | None = None
    for entry in due:
        if best is None or sooner(w, entry, best):
            best = entry
    return best


def sooner(w: Work, entry: Due, best: Due) -> bool:
    """Whether an order is met before one that stands before it; of two instruments a double may say otherwise."""
    s, t = entry[0], best[0]
    if entry[1].i == best[1].i or (s == t and s in (0, 1)):
        return s < t
    return w.edge(False, "the same share") if s == t else w.below(s, t, Decimal(1), "the same share")


def worst_way(w: Work, i: int, coming: list[tuple[Going, Decimal]]) -> tuple[Decimal, Decimal]:
    """3. From worth to the worst price of what is held, or of the first slot that is met."""
    side = w.state.position[i] or next((Decimal(plan.side) for plan, _ in coming if plan.i == i), ZERO)
    return w.worth(i), w.worst(i, side) if side else w.worth(i)


def waits(w: Work, plan: Going) -> bool:
    """4. Gains wait."""
    owned = w.book.listings[plan.i].owned and not w.book.spot
    return (plan.limit and (plan.only or plan.closing > 0)) or (owned and plan.side < 0)


def share(w: Work, plan: Going, way: dict[int, tuple[Decimal, Decimal]]) -> Decimal:
    """8. The share of the way at which an order's price lies."""
    if plan.i not in way:
        return ZERO
    start, stop = way[plan.i]
    return min(Decimal(1), max(ZERO, (plan.base - start) / (stop - start))) if start != stop else ZERO


def passed(w: Work, plan: Going, way: dict[int, tuple[Decimal, Decimal]], s: Decimal) -> Going:
    """4. A stop that is met at once, or later than at its own share, takes from the worse of itself and the moment."""
    if not plan.takes or plan.i not in way or (s > 0 and share(w, plan, way) >= s):
        return plan
    start, stop = way[plan.i]
    now = start + s * (stop - start)
    w.note("a stop that was passed") if now * plan.side > plan.base * plan.side else None
    return replace(plan, base=max(plan.base, now) if plan.side > 0 else min(plan.base, now))


def meet(b: Bench, plan: Going, granted: Decimal, opposite: Decimal) -> None:
    """5. What fills when its turn has come, with ``opposite`` to close."""
    w, i, lot = b.w, plan.i, b.w.book.listings[plan.i].lot
    size = min(plan.size, abs(b.slots[i][plan.j].quantity), b.left[i])
    if not lot and opposite and abs(size - opposite) <= MISS * opposite:
        size = opposite
    closing = min(size, opposite)
    size = closing + min(size - closing, granted)
    if lot and size != plan.size:
        size = down(size, lot)
    now = replace(plan, size=size, closing=closing, before=b.before(i, plan.side) if plan.takes else ZERO)
    fits = kept(w, now, size)
    b.left[i] -= fits
    trade(b, now, fits)
