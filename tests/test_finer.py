"""Orders that rest and liquidations on finer bars, worked by hand, and what finer bars do not change."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.kernel.columns import RUINED, bars_of, opened
from qframe_rl.kernel.finer_reach import extremes_of
from qframe_rl.kernel.finer_rows import advance_finer, finer_room
from qframe_rl.kernel.lanes import scratch
from qframe_rl.kernel.rules import rules_of
from qframe_rl.kernel.settle import settle, settle_resting
from qframe_rl.kernel.slot_rows import parts_of, settle_slots, slot_scratch
from qframe_rl.orders import REDUCE_ONLY, UNTIL_CANCELLED, slots_of
from qframe_rl.types import HOUR, MINUTE, Account, Bar, Fills, Finer, Float, Instrument, Orders
from qframe_rl.venues.simulated import SimulatedVenue
from tests.test_slots import NAN, bar, orders

EVER, ONLY = UNTIL_CANCELLED, REDUCE_ONLY
COIN = Instrument("C/USDT:USDT", "perpetual", lot=0.1, tick=0.1, maintenance=0.1)


def of(*parts: tuple[float, float, float, float]) -> Bar:
    """A bar that consists of these."""
    inside = np.array(parts, dtype=np.float64)
    whole = bar(inside[0, 0], inside[:, 1].max(), inside[:, 2].min(), inside[-1, 3])
    return whole._replace(finer=inside[:, None, :])


def after(held: float, asked: Orders, coming: Bar, *, detail: bool = True) -> tuple[Account, Fills, Float]:
    account = Account(np.array(1000.0 - held * 100.0), np.array([held]), np.array([100.0]))
    rules = rules_of((COIN,), volume_share=1.0, leverage=5.0, shorting=True, detail_ns=MINUTE * detail)
    return settle_resting(account, slots_of(asked), coming, rules)


def exits(stop: float, take: float) -> Orders:
    return orders(
        {"q": -5.0, "stop": stop, "good": EVER, "flags": ONLY, "group": 1},
        {"q": -5.0, "limit": take, "good": EVER, "flags": ONLY, "group": 1},
    )


def test_of_stop_and_target_the_one_whose_price_came_first_fills() -> None:
    coming = of((100, 103, 99, 102), (102, 106, 101, 105), (105, 105, 95, 96))
    _, fills, left = after(5.0, exits(97.0, 104.0), coming)
    assert fills.slots is not None and fills.slots.price.tolist() == [[0.0, 104.0]] and not left[:, 0].any()
    _, fills, _ = after(5.0, exits(97.0, 104.0), coming, detail=False)
    assert fills.slots is not None and fills.slots.price.tolist() == [[97.0, 0.0]]


def test_of_both_in_one_finer_bar_the_stop_fills() -> None:
    _, fills, _ = after(5.0, exits(97.0, 104.0), of((100, 101, 99, 100), (100, 106, 95, 100)))
    assert fills.slots is not None and fills.slots.price.tolist() == [[97.0, 0.0]]


def test_a_trailing_stop_follows_inside_the_bar() -> None:
    trailing = orders({"q": -5.0, "stop": 90.0, "trail": 0.02, "good": EVER, "flags": ONLY})
    account, fills, _ = after(5.0, trailing, of((100, 110, 100, 109), (109, 109, 108, 108), (108, 108, 106, 107)))
    assert fills.price.tolist() == [107.8] and account.position.tolist() == [0.0]
    _, fills, left = after(5.0, trailing, of((100, 110, 100, 109), (109, 109, 108, 108)))
    assert fills.price.tolist() == [0.0] and left[0, 2, 0] == 110.0 * (1.0 - 0.02)


def test_a_trailing_stop_of_what_is_short_follows_inside_the_bar() -> None:
    trailing = orders({"q": 5.0, "stop": 110.0, "trail": 0.02, "good": EVER, "flags": ONLY})
    account, fills, _ = after(-5.0, trailing, of((100, 100, 90, 91), (91, 91, 90.5, 91), (91, 93, 91, 92)))
    assert fills.price.tolist() == [91.8] and account.position.tolist() == [0.0]


def test_a_stop_takes_from_the_open_of_a_finer_bar_that_has_passed_it() -> None:
    stop = orders({"q": -5.0, "stop": 97.0, "good": EVER, "flags": ONLY})
    _, fills, _ = after(5.0, stop, of((100, 101, 99, 100), (96, 98, 95, 98)))
    assert fills.price.tolist() == [96.0]


def test_so_does_a_stop_of_an_owned_coin_beside_contracts() -> None:
    owned = Instrument("C/USDT", "spot", lot=0.1, tick=0.1)
    rules = rules_of((owned, COIN), volume_share=1.0, leverage=5.0, shorting=True, detail_ns=MINUTE)
    account = Account(np.array(500.0), np.array([5.0, 0.0]), np.array([100.0, 100.0]))
    stop = orders({"q": -5.0, "stop": 97.0, "good": EVER, "flags": ONLY})
    both = Orders(*(np.concatenate([one, one * (0.0 if k == 0 else 1.0)]) for k, one in enumerate(stop)))
    one = of((100, 101, 99, 100), (96, 98, 95, 98))
    assert one.finer is not None
    coming = Bar(0, *(np.repeat(part, 2, axis=0) for part in one[1:4]), finer=np.repeat(one.finer, 2, axis=1))
    _, fills, _ = settle_resting(account, slots_of(both), coming, rules)
    assert fills.price.tolist() == [96.0, 0.0]


def test_a_liquidation_is_at_the_finer_bar_in_which_margin_ran_short() -> None:
    coming = of((100, 100, 90, 91), (91, 91, 70, 72), (72, 72, 60, 61))
    _, fills, _ = after(40.0, orders({}), coming)
    assert (fills.forced.tolist(), fills.forced_price.tolist()) == ([-40.0], [70.0])
    _, fills, _ = after(40.0, orders({}), coming, detail=False)
    assert fills.forced_price.tolist() == [60.0]


def test_single_orders_are_resolved_alike() -> None:
    account = Account(np.array(-3000.0), np.array([40.0]), np.array([100.0]))
    rules = rules_of((COIN,), volume_share=1.0, leverage=5.0, shorting=True, detail_ns=MINUTE)
    coming = of((100, 100, 90, 91), (91, 91, 70, 72), (72, 72, 60, 61))
    _, fills = settle(account, Orders.market(np.zeros(1)), coming, rules)
    assert fills.forced_price.tolist() == [70.0]
    stop = Orders(np.array([-40.0]), np.array([NAN]), np.array([90.0]))
    _, fills = settle(account, stop, of((100, 100, 91, 92), (89, 91, 88, 90)), rules)
    assert fills.price.tolist() == [89.0] and fills.slots is None


@pytest.mark.parametrize("several", [False, True])
def test_where_nothing_is_near_finer_bars_change_no_bit(several: bool) -> None:
    """And a bar that lacks them is settled as ever."""
    rng = np.random.default_rng(0)
    ends = {}
    for detail in (False, True):
        venue = SimulatedVenue(
            rules_of((COIN,), half_spread=1e-4, impact=0.01, leverage=3.0, shorting=True, detail_ns=MINUTE * detail),
            1e5,
        )
        price, log = 100.0, []
        for k in range(200):
            path = np.round(price * np.exp(np.cumsum(rng.normal(0, 1e-3, 6)) * (k != 0)), 1)
            parts = [(a, max(a, b), min(a, b), b) for a, b in zip([price, *path[:-1]], path, strict=True)]
            whole = of(*parts)._replace(time=k * HOUR)
            fills = venue.advance(whole if k % 3 else whole._replace(finer=None))
            log.append((float(venue.account.cash), float(venue.account.position[0]), *map(float, fills.quantity)))
            price = float(path[-1])
            size = float(np.round(rng.normal(0, 50), 1))
            far = {"stop": round(price * 0.8, 1), "trail": 0.2, "good": EVER}
            asked = orders({"q": size}, {"q": -1.0, **far}) if several else Orders.market(np.array([size]))
            venue.submit(asked)
        ends[detail], rng = log, np.random.default_rng(0)
    assert ends[False] == ends[True]


def walked(n_bars: int) -> tuple[Float, Finer]:
    """Bars that move by some percent, and six finer ones in each, in some of which nothing traded."""
    rng = np.random.default_rng(3)
    ends = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, 6 * n_bars))), 1)
    begins = np.concatenate([[100.0], ends[:-1]])
    inside = np.stack([begins, np.maximum(begins, ends) + 0.2, np.minimum(begins, ends) - 0.2, ends], axis=-1)
    inside = inside.reshape(n_bars, 6, 4)
    inside[rng.random((n_bars, 6)) < [0.0, 0.3, 0.3, 0.3, 0.3, 0.0]] = NAN
    whole = np.stack([inside[:, 0, 0], *(f(inside[:, :, c], axis=1) for f, c in ((np.nanmax, 1), (np.nanmin, 2)))])
    values = np.column_stack([*whole, inside[:, -1, 3], np.full(n_bars, 1e6)])[:, None]
    bars = bars_of(values, np.zeros((n_bars, 1)), np.zeros((n_bars, 1), dtype=np.bool_), np.zeros(n_bars))
    flat = np.ascontiguousarray(inside.reshape(-1, 1, 4))
    return bars, Finer(np.arange(n_bars + 1) * 6, flat, MINUTE)


def test_extremes_of_finer_bars_change_no_bit() -> None:
    bars, finer = walked(120)
    rules = rules_of((COIN,), half_spread=1e-4, leverage=3.0, shorting=True, detail_ns=MINUTE)
    ends = []
    for given in (finer, finer._replace(extremes=extremes_of(finer.bars))):
        rng = np.random.default_rng(4)
        account, holding, slots = opened(1e4, 70), np.zeros((70, 1, 2)), np.zeros((70, 1, 8, 3))
        fills, parts, room = np.zeros((70, 1, 9)), parts_of(70, 1, 3), slot_scratch(1, 3)
        filled = 0
        for t in range(1, 120):
            close, flat = bars[t - 1, 0, 3], holding[:, 0, 0] == 0.0
            side = rng.choice((-1.0, 1.0), 70)[flat]
            for k, (q, limit, stop, trail) in enumerate(
                ((1, NAN, NAN, NAN), (-1, NAN, 0.97, 0.03), (-1, 1.04, NAN, NAN))
            ):
                near = close * (1.0 + side * (np.array((limit, stop))[:, None] - 1.0))
                slots[flat, 0, :, k] = np.array((0, 0, 0, EVER if k else 1, 0, trail, ONLY if k else 0, k > 0))
                slots[flat, 0, 0, k], slots[flat, 0, 1, k], slots[flat, 0, 2, k] = 30.0 * q * side, *near
            active, row = np.ones(70, dtype=np.bool_), np.full(70, t)
            settle_slots(account, holding, slots, bars, row, active, rules.table, 3.0, True, fills, parts, room, given)
            filled += int((parts[:, 0, 0, 1:] != 0.0).sum())
        ends.append((account.copy(), holding.copy(), slots.copy()))
        assert filled > 500
    for one, other in zip(*ends, strict=True):
        assert np.array_equal(one, other, equal_nan=True)


def test_market_orders_look_at_finer_bars_for_whom_the_bar_ruins_alone() -> None:
    """And what they come to is what orders come to that are looked at before."""
    bars, finer = walked(60)
    rules = rules_of((COIN,), half_spread=1e-4, leverage=9.0, shorting=True, detail_ns=MINUTE)
    ends, ruined = [], 0
    for offset in (np.zeros((0, 1)), np.full((50, 1), NAN)):
        rng = np.random.default_rng(5)
        account, holding, row = opened(1e4, 50), np.zeros((50, 1, 2)), np.zeros(50, dtype=np.int64)
        holding[:, :, 1] = 100.0
        room, fills, work = finer_room(50, 1, account.shape[1], finer=True), np.zeros((50, 1, 9)), scratch(1)
        told = []
        for _ in range(59):
            target, active = rng.uniform(-9.0, 9.0, (50, 1)), account[:, RUINED] == 0.0
            advance_finer(
                target, offset, 0.0, account, holding, bars, row, active, rules, fills, work, finer, room
            )  # fmt: skip
            told.append(fills[active].copy())
        ends.append((account, holding, row, np.concatenate(told)))
        ruined = int((account[:, RUINED] != 0.0).sum())
    assert ruined > 20
    for one, other in zip(*ends, strict=True):
        assert np.array_equal(one, other, equal_nan=True)
