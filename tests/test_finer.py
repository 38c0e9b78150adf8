"""Orders that rest and liquidations on finer bars, worked by hand, and what finer bars do not change."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.kernel.rules import rules_of
from qframe_rl.kernel.settle import settle, settle_resting
from qframe_rl.orders import REDUCE_ONLY, UNTIL_CANCELLED, slots_of
from qframe_rl.types import HOUR, MINUTE, Account, Bar, Fills, Float, Instrument, Orders
from qframe_rl.venues.simulated import SimulatedVenue
from tests.test_slots import NAN, bar, orders

EVER, ONLY = UNTIL_CANCELLED, REDUCE_ONLY
COIN = Instrument("C/USDT:USDT", "perpetual", lot=0.1, tick=0.1, maintenance=0.1)


def of(*parts: tuple[float, float, float, float]) -> Bar:
    """A bar that consists of these."""
    inside = np.array(parts)
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


def test_a_stop_takes_from_the_open_of_a_finer_bar_that_has_passed_it() -> None:
    stop = orders({"q": -5.0, "stop": 97.0, "good": EVER, "flags": ONLY})
    _, fills, _ = after(5.0, stop, of((100, 101, 99, 100), (96, 98, 95, 98)))
    assert fills.price.tolist() == [96.0]


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
