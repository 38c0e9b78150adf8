"""Orders at a gate: what is proven, what is looked up, what is never sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.feeds.client import client
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.journal.ledger import Ledger
from qframe_rl.journal.store import Writer
from qframe_rl.rehearsal import Fault, Rehearsal, RehearsalConfig, listed, serve
from qframe_rl.types import HOUR, Instrument, Orders
from qframe_rl.venues.ccxt import ExchangeVenue
from qframe_rl.venues.order_sender import Intent, OrderSender
from tests.venues.placing import placed

SYMBOL = "SYN0/USDT:USDT"
EXECUTED = [
    "drop-after",
    "unknown-after",
    "timeout-after",
    "cut",
    "empty",
    "malformed",
    "html",
    "null",
    "list",
    "object",
]
LOST = ["drop", "unknown-before", "502", "429", "403", "529", "503", "504"]


@pytest.fixture(scope="module")
def exchange() -> Iterator[Rehearsal]:
    with serve(listed(synthetic("regimes", n_bars=2000)), RehearsalConfig(cash=1e6), speed="1x") as running:
        yield running


def account(exchange: Rehearsal) -> Any:
    keys = {"apiKey": exchange.config.api_key, "secret": exchange.config.secret}
    made = client("binance", "perpetual", exchange.url, keys=keys)
    made.timeout = 2000
    made.load_markets()
    made.load_time_difference()
    return made


class Trader:
    """Places orders at a gate."""

    def __init__(self, sender: OrderSender, ledger: Ledger):
        self.sender, self.ledger = sender, ledger

    def place(self, number: int, intent: Intent) -> dict[str, Any]:
        return placed(self.sender, self.ledger, number, intent)

    def name(self, number: int) -> str:
        return self.sender.name(number)


@pytest.fixture
def sender(exchange: Rehearsal, tmp_path: Path) -> Iterator[Trader]:
    writer = Writer(tmp_path / "journal.db")
    made, ledger = account(exchange), Ledger(tmp_path / "journal.db", writer)
    yield Trader(OrderSender(made, ledger, str(tmp_path), recv_window_ms=400, margin_ms=200), ledger)
    made.session.close()
    writer.close()


def orders(exchange: Rehearsal) -> list[str]:
    return [order["client"] for order in exchange.truth()["accounts"]["rehearsal"]["orders"]["usdm"]]


@pytest.mark.parametrize("kind", EXECUTED)
def test_an_order_that_was_executed_is_found_and_not_sent_again(exchange: Rehearsal, sender: Trader, kind: str) -> None:
    exchange.inject(Fault(kind=kind, at="usdm.order.post"))
    assert sender.place(0, Intent(SYMBOL, 0.01))["status"] == "accepted"
    assert orders(exchange).count(sender.name(0)) == 1


@pytest.mark.parametrize("kind", LOST)
def test_an_order_that_never_arrived_is_known_not_to_be_there(exchange: Rehearsal, sender: Trader, kind: str) -> None:
    exchange.inject(Fault(kind=kind, at="usdm.order.post"))
    outcome = sender.place(0, Intent(SYMBOL, 0.01))
    assert (outcome["status"], outcome["why"]) == ("never", "not found after its recvWindow")
    assert sender.name(0) not in orders(exchange)


def test_an_order_that_arrives_too_late_is_refused_and_sent_again_once(exchange: Rehearsal, sender: Trader) -> None:
    exchange.inject(Fault(kind="late", at="usdm.order.post", seconds=1.5))
    assert sender.place(0, Intent(SYMBOL, 0.01))["status"] == "accepted"
    assert orders(exchange).count(sender.name(0)) == 1


def test_a_clear_no_is_believed(sender: Trader) -> None:
    assert sender.place(0, Intent(SYMBOL, 1e9))["status"] == "refused"
    assert sender.sender.send({1: Intent(SYMBOL, 0.01)}, lambda: False)[1]["why"] == "too late to be sent"


@pytest.mark.parametrize("skew", [15_000, -15_000])
def test_a_clock_that_drifted_is_set_again_and_trading_goes_on(exchange: Rehearsal, sender: Trader, skew: int) -> None:
    exchange.call(lambda control: control.skew(skew))
    try:
        assert sender.place(0, Intent(SYMBOL, 0.01))["status"] == "accepted"
        assert orders(exchange).count(sender.name(0)) == 1
    finally:
        exchange.call(lambda control: control.skew(0))


def test_a_resting_order_is_guarded_by_the_dead_mans_switch_and_cancelled_after_the_bar(
    exchange: Rehearsal, tmp_path: Path
) -> None:
    from qframe_rl.types import Bar

    writer = Writer(tmp_path / "journal.db")
    made = account(exchange)
    ledger = Ledger(tmp_path / "journal.db", writer)
    coins = (Instrument(SYMBOL, "perpetual", lot=0.001),)
    calls: list[Any] = []
    real = made.fapiPrivatePostCountdownCancelAll
    made.fapiPrivatePostCountdownCancelAll = lambda params: calls.append(params) or real(params)

    def now() -> int:
        return exchange.now_ms * 1_000_000

    venue = ExchangeVenue(made, OrderSender(made, ledger, str(tmp_path)), ledger, coins, HOUR, now)
    price = float(made.fetch_ticker(SYMBOL)["last"])
    row = np.array([[price, price, price, price, 1.0]])
    venue.advance(Bar(now(), row, np.zeros(1), np.zeros(1, dtype=bool)))
    held = venue.account.position[0]
    venue.submit(Orders(np.array([0.5]), np.array([round(price * 0.8, 2)]), np.array([np.nan])))
    assert len(made.fetch_open_orders(SYMBOL)) == 1
    until = time.monotonic() + 5.0
    while not calls and time.monotonic() < until:
        time.sleep(0.01)
    assert calls == [{"symbol": "SYN0USDT", "countdownTime": 2 * 3_600_000}]
    fills = venue.advance(Bar(now() + 1, row, np.zeros(1), np.zeros(1, dtype=bool)))
    assert made.fetch_open_orders(SYMBOL) == []
    assert (fills.quantity[0], fills.cancelled[0]) == (0.0, 0.5)
    assert venue.account.position[0] == held
    assert venue.trouble == ()
    made.session.close()
    writer.close()


def test_an_empty_answer_is_not_taken_for_a_flat_account(exchange: Rehearsal, tmp_path: Path) -> None:
    from qframe_rl.types import Bar

    writer = Writer(tmp_path / "journal.db")
    made = account(exchange)
    ledger = Ledger(tmp_path / "journal.db", writer)
    made.create_order(SYMBOL, "market", "buy", 1.0)
    (position,) = made.fetch_positions([SYMBOL])
    coins = (Instrument(SYMBOL, "perpetual", lot=0.001),)
    venue = ExchangeVenue(
        made, OrderSender(made, ledger, "x"), ledger, coins, HOUR, lambda: exchange.now_ms * 1_000_000
    )
    for kind in ("list", "empty", "object", "null"):
        exchange.inject(Fault(kind=kind, at="usdm.positionRisk"))
        bar = Bar(exchange.now_ms * 1_000_000, np.ones((1, 5)), np.zeros(1), np.zeros(1, dtype=bool))
        venue._since_ms = 0
        venue.advance(bar)
        assert venue.account.position[0] == position["contracts"], kind
    made.session.close()
    writer.close()


def test_instruments_of_two_kinds_are_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "journal.db")
    ledger = Ledger(tmp_path / "journal.db", writer)
    mixed = (Instrument("A/USDT"), Instrument("B/USDT:USDT", "perpetual"))
    with pytest.raises(UserError, match="one kind and one quote currency"):
        ExchangeVenue(None, OrderSender(None, ledger, ""), ledger, mixed, HOUR, lambda: 0)
    writer.close()
