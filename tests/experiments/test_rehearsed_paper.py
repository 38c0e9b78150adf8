"""Paper trading on the rehearsal exchange, with the genuine CCXT client in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import train
from experiments.cli import door
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.feeds.download import download
from qframe_rl.feeds.exchange import Stopped
from qframe_rl.feeds.load import load
from qframe_rl.feeds.parquet import Series
from qframe_rl.journal.store import read
from qframe_rl.rehearsal import Rehearsal, RehearsalConfig, listed, serve
from qframe_rl.rehearsal.market import Market
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.evaluate import data_for
from qframe_rl.runner.open import Opened, opened_live, reopened
from qframe_rl.runner.paper import paper, replay
from qframe_rl.types import HOUR, Record, Segment
from tests.markets import START, panel

MS = 1_000_000
N_BARS, LIVE, REST = 1500, 744, 5
SYMBOLS = ("C0/USDT:USDT", "C1/USDT:USDT")


def markets() -> tuple[Market, ...]:
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
    places = ["--runs", str(folder / "runs"), "--checkpoints", str(folder / "checkpoints")]
    argv = ["--data", str(root), "--symbols", ",".join(SYMBOLS), "--agents", "momentum", "--set", "env.cash=100000"]
    assert door(train.main, [*argv, *places]) == 0
    yield next((folder / "runs").glob("*/agents/momentum-0-0")), root


def expected(place: Path, window: int) -> Record:
    history = load(data_for(load_checkpoint(place), {}))
    from qframe_rl.runner.deploy import deployed

    market, agent = deployed(
        load_checkpoint(place), history.instruments, history.columns, history.bar_ns, "store", history.theory
    )
    start, stop = (int(np.searchsorted(history.time, ms * MS, side="right")) for ms in moments(LIVE))
    return backtest(market, agent, history, Segment(start, stop), window)


def live(place: Path, exchange: Rehearsal, folder: Path, until_ms: int, **options: Any) -> Opened:
    notes: list[str] = []
    return opened_live(
        place, load_checkpoint(place), {"exchange": "binance", "symbols": SYMBOLS}, folder, exchange.url, notes.append,
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


@pytest.mark.slow
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
    checkpoint: tuple[Path, Path], tmp_path: Path
) -> None:
    place, _ = checkpoint
    first, end = moments(60)
    meters = []
    with serve(markets(), RehearsalConfig(prints=4, half_spread_bps=30.0), start_ms=first + 5_000) as exchange:
        opened = live(place, exchange, tmp_path, end + 10_000, fills="book")
        result = traded(opened, begun=lambda desk, ledger, operator: meters.append(desk.drift))
    assert result.bars == 60
    (drift,) = meters
    assert drift.n_fills > 5
    assert 5.0 < drift.mean_bps < 100.0
    same_again(tmp_path, place, result.digest)


def test_a_session_that_was_away_catches_up_to_the_same_bits(checkpoint: tuple[Path, Path], tmp_path: Path) -> None:
    place, _ = checkpoint
    first, end = moments(60)
    hour = 3_600_000
    events, digests = [], []
    for stops in ((end,), (first + 7 * hour, first + 20 * hour, end)):
        folder = tmp_path / str(len(stops))
        with serve(markets(), RehearsalConfig(prints=4), start_ms=first + 5_000) as exchange:
            for stop in stops:
                result = traded(live(place, exchange, folder, stop + 10_000))
                if stop != end:
                    exchange.advance(6 * hour)
        assert result.bars == 60
        events.append([json.loads(e.payload) for e in read(folder / "journal.db") if e.kind == "decision"])
        digests.append(result.digest)
    assert events[0] == events[1]
    assert digests[0] == digests[1]
