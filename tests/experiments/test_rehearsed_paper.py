"""Paper trading on the rehearsal exchange, with the genuine CCXT client in between."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import paper as paper_door
from experiments import replay as replay_door
from experiments import train
from experiments.cli import door
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import UserError
from qframe_rl.deploy import data_for
from qframe_rl.feeds.download import download
from qframe_rl.feeds.exchange import Stopped
from qframe_rl.feeds.load import load
from qframe_rl.feeds.parquet import Series
from qframe_rl.journal.store import Writer, read
from qframe_rl.live.accounts import claim
from qframe_rl.live.cost_basis import CostBasis
from qframe_rl.live.open import Opened, opened_live, reopened
from qframe_rl.live.paper import paper, replay
from qframe_rl.live.permit import account_client, check_period, exchange_venue
from qframe_rl.live.standing import look
from qframe_rl.rehearsal import Rehearsal, RehearsalConfig, listed, serve
from qframe_rl.rehearsal.faults import script_of
from qframe_rl.rehearsal.market import ListedMarket
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.train import Run
from qframe_rl.types import HOUR, Instrument, Record, Segment
from tests.markets import START, panel
from tests.service.places import until

MS = 1_000_000
N_BARS, LIVE, REST = 1500, 744, 5
SYMBOLS = ("C0/USDT:USDT", "C1/USDT:USDT")


def markets() -> tuple[ListedMarket, ...]:
    """Two perpetuals that pay funding every eight hours."""
    history = panel(N_BARS, 2, seed=3, volatility=0.01, ragged=False, column=False)
    rng = np.random.default_rng(1)
    stamps = START + HOUR * np.arange(0, N_BARS, 8) // (8 * HOUR) * (8 * HOUR) + 8 * HOUR
    rates = {s: Series(stamps, np.round(1e-4 * rng.standard_normal((len(stamps), 1)), 8)) for s in SYMBOLS}
    return listed(history, rates)


class Lockstep:
    """A clock that is moved by whoever waits; it ends the session at ``until``, ms."""

    def __init__(self, exchange: Rehearsal, until_ms: int):
        self._exchange, self._until = exchange, until_ms

    def now(self) -> int:
        return self._exchange.now_ms * MS

    def wait(self, seconds: float) -> None:
        self._exchange.advance(to_ms=min(self._until, self._exchange.now_ms + max(1, int(seconds * 1000))))
        if self._exchange.now_ms >= self._until:
            raise Stopped


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A store downloaded from the exchange, and a strategy with its market made of it."""
    folder = tmp_path_factory.mktemp("rehearsed")
    with serve(markets(), speed="max") as exchange:
        root = folder / "store"
        since = START - HOUR
        download("binance", SYMBOLS, "1h", since, START + (N_BARS - 1) * HOUR, root=root, url=exchange.url, pause_s=0.0)
    yield trained(root, SYMBOLS, folder), root


def trained(root: Path, symbols: tuple[str, ...], folder: Path) -> Path:
    """A strategy of what a store has, without the run's pictures: they would take three times as long as the rest."""
    places = ["--runs", str(folder / "runs"), "--checkpoints", str(folder / "checkpoints")]
    argv = ["--data", str(root), "--symbols", ",".join(symbols), "--agents", "momentum", "--set", "env.cash=100000"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "_draw", lambda *given: None)
        assert door(train.main, [*argv, *places]) == 0
    return next((folder / "runs").glob("*/agents/momentum-0-0"))


def expected(place: Path, window: int, instruments: tuple[Instrument, ...] | None = None) -> Record:
    history = load(data_for(load_checkpoint(place), {}))
    history = history if instruments is None else replace(history, instruments=instruments)
    from qframe_rl.deploy import deployed

    market, agent = deployed(
        load_checkpoint(place), history.instruments, history.columns, history.bar_ns, "store", history.theory
    )
    start, stop = (int(np.searchsorted(history.time, ms * MS, side="right")) for ms in moments(LIVE))
    return backtest(market, agent, history, Segment(start, stop), window)


