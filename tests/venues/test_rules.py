"""Each rule of real orders, by one assertion, through a tiny fake of the exchange."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ccxt
import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.journal.ledger import Ledger
from qframe_rl.journal.store import Writer, read
from qframe_rl.types import HOUR, Bar, Fills, Instrument, Orders
from qframe_rl.venues.ccxt import ExchangeVenue
from qframe_rl.venues.order_sender import Intent, OrderSender
from tests.venues.fake import SYMBOL, Fake
from tests.venues.placing import placed

DAY_MS = 86_400_000
T0 = 1_000 * 24 * HOUR
LOST = ccxt.RequestTimeout("no answer")
STALE = ccxt.InvalidNonce("binance -1021")


class Traded:
    """A venue over a fake, some hours into its life."""

    def __init__(self, path: Path, size: float = 1.0):
        self.fake = Fake(size)
        self.writer = Writer(path)
        self.ledger = Ledger(path, self.writer)
        self.hour = 0
        self.late = 0
        self.sender = OrderSender(self.fake, self.ledger, "run", recv_window_ms=60, margin_ms=40)
        coin = (Instrument(SYMBOL, "perpetual", lot=0.01),)
        self.venue = ExchangeVenue(
            self.fake, self.sender, self.ledger, coin, HOUR, lambda: T0 + self.hour * HOUR + self.late
        )
        self.bar()

    def bar(self, price: float = 10.0) -> Fills:
        self.hour += 1
        row = np.array([[price] * 4 + [1.0]])
        return self.venue.advance(Bar(T0 + self.hour * HOUR, row, np.zeros(1), np.zeros(1, dtype=bool)))

    def hold(self, contracts: float | list[float], price: float = 10.0) -> None:
        """Let the exchange hold something before the first order."""
        self.fake.contracts, self.venue._since_ms = contracts, 0
        self.bar(price)

    def order(self, quantity: float, limit: float = np.nan, stop: float = np.nan) -> None:
        self.venue.submit(Orders(np.array([quantity]), np.array([limit]), np.array([stop])))

    def trade(self, number: str, order: str, quantity: float, **more: Any) -> None:
        self.fake.trades.append({"id": number, "order": order, "symbol": SYMBOL, "amount": abs(quantity), "price": 10.0,
                                 "side": "buy" if quantity > 0.0 else "sell", "timestamp": 1} | more)  # fmt: skip

    def sent(self) -> list[Any]:
        return [given for name, given in self.fake.calls if name == "create_order"]

    def asked(self, what: str) -> list[Any]:
        return [given for name, given in self.fake.calls if name == what]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Traded]:
    traded = Traded(tmp_path / "journal.db")
    yield traded
    traded.writer.close()


def outcome(made: Traded, *, fails: dict[str, list[Exception]], stop: float | None = None) -> str:
    made.fake.fails = fails
    said: str = placed(made.sender, made.ledger, 0, Intent(SYMBOL, 1.0, stop=stop))["status"]
    return said


def test_a_mistake_of_ours_in_a_reading_ends_the_session(made: Traded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qframe_rl.venues.reading._wallet", lambda *given: {}["ours"])
    made.venue._since_ms = 0
    with pytest.raises(KeyError, match="ours"):
        made.bar()


def test_a_mistake_of_ours_before_an_order_is_sent_is_no_unclear_answer(
    made: Traded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qframe_rl.venues.order_sender.amount_unit", lambda *given: {}["ours"])
    with pytest.raises(KeyError, match="ours"):
        made.order(1.0)


def test_an_amount_is_counted_in_contracts(tmp_path: Path) -> None:
    made = Traded(tmp_path / "journal.db", size=0.5)
    made.order(2.0)
    assert made.sent()[0]["amount"] == 4.0


def test_a_position_is_counted_in_contracts(tmp_path: Path) -> None:
    made = Traded(tmp_path / "journal.db", size=0.5)
    made.hold(4.0)
    assert made.venue.account.position[0] == 2.0


def test_an_intent_is_on_disk_before_it_is_sent(made: Traded, tmp_path: Path) -> None:
    seen: list[str] = []
    send = made.fake.create_order
    made.fake.create_order = lambda *given: seen.extend(e.kind for e in read(tmp_path / "journal.db")) or send(*given)  # type: ignore[method-assign]
    made.order(1.0)
    assert seen[-1] == "intent"


def test_a_lost_answer_is_looked_up(made: Traded) -> None:
    assert outcome(made, fails={"answer": [LOST]}) == "accepted"


def test_an_order_in_the_list_alone_is_found(made: Traded) -> None:
    assert outcome(made, fails={"answer": [LOST], "fetch_order": [LOST] * 50}) == "accepted"


def test_a_lost_stop_is_looked_up_where_stops_are(made: Traded) -> None:
    assert outcome(made, fails={"answer": [LOST]}, stop=9.0) == "accepted"


def test_what_is_not_found_in_time_never_arrived(made: Traded) -> None:
    assert outcome(made, fails={"create_order": [LOST]}) == "never"


def test_not_found_is_not_believed_before_its_window_ends(made: Traded) -> None:
    made.sender.wait_s, begun = 2.0, time.monotonic()
    outcome(made, fails={"create_order": [LOST]})
    assert time.monotonic() - begun > made.sender.wait_s


def test_not_found_is_not_believed_while_the_request_is_under_way(made: Traded) -> None:
    send = made.fake.create_order
    made.fake.create_order = lambda *given: time.sleep(2.0) or send(*given)  # type: ignore[func-returns-value, method-assign]
    assert outcome(made, fails={}) == "accepted"


def test_not_found_is_not_believed_of_one_way_to_ask_alone(made: Traded) -> None:
    begun = time.monotonic()
    outcome(made, fails={"create_order": [LOST], "fetch_orders": [LOST, LOST, LOST]})
    assert time.monotonic() - begun > 2.0 * made.sender.wait_s


def test_a_refusal_is_one(made: Traded) -> None:
    assert outcome(made, fails={"create_order": [ccxt.InsufficientFunds("no")]}) == "refused"


def test_a_firewall_is_no_refusal(made: Traded) -> None:
    assert outcome(made, fails={"answer": [ccxt.PermissionDenied("HTTP 403")]}) == "accepted"


@pytest.mark.parametrize("said", ["Duplicate order sent.", "-4116 ClientOrderId is duplicated."])
def test_an_order_that_is_there_already_is_this_one(made: Traded, said: str) -> None:
    assert outcome(made, fails={"answer": [ccxt.InvalidOrder(said)]}) == "accepted"


def test_a_refused_timestamp_sets_the_clock_and_sends_once_more(made: Traded) -> None:
    assert (outcome(made, fails={"create_order": [STALE]}), len(made.fake.orders)) == ("accepted", 1)


def test_a_timestamp_that_stays_refused_did_nothing(made: Traded) -> None:
    made.fake.fails = {"create_order": [STALE, STALE]}
    assert made.sender.send({0: Intent(SYMBOL, 1.0)})[0]["status"] == "never"


def test_a_clock_that_cannot_be_set_did_nothing_either(made: Traded) -> None:
    assert outcome(made, fails={"create_order": [STALE], "load_time_difference": [LOST]}) == "never"


def test_an_answer_about_another_order_is_none(made: Traded) -> None:
    send = made.fake.create_order
    made.fake.create_order = lambda *given: send(*given) | {"clientOrderId": "other", "id": "9"}  # type: ignore[method-assign]
    assert placed(made.sender, made.ledger, 0, Intent(SYMBOL, 1.0))["order"] == "1"


def test_an_exchange_without_the_rule_is_refused(made: Traded) -> None:
    made.fake.id = "kraken"
    with pytest.raises(UserError, match="a lost order could arrive at any time"):
        OrderSender(made.fake, made.ledger, "run")


def test_half_a_bar_later_nothing_is_sent(made: Traded) -> None:
    made.late = HOUR // 2 + 1
    made.order(1.0)
    assert made.sent() == []


def test_until_half_a_bar_it_is_sent(made: Traded) -> None:
    made.late = HOUR // 2
    made.order(1.0)
    assert len(made.sent()) == 1


def test_what_closes_a_position_can_only_reduce(made: Traded) -> None:
    made.hold(2.0)
    made.order(-2.0)
    assert made.sent()[0].get("reduceOnly") is True


@pytest.mark.parametrize("quantity", [-2.01, 1.0])
def test_what_may_open_one_is_not_bound_to_reduce(made: Traded, quantity: float) -> None:
    made.hold(2.0)
    made.order(quantity)
    assert "reduceOnly" not in made.sent()[0]


def test_nothing_is_sent_while_an_order_of_the_market_is_unknown(made: Traded) -> None:
    made.fake.fails = {"create_order": [LOST], "fetch_orders": [LOST] * 99, "fetch_order": [LOST] * 99}
    made.order(1.0)
    made.order(1.0)
    assert len(made.sent()) == 1


def test_a_close_is_sent_though_an_order_of_the_market_is_unknown(made: Traded) -> None:
    made.fake.fails = {"create_order": [LOST], "fetch_orders": [LOST] * 99, "fetch_order": [LOST] * 99}
    made.order(1.0)
    made.venue.close(Orders.market(np.array([-2.0])), np.array([2.0]))
    assert len(made.sent()) == 2


def test_a_close_that_is_unknown_is_not_followed_by_another(made: Traded) -> None:
    made.fake.fails = {"create_order": [LOST], "fetch_orders": [LOST] * 99, "fetch_order": [LOST] * 99}
    for _ in range(2):
        made.venue.close(Orders.market(np.array([-2.0])), np.array([2.0]))
    assert len(made.sent()) == 1


def test_what_rests_is_cancelled_after_its_bar(made: Traded) -> None:
    made.order(1.0, limit=5.0)
    made.bar()
    assert made.fake.orders["1"]["status"] == "canceled"


def test_orders_of_others_are_left_alone(made: Traded) -> None:
    made.fake.create_order(SYMBOL, "limit", "buy", 1.0, 5.0, {"clientOrderId": "someone"})
    made.venue.cancel({SYMBOL: False})
    assert made.fake.orders["1"]["status"] == "open"


@pytest.mark.parametrize(("held", "status"), [(2.0, "open"), (0.5, "canceled"), (-2.0, "canceled")])
def test_of_what_opens_only_what_reduces_stays(made: Traded, held: float, status: str) -> None:
    made.hold(held)
    made.order(-1.0, limit=50.0)
    made.venue.cancel({SYMBOL: True})
    assert made.fake.orders["1"]["status"] == status


def test_a_trade_counts_once(made: Traded) -> None:
    made.order(1.0)
    made.trade("t", "1", 1.0)
    made.fake.contracts = 1.0
    assert [float(made.bar().quantity[0]) for _ in range(2)] == [1.0, 0.0]


def test_a_trade_that_two_pages_list_counts_once(made: Traded) -> None:
    made.order(1.0)
    for _ in range(2):
        made.trade("t", "1", 1.0)
    made.fake.contracts = 1.0
    assert made.bar().quantity[0] == 1.0


def test_trades_are_read_again_for_ten_minutes(made: Traded) -> None:
    made.order(1.0)
    made.bar()
    made.bar()
    assert made.asked("fetch_my_trades")[-1] == (T0 + 2 * HOUR) // 10**6 - 600_000


def test_a_long_time_is_read_in_pieces(made: Traded) -> None:
    made.order(1.0)
    made.hour += 24 * 14
    made.bar()
    assert np.diff(made.asked("fetch_my_trades")).tolist() == [6 * DAY_MS, 6 * DAY_MS]


def test_positions_are_read_until_two_readings_agree(made: Traded) -> None:
    made.hold([2.0, 0.0, 2.0, 2.0])
    assert made.venue.account.position[0] == 2.0


def test_a_position_that_nothing_explains_is_trouble(made: Traded) -> None:
    made.order(1.0, limit=5.0)
    made.fake.contracts = 1.0
    made.bar()
    assert made.venue.trouble == (f"{SYMBOL}: the exchange holds 1, our trades say 0",)


@pytest.mark.parametrize(("rest", "trouble"), [(0.004, False), (0.006, True)])
def test_less_than_half_a_lot_is_no_trouble(made: Traded, rest: float, trouble: bool) -> None:
    made.order(1.0, limit=5.0)
    made.fake.contracts = rest
    made.bar()
    assert bool(made.venue.trouble) is trouble


def test_a_trade_of_an_order_that_is_not_ours_is_trouble(made: Traded) -> None:
    made.order(1.0, limit=5.0)
    made.trade("t", "77", 1.0)
    made.bar()
    assert made.venue.trouble == ("1 trades of orders that are not ours",)


def test_while_an_order_is_unknown_its_trades_are_no_trouble(made: Traded) -> None:
    made.fake.fails = {"answer": [LOST], "fetch_orders": [LOST] * 999, "fetch_order": [LOST] * 999}
    made.order(1.0)
    made.trade("t", "1", 1.0)
    made.fake.contracts = 1.0
    made.bar()
    assert made.venue.trouble == ()


def test_once_it_is_known_they_are_counted_and_explain_what_came(made: Traded) -> None:
    made.fake.fails = {"answer": [LOST], "fetch_orders": [LOST] * 999, "fetch_order": [LOST] * 999}
    made.order(1.0)
    made.trade("t", "1", 1.0)
    made.fake.contracts = 1.0
    made.bar()
    made.venue.learn("resolved", {"name": made.sender.name(0), "status": "accepted", "order": "1"})
    fills = made.bar()
    assert (float(fills.quantity[0]), made.venue.trouble) == (1.0, ())


def test_a_stop_that_fired_is_counted_under_its_new_id(made: Traded) -> None:
    made.order(1.0, stop=11.0)
    made.fake.orders["1"] |= {"status": "closed", "info": {"actualOrderId": 55}}
    made.trade("t", "55", 1.0)
    made.fake.contracts = 1.0
    assert (float(made.bar().quantity[0]), made.venue.trouble) == (1.0, ())


def test_a_fee_in_the_coin_lessens_what_came(made: Traded) -> None:
    made.order(1.0)
    made.trade("t", "1", 1.0, fee={"cost": 0.01, "currency": "A"})
    made.fake.contracts = 0.99
    fills = made.bar()
    assert (float(fills.quantity[0]), float(fills.fee[0])) == (0.99, pytest.approx(0.1))


def test_a_fee_in_a_third_coin_is_what_that_is_worth(made: Traded) -> None:
    made.order(1.0)
    made.trade("t", "1", 1.0, fee={"cost": 0.01, "currency": "BNB"})
    made.fake.contracts = 1.0
    fills = made.bar()
    assert (float(fills.quantity[0]), float(fills.fee[0]), made.venue.trouble) == (1.0, pytest.approx(6.0), ())


def test_a_fee_in_a_coin_without_a_price_is_trouble_and_no_quote_currency(made: Traded) -> None:
    made.order(1.0)
    made.trade("t", "1", 1.0, fee={"cost": 0.01, "currency": "ZZZ"})
    made.fake.contracts = 1.0
    assert (float(made.bar().fee[0]), len(made.venue.trouble)) == (0.0, 1)
    made.bar()
    assert made.venue.trouble == ()


def test_what_did_not_fill_is_cancelled(made: Traded) -> None:
    made.order(1.0, limit=9.0)
    made.trade("t", "1", 0.25)
    made.fake.contracts = 0.25
    assert made.bar().cancelled[0] == 0.75


def test_cash_and_positions_come_to_the_equity(made: Traded) -> None:
    made.hold(2.0, 12.0)
    assert float(made.venue.account.equity) == 1000.0 + 2.0 * (12.0 - 10.0)


def test_what_is_not_shown_is_closed_by_what_is_known(made: Traded) -> None:
    made.hold(2.0)
    made.fake.fails = {"fetch_balance": [LOST]}
    assert made.venue.held().tolist() == [2.0]


def test_what_was_refused_while_closing_is_due_again(made: Traded) -> None:
    made.fake.fails = {"create_order": [ccxt.InvalidOrder("no")]}
    made.venue.close(Orders.market(np.array([-2.0])), np.array([2.0]))
    until = time.monotonic() + 5.0
    while not (news := made.venue.news()) and time.monotonic() < until:
        time.sleep(0.01)
    assert [kind for kind, _ in news] == ["again"]


def test_a_market_that_is_not_clear_is_tried_until_it_is(made: Traded) -> None:
    made.fake.fails = {"fetch_open_orders": [LOST]}
    made.venue.cancel({SYMBOL: False})
    until = time.monotonic() + 5.0
    while not (news := made.venue.news()) and time.monotonic() < until:
        time.sleep(0.01)
    assert [kind for kind, _ in news] == ["swept"]


def test_what_reduces_is_sent_first(tmp_path: Path) -> None:
    made = Traded(tmp_path / "journal.db")
    coins = (Instrument(SYMBOL, "perpetual"), Instrument("B/USDT:USDT", "perpetual"))
    venue = ExchangeVenue(made.fake, made.sender, made.ledger, coins, HOUR, lambda: 0)
    venue.close(Orders.market(np.array([1.0, -3.0])), np.array([0.0, 3.0]))
    assert [given["amount"] for given in made.sent()] == [3.0, 1.0]
