"""Quotes on an exchange: each order once, the account to the unit, the switch at once, and the record runs again."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.book.accounts import LEFT, RESTS, STATE, begin
from qframe_rl.book.state import BUY
from qframe_rl.book.tape import tape_of
from qframe_rl.book.walk import QUOTE, TAKE, WITHDRAW
from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.inbox import order
from qframe_rl.journal.ledger import Ledger
from qframe_rl.journal.store import Writer, read
from qframe_rl.live.permit import exchange_book
from qframe_rl.live.quoting_terms import paper_terms
from qframe_rl.quoter import BookView, Wishes, wishes
from qframe_rl.venues import exchange_book as venue
from qframe_rl.venues.exchange_book import ExchangeBook
from qframe_rl.venues.order_sender import Intent
from qframe_rl.venues.order_states import OrderStates
from qframe_rl.venues.own_orders import OwnOrder
from qframe_rl.venues.paper_book import PaperBook
from qframe_rl.venues.reading import Reader
from tests.live.books import COIN, book, ticks
from tests.live.quoting_exchange import again, events, exchange, fills, has, keyed, once, terms, traded, truth

pytestmark = pytest.mark.slow


class Steady:
    """The same two quotes for ever, so far from the market that they never fill."""

    window = 1

    def quote(self, view: BookView) -> Wishes:
        """Far away, at prices that do not move."""
        return wishes((900, 5), (1150, 5))


class Buyer:
    """Buys a little now and then until it holds twenty lots, and quotes on neither side."""

    window = 1

    def quote(self, view: BookView) -> Wishes:
        """Take."""
        if view.position >= 20:
            return wishes()
        return wishes(take=(0, 5, int(view.best[1, 0]) + 20))


def when(ready: Any, then: Any) -> threading.Thread:
    """Do something once something else holds, in the midst of a session."""

    def wait() -> None:
        while not ready():
            time.sleep(0.05)
        then()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.long
def test_a_session_quotes_on_an_exchange_and_its_record_runs_again(tmp_path: Path) -> None:
    with exchange() as ex:
        result = traded(ex.url, tmp_path, lambda: fills(tmp_path) > 8 and has(tmp_path, "cancelled", 4))
        found = once(tmp_path, ex.url)
    assert result.fills == found["fills"] > 3 and found["orders"] > 8
    parts = events(tmp_path, "lived")
    assert all(one[0] == part["time"] for part in parts for one in part["sent"]), "for the last moment of a part alone"
    lived = [one for part in parts for one in part["sent"]]
    intents = events(tmp_path, "intent")
    assert sum(kind in (QUOTE, TAKE) for _, kind, *_ in lived) == len(intents)
    assert sum(kind == WITHDRAW for _, kind, *_ in lived) > 0
    assert {one["force"] for one in intents} == {"post", "ioc"}
    quoted = {one["name"] for one in intents if one["force"] == "post"}
    by_id = {str(one["id"]): one["client"] for one in found["has"]["orders"]["usdm"]}
    trades = found["has"]["trades"]["usdm"]
    assert trades and all(one["maker"] == (by_id[str(one["order"])] in quoted) for one in trades), "quotes never take"
    same = again(tmp_path)
    assert (same.digest, same.fills, same.final_equity) == (result.digest, result.fills, result.final_equity)


@pytest.mark.long
def test_equal_wishes_send_nothing_and_what_stands_is_withdrawn_at_the_end(tmp_path: Path) -> None:
    with exchange() as ex:
        result = traded(ex.url, tmp_path, lambda: has(tmp_path, "polled", 8), Steady())
        found = once(tmp_path, ex.url)
    late = sum(one["status"] == "never" for one in events(tmp_path, "outcome"))
    assert found["orders"] == 2 and found["fills"] == 0 and result.sent == 2 + late + 2
    assert {one["status"] for one in found["has"]["orders"]["usdm"]} == {"CANCELED"}
    assert again(tmp_path, Steady()).digest == result.digest


def test_halt_withdraws_at_once_and_flatten_closes(tmp_path: Path) -> None:
    with exchange() as ex:
        journal = tmp_path / "journal.db"

        def flat() -> None:
            order(journal, "flatten")

        when(lambda: has(tmp_path, "lived", 4) and events(tmp_path, "lived")[-1]["truth"][1] >= 20, flat)
        traded(ex.url, tmp_path, lambda: has(tmp_path, "state", 2), Buyer())
        found = once(tmp_path, ex.url)
    assert found["held"] == 0 and found["fills"] >= 5
    assert [one["state"] for one in events(tmp_path, "state")] == ["FLATTEN", "HALTED"]
    closing = [one for one in events(tmp_path, "intent") if one["quantity"] < 0.0]
    assert closing and all(one["reduce_only"] and one["limit"] is None for one in closing)
    assert again(tmp_path, Buyer()).fills == found["fills"]


def test_a_halted_session_has_nothing_that_rests(tmp_path: Path) -> None:
    seen: list[str] = []
    with exchange() as ex:

        def halt() -> None:
            order(tmp_path / "journal.db", "halt")
            while not has(tmp_path, "state"):
                time.sleep(0.05)
            time.sleep(2.0)
            seen.extend(one["status"] for one in truth(ex.url)["orders"]["usdm"])

        thread = when(lambda: has(tmp_path, "lived", 6), halt)
        traded(ex.url, tmp_path, lambda: bool(seen), Steady())
        thread.join(10.0)
        once(tmp_path, ex.url)
    assert seen and set(seen) == {"CANCELED"}, "while the session still ran"


def test_lots_that_nobody_here_bought_halt_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venue, "_RECKONED_NS", 500_000_000)
    monkeypatch.setattr(venue, "SECOND", 200_000_000)
    with exchange() as ex:
        other = keyed(ex.url)
        when(lambda: has(tmp_path, "lived", 4), lambda: other.create_order(COIN.symbol, "market", "buy", 0.007))
        traded(ex.url, tmp_path, lambda: has(tmp_path, "state"), Steady())
        resting = [o for o in truth(ex.url)["orders"]["usdm"] if o["status"] == "NEW"]
    said = events(tmp_path, "state")
    assert said and said[0]["state"] == "HALTED"
    assert "7 lots are held at the exchange, and 0 by our own trades" in said[0]["reasons"][0]
    assert not resting


class Failing(Steady):
    """Quotes, and then breaks."""

    def __init__(self) -> None:
        self.left = 60

    def quote(self, view: BookView) -> Wishes:
        """As before, until it raises."""
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("it broke")
        return super().quote(view)


def test_a_session_that_ends_by_a_fault_leaves_nothing_that_rests(tmp_path: Path) -> None:
    with exchange() as ex:
        with pytest.raises(RuntimeError, match="it broke"):
            traded(ex.url, tmp_path, lambda: False, Failing())
        found = [one["status"] for one in truth(ex.url)["orders"]["usdm"]]
    assert len(found) >= 2 and set(found) == {"CANCELED"}


def test_what_is_not_ours_halts_and_flatten_still_closes_what_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(venue, "_RECKONED_NS", 500_000_000)
    monkeypatch.setattr(venue, "SECOND", 200_000_000)
    journal = tmp_path / "journal.db"
    with exchange() as ex:
        other = keyed(ex.url)

        def disturb() -> None:
            other.create_order(COIN.symbol, "market", "buy", 0.007)
            while not has(tmp_path, "state"):
                time.sleep(0.05)
            order(journal, "flatten")

        when(lambda: has(tmp_path, "lived", 4) and events(tmp_path, "lived")[-1]["truth"][1] >= 20, disturb)
        traded(ex.url, tmp_path, lambda: has(tmp_path, "state", 3), Buyer())
        held = round(float(truth(ex.url)["usdm"]["positions"]["MADEUSDT"]) / COIN.lot)
    assert [one["state"] for one in events(tmp_path, "state")] == ["HALTED", "FLATTEN", "HALTED"]
    assert held == 7, "what is not ours stays"
    assert again(tmp_path, Buyer()).decisions > 0


def test_while_risk_may_only_be_reduced_nothing_new_goes_out_for_moments_that_are_over(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    with exchange() as ex:
        when(lambda: fills(tmp_path) > 2, lambda: order(journal, "reduce"))
        traded(ex.url, tmp_path, lambda: has(tmp_path, "state") and len(after(tmp_path)) > 12)
        once(tmp_path, ex.url)
    fresh = [(part["time"], one) for part in after(tmp_path) for one in part["sent"] if one[1] != WITHDRAW]
    assert all(one[0] == time for time, one in fresh)
    assert again(tmp_path).decisions > 0


def after(folder: Path) -> list[dict[str, Any]]:
    """Parts since the state of trading changed."""
    found = events(folder, "lived", "state")
    first = next((k for k, one in enumerate(found) if "state" in one), len(found))
    return [one for one in found[first:] if "sent" in one]


def test_funding_that_the_exchange_took_is_paid_once_and_moves_the_equity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Payments by their ids; what lay there before the session began is not its own."""
    monkeypatch.setattr(venue, "_RECKONED_NS", 300_000_000)
    paid = {"before": 100.0}
    monkeypatch.setattr(Reader, "payments", lambda self, instrument, since_ms, asked: dict(paid))
    with exchange() as ex:
        when(lambda: has(tmp_path, "lived", 6), lambda: paid.update(one=0.5, two=-0.125))
        result = traded(ex.url, tmp_path, lambda: has(tmp_path, "holdings", 6) and len(paid) == 3, Steady())
    assert result.final_equity == pytest.approx(10_000.0 - 0.375, abs=1e-9)
    assert again(tmp_path, Steady()).final_equity == result.final_equity