def live(
    place: Path, exchange: Rehearsal, folder: Path, until_ms: int, name: str = "binance", **options: Any
) -> Opened:
    notes: list[str] = []
    return opened_live(
        place, load_checkpoint(place), {"exchange": name, "symbols": SYMBOLS}, folder, exchange.url, notes.append,
        clock=Lockstep(exchange, until_ms), **options,
    )  # fmt: skip


def traded(opened: Opened, **options: Any) -> Any:
    return paper(
        opened.market, opened.agent, opened.feed, opened.terms, opened.folder, quotes=opened.quotes, durable=False,
        process={"checkpoint": "given"}, **options,
    )  # fmt: skip


def moments(n_bars: int) -> tuple[int, int]:
    """Start of the session and its end, ms, a few bars before the tape ends: a tape that stands still closes none."""
    end = (START + (N_BARS - 1 - REST) * HOUR) // MS
    return end - n_bars * HOUR // MS, end


def same_again(folder: Path, place: Path, digest: str) -> None:
    market, agent, terms = reopened(folder / "journal.db", place)
    assert replay(market, agent, terms, folder / "journal.db").digest == digest


@pytest.mark.long
def test_a_month_on_the_wire_is_the_backtest_to_the_bit(checkpoint: tuple[Path, Path], tmp_path: Path) -> None:
    place, _ = checkpoint
    first, end = moments(LIVE)
    with serve(markets(), RehearsalConfig(prints=4), start_ms=first + 5_000) as exchange:
        opened = live(place, exchange, tmp_path, end + 10_000)
        result = traded(opened)
    record = expected(place, opened.terms.window)
    assert result.bars == LIVE == len(record) - 1
    assert result.digest == record.digest
    assert result.final_equity == float(record.account.equity[-1])
    assert record.fills.funding.any()
    assert record.fills.quantity.any()
    same_again(tmp_path, place, result.digest)


