"""Orders in slots that rest on an exchange: each rule by one assertion, through a tiny fake of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ccxt
import numpy as np
import pytest

from qframe_rl.orders import KEEP, POST_ONLY, REDUCE_ONLY, UNTIL_CANCELLED
from qframe_rl.types import Orders
from tests.venues.test_rules import LOST, Traded

NAN = np.nan


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Traded]:
    traded = Traded(tmp_path / "journal.db")
    yield traded
    traded.writer.close()


def slots(*each: dict[str, float]) -> Orders:
    """Orders of one instrument, by their fields; those that only reduce rest in one group until they are cancelled."""
    usual = {"quantity": 0.0, "limit": NAN, "stop": NAN, "good": 1.0, "after": 0.0, "trail": NAN, "flags": 0.0}
    rows = [usual | {"group": 0.0} | one for one in each]
    return Orders(**{name: np.array([[row[name] for row in rows]]) for name in Orders._fields})


def out(**fields: float) -> dict[str, float]:
    return {"good": UNTIL_CANCELLED, "flags": REDUCE_ONLY, "group": 1.0, **fields}


KEPT = {"quantity": KEEP}
STOP, TAKE = out(quantity=-2.0, stop=9.0), out(quantity=-2.0, limit=12.0)


def enter(made: Traded, *exits: dict[str, float]) -> None:
    """Buy two with exits beside them, and see it filled."""
    made.venue.submit(slots({"quantity": 2.0}, *exits))
    number = next(n for n, o in made.fake.orders.items() if o["status"] == "closed")
    made.trade("entry", number, 2.0)
    made.fake.contracts = 2.0
    made.bar()


def rests(made: Traded) -> list[tuple[float, bool]]:
    """Sizes of what rests, and whether it is conditional."""
    return [(o["amount"], o["apart"]) for o in made.fake.orders.values() if o["status"] == "open"]


def kinds(made: Traded) -> list[str]:
    return ["stop" if "stopPrice" in one else "limit" if one["price"] else "market" for one in made.sent()]


def test_a_stop_goes_out_before_the_entry_and_a_target_after_it(made: Traded) -> None:
    made.venue.submit(slots({"quantity": 2.0}, STOP, TAKE))
    assert kinds(made) == ["stop", "market", "limit"]
    assert [bool(one.get("reduceOnly")) for one in made.sent()] == [True, False, True]


def test_what_rests_outlives_its_bar_and_is_not_sent_again(made: Traded) -> None:
    enter(made, STOP, TAKE)
    for _ in range(3):
        made.venue.submit(slots(KEPT, KEPT, KEPT))
        made.bar()
    assert rests(made) == [(2.0, True), (2.0, False)]
    assert len(made.sent()) == 3


def test_an_order_that_rests_is_known_however_many_come_after_it(made: Traded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgotten, it was sent a second time, and its fill was that of a stranger."""
    for module in ("ccxt", "slot_orders"):
        monkeypatch.setattr(f"qframe_rl.venues.{module}._KEPT", 1)
    enter(made, STOP, TAKE)
    (target,) = (n for n, o in made.fake.orders.items() if o["status"] == "open" and not o["apart"])
    for more in ("a", "b"):
        made.venue.submit(slots({"quantity": 0.5}, KEPT, KEPT))
        made.trade(more, max(made.fake.orders, key=int), 0.5)
        made.fake.contracts += 0.5  # type: ignore[operator]
        made.bar()
    made.venue.submit(slots(KEPT, KEPT, KEPT))
    assert rests(made) == [(2.0, True), (2.0, False)]
    made.fake.orders[target]["status"] = "closed"
    made.fake.trades.clear()  # an exchange lists late ones alone
    made.trade("target", target, -2.0)
    made.fake.contracts = 1.0
    fills = made.bar()
    assert fills.slots is not None
    assert (fills.slots.quantity.tolist(), made.venue.trouble) == ([[0.0, 0.0, -2.0]], ())


def test_nothing_is_opened_while_its_exit_does_not_rest(made: Traded) -> None:
    made.fake.fails = {"create_order": [ccxt.InvalidOrder("no")]}
    made.venue.submit(slots({"quantity": 2.0}, STOP))
    assert kinds(made) == ["stop"]


def test_an_exit_that_was_refused_is_sent_again(made: Traded) -> None:
    enter(made, STOP)
    made.fake.fails = {"create_order": [ccxt.InvalidOrder("no")]}
    made.venue.submit(slots(KEPT, STOP, TAKE))
    made.bar()
    made.venue.submit(slots(KEPT, KEPT, KEPT))
    assert rests(made) == [(2.0, True), (2.0, False)]