def test_an_exchange_that_says_nothing_of_our_orders_is_said_once_and_halts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(venue, "_SILENT_NS", 2 * 10**9)
    asked, deaf = OrderStates._state, threading.Event()

    def state(self: OrderStates, number: str, counted: int) -> Any:
        if deaf.is_set():
            raise Unavailable("nothing came.")
        return asked(self, number, counted)

    monkeypatch.setattr(OrderStates, "_state", state)
    with exchange() as ex:
        when(lambda: has(tmp_path, "polled", 3), deaf.set)
        when(lambda: has(tmp_path, "state"), deaf.clear)
        traded(ex.url, tmp_path, lambda: has(tmp_path, "state") and not deaf.is_set(), Steady())
        once(tmp_path, ex.url)
    assert events(tmp_path, "state")[0]["reasons"][0].startswith("the exchange has said nothing of our orders")
    said = capsys.readouterr().out
    assert said.count("nothing came; asked again until it answers") == 1 and "answered again" in said
    assert again(tmp_path, Steady()).decisions > 0


def test_an_order_that_is_over_does_not_end_the_one_that_followed_it_at_its_price(tmp_path: Path) -> None:
    """All of the first is seen to be filled before the exchange says that it is over."""
    ledger = Ledger(tmp_path / "journal.db", Writer(tmp_path / "journal.db", durable=False))
    account = ExchangeBook(paper_terms(book(), terms()), COIN, None, ledger, lambda run: None)  # type: ignore[arg-type,return-value]
    begin(tape_of(ticks().runs[0].events, 0), account.walk, 0, 1)
    asked, nothing = np.array([[990, 5], [0, 0]]), np.zeros(3, np.int64)
    for now, name in ((10, "one"), (20, "two")):
        assert len(PaperBook.send(account, asked, nothing, now, 0, must=True)) == 1
        out = OwnOrder(name, BUY, 990, 5, takes=False)
        account._orders[name], account._standing[BUY] = out, name
        account._became(out, {"status": "accepted", "order": name}, now)
        if name == "one":
            trades = [{"id": "t", "quantity": 0.005, "price": 99.0, "fee": 0.0}]
            account._told(out, {"status": "open", "filled": 5, "trades": trades}, now)
    account._told(account._orders["one"], {"status": "closed", "filled": 5, "trades": trades}, 30)
    assert list(account._orders) == ["two"] and account.position == 5
    assert account.walk.quotes[0, BUY, STATE] == RESTS and account.walk.quotes[0, BUY, LEFT] == 5
    account._told(account._orders["two"], {"status": "canceled", "filled": 0}, 40)
    assert account.walk.quotes[0, BUY, STATE] != RESTS and not account._orders