def test_by_the_book_other_prices_are_paid_and_the_drift_is_measured(
    checkpoint: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, _ = checkpoint
    first, end = moments(60)
    meters = []
    with serve(markets(), RehearsalConfig(prints=4, half_spread_bps=30.0), start_ms=first + 5_000) as exchange:
        for stop in (first + 33 * 3_600_000, end):
            opened = live(place, exchange, tmp_path, stop + 10_000, fills="book")
            # The clock leaps here, and a stream on a busy machine would tell the book from before the leap.
            opened.feed.streams = None
            result = traded(
                opened, begun=lambda router, ledger, operator: meters.append(router.drift), snapshot_bars=10
            )
    assert (result.bars, result.repeated) == (60, 33)
    _, drift = meters
    assert drift.n_fills > 5
    assert 5.0 < drift.mean_bps < 100.0
    assert (result.drift_bps, result.drift_fills) == (drift.mean_bps, drift.n_fills)
    assert door(replay_door.main, [str(tmp_path), "--checkpoint", str(place)]) == 0
    out = capsys.readouterr().out
    assert f"identical: 60 bars, equity {result.final_equity:,.2f}, hash {result.digest}" in out
    assert f"real books cost {drift.mean_bps:+.1f} bps more than the backtest's rule" in out


def test_a_session_that_was_away_catches_up_to_the_same_bits(checkpoint: tuple[Path, Path], tmp_path: Path) -> None:
    place, _ = checkpoint
    first, end = moments(60)
    hour = 3_600_000
    events, digests = [], []
    for stops in ((end,), (first + 7 * hour, first + 20 * hour, end)):
        folder = tmp_path / str(len(stops))
        with serve(markets(), RehearsalConfig(prints=4), start_ms=first + 5_000) as exchange:
            for stop in stops:
                result = traded(live(place, exchange, folder, stop + 10_000), snapshot_bars=5)
                if stop != end:
                    exchange.advance(6 * hour)
        assert result.bars == 60
        events.append([json.loads(e.payload) for e in read(folder / "journal.db") if e.kind == "decision"])
        digests.append(result.digest)
    assert events[0] == events[1]
    assert digests[0] == digests[1]


def account(exchange: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BINANCE", "BYBIT"):
        monkeypatch.setenv(f"{name}_API_KEY", exchange.config.api_key)
        monkeypatch.setenv(f"{name}_SECRET", exchange.config.secret)


@pytest.mark.parametrize("faults", ["none", "orders"])
def test_orders_reach_the_exchange_once_and_the_account_is_the_exchanges(
    checkpoint: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: str
) -> None:
    place, _ = checkpoint
    first, end = moments(40)
    config = RehearsalConfig(prints=4, cash=100_000.0)
    monkeypatch.setattr("qframe_rl.venues.ccxt._KEPT", 4)
    with serve(markets(), config, start_ms=first + 5_000, faults=script_of(faults)) as exchange:
        account(exchange, monkeypatch)
        for stop in (first + 20 * 3_600_000, end):
            opened = live(place, exchange, tmp_path, stop + 10_000, orders="testnet")
            venue = exchange_venue(opened.feed, opened.terms, exchange.url, print, margin_ms=100, recv_window_ms=500)
            result = traded(opened, venue=venue, limits=Limits(filters=True), snapshot_bars=7)
        truth = exchange.truth()["accounts"]["rehearsal"]
    assert result.bars == 40
    events = [(e.kind, json.loads(e.payload)) for e in read(tmp_path / "journal.db")]
    accepted = {p["name"]: p["order"] for k, p in events if k == "outcome" and p["status"] == "accepted"}
    assert len(accepted) > 5
    assert {o["client"]: str(o["id"]) for o in truth["orders"]["usdm"]} == accepted
    basis = CostBasis(tmp_path / "journal.db")
    assert sum(row.kind == "fill" for row in basis.rows()) > 5
    assert abs(basis.sums().unexplained) < Decimal("0.01"), "fills with cost basis come to the exchange's account"
    settled = [p for k, p in events if k == "settled"]
    assert not any(p["fills"].get("forced") for p in settled)
    assert not [p for k, p in events if k in ("state", "aside")]
    held = {name.replace("USDT", "/USDT:USDT"): float(q) for name, q in truth["usdm"]["positions"].items()}
    last = dict(zip(SYMBOLS, settled[-1]["account"]["position"], strict=True))
    assert {s: q for s, q in last.items() if q} == pytest.approx({s: q for s, q in held.items() if q})
    same_again(tmp_path, place, result.digest)


def test_positions_that_nobody_explains_halt_trading(
    checkpoint: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _ = checkpoint
    first, end = moments(12)
    with serve(markets(), RehearsalConfig(prints=4, cash=100_000.0), start_ms=first + 5_000) as exchange:
        account(exchange, monkeypatch)
        opened = live(place, exchange, tmp_path, first + 6 * 3_600_000 + 10_000, orders="testnet")
        venue = exchange_venue(opened.feed, opened.terms, exchange.url, print)
        traded(opened, venue=venue, limits=Limits(filters=True))
        other = account_client(opened.terms, exchange.url)
        other.create_order(SYMBOLS[0], "market", "sell", 3.0)
        opened = live(place, exchange, tmp_path, end + 10_000, orders="testnet")
        traded(
            opened, venue=exchange_venue(opened.feed, opened.terms, exchange.url, print), limits=Limits(filters=True)
        )
    states = [json.loads(e.payload) for e in read(tmp_path / "journal.db") if e.kind == "state"]
    assert states[0]["state"] == "HALTED"
    assert any("the exchange holds" in reason for reason in states[0]["reasons"])


def test_a_symbol_of_an_account_is_one_sessions_while_it_lives(
    checkpoint: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place, _ = checkpoint
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    first, _ = moments(12)
    with serve(markets(), RehearsalConfig(prints=4, cash=100_000.0), start_ms=first + 5_000) as exchange:
        monkeypatch.setenv("QFRAME_ACCOUNT_MAIN_API_KEY", exchange.config.api_key)
        monkeypatch.setenv("QFRAME_ACCOUNT_MAIN_SECRET", exchange.config.secret)
        options = [
            str(place), "--feed", "ccxt", "--exchange", "binance", "--symbols", ",".join(SYMBOLS), "--orders",
            "testnet", "--url", exchange.url, "--account",
        ]  # fmt: skip
        argv = [sys.executable, "-m", "experiments.paper", *options, "main", "--out", str(tmp_path / "one")]
        with (tmp_path / "said").open("wb") as said:
            process = subprocess.Popen(argv, stdout=said, stderr=said)
        try:
            until(lambda: process.poll() is not None or "account_name" in look(tmp_path / "one"), 120.0)
            assert look(tmp_path / "one")["account_name"] == "main", (tmp_path / "said").read_text()
            assert door(paper_door.main, [*options, "MAIN", "--out", str(tmp_path / "two")]) == 2
            refused = capsys.readouterr().err
            assert f"is traded by the session in {tmp_path / 'one'} (process {process.pid})" in refused
            assert refused.count("\n") == 1
            assert not (tmp_path / "two").exists()
            assert door(paper_door.main, [*options, "other", "--out", str(tmp_path / "two")]) == 2
            assert "set QFRAME_ACCOUNT_OTHER_API_KEY" in capsys.readouterr().err
        finally:
            process.kill()
            process.wait()
        begun = live(place, exchange, tmp_path / "three", 0, orders="testnet", account="main")
        claim(begun.terms, begun.folder, exchange.url).close()
    for path in [*(tmp_path / "one").iterdir(), tmp_path / "said"]:
        assert exchange.config.secret.encode() not in path.read_bytes()


REFUSALS = [
    (["--orders", "testnet"], "add --feed ccxt"),
    (["--orders", "testnet", "--feed", "ccxt", "--account", "main"], "--account main: add --exchange"),
    (["--orders", "real", "--feed", "ccxt"], "add --i-accept-real-money-risk"),
    (["--orders", "real", "--feed", "ccxt", "--i-accept-real-money-risk"], "add --daily-loss"),
    (["--orders", "real", "--feed", "ccxt", "--i-accept-real-money-risk", "--daily-loss", "0.03"], "--paper-record"),
]


@pytest.mark.parametrize(("argv", "says"), REFUSALS)
def test_real_orders_are_refused_without_their_conditions(
    argv: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door(paper_door.main, [str(tmp_path), *argv]) == 2
    assert says in capsys.readouterr().err


def test_a_paper_period_must_be_of_this_checkpoint_long_and_on_real_bars(
    checkpoint: tuple[Path, Path], tmp_path: Path
) -> None:
    place, _ = checkpoint
    first, end = moments(5)
    with serve(markets(), RehearsalConfig(prints=4), start_ms=first + 5_000) as exchange:
        opened = live(place, exchange, tmp_path, end + 10_000)
        traded(opened)
    terms, record = opened.terms, tmp_path / "journal.db"
    with pytest.raises(UserError, match="is not a paper period of this checkpoint"):
        check_period(record, replace(terms, model="other"))
    with pytest.raises(UserError, match="on an exchange's own bars"):
        check_period(record, terms)
    monkey = replace(terms, source=terms.source | {"environment": "production"})
    writer = Writer(tmp_path / "made.db")
    for event in read(record):
        text = event.payload.replace('"environment":"unknown"', '"environment":"production"')
        writer.append(event.kind, text)
    writer.commit()
    writer.close()
    with pytest.raises(UserError, match=r"is 0\.2 days long; 30 are needed"):
        check_period(tmp_path / "made.db", monkey)
