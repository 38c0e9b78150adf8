"""Quotes on an exchange: each order once, the account to the unit, the switch at once, and the record runs again."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from qframe_rl.book.walk import QUOTE, TAKE, WITHDRAW
from qframe_rl.config import UserError
from qframe_rl.journal.inbox import order
from qframe_rl.quoter import BookView, Wishes, wishes
from qframe_rl.venues import exchange_book as venue
from qframe_rl.venues.order_sender import Intent
from tests.live.books import COIN
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


def test_an_exchange_where_a_lost_order_could_arrive_later_is_refused() -> None:
    from qframe_rl.live.permit import exchange_book
    from tests.live.books import book

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