def test_a_stop_that_the_price_has_passed_closes_at_the_market(made: Traded) -> None:
    enter(made)
    made.fake.fails = {"create_order": [ccxt.OrderImmediatelyFillable("binance -2021 would trigger")]}
    made.venue.submit(slots(KEPT, STOP))
    assert (kinds(made)[-1], made.sent()[-1]["amount"], made.sent()[-1]["reduceOnly"]) == ("market", 2.0, True)


def test_a_stop_that_moves_rests_anew_before_the_old_one_goes(made: Traded) -> None:
    enter(made, STOP | {"trail": 0.1})
    begun = len(made.fake.calls)
    made.bar(20.0)
    made.venue.submit(slots(KEPT, KEPT))
    calls = [name for name, _ in made.fake.calls[begun:] if name in ("create_order", "cancel_order")]
    assert calls == ["create_order", "cancel_order"]
    assert made.sent()[-1]["stopPrice"] == 18.0
    made.bar(10.0)
    made.venue.submit(slots(KEPT, KEPT))
    assert made.sent()[-1]["stopPrice"] == 18.0, "a stop that trails never moves back"


def test_a_moved_stop_that_is_refused_leaves_the_old_one(made: Traded) -> None:
    enter(made, STOP | {"trail": 0.1})
    made.bar(20.0)
    made.fake.fails = {"create_order": [ccxt.InvalidOrder("no")]}
    made.venue.submit(slots(KEPT, KEPT))
    assert rests(made) == [(2.0, True)]


def test_a_moved_stop_whose_answer_is_lost_leaves_the_old_one_until_it_is_known(made: Traded) -> None:
    enter(made, STOP | {"trail": 0.1})
    made.bar(20.0)
    made.fake.fails = {"create_order": [LOST], "fetch_orders": [LOST] * 99, "fetch_order": [LOST] * 99}
    made.venue.submit(slots(KEPT, KEPT))
    assert rests(made) == [(2.0, True)]
    made.fake.fails = {}
    made.venue.learn("resolved", {"name": made.sender.name(2), "status": "never", "why": "not found"})
    made.bar(20.0)
    made.venue.submit(slots(KEPT, KEPT))
    assert [o["amount"] for o in made.fake.orders.values() if o["status"] == "open"] == [2.0]
    assert made.sent()[-1]["stopPrice"] == 18.0


def test_an_entry_that_was_filled_in_part_before_it_was_cancelled_is_counted(made: Traded) -> None:
    made.venue.submit(slots({"quantity": 2.0, "limit": 5.0, "good": 9.0}))
    made.fake.orders["1"]["status"] = "canceled"
    made.trade("part", "1", 0.5)
    made.fake.contracts = 0.5
    fills = made.bar()
    assert (float(fills.quantity[0]), float(fills.cancelled[0]), made.venue.resting) == (0.5, 1.5, None)


def test_what_fills_is_taken_off_its_group_and_exits_go_with_the_position(made: Traded) -> None:
    enter(made, STOP, TAKE)
    made.venue.submit(slots(KEPT, KEPT, KEPT))
    made.trade("take", "3", -0.5)
    made.fake.orders["3"]["remaining"], made.fake.contracts = 1.5, 1.5
    fills = made.bar()
    assert fills.slots is not None
    assert fills.slots.quantity.tolist() == [[0.0, 0.0, -0.5]]
    resting = made.venue.resting
    assert resting is not None and resting.quantity.tolist() == [[0.0, -1.5, -1.5]]
    made.venue.submit(slots(KEPT, KEPT, KEPT))
    assert sorted(rests(made)) == [(1.5, True), (2.0, False)], "the fake's amount is that of the whole order"
    made.trade("rest", "3", -1.5)
    made.fake.orders["3"]["status"], made.fake.contracts = "closed", 0.0
    made.bar()
    assert made.venue.resting is None
    made.venue.submit(slots(KEPT, KEPT, KEPT))
    assert rests(made) == []


def test_a_stop_that_fired_is_the_fill_of_its_slot(made: Traded) -> None:
    enter(made, STOP, TAKE)
    made.venue.submit(slots(KEPT, KEPT, KEPT))
    made.fake.orders["1"] |= {"status": "closed", "info": {"actualOrderId": 55}}
    made.trade("t", "55", -2.0)
    made.fake.contracts = 0.0
    fills = made.bar()
    assert fills.slots is not None
    assert (fills.slots.quantity.tolist(), made.venue.trouble) == ([[0.0, -2.0, 0.0]], ())


def test_an_exit_that_somebody_cancelled_is_sent_again(made: Traded) -> None:
    enter(made, STOP)
    made.fake.orders["1"]["status"] = "canceled"
    made.bar()
    made.venue.submit(slots(KEPT, KEPT))
    assert rests(made) == [(2.0, True)]


