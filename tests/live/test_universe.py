"""A universe in a session: coins come and go on a rehearsal exchange, and the members are those of the stored bars."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import train
from experiments.cli import door
from qframe_rl import catalog
from qframe_rl.agent import Agent
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import Ref, UserError
from qframe_rl.deploy import make_market, window_of
from qframe_rl.feeds.ccxt import CcxtFeed
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.load import load
from qframe_rl.feeds.universe import changes
from qframe_rl.feeds.universe_rule import universe_rule
from qframe_rl.gym.market import Market
from qframe_rl.journal.store import read
from qframe_rl.live.open import opened_live
from qframe_rl.live.paper import SessionResult, paper, replay
from qframe_rl.live.record import journal_record
from qframe_rl.live.spec import SessionSpec, terms_of
from qframe_rl.members import MEMBER
from qframe_rl.rehearsal import Rehearsal, RehearsalConfig, listed, serve
from qframe_rl.runner.train import Run
from qframe_rl.types import CLOSE, DAY, HOUR, VOLUME, History, Record, iso
from tests.experiments.test_rehearsed_paper import Lockstep
from tests.feeds.test_universe import stored
from tests.markets import START, panel
from tests.test_members import never_enlarged

BAR, MS = 4 * HOUR, 1_000_000
PER_DAY = DAY // BAR
FIRST, MONTH, N = 20 * PER_DAY, 30 * PER_DAY, 52 * PER_DAY
RULE = "top:5:volume5d,age:1d,traded:2d,renew:daily"
LISTED = {3: 22, 4: 26, 5: 31, 6: 37, 7: 44}
"""Coins that are listed while the session runs, and on which day."""
DELISTED = {8: 24, 9: 33, 10: 41}


def coins() -> History:
    """Eleven coins in bars of four hours, of which five are listed and three delisted in a month, in whole ticks."""
    history = panel(N, 11, seed=6, volatility=0.02, kind="spot", ragged=False, column=False)
    values, final = history.values.copy(), history.final.copy()
    rng = np.random.default_rng(6)
    values[:, :, VOLUME] *= np.exp(np.cumsum(0.15 * rng.standard_normal(values.shape[:2]), axis=0))
    values[:, :, :VOLUME] = np.round(values[:, :, :VOLUME], 2)
    values[:, :, VOLUME] = np.round(values[:, :, VOLUME], 3)
    for a, day in LISTED.items():
        values[: day * PER_DAY + a % PER_DAY, a] = np.nan
    for a, day in DELISTED.items():
        last = day * PER_DAY + a % PER_DAY
        values[last + 1 :, a], final[last, a] = np.nan, True
    time = START // DAY * DAY + BAR * np.arange(1, N + 1, dtype=np.int64)
    return replace(history, values=values, final=final, time=time, bar_ns=BAR)


HISTORY = coins()


def traders(feed: CcxtFeed) -> tuple[Market, Agent]:
    """Who holds what rose most, of who may be bought."""
    market = make_market(Ref(name="spot", params={"features": ["log_return:1"]}), feed.instruments, feed.columns, BAR)
    module = catalog.load("agents", "cross_sectional")
    agent: Agent = module.make(module.Config(lookback_bars=6, hold_bars=2), market.spec(feed.columns, 3))
    return market, agent


def traded(exchange: Rehearsal, folder: Path, until_ms: int, notes: list[str]) -> SessionResult:
    """Trade until a moment, or go on until then."""
    feed = CcxtFeed(
        "binance", HISTORY.symbols, "4h", 10, url=exchange.url, universe=RULE, clock=Lockstep(exchange, until_ms),
        note=notes.append,
    )  # fmt: skip
    begun = terms_of(folder / "journal.db")
    market, agent = traders(feed)
    window = window_of(market, agent)
    feed.window = window
    instruments = feed.instruments if begun is None else begun.instruments
    terms = SessionSpec(
        "cross_sectional", "none", {"feed": "ccxt", "universe": RULE}, instruments, feed.columns, BAR, window
    )
    market = replace(market, instruments=instruments)
    return paper(market, agent, feed, terms, folder, durable=False, snapshot_bars=25)


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(event.payload) for event in read(folder / "journal.db") if event.kind == kind]


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, History, SessionResult, list[str]]:
    """A month on the exchange with restarts in between, and the same bars from a store."""
    folder = tmp_path_factory.mktemp("month")
    stored(folder / "store", HISTORY)
    notes: list[str] = []
    first, last = int(HISTORY.time[FIRST - 1]), int(HISTORY.time[FIRST + MONTH - 1])
    with serve(listed(HISTORY), RehearsalConfig(prints=4), start_ms=first // MS + 5_000) as exchange:
        for stop in (first + 11 * DAY + BAR, first + 17 * DAY + 2 * BAR, last):
            result = traded(exchange, folder, stop // MS + 10_000, notes)
            if stop != last:
                exchange.advance(9 * HOUR // MS)
    data = DataConfig(data=str(folder / "store"), symbols=HISTORY.symbols, timeframe="4h", universe=RULE)
    return folder, load(data), result, notes


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_over_a_month_the_live_list_is_the_stored_one_name_by_name(
    month: tuple[Path, History, SessionResult, list[str]],
) -> None:
    folder, history, result, notes = month
    bars = events(folder, "bar")
    assert result.bars == MONTH
    assert [bar["time"] for bar in bars[-MONTH:]] == HISTORY.time[FIRST : FIRST + MONTH].tolist()
    for bar in bars:
        row = int(np.searchsorted(history.time, bar["time"]))
        values = np.array(bar["values"], dtype=np.float64)
        assert np.array_equal(values[:, : VOLUME + 1], history.values[row, :, : VOLUME + 1], equal_nan=True)
        live = {s for s, inside in zip(HISTORY.symbols, values[:, -1].tolist(), strict=True) if inside == 1.0}
        kept = {
            s for s, inside in zip(history.symbols, history.values[row, :, -1].tolist(), strict=True) if inside == 1.0
        }
        assert live == kept, iso(bar["time"])
    span = history.rows(int(np.searchsorted(history.time, bars[0]["time"])), FIRST + MONTH)
    assert len([n for n in notes if n.endswith("is listed.")]) == len(LISTED)
    assert len([n for n in notes if n.endswith("is listed no more.")]) == len(DELISTED)
    told = {one["time"]: one for one in events(folder, "universe")}
    later = [one for one in changes(span, universe_rule(RULE)) if one.time > HISTORY.time[FIRST]]
    assert [one._asdict() for one in later] == [
        {"time": t, **{w: tuple(told[t].get(w, ())) for w in ("joined", "left", "listed", "delisted")}}
        for t in sorted(told) if t > HISTORY.time[FIRST]
    ]  # fmt: skip
    assert sorted(s for one in later for s in one.listed) == sorted(HISTORY.symbols[a] for a in LISTED)
    assert sorted(s for one in later for s in one.delisted) == sorted(HISTORY.symbols[a] for a in DELISTED)


def test_what_left_is_reduced_only_and_the_record_runs_again_the_same(
    month: tuple[Path, History, SessionResult, list[str]],
) -> None:
    folder, history, result, _ = month
    record: Record = journal_record(folder / "journal.db")
    assert (record.fills.quantity != 0.0).sum() > 50
    never_enlarged(history, record)
    assert result.repeated > 0
    terms = terms_of(folder / "journal.db")
    assert terms is not None and terms.columns == (MEMBER,)
    market = make_market(Ref(name="spot", params={"features": ["log_return:1"]}), terms.instruments, terms.columns, BAR)
    module = catalog.load("agents", "cross_sectional")
    agent = module.make(module.Config(lookback_bars=6, hold_bars=2), market.spec(terms.columns, 3))
    assert replay(market, agent, terms, folder / "journal.db").digest == result.digest


def test_a_universe_of_coins_that_nobody_lists_is_refused() -> None:
    first = int(HISTORY.time[FIRST - 1]) // MS
    with (
        serve(listed(HISTORY), RehearsalConfig(prints=4), start_ms=first + 5_000) as exchange,
        pytest.raises(UserError, match="lists none of the 2 candidates of the universe"),
    ):
        CcxtFeed("binance", ("C6/USDT", "NONE/USDT"), "4h", 10, url=exchange.url, universe="all")
    assert np.isnan(HISTORY.values[FIRST, 6, CLOSE])


def test_a_checkpoint_follows_an_exchange_with_the_rule_that_it_was_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path / "store", HISTORY)
    monkeypatch.setattr(Run, "_draw", lambda *given: None)
    argv = ["--data", str(tmp_path / "store"), "--universe", RULE, "--timeframe", "4h", "--agents", "basket"]
    argv += ["--set", "agent.basket.rebalance_bars=6", "--set", "env.features=log_return:1", "--set", "env.cash=100000"]
    assert door(train.main, [*argv, "--runs", str(tmp_path / "r"), "--checkpoints", str(tmp_path / "c")]) == 0
    place = next((tmp_path / "r").glob("*/agents/basket-0-0"))
    first, notes = int(HISTORY.time[FIRST - 1]), list[str]()
    end = first + 10 * BAR
    with serve(listed(HISTORY), RehearsalConfig(prints=4), start_ms=first // MS + 5_000) as exchange:
        asked = (place, load_checkpoint(place), {"exchange": "binance"}, tmp_path / "live", exchange.url, notes.append)
        opened = opened_live(*asked, clock=Lockstep(exchange, end // MS + 10_000))
        result = paper(
            opened.market, opened.agent, opened.feed, opened.terms, opened.folder, quotes=opened.quotes, durable=False
        )
        with pytest.raises(UserError, match="does not list C3/USDT, C4/USDT, C5/USDT"):
            opened_live(*asked, orders="testnet", clock=Lockstep(exchange, end // MS + 10_000))
    assert result.bars == 10 and opened.terms.source["universe"] == RULE
    assert opened.terms.columns == (MEMBER,)
    record = journal_record(tmp_path / "live" / "journal.db")
    held = {s for s, q in zip(HISTORY.symbols, record.account.position[-1].tolist(), strict=True) if q}
    assert 3 <= len(held) <= 6
