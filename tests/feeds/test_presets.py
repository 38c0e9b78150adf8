"""Rules for markets that bring none: what belongs to a quote currency is counted in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qframe_rl import catalog
from qframe_rl.config import UserError
from qframe_rl.feeds import parquet, store
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.listing import listing
from qframe_rl.feeds.load import load, remarks
from qframe_rl.feeds.parquet import PRICES, Series
from qframe_rl.feeds.presets import opening_cash, preset, unknown_minimums
from qframe_rl.gym.market import Market
from qframe_rl.runner.backtest import backtest
from qframe_rl.types import HOUR, History, Instrument, Segment, parse_time
from tests.contracts.test_agents import make


@pytest.mark.parametrize(
    ("symbol", "least"),
    [
        ("BTC/USDT", 5.0),
        ("BTC/USDC", 5.0),
        ("BTC/EUR", 5.0),
        ("ETH/BTC", 0.0001),
        ("LINK/ETH", 0.001),
        ("SOL/BNB", 0.01),
        ("BTC/UNHEARD", 0.0),
        ("BTC/USDT:USDT", 100.0),
        ("DOGE/USDC:USDC", 5.0),
        ("BTC/BTC:BTC", 0.0001),
    ],
)
def test_minimums_belong_to_a_currency(symbol: str, least: float) -> None:
    assert preset(listing("binance", symbol)).min_notional == least


def test_the_smallest_quantity_is_one_step() -> None:
    doge, new = preset(listing("binance", "DOGE/USDT")), preset(listing("binance", "NEW/USDT"))
    assert (doge.lot, doge.min_amount) == (1.0, 1.0) and (new.lot, new.min_amount) == (0.0, 0.0)


def test_an_unknown_currency_is_said_once() -> None:
    markets = [preset(listing("binance", symbol)) for symbol in ("BTC/XYZ", "ETH/XYZ", "BTC/USDT", "ETH/BTC")]
    assert list(unknown_minimums(markets)) == ["no smallest order is known in XYZ: none for BTC/XYZ, ETH/XYZ"]
    assert list(unknown_minimums([preset(listing("binance", "BTC/USDT"))])) == []
    assert list(unknown_minimums([Instrument("prices")])) == [
        "no smallest order is known without a quote currency: none for prices"
    ]
    stated = Instrument("BTC/XYZ", lot=0.1, tick=0.1)
    assert list(unknown_minimums([stated])) == []


def test_cash_is_by_currency_or_asked_for() -> None:
    def cash(*symbols: str) -> float:
        return opening_cash([Instrument(symbol) for symbol in symbols])

    assert cash("BTC/USDT", "ETH/USDC") == cash("BTC/USD:USD") == cash("C/EUR") == 10_000.0
    assert (cash("ETH/BTC"), cash("LINK/ETH"), cash("SOL/BNB"), cash("LUNA/BTC#2")) == (1.0, 10.0, 100.0, 1.0)
    with pytest.raises(UserError, match=r"BTC/XYZ is priced in XYZ, so how much .*--set env\.cash=10000"):
        cash("BTC/XYZ")
    with pytest.raises(UserError, match=r"prices names no quote, so how much .*--symbols BTC/USDT"):
        cash("prices")
    with pytest.raises(UserError, match="BTC/USDT, ETH/BTC are priced in USDT, BTC, and one account is kept in one"):
        cash("BTC/USDT", "ETH/BTC")


def market(symbols: tuple[str, ...], **params: object) -> Market:
    module = catalog.load("envs", "spot")
    instruments = tuple(Instrument(symbol) for symbol in symbols)
    made: Market = module.make(module.Config(features=("log_return:1",), **params), instruments, (), HOUR)
    return made


def test_a_market_takes_what_is_stated() -> None:
    assert market(("ETH/BTC",)).cash == 1.0 and market(("ETH/BTC",), cash=3.0).cash == 3.0
    assert market(("A/XYZ",), cash=7.0).cash == 7.0
    with pytest.raises(UserError, match="state it in that currency"):
        market(("A/XYZ",))
    with pytest.raises(UserError, match="one account is kept in one currency"):
        market(("ETH/BTC", "BTC/USDT"), cash=3.0)


def stored(root: Path, symbol: str = "ETH/BTC") -> History:
    opens = parse_time("2024-01-01") + HOUR * np.arange(400, dtype=np.int64)
    close = 0.05 * np.exp(np.cumsum(0.005 * np.random.default_rng(0).standard_normal(400)))
    opening = np.concatenate([[0.05], close[:-1]])
    bars = [opening, np.maximum(opening, close), np.minimum(opening, close), close, np.full(400, 1000.0)]
    parquet.write(store.bars_path(root, listing("binance", symbol), "1h"), PRICES, Series(opens, np.column_stack(bars)))
    return load(DataConfig(data=str(root), symbols=(symbol,)))


def test_ether_for_bitcoin_trades(tmp_path: Path) -> None:
    history = stored(tmp_path)
    assert list(remarks(history)) == []
    bought, agent = make("buy_and_hold", history)
    record = backtest(bought, agent, history, Segment(200, 400), 2)
    assert bought.cash == record.account.cash[0] == 1.0
    assert record.account.position[-1, 0] * history.values[-1, 0, 3] > 0.5


def test_the_smallest_quantity_is_stored_and_read_back(tmp_path: Path) -> None:
    stored(tmp_path)
    stated = Instrument("ETH/BTC", lot=0.001, min_amount=0.05)
    store.store_instruments(tmp_path, "binance", [stated], "production")
    assert load(DataConfig(data=str(tmp_path), symbols=("ETH/BTC",))).instruments == (stated,)
    path = tmp_path / "ohlcv" / "binance" / "instruments.json"
    written = json.loads(path.read_text())
    del written["instruments"]["ETH/BTC"]["min_amount"]  # as it was written before
    path.write_text(json.dumps(written))
    assert load(DataConfig(data=str(tmp_path), symbols=("ETH/BTC",))).instruments[0].min_amount == 0.0
