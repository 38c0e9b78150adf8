"""Several orders per instrument, worked by hand, and the journal that they leave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qframe_rl.journal.codec import fills_in, fills_out, orders_in, orders_out
from qframe_rl.journal.slots import slots_stacked
from qframe_rl.kernel.rules import Rules, rules_of
from qframe_rl.kernel.settle import settle_resting
from qframe_rl.orders import KEEP, POST_ONLY, REDUCE_ONLY, UNTIL_CANCELLED, merged, slots_of
from qframe_rl.types import Account, Bar, Fills, Float, Instrument, Orders, SlotRecord
from qframe_rl.venues.simulated import SimulatedVenue

NAN, EVER, ONLY = np.nan, UNTIL_CANCELLED, REDUCE_ONLY
COIN = Instrument("C/USDT:USDT", "perpetual", lot=0.1, tick=0.1)


def rules(**given: Any) -> Rules:
    return rules_of((COIN,), **({"volume_share": 1.0, "leverage": 5.0, "shorting": True} | given))


def orders(*rows: dict[str, float]) -> Orders:
    """One instrument's orders, slot by slot: ``q`` and what is not usual."""
    usual = {"q": 0.0, "limit": NAN, "stop": NAN, "good": 1.0, "after": 0.0, "trail": NAN, "flags": 0.0, "group": 0.0}
    return Orders(*(np.array([[(usual | row)[name] for row in rows]]) for name in usual))


def bar(first: float, high: float, low: float, close: float, time: int = 0, volume: float = 1e6) -> Bar:
    return Bar(time, np.array([[first, high, low, close, volume]]), np.zeros(1), np.zeros(1, dtype=bool))


def after(held: float, asked: Orders, coming: Bar, **given: Any) -> tuple[Account, Fills, Float]:
    """One bar of an account that holds so much at 100, with 1,000 of equity."""
    account = Account(np.array(1000.0 - held * 100.0), np.array([held]), np.array([100.0]))
    return settle_resting(account, slots_of(asked), coming, rules(**given))


def test_of_stop_and_target_in_one_bar_the_stop_fills() -> None:
    exits = orders(
        {"q": -5.0, "limit": 104.0, "good": EVER, "flags": ONLY, "group": 1},
        {"q": -5.0, "stop": 97.0, "good": EVER, "flags": ONLY, "group": 1},
    )
    account, fills, left = after(5.0, exits, bar(100.0, 106.0, 95.0, 105.0))
    assert fills.slots is not None
    assert fills.slots.quantity.tolist() == [[0.0, -5.0]]
    assert fills.slots.price[0, 1] == 97.0
    assert float(account.cash) == 985.0
    assert not left[:, 0].any()


def test_a_target_that_fills_in_part_leaves_the_stop_for_the_rest() -> None:
    exits = orders(
        {"q": -5.0, "stop": 97.0, "good": EVER, "flags": ONLY, "group": 1},
        {"q": -5.0, "limit": 104.0, "good": EVER, "flags": ONLY, "group": 1},
    )
    account, fills, left = after(5.0, exits, bar(100.0, 106.0, 99.0, 105.0, volume=2.0))
    assert fills.quantity[0] == -2.0
    assert account.position[0] == 3.0
    assert left[0, 0].tolist() == [-3.0, -3.0]


def test_several_that_reduce_never_go_beyond_the_position() -> None:
    exits = orders(*({"q": -4.0, "stop": 99.0 - k, "good": EVER, "flags": ONLY} for k in range(4)))
    account, fills, left = after(5.0, exits, bar(100.0, 101.0, 90.0, 91.0))
    assert fills.slots is not None
    assert fills.slots.quantity.tolist() == [[-4.0, -1.0, 0.0, 0.0]]
    assert account.position[0] == 0.0
    assert not left[:, 0].any(), "they are cancelled with the position"


