"""Coins and cash that come to an exchange's account from outside: set aside, and no profit when they are adopted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import Memoryless, View
from qframe_rl.journal.inbox import Adoption, adopt_word, order
from qframe_rl.live.open import reopened
from qframe_rl.live.paper import replay
from qframe_rl.live.record import journal_record
from qframe_rl.rehearsal import Rehearsal, RehearsalConfig, serve
from qframe_rl.types import Orders
from tests.experiments.test_exchange_orders import (
    FIRST,
    HOUR_MS,
    SYMBOLS,
    checkpoints,
    markets,
    recorded,
    session,
    truth,
)
from tests.experiments.test_rehearsed_paper import account

__all__ = ["checkpoints"]
E8 = 10**8
MINUTE_MS = 60_000


class Trader(Memoryless):
    """Buys and sells a little of everything, bar after bar, and holds something of each."""

    window = 2

    def decide(self, view: View) -> Orders:
        n = len(view.account.position)
        sells = (view.account.position > 4.0).all()
        return Orders.market(np.full(n, -1.0 if sells else 2.0))


def plan(exchange: Rehearsal, folder: Path, steps: dict[int, Callable[[], Any]]) -> Callable[[int], None]:
    """Do each step half an hour after so many hours; a text that it returns goes into the inbox."""

    def between(now: int) -> None:
        for hour in list(steps):
            if now >= FIRST + hour * HOUR_MS + 30 * MINUTE_MS:
                word = steps.pop(hour)()
                if isinstance(word, str):
                    order(folder / "journal.db", word)

    return between


def deposit(exchange: Rehearsal, asset: str, amount: float) -> Callable[[], None]:
    return lambda: exchange.call(lambda control: control.deposit(exchange.config.api_key, asset, amount))


def settled(folder: Path, kind: str = "settled") -> list[dict[str, Any]]:
    return [plain for what, plain in recorded(folder) if what == kind]


@pytest.mark.parametrize("kind", ["spot", "perpetual"])
def test_cash_is_set_aside_until_it_is_adopted_and_is_no_profit(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    config = RehearsalConfig(prints=4, cash=100_000.0)
    with serve(markets(kind), config, start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)
        between = plan(exchange, tmp_path, {
            4: deposit(exchange, "USDT", 50_000.25), 7: lambda: adopt_word(Adoption("more", 50_001 * E8)),
            8: lambda: adopt_word(Adoption("in", 5_000_025_000_000)),
            11: lambda: adopt_word(Adoption("out", -20_000 * E8)), 13: deposit(exchange, "USDT", -20_000.0),
            16: deposit(exchange, "USDT", -10_000.0),
        })  # fmt: skip
        for hours in (6, 20):
            result = session(
                checkpoints[kind], kind, exchange, tmp_path, FIRST + hours * HOUR_MS + 10_000, between, Trader()
            )
    record = journal_record(tmp_path / "journal.db")
    growth = record.worth[1:] / record.worth[:-1] - 1.0
    assert np.abs(growth[:15]).max() < 0.01, "what was paid in or out is profit or loss"
    assert growth[16] < -0.05, "what somebody took is no loss"
    assert np.abs(growth[17:]).max() < 0.01
    said = [(one["id"], one["state"], one["units"]) for one in settled(tmp_path, "transferred")]
    assert said == [
        ("more", "REFUSED", 50_001 * E8), ("in", "SETTLED", 5_000_025_000_000), ("out", "SETTLED", -20_000 * E8),
    ]  # fmt: skip
    aside = [one["cash"] for one in settled(tmp_path, "aside")]
    room = 0 if kind == "spot" else 20  # the exchange rounds the price at which contracts were entered
    assert aside == pytest.approx([5_000_025_000_000, 0, 20_000 * E8, 0], rel=0, abs=room)
    assert not settled(tmp_path, "state")
    assert record.account.equity[6] < 110_000.0 < 140_000.0 < record.account.equity[10]
    market, _, terms = reopened(tmp_path / "journal.db", checkpoints[kind])
    assert replay(market, Trader(), terms, tmp_path / "journal.db").digest == result.digest


def test_coins_are_set_aside_halt_and_are_adopted_at_their_price(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, symbol = checkpoints["spot"], SYMBOLS["spot"][0]
    with serve(markets("spot"), RehearsalConfig(prints=4, cash=100_000.0), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)
        steps: dict[int, Callable[[], Any]] = {4: deposit(exchange, "C0", 100.12345678), 6: lambda: "flatten"}
        session(
            place, "spot", exchange, tmp_path, FIRST + 9 * HOUR_MS + 10_000, plan(exchange, tmp_path, steps), Trader()
        )
        held = truth(exchange, "spot")[0]
        sold = [one["quantity"] for one in settled(tmp_path, "intent")]
        mark = settled(tmp_path)[-1]["account"]["mark"][0]
        price = round(mark * E8)
        steps = {9: lambda: adopt_word(Adoption("coins", 10_012_345_678, symbol, price)), 10: lambda: "resume"}
        until = FIRST + 13 * HOUR_MS + 10_000
        result = session(place, "spot", exchange, tmp_path, until, plan(exchange, tmp_path, steps), Trader())
    assert 100.12 < held["C0"] < 100.13, "a flatten sold what is not the session's"
    assert held.get("C1", 0.0) < 1e-3
    assert min(sold) > -20.0, "a flatten asked for what is not the session's"
    assert settled(tmp_path, "aside")[0]["coins"] == {symbol: 10_012_345_678}
    assert settled(tmp_path, "aside")[-1]["coins"] == {}
    states = settled(tmp_path, "state")
    assert [one["state"] for one in states] == ["HALTED", "FLATTEN", "HALTED", "ACTIVE"]
    assert "the exchange holds" in states[0]["reasons"][0]
    record = journal_record(tmp_path / "journal.db")
    assert np.abs(np.diff(np.log(record.worth))).max() < 0.02
    flow = float(record.flow.sum())
    assert flow == pytest.approx(100.12345678 * mark, abs=1e-6)
    assert float(record.account.equity[9]) < 110_000.0
    assert float(record.account.equity[10]) > 100_000.0 + 0.9 * flow
    market, _, terms = reopened(tmp_path / "journal.db", place)
    assert replay(market, Trader(), terms, tmp_path / "journal.db").digest == result.digest
