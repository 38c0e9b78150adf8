"""What sessions do on Binance's wire they do on Bybit's: paper to the bit, orders once, stops taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.feeds.download import download
from qframe_rl.feeds.store import load_store
from qframe_rl.journal.inbox import order
from qframe_rl.live.open import reopened
from qframe_rl.live.paper import replay
from qframe_rl.rehearsal import Fault, RehearsalConfig, serve
from qframe_rl.rehearsal.faults import script_of
from qframe_rl.types import HOUR
from tests.experiments.test_exchange_orders import (
    FIRST,
    HOUR_MS,
    KINDS,
    checkpoints,
    fees_and_prices_explain_the_equity,
    flat,
    markets,
    recorded,
    session,
    truth,
)
from tests.experiments.test_exchange_stops import Guarded, rests
from tests.experiments.test_rehearsed_paper import (
    LIVE,
    account,
    checkpoint,
    expected,
    live,
    moments,
    same_again,
    traded,
)
from tests.experiments.test_rehearsed_paper import markets as tape
from tests.markets import START

__all__ = ["checkpoint", "checkpoints"]
CONFIG = RehearsalConfig(prints=4, cash=100_000.0, protocol="bybit")


@pytest.mark.long
def test_a_month_on_the_wire_is_the_backtest_to_the_bit(checkpoint: tuple[Path, Path], tmp_path: Path) -> None:
    place, _ = checkpoint
    first, end = moments(LIVE)
    with serve(tape(), RehearsalConfig(prints=4, protocol="bybit"), start_ms=first + 5_000) as exchange:
        opened = live(place, exchange, tmp_path, end + 10_000, "bybit")
        result = traded(opened)
    # CCXT knows other fees for Bybit than for Binance, of which the stored bars are.
    record = expected(place, opened.terms.window, opened.terms.instruments)
    assert result.bars == LIVE
    assert result.digest == record.digest
    same_again(tmp_path, place, result.digest)


def test_a_download_is_the_recorded_market(tmp_path: Path) -> None:
    stop = START + 800 * HOUR
    symbols = ("C0/USDT:USDT", "C1/USDT:USDT")
    got = []
    for protocol in ("binance", "bybit"):
        with serve(tape(), RehearsalConfig(protocol=protocol), speed="max") as exchange:
            root = tmp_path / protocol
            download(protocol, symbols, "1h", START - HOUR, stop, root=root, url=exchange.url, pause_s=0.0)
        got.append(load_store(root, protocol, symbols, "1h"))
    assert np.array_equal(got[0].values, got[1].values, equal_nan=True)
    assert np.array_equal(got[0].funding, got[1].funding)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("faults", ["none", "orders"])
def test_orders_reach_the_exchange_once_and_the_account_is_the_exchanges(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, faults: str
) -> None:
    with serve(markets(kind), CONFIG, start_ms=FIRST + 5_000, faults=script_of(faults)) as exchange:
        account(exchange, monkeypatch)
        for n_bars in (15, 35):
            until = FIRST + n_bars * HOUR_MS + 10_000
            result = session(checkpoints[kind], kind, exchange, tmp_path, until, name="bybit")
        held, orders = truth(exchange, kind)
    assert result.bars == 35
    events = recorded(tmp_path)
    accepted = {p["name"]: p["order"] for k, p in events if k in ("outcome", "resolved") and p["status"] == "accepted"}
    assert {one["side"] for one in orders} == {"BUY", "SELL"}
    assert {one["client"]: str(one["id"]) for one in orders} == accepted
    assert not [p for k, p in events if k == "state"]
    settled = [p for k, p in events if k == "settled"]
    position = settled[-1]["account"]["position"]
    assert {f"C{a}": q for a, q in enumerate(position) if q} == pytest.approx(held)
    if kind == "spot":
        fees_and_prices_explain_the_equity(settled)
    same_again(tmp_path, checkpoints[kind], result.digest)


def test_funding_is_counted_with_the_sign_of_what_it_cost(
    checkpoint: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _ = checkpoint
    first, _ = moments(744)
    from tests.experiments.test_exchange_orders import Limits, exchange_venue

    with serve(tape(), CONFIG, start_ms=first + 5_000) as exchange:
        account(exchange, monkeypatch)
        opened = live(place, exchange, tmp_path, first + 30 * HOUR_MS + 10_000, "bybit", orders="testnet")
        venue = exchange_venue(opened.feed, opened.terms, exchange.url, print, margin_ms=100, recv_window_ms=500)
        traded(opened, venue=venue, limits=Limits(filters=True))
        paid = float(exchange.truth()["accounts"]["rehearsal"]["usdm"]["funding"])
    counted = sum(sum(p["fills"].get("funding", [])) for k, p in recorded(tmp_path) if k == "settled")
    assert paid != 0.0
    assert counted == pytest.approx(paid)


@pytest.mark.parametrize("kind", KINDS)
def test_stops_are_taken_back_after_each_bar_and_what_fired_is_counted(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    seen: list[int] = []
    with serve(markets(kind), CONFIG, start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)
        options: Any = {"agent": Guarded((0.7, 0.999)), "between": lambda _: seen.append(len(rests(exchange, kind)))}
        until = FIRST + 9 * HOUR_MS + 10_000
        result = session(checkpoints[kind], kind, exchange, tmp_path, until, name="bybit", **options)
    assert 0 < max(seen) <= 2, "stops of earlier bars rest, or none ever did"
    assert not [p for k, p in recorded(tmp_path) if k == "state"], "a stop that fired was taken for a stranger's order"
    fills = [p["fills"].get("quantity", [0.0, 0.0]) for k, p in recorded(tmp_path) if k == "settled"]
    assert min(quantity[1] for quantity in fills) < 0.0, "no stop fired"
    market, _, terms = reopened(tmp_path / "journal.db", checkpoints[kind])
    assert replay(market, Guarded((0.7, 0.999)), terms, tmp_path / "journal.db").digest == result.digest


@pytest.mark.parametrize("kind", KINDS)
def test_flatten_takes_stops_back_and_closes_everything(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    when, seen = FIRST + 6 * HOUR_MS + 600_000, []
    with serve(markets(kind), CONFIG, start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)

        def between(now: int) -> None:
            if now >= when and not seen:
                order(tmp_path / "journal.db", "flatten")
            if now >= when:
                seen.append(len(rests(exchange, kind)))

        until = FIRST + 8 * HOUR_MS + 10_000
        session(checkpoints[kind], kind, exchange, tmp_path, until, between, Guarded((0.7, 0.7)), name="bybit")
        held = truth(exchange, kind)[0]
    assert seen[:2] == [2, 0]
    assert flat(held)


@pytest.mark.parametrize("fault", ["drop", "drop-after", "unknown-after", "cut"])
def test_an_order_whose_answer_was_lost_is_found_and_not_sent_again(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    with serve(markets("perpetual"), CONFIG, start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)
        exchange.inject(Fault(kind=fault, at="linear.order.post"))
        until = FIRST + 3 * HOUR_MS + 10_000
        agent = Guarded((0.7, 0.7))
        session(checkpoints["perpetual"], "perpetual", exchange, tmp_path, until, agent=agent, name="bybit")
        _, orders = truth(exchange, "perpetual")
    said = [p for k, p in recorded(tmp_path) if k in ("outcome", "resolved")]
    accepted = {p["name"]: p["order"] for p in said if p["status"] == "accepted"}
    assert {one["client"]: str(one["id"]) for one in orders} == accepted
    assert any(p["status"] == "never" for p in said) == (fault == "drop")