def test_an_entry_and_its_stop_are_one_decision() -> None:
    asked = orders({"q": 2.0, "limit": 98.0, "good": 3.0}, {"q": -2.0, "stop": 96.0, "good": EVER, "flags": ONLY})
    _, fills, left = after(0.0, asked, bar(100.0, 101.0, 99.0, 100.0))
    assert fills.quantity[0] == 0.0
    assert left[0, 0].tolist() == [2.0, -2.0]
    account, fills, left = after(0.0, asked, bar(100.0, 101.0, 95.0, 100.0))
    assert fills.slots is not None
    assert fills.slots.price.tolist() == [[98.0, 96.0]]
    assert account.position[0] == 0.0
    last = asked._replace(good=np.array([[1.0, EVER]]))
    assert not after(0.0, last, bar(100.0, 101.0, 99.0, 100.0))[2][:, 0].any(), "without its entry a stop falls"


def test_no_gain_is_taken_on_what_was_opened_in_the_bar() -> None:
    asked = orders({"q": 2.0, "limit": 98.0}, {"q": -2.0, "limit": 104.0, "good": EVER, "flags": ONLY})
    account, _, left = after(0.0, asked, bar(100.0, 106.0, 97.0, 100.0))
    assert account.position[0] == 2.0
    assert left[0, 0].tolist() == [0.0, -2.0]


def test_a_stop_beyond_its_entry_takes_the_price_of_the_moment() -> None:
    asked = orders({"q": 2.0, "limit": 95.0}, {"q": -2.0, "stop": 97.0, "good": EVER, "flags": ONLY})
    _, fills, _ = after(0.0, asked, bar(100.0, 101.0, 90.0, 100.0))
    assert fills.slots is not None
    assert fills.slots.price[0] == pytest.approx([95.0, 95.0]), "not 97, which was past before there was anything"


def test_a_limit_that_would_take_is_cancelled_if_it_is_post_only() -> None:
    for flags, filled in ((0.0, 1.0), (float(POST_ONLY), 0.0)):
        _, fills, left = after(
            0.0, orders({"q": 1.0, "limit": 101.0, "good": EVER, "flags": flags}), bar(100, 102, 99, 101)
        )
        assert fills.quantity[0] == filled
        assert not left[:, 0].any()


def test_pieces_move_the_price_as_the_whole_does() -> None:
    paid = []
    for sizes in ((8.0,), (1.0,) * 8, (5.0, 3.0)):
        _, fills, _ = after(0.0, orders(*({"q": q} for q in sizes)), bar(100, 100, 100, 100, volume=80.0), impact=0.1)
        assert fills.slots is not None
        paid.append(float((fills.slots.quantity * fills.slots.price).sum()))
    assert paid[1:] == pytest.approx([paid[0]] * 2, rel=1e-12)


def test_pieces_share_the_volume() -> None:
    _, fills, left = after(
        0.0, orders(*({"q": 4.0, "good": 2.0} for _ in range(3))), bar(100, 100, 100, 100, volume=6.0)
    )
    assert fills.quantity[0] == 6.0
    assert left[0, 0].tolist() == pytest.approx([0.0, 2.0, 4.0])


def test_an_order_waits_lives_and_is_replaced() -> None:
    venue = SimulatedVenue(rules(), 1000.0)
    venue.advance(bar(100, 100, 100, 100))
    venue.submit(
        orders({"q": 1.0}, {"q": -1.0, "after": 2.0, "good": EVER, "flags": ONLY}, {"q": 1.0, "limit": 90.0, "good": 3})
    )
    held, rests = [], []
    for k in range(4):
        venue.advance(bar(100, 101, 99, 100, time=k + 1))
        held.append(float(venue.account.position[0]))
        rests.append(0.0 if venue.resting is None else float(venue.resting.quantity[0, 2]))
        venue.submit(Orders.market(np.full((1, 3), KEEP)))
    assert held == [1.0, 1.0, 0.0, 0.0], "held for two bars, out at the open of the next"
    assert rests == [1.0, 1.0, 0.0, 0.0]
    venue.submit(orders({"q": 1.0, "limit": 90.0, "good": EVER}))
    venue.advance(bar(100, 101, 99, 100, time=9))
    venue.submit(Orders.market(np.zeros(1)))
    assert venue.resting is None, "orders in the old form cancel all"