def test_no_more_messages_go_to_an_exchange_than_it_takes(tmp_path: Path) -> None:
    """Orders, withdrawals, and those that are repeated, by the moments for which they were sent."""
    most, seconds = 12, 3
    with exchange() as ex:
        held = lambda: has(tmp_path, "lived") and events(tmp_path, "lived")[-1]["held_back"] > 10  # noqa: E731
        result = traded(ex.url, tmp_path, held, rates=((most, seconds * 10**9),))
        found = once(tmp_path, ex.url)
    assert result.held_back > 10, "the limit binds"
    while_it_ran = sums(tmp_path, seconds)[:-1]  # what is withdrawn at the end must be
    assert 6 < max(while_it_ran) <= most
    made = sorted(one["created"] for one in found["has"]["orders"]["usdm"])
    own = [sum(at - seconds * 1000 < one <= at for one in made) for at in made]
    assert max(own) <= most, "by the exchange's own clock, too"
    assert again(tmp_path, rates=((most, seconds * 10**9),)).digest == result.digest


def sums(folder: Path, seconds: int) -> list[int]:
    """After each part of the tape, messages of so many seconds before its last moment."""
    if not has(folder, "lived"):
        return []
    came: list[tuple[int, int]] = []
    n, found = 0, []
    for event in read(folder / "journal.db"):
        said = json.loads(event.payload)
        if event.kind == "intent":
            n += 1
        elif event.kind == "cancelled":
            n += len(said["orders"]) + len(said.get("left", ()))
        elif event.kind == "lived":
            came.append((said["time"], n))
            n = 0
            found.append(sum(k for at, k in came if at > said["time"] - seconds * 10**9))
    return found


def test_coins_are_not_quoted_with_real_orders() -> None:
    market = replace(book(), instrument=replace(COIN, symbol="MADE/USDT", kind="spot"))
    with pytest.raises(UserError, match="MADE/USDT is a spot market"):
        exchange_book(market, terms(), None)


def test_an_exchange_where_a_lost_order_could_arrive_later_is_refused() -> None:
    with pytest.raises(UserError, match="kraken"):
        exchange_book(book(), _at("kraken"), None)


def _at(name: str) -> Any:
    own = terms()
    own.source["exchange"] = name
    return own


def test_intents_of_bars_are_written_as_before() -> None:
    assert Intent("A/B", 1.0, 2.0).plain() == {
        "symbol": "A/B", "quantity": 1.0, "limit": 2.0, "stop": None, "reduce_only": False,
    }  # fmt: skip
    assert Intent("A/B", 1.0, 2.0, force="post").plain()["force"] == "post"
