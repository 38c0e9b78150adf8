"""The store: what is read is what was written, and what the panel makes of it can be computed by hand."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet as arrow

from qframe_rl.config import UserError
from qframe_rl.feeds import parquet, store
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.listing import listing
from qframe_rl.feeds.load import load
from qframe_rl.feeds.parquet import PRICES, RATES, Series
from qframe_rl.feeds.presets import preset
from qframe_rl.feeds.store import gaps, load_store
from qframe_rl.types import CLOSE, HOUR, OPEN, Instrument, iso, parse_time

START = parse_time("2024-01-01")
REAL = Path(os.environ.get("QFRAME_DATA") or "absent")
real = pytest.mark.skipif(not REAL.is_dir(), reason="QFRAME_DATA does not name a folder of real data")


def hours(*numbers: int) -> np.ndarray:
    return START + HOUR * np.array(numbers, dtype=np.int64)


def bars(opens: np.ndarray, level: float = 100.0) -> Series:
    """Bars whose open is level + hours since the start, and whose close is half a point above."""
    o = level + (opens - START) / HOUR
    return Series(opens, np.column_stack([o, o + 1.0, o - 1.0, o + 0.5, np.full(len(o), 7.0)]))


def save(root: Path, exchange: str, symbol: str, series: Series, timeframe: str = "1h") -> None:
    parquet.write(store.bars_path(root, listing(exchange, symbol), timeframe), PRICES, series)


def save_rates(root: Path, symbol: str, stamps: np.ndarray, rates: list[float]) -> None:
    path = store.rates_path(root, listing("binance", symbol))
    parquet.write(path, RATES, Series(stamps, np.array(rates)[:, None]))


def save_marks(root: Path, symbol: str, opens: np.ndarray, level: float, timeframe: str) -> None:
    o = level + (opens - START) / HOUR
    series = Series(opens, np.column_stack([o, o + 1.0, o - 1.0, o, np.zeros(len(o))]))
    parquet.write(store.marks_path(root, listing("binance", symbol), timeframe), PRICES, series)


def test_a_series_survives_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "1h.parquet"
    written = bars(hours(*range(50)))
    parquet.write(path, PRICES, written)
    got = parquet.read(path, PRICES)
    assert (got.time == written.time).all() and (got.values == written.values).all()
    schema = arrow.read_schema(path)
    assert schema.names == ["timestamp", *PRICES] and schema.field("timestamp").type == pyarrow.timestamp("ms")
    assert [p.name for p in path.parent.iterdir()] == ["1h.parquet"]


def test_merging_sorts_replaces_and_keeps(tmp_path: Path) -> None:
    path = tmp_path / "1h.parquet"
    parquet.merge(path, PRICES, bars(hours(5, 6, 7)))
    parquet.merge(path, PRICES, bars(hours(1, 2, 5), level=200.0))
    got = parquet.read(path, PRICES)
    assert (got.time == hours(1, 2, 5, 6, 7)).all()
    assert got.values[:, OPEN].tolist() == [201.0, 202.0, 205.0, 106.0, 107.0]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "1h.parquet"
    parquet.write(path, PRICES, bars(hours(0)))
    with pytest.raises(RuntimeError), parquet.replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert len(parquet.read(path, PRICES).time) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["1h.parquet"]


def test_rows_are_the_union_and_nothing_is_filled(tmp_path: Path) -> None:
    save(tmp_path, "binance", "BTC/USDT", bars(hours(0, 1, 2, 4, 5)))
    save(tmp_path, "binance", "ETH/USDT", bars(hours(2, 4, 7), level=10.0))
    history = load_store(tmp_path, "binance", ("BTC/USDT", "ETH/USDT"), "1h")
    assert (history.time == hours(1, 2, 3, 5, 6, 8)).all()
    close = history.values[:, :, CLOSE]
    np.testing.assert_array_equal(close[:, 0], [100.5, 101.5, 102.5, 104.5, 105.5, np.nan])
    np.testing.assert_array_equal(close[:, 1], [np.nan, np.nan, 12.5, 14.5, np.nan, 17.5])
    assert (np.isnan(history.values).any(axis=2) == np.isnan(close)).all()
    assert gaps(history) == (("BTC/USDT", START + 3 * HOUR, 1), ("ETH/USDT", START + 3 * HOUR, 1),
                             ("ETH/USDT", START + 5 * HOUR, 2))  # fmt: skip
    assert history.final.tolist() == [[False, False]] * 4 + [[True, False], [False, False]]
    assert history.funding.any() is np.False_ and history.columns == ()
    assert history.source.environment == "production" and history.source.exchange == "binance"


def test_a_cut_is_no_delisting(tmp_path: Path) -> None:
    save(tmp_path, "binance", "BTC/USDT", bars(hours(*range(10))))
    save(tmp_path, "binance", "ETH/USDT", bars(hours(0, 1, 2, 8, 9)))
    history = load_store(tmp_path, "binance", ("BTC/USDT", "ETH/USDT"), "1h", START + HOUR, START + 6 * HOUR)
    assert (history.time == hours(2, 3, 4, 5, 6)).all()
    assert not history.final.any()


def test_funding_is_rate_times_mark_in_the_bar_that_it_falls_into(tmp_path: Path) -> None:
    save(tmp_path, "binance", "BTC/USDT:USDT", bars(hours(*range(20))))
    stamps = hours(0, 8, 16) + np.array([0, 13_000_000, -2_000_000])  # some ms late, and 2 ms early
    save_rates(tmp_path, "BTC/USDT:USDT", stamps, [0.001, 0.002, -0.003])
    save_marks(tmp_path, "BTC/USDT:USDT", hours(*range(7, 20)), 500.0, "1h")
    history = load_store(tmp_path, "binance", ("BTC/USDT:USDT",), "1h")
    expected = np.zeros(20)
    expected[0] = 0.001 * 100.0  # no mark candle: the bar's own open
    expected[8], expected[16] = 0.002 * 508.0, -0.003 * 516.0
    np.testing.assert_array_equal(history.funding[:, 0], expected)
    assert history.columns == ("funding_rate",) and history.symbols == ("BTC/USDT:USDT",)
    # A rate stamped at a bar's close is published after it.
    np.testing.assert_array_equal(history.values[:, 0, 5], [0.001] * 8 + [0.002] * 8 + [-0.003] * 4)


def test_the_rate_is_nan_before_the_first(tmp_path: Path) -> None:
    save(tmp_path, "binance", "BTC/USDT:USDT", bars(hours(*range(12))))
    save_rates(tmp_path, "BTC/USDT:USDT", hours(4, 8), [0.001, 0.002])
    rate = load_store(tmp_path, "binance", ("BTC/USDT:USDT",), "1h").values[:, 0, 5]
    np.testing.assert_array_equal(rate, [np.nan] * 4 + [0.001] * 4 + [0.002] * 4)


def test_funding_takes_the_finest_marks_and_sums_within_a_bar(tmp_path: Path) -> None:
    days = START + 24 * HOUR * np.arange(3)
    save(tmp_path, "binance", "BTC/USDT:USDT", bars(days), "1d")
    save_rates(tmp_path, "BTC/USDT:USDT", hours(*range(0, 72, 4)), [0.001] * 18)
    save_marks(tmp_path, "BTC/USDT:USDT", hours(*range(0, 72, 8)), 1000.0, "8h")
    one = load_store(tmp_path, "binance", ("BTC/USDT:USDT",), "1d")
    assert one.funding[0, 0] == pytest.approx(0.001 * 2 * (1000 + 1008 + 1016), rel=1e-12)
    save_marks(tmp_path, "BTC/USDT:USDT", hours(*range(72)), 2000.0, "1h")
    other = load_store(tmp_path, "binance", ("BTC/USDT:USDT",), "1d")
    assert other.funding[0, 0] == pytest.approx(0.001 * sum(2000 + h for h in range(0, 24, 4)), rel=1e-12)


def test_a_settlement_in_a_gap_is_charged_in_the_next_row(tmp_path: Path) -> None:
    save(tmp_path, "binance", "BTC/USDT:USDT", bars(hours(*range(6), *range(10, 20))))
    save_rates(tmp_path, "BTC/USDT:USDT", hours(0, 8, 16), [0.001] * 3)
    history = load_store(tmp_path, "binance", ("BTC/USDT:USDT",), "1h")
    row = int(np.searchsorted(history.time, START + 11 * HOUR))
    assert history.funding[row, 0] == 0.001 * 110.0
    assert np.count_nonzero(history.funding) == 3


def test_spot_and_perpetual_stand_side_by_side(tmp_path: Path) -> None:
    save(tmp_path, "binance", "BTC/USDT", bars(hours(*range(10))))
    save(tmp_path, "binance", "BTC/USDT:USDT", bars(hours(*range(10))))
    save_rates(tmp_path, "BTC/USDT:USDT", hours(0, 8), [0.001, 0.002])
    history = load_store(tmp_path, "binance", ("BTC/USDT", "BTC/USDT:USDT"), "1h")
    assert [i.kind for i in history.instruments] == ["spot", "perpetual"]
    assert not history.funding[:, 0].any() and not history.values[:, 0, 5].any()
    assert history.funding[:, 1].any()


def test_missing_funding_is_refused_or_zero_by_choice(tmp_path: Path) -> None:
    save(tmp_path, "binance", "BTC/USDT:USDT", bars(hours(*range(100))))
    with pytest.raises(UserError, match="no funding rates of BTC/USDT:USDT"):
        load_store(tmp_path, "binance", ("BTC/USDT:USDT",), "1h")
    history = load_store(tmp_path, "binance", ("BTC/USDT:USDT",), "1h", funding="zero")
    assert not history.funding.any() and not history.values[:, 0, 5].any()
    save_rates(tmp_path, "BTC/USDT:USDT", hours(0, 8, 16, 24, 64, 72, 80, 88, 96), [0.001] * 9)
    with pytest.raises(UserError, match="no funding rate from 2024-01-02 00:00:00 to 2024-01-03 16:00:00"):
        load_store(tmp_path, "binance", ("BTC/USDT:USDT",), "1h")
    assert len(load_store(tmp_path, "binance", ("BTC/USDT:USDT",), "1h", until=START + 40 * HOUR)) == 40


@pytest.mark.parametrize(
    ("exchange", "symbol"), [("binance", "BTC/USDT:USDT"), ("binance_um", "BTC/USDT"), ("binanceusdm", "BTC/USDT")]
)
def test_three_spellings_of_one_perpetual(tmp_path: Path, exchange: str, symbol: str) -> None:
    one = listing(exchange, symbol)
    assert (one.symbol, one.folder, one.pair, one.kind) == ("BTC/USDT:USDT", "binance_um", "BTC-USDT", "perpetual")


@pytest.mark.parametrize(
    ("symbol", "text"),
    [("BTC/USD:BTC", "settled in BTC"), ("BTC/USDT:USDT-250627", "expires"), ("BTCUSDT", "not BASE/QUOTE")],
)
def test_other_contracts_are_refused(symbol: str, text: str) -> None:
    with pytest.raises(UserError, match=text):
        listing("binance", symbol)


def test_what_is_not_stored_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        load_store(tmp_path / "no", "binance", ("BTC/USDT",), "1h")
    with pytest.raises(UserError, match="not a store"):
        load_store(tmp_path, "binance", ("BTC/USDT",), "1h")
    save(tmp_path, "binance", "BTC/USDT", bars(hours(0, 1)))
    with pytest.raises(UserError, match="did you mean 'binance'"):
        load_store(tmp_path, "binanc", ("BTC/USDT",), "1h")
    with pytest.raises(UserError, match="did you mean 'BTC-USDT'"):
        load_store(tmp_path, "binance", ("BTC/USD",), "1h")
    with pytest.raises(UserError, match="has no 4h bars; it has 1h"):
        load_store(tmp_path, "binance", ("BTC/USDT",), "4h")
    with pytest.raises(UserError, match="no bars"):
        load_store(tmp_path, "binance", ("BTC/USDT",), "1h", since=START + 50 * HOUR)
    with pytest.raises(UserError, match="named twice"):
        load_store(tmp_path, "binance", ("BTC/USDT", "BTC/USDT"), "1h")


def test_damaged_files_are_one_sentence(tmp_path: Path) -> None:
    path = store.bars_path(tmp_path, listing("binance", "BTC/USDT"), "1h")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not parquet")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        load_store(tmp_path, "binance", ("BTC/USDT",), "1h")
    parquet.write(path, RATES, Series(hours(0), np.ones((1, 1))))
    with pytest.raises(UserError, match="no column 'open'; it has timestamp, rate"):
        load_store(tmp_path, "binance", ("BTC/USDT",), "1h")
    parquet.write(path, PRICES, bars(hours(1, 0)))
    with pytest.raises(UserError, match="not sorted at 2024-01-01 00:00:00"):
        load_store(tmp_path, "binance", ("BTC/USDT",), "1h")
    parquet.write(path, PRICES, bars(hours(0, 1)))
    holed = bars(hours(0, 1))
    holed.values[1, 3] = np.nan
    parquet.write(path, PRICES, holed)
    with pytest.raises(UserError, match="'close' has no value at 2024-01-01 01:00:00"):
        load_store(tmp_path, "binance", ("BTC/USDT",), "1h")
    parquet.write(path, PRICES, bars(hours(0, 1)))
    with pytest.raises(UserError, match="closer together than 4h"):
        path.rename(path.with_name("4h.parquet"))
        load_store(tmp_path, "binance", ("BTC/USDT",), "4h")


def test_impossible_prices_are_refused(tmp_path: Path) -> None:
    series = bars(hours(0, 1, 2))
    series.values[1, 1] = 1.0
    save(tmp_path, "binance", "BTC/USDT", series)
    with pytest.raises(UserError, match="high below low in the bar of 2024-01-01 01:00:00"):
        load_store(tmp_path, "binance", ("BTC/USDT",), "1h")


def test_rules_come_from_the_exchange_before_presets(tmp_path: Path) -> None:
    save(tmp_path, "binance", "BTC/USDT", bars(hours(0, 1)))
    assert load_store(tmp_path, "binance", ("BTC/USDT",), "1h").instruments == (preset(listing("binance", "BTC/USDT")),)
    stated = Instrument("BTC/USDT", lot=0.5, tick=0.25, min_notional=3.0, maker_fee=0.1, taker_fee=0.2)
    store.store_instruments(tmp_path, "binance", [stated], "production")
    assert load_store(tmp_path, "binance", ("BTC/USDT",), "1h").instruments == (stated,)
    path = tmp_path / "ohlcv" / "binance" / "instruments.json"
    assert json.loads(path.read_text())["instruments"]["BTC/USDT"]["read"].startswith("20")
    path.write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        load_store(tmp_path, "binance", ("BTC/USDT",), "1h")


def test_test_data_say_so_and_never_mix(tmp_path: Path) -> None:
    one = preset(listing("binance", "BTC/USDT"))
    store.store_instruments(tmp_path, "binance", [one], "testnet")
    save(tmp_path, "binance", "BTC/USDT", bars(hours(0, 1)))
    assert load_store(tmp_path, "binance", ("BTC/USDT",), "1h").source.environment == "testnet"
    with pytest.raises(UserError, match="holds data from testnet, these come from production"):
        store.store_instruments(tmp_path, "binance", [one], "production")


def test_presets() -> None:
    btc, coin = preset(listing("binance", "BTC/USDT")), preset(listing("binance", "NEW/USDT"))
    assert (btc.lot, btc.tick, btc.min_notional, btc.maker_fee, btc.taker_fee) == (1e-5, 0.01, 5.0, 0.001, 0.001)
    assert (coin.lot, coin.tick, coin.kind) == (0.0, 0.0, "spot")
    perpetual = preset(listing("binance", "ADA/USDT:USDT"))
    assert (perpetual.maker_fee, perpetual.taker_fee, perpetual.maintenance) == (0.0002, 0.0005, 0.01)
    assert preset(listing("binance", "ETH/USDT:USDT")).maintenance == 0.004


def test_load_finds_the_door(tmp_path: Path) -> None:
    save(tmp_path, "binance", "BTC/USDT", bars(hours(*range(30))))
    (tmp_path / "mood.csv").write_text("timestamp,mood\n2023-12-31T06:00,3\n")
    config = DataConfig(data=str(tmp_path), symbols=("BTC/USDT",), since="2024-01-01T02:00", until="2024-01-02",
                        columns=("mood=mood.csv:mood:0s",))  # fmt: skip
    history = load(config)
    assert len(history) == 22 and history.columns == ("mood",) and iso(int(history.time[-1])) == "2024-01-02 00:00:00"
    one = load(DataConfig(data=str(store.bars_path(tmp_path, listing("binance", "BTC/USDT"), "1h"))))
    assert one.symbols == ("BTC/USDT",) and one.source.environment == "unknown" and len(one) == 30
    assert len(load(DataConfig(data="synthetic:ar1", bars=500))) == 500
    with pytest.raises(UserError, match="'nowhere': no such file or folder"):
        load(DataConfig(data="nowhere"))
    with pytest.raises(UserError, match="set since"):
        load(DataConfig(data="ccxt:binance", symbols=("BTC/USDT",)))
    with pytest.raises(UserError, match="is not before until"):
        load(DataConfig(since="2024-01-02", until="2024-01-01"))


@real
def test_real_hourly_bitcoin() -> None:
    history = load_store(REAL, "binance", ("BTC/USDT",), "1h")
    found = gaps(history)
    assert len(history) == 64_524 and iso(int(history.time[0]) - HOUR) == "2017-08-17 04:00:00"
    assert (len(found), sum(gap.n_bars for gap in found)) == (28, 128)
    stated = json.loads((REAL / "GAPS.json").read_text())["ohlcv/binance/BTC-USDT/1h.parquet"]
    assert [gap.n_bars for gap in found] == [n for _, _, n in stated]
    assert [iso(gap.start - HOUR) for gap in found] == [before for before, _, _ in stated]
    row = int(np.searchsorted(history.time, parse_time("2020-03-13T03:00")))
    assert history.values[row, 0, 2] <= 3782.13 <= history.values[row, 0, 1]


@real
def test_real_funding_sums_to_the_file() -> None:
    history = load_store(REAL, "binance_um", ("BTC/USDT", "ETH/USDT"), "1h")
    market = listing("binance", "BTC/USDT:USDT")
    rates = parquet.read(store.rates_path(REAL, market), RATES)
    marks = parquet.read(store.marks_path(REAL, market, "1h"), PRICES)
    bars_ = parquet.read(store.bars_path(REAL, market, "1h"), PRICES)
    total = 0.0
    for stamp, rate in zip(rates.time, rates.values[:, 0], strict=True):
        source = marks if stamp in marks.time else bars_
        total += rate * source.values[np.searchsorted(source.time, stamp), OPEN]
    assert history.funding[:, 0].sum() == pytest.approx(total, rel=1e-12)
    assert np.count_nonzero(history.funding[:, 0]) == np.count_nonzero(rates.values)
    # By hand: on 2021-02-01 at 00:00 a rate of 0.00013932 was charged at a mark of 33130.15142336.
    stamp = parse_time("2021-02-01")
    row = int(np.searchsorted(history.time, stamp, side="right"))
    assert history.funding[row, 0] == pytest.approx(0.00013932 * 33130.15142336, rel=1e-9)
    assert history.time[row] == stamp + HOUR


@real
def test_real_coins_with_late_stamps() -> None:
    history = load_store(REAL, "binance", ("ARB/USDT:USDT", "SOL/USDT:USDT"), "4h")
    rates = parquet.read(store.rates_path(REAL, listing("binance", "SOL/USDT:USDT")), RATES)
    assert np.count_nonzero(history.funding[:, 1]) == np.count_nonzero(rates.values)
    due = np.flatnonzero(history.funding[:, 1])
    assert ((history.time[due] - history.bar_ns) % (8 * HOUR) == 0).all()
    with pytest.raises(UserError, match="no funding rates of BCH/USDT:USDT"):
        load_store(REAL, "binance", ("BCH/USDT:USDT",), "1h")