def test_an_entry_that_somebody_cancelled_is_over(made: Traded) -> None:
    made.venue.submit(slots({"quantity": 2.0, "limit": 5.0, "good": 9.0, "flags": float(POST_ONLY)}))
    assert made.sent()[0]["postOnly"] is True
    made.fake.orders["1"]["status"] = "canceled"
    assert made.bar().cancelled[0] == 2.0
    made.venue.submit(slots(KEPT))
    assert len(made.sent()) == 1


def test_an_entry_lives_through_its_bars_and_no_longer(made: Traded) -> None:
    made.venue.submit(slots({"quantity": 2.0, "limit": 5.0, "good": 2.0}))
    made.bar()
    made.venue.submit(slots(KEPT))
    assert rests(made) == [(2.0, False)]
    assert made.bar().cancelled[0] == 2.0
    made.venue.submit(slots(KEPT))
    assert rests(made) == []


def test_an_end_after_bars_is_an_order_at_the_market_that_only_reduces(made: Traded) -> None:
    enter(made, STOP, out(quantity=-2.0, after=2.0))
    made.venue.submit(slots(KEPT, KEPT, KEPT))
    made.bar()
    assert kinds(made) == ["stop", "market"]
    made.venue.submit(slots(KEPT, KEPT, KEPT))
    assert (kinds(made)[-1], made.sent()[-1]["reduceOnly"]) == ("market", True)


@pytest.mark.parametrize(("state", "left"), [(False, 0), (True, 2)])
def test_a_switch_cancels_everything_or_all_but_exits(made: Traded, state: bool, left: int) -> None:
    enter(made, STOP, TAKE)
    made.venue.cancel({"A/USDT:USDT": state})
    assert len(rests(made)) == left
    resting = made.venue.resting
    assert (0 if resting is None else np.count_nonzero(resting.quantity)) == left


def test_a_close_leaves_nothing_beside_it(made: Traded) -> None:
    enter(made, STOP, TAKE)
    made.venue.close(slots({"quantity": -2.0}, {}, {}), np.array([2.0]))
    assert (rests(made), kinds(made)[-1], made.venue.resting) == ([], "market", None)


def test_a_flatten_before_anything_was_asked_for_in_slots_has_slots(made: Traded) -> None:
    made.hold(2.0)
    made.venue.close(slots({"quantity": -2.0}, {}, {}), np.array([2.0]))
    made.fake.contracts = 0.0
    made.trade("t", "1", -2.0)
    fills = made.bar()
    assert fills.slots is not None and fills.slots.quantity.tolist() == [[-2.0, 0.0, 0.0]]


def test_an_entry_whose_answer_was_lost_is_the_fill_of_its_slot(made: Traded) -> None:
    made.fake.fails = {"answer": [LOST], "fetch_orders": [LOST] * 99, "fetch_order": [LOST] * 99}
    made.venue.submit(slots({}, {"quantity": 2.0}))
    made.venue.learn("resolved", {"name": made.sender.name(0), "status": "accepted", "order": "1"})
    made.trade("t", "1", 2.0)
    made.fake.contracts = 2.0
    fills = made.bar()
    assert fills.slots is not None and fills.slots.quantity.tolist() == [[0.0, 2.0]]
    assert fills.cancelled.tolist() == [0.0]


def test_what_could_not_be_called_off_is_called_off_with_the_next_decision(made: Traded) -> None:
    enter(made, STOP)
    made.fake.fails = {"cancel_order": [LOST, LOST]}
    made.venue.submit(slots({}, {}))
    assert rests(made) == [(2.0, True)]
    made.bar()
    made.venue.submit(slots({}, {}))
    assert rests(made) == []


def test_a_stop_whose_answer_was_lost_is_found_and_belongs_to_its_slot(made: Traded) -> None:
    made.fake.fails = {"answer": [LOST], "fetch_orders": [LOST] * 99, "fetch_order": [LOST] * 99}
    made.venue.submit(slots({"quantity": 2.0}, STOP))
    assert kinds(made) == ["stop"], "nothing is opened while it is not known whether its exit rests"
    made.fake.fails = {}
    made.venue.learn("resolved", {"name": made.sender.name(0), "status": "accepted", "order": "1", "apart": True})
    made.bar()
    made.venue.submit(slots({"quantity": 2.0}, STOP))
    assert kinds(made) == ["stop", "market"]


def test_it_goes_on_in_another_process(made: Traded, tmp_path: Path) -> None:
    enter(made, STOP, TAKE)
    made.venue.submit(slots(KEPT, KEPT, KEPT))
    made.bar()
    other: Any = Traded(tmp_path / "other.db")
    other.venue.carry(made.venue.carried())
    other.venue._client = made.fake
    assert other.venue.resting is not None
    other.venue.submit(slots(KEPT, KEPT, KEPT))
    assert other.sent() == []
    assert other.venue.carried()["slots"] == made.venue.carried()["slots"]
    other.writer.close()
