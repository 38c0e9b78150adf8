"""An exchange that changes the rules of its markets: on record, the session goes on, and a replay agrees."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import Memoryless, View
from qframe_rl.feeds import stated
from qframe_rl.feeds.exchange import MarketDataClient
from qframe_rl.feeds.listing import listing
from qframe_rl.feeds.stated import StatedRules
from qframe_rl.journal.store import read
from qframe_rl.live.open import reopened
from qframe_rl.live.paper import replay
from qframe_rl.rehearsal import RehearsalConfig, listed, serve
from qframe_rl.rehearsal.market import ListedMarket
from qframe_rl.types import Orders
from tests.experiments.test_exchange_orders import FIRST, HOUR_MS, N_BARS, SYMBOLS, checkpoints, recorded, session
from tests.experiments.test_rehearsed_paper import account, live, moments, traded
from tests.experiments.test_rehearsed_paper import checkpoint as paper_checkpoint
from tests.experiments.test_rehearsed_paper import markets as paper_markets
from tests.markets import panel

__all__ = ["checkpoints", "paper_checkpoint"]


class Odd(Memoryless):
    """Buys 1.234 and sells it again."""

    window = 2

    def decide(self, view: View) -> Orders:
        held = view.account.position
        return Orders.market(np.where(held > 0.0, -held, 1.234))


def markets(lot: float) -> tuple[ListedMarket, ...]:
    history = panel(N_BARS, 2, seed=5, volatility=0.01, ragged=False, column=False, kind="perpetual")
    return listed(replace(history, instruments=tuple(replace(i, lot=lot, min_amount=lot) for i in history.instruments)))


def test_a_session_goes_on_under_new_rules_and_replays_to_the_same(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With orders that go out: what is sent is rounded to the lots of the moment."""
    place = checkpoints["perpetual"]
    config = RehearsalConfig(prints=4, cash=100_000.0)
    for lot, hours in ((0.001, 4), (0.1, 8), (0.1, 12)):
        # The tape of the second exchange begins where the first one ended, with an account of its own: flat.
        start = FIRST + (hours - 4) * HOUR_MS + 5_000
        with serve(markets(lot), config, start_ms=start) as exchange:
            account(exchange, monkeypatch)
            session(place, "perpetual", exchange, tmp_path, FIRST + hours * HOUR_MS + 10_000, agent=Odd())
    events = recorded(tmp_path)
    rules = [n for n, (kind, _) in enumerate(events) if kind == "rules"]
    assert len(rules) == 1, "the change is on record once"
    assert [i["lot"] for i in events[rules[0]][1]["instruments"]] == [0.1, 0.1]
    sent = [(n, abs(p["quantity"])) for n, (kind, p) in enumerate(events) if kind == "intent"]
    assert {q for n, q in sent if n < rules[0]} == {1.234}
    assert {round(q, 9) for n, q in sent if n > rules[0]} <= {1.2}
    market, _, terms = reopened(tmp_path / "journal.db", place)
    assert replay(market, Odd(), terms, tmp_path / "journal.db").bars >= 8


def test_on_paper_fills_follow_the_new_rules(paper_checkpoint: tuple[Path, Path], tmp_path: Path) -> None:
    place, _ = paper_checkpoint
    first, end = moments(12)
    made: list[dict[str, Any]] = []
    for lot, until in ((None, first + 6 * HOUR_MS), (5.0, end)):
        tape = paper_markets()
        if lot is not None:
            from decimal import Decimal

            tape = tuple(replace(market, lot=Decimal(lot)) for market in tape)
        with serve(tape, RehearsalConfig(prints=4), start_ms=until - 6 * HOUR_MS + 5_000) as exchange:
            opened = live(place, exchange, tmp_path, until + 10_000)
            result = traded(replace(opened, agent=Odd()), snapshot_bars=4)
    made = [json.loads(e.payload) for e in read(tmp_path / "journal.db") if e.kind in ("rules", "settled")]
    assert sum("instruments" in one for one in made) == 1
    market, _, terms = reopened(tmp_path / "journal.db", place)
    assert replay(market, Odd(), terms, tmp_path / "journal.db").digest == result.digest


def test_rules_are_read_again_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(markets(0.1), RehearsalConfig(), start_ms=FIRST) as exchange:
        listings = [listing("binance", symbol) for symbol in SYMBOLS["perpetual"]]
        made = MarketDataClient("binance", "perpetual", exchange.url)
        now = tuple(made.instrument(one) for one in listings)
        old = tuple(replace(one, lot=0.001) for one in now)
        notes: list[str] = []
        rules = StatedRules("binance", listings, old, exchange.url, False, notes.append)
        assert rules.now() == old
        monkeypatch.setattr(stated, "EVERY_S", 0.0)
        until = time.monotonic() + 20.0
        while rules.now() != now and time.monotonic() < until:
            time.sleep(0.01)
        assert rules.now() == now
    begun = time.monotonic()
    rules.now()
    assert time.monotonic() - begun < 0.5, "it waited for an exchange that is gone"