def test_a_trailing_stop_follows_and_never_goes_back() -> None:
    venue = SimulatedVenue(rules(), 1000.0)
    venue.advance(bar(100, 100, 100, 100))
    stop = {"q": -1.0, "stop": 98.0, "trail": 0.02, "good": EVER, "flags": ONLY}
    venue.submit(orders({"q": 1.0}, stop))
    seen = []
    for k, (high, low) in enumerate(((110, 99), (109, 108), (120, 110))):
        venue.advance(bar(low + 1, high, low, low + 1, time=k + 1))
        assert venue.resting is not None
        seen.append(float(venue.resting.stop[0, 1]))
        venue.submit(Orders.market(np.full((1, 2), KEEP)))
    assert seen == pytest.approx([110 * 0.98, 110 * 0.98, 120 * 0.98])


def test_another_venue_goes_on_with_what_rests() -> None:
    one, two = SimulatedVenue(rules(), 1000.0), SimulatedVenue(rules(), 1000.0)
    one.advance(bar(100, 100, 100, 100))
    one.submit(orders({"q": 1.0}, {"q": -1.0, "stop": 95.0, "trail": 0.05, "good": EVER, "flags": ONLY}))
    one.advance(bar(100, 104, 99, 103, time=1))
    two.carry(one.carried())
    for venue in (one, two):
        venue.submit(Orders.market(np.full((1, 2), KEEP)))
        venue.advance(bar(103, 103, 90, 91, time=2))
    assert float(one.account.cash) == float(two.account.cash) == 998.8
    assert two.resting is None


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"q": np.inf}, "finite"),
        ({"q": 1.0, "good": 0.0}, "good"),
        ({"q": 1.0, "trail": 0.1}, "needs a stop"),
        ({"q": 1.0, "flags": 4.0}, "flags"),
        ({"q": 1.0, "flags": 1.0}, "post-only"),
        ({"q": 1.0, "group": 0.5}, "group"),
        ({"q": 1.0, "after": -1.0}, "after"),
    ],
)
def test_attributes_that_mean_nothing_are_refused(wrong: dict[str, float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        slots_of(orders(wrong))


def test_orders_and_fills_are_written_and_read() -> None:
    asked = orders({"q": KEEP}, {"q": -1.5, "stop": 95.0, "trail": 0.05, "good": EVER, "flags": ONLY, "group": 2})
    read = orders_in(orders_out(asked))
    np.testing.assert_array_equal(slots_of(read)[:, :, 1], slots_of(asked)[:, :, 1])
    assert np.isnan(read.quantity[0, 0])
    _, fills, _ = after(2.0, asked, bar(100, 101, 90, 91))
    again = fills_in(fills_out(fills), 1)
    assert again.slots is not None and fills.slots is not None
    for a, b in zip((*again[:-1], *again.slots), (*fills[:-1], *fills.slots), strict=True):
        np.testing.assert_array_equal(a, b)
    old = Orders(np.array([1.0, 0.0]), np.array([NAN, 2.0]), np.array([NAN, NAN]))
    assert orders_out(old) == {"quantity": [1.0, 0.0], "limit": [None, 2.0]}, "as it was before there were slots"


def test_slots_beyond_those_asked_for_are_cancelled() -> None:
    two = slots_of(orders({"q": 1.0, "limit": 9.0}, {"q": 2.0, "limit": 8.0}))
    assert merged(slots_of(orders({"q": KEEP})), two)[0, 0].tolist() == [1.0]
    assert merged(slots_of(orders({"q": KEEP}, {"q": KEEP}, {"q": KEEP})), two)[0, 0].tolist() == [1.0, 2.0, 0.0]
    one = SlotRecord(two, np.zeros((1, 3, 2)))
    stacked = slots_stacked([None, one], 1)
    assert stacked is not None and stacked.orders.shape == (2, 1, 8, 2)
    assert stacked.orders[0, 0, 0].tolist() == [0.0, 0.0]
