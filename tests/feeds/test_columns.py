"""Exogenous columns: no value is shown before it could be known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.feeds import parquet, store
from qframe_rl.feeds.columns import extend
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.listing import listing
from qframe_rl.feeds.load import load
from qframe_rl.feeds.parquet import PRICES, Series
from qframe_rl.feeds.store import load_store
from qframe_rl.types import CLOSE, HOUR, History, parse_time

START = parse_time("2024-01-01")


def hours(*numbers: int) -> np.ndarray:
    return START + HOUR * np.array(numbers, dtype=np.int64)


def bars(opens: np.ndarray, level: float = 100.0) -> Series:
    """Bars whose open is level + hours since the start, and whose close is half a point above."""
    o = level + (opens - START) / HOUR
    return Series(opens, np.column_stack([o, o + 1.0, o - 1.0, o + 0.5, np.full(len(o), 7.0)]))


def save(root: Path, symbol: str, series: Series, timeframe: str = "1h") -> None:
    parquet.write(store.bars_path(root, listing("binance", symbol), timeframe), PRICES, series)


@pytest.fixture
def history(tmp_path: Path) -> History:
    save(tmp_path, "BTC/USDT", bars(hours(*range(6))))
    save(tmp_path, "ETH/USDT", bars(hours(3, 4)))
    return load_store(tmp_path, "binance", ("BTC/USDT", "ETH/USDT"), "1h")


def test_values_are_known_from_their_publication_on(history: History, tmp_path: Path) -> None:
    (tmp_path / "mood.csv").write_text("Timestamp,Mood\n2024-01-01T01:30:00,3\n2024-01-01T03:00:00,5\n")
    got = extend(history, ("mood=mood.csv:Mood:0s", "late=mood.csv:mood:2h"), tmp_path)
    assert got.columns == ("mood", "late")
    np.testing.assert_array_equal(got.values[:, 0, 5], [np.nan, 3, 5, 5, 5, 5])
    np.testing.assert_array_equal(got.values[:, 0, 6], [np.nan, np.nan, np.nan, 3, 5, 5])
    np.testing.assert_array_equal(got.values[:, 1, 5], [np.nan, np.nan, np.nan, 5, 5, np.nan])


def test_a_file_of_bars_is_known_when_they_have_closed(history: History, tmp_path: Path) -> None:
    """The very bars that are traded, as a column: each row shows its own close, and never the next one."""
    got = extend(history, ("peek=ohlcv/binance/BTC-USDT/1h.parquet:close",), tmp_path)
    np.testing.assert_array_equal(got.values[:, 0, 5], got.values[:, 0, CLOSE])
    later = extend(history, ("peek=ohlcv/binance/BTC-USDT/1h.parquet:close:1h",), tmp_path)
    np.testing.assert_array_equal(later.values[:, 0, 5], [np.nan, *got.values[:-1, 0, CLOSE]])


def test_longer_bars_are_known_later(history: History, tmp_path: Path) -> None:
    save(tmp_path, "SOL/USDT", bars(hours(-4, 0, 4)), "4h")
    got = extend(history, ("sol=ohlcv/binance/SOL-USDT/4h.parquet:close",), tmp_path)
    # The bar that opened at -4h closed at 0h, and the one that opened at 0h at 4h, the close of the fourth row.
    np.testing.assert_array_equal(got.values[:, 0, 5], [96.5, 96.5, 96.5, 100.5, 100.5, 100.5])


@pytest.mark.parametrize("name", ["prices.csv", "BTC-2024.csv", "1h_2024-01.csv", "1h.csv"])
def test_bars_elsewhere_are_as_long_as_their_name_or_their_spacing_says(
    history: History, tmp_path: Path, name: str
) -> None:
    lines = [f"2024-01-01T0{h}:00:00,1,2,1,{h}" for h in range(6) if h != 3]
    (tmp_path / name).write_text("\n".join(["timestamp,Open,High,Low,Close", *lines]))
    got = extend(history, (f"other={name}:close",), tmp_path)
    np.testing.assert_array_equal(got.values[:, 0, 5], [0, 1, 2, 2, 4, 5])


def test_a_column_that_states_the_publication(history: History, tmp_path: Path) -> None:
    lines = ["timestamp,published,mood", "2024-01-01T00:00,2024-01-01T02:00,3", "2024-01-01T01:00,2024-01-01T04:30,5"]
    (tmp_path / "mood.csv").write_text("\n".join(lines))
    got = extend(history, ("mood=mood.csv:mood", "late=mood.csv:mood:1h"), tmp_path)
    np.testing.assert_array_equal(got.values[:, 0, 5], [np.nan, 3, 3, 3, 5, 5])
    np.testing.assert_array_equal(got.values[:, 0, 6], [np.nan, np.nan, 3, 3, 3, 5])
    (tmp_path / "bare.csv").write_text("published,mood\n2024-01-01T02:00,3\n")
    np.testing.assert_array_equal(
        extend(history, ("mood=bare.csv:mood",), tmp_path).values[:, 0, 5], [np.nan, 3, 3, 3, 3, 3]
    )


def test_a_value_holds_for_its_age_and_no_longer(history: History, tmp_path: Path) -> None:
    (tmp_path / "mood.csv").write_text("timestamp,Mood\n2024-01-01T01:30:00,3\n2024-01-01T05:00:00,5\n")
    got = extend(history, ("mood=mood.csv:Mood:0s:2h", "late=mood.csv:Mood:30m:2h"), tmp_path)
    np.testing.assert_array_equal(got.values[:, 0, 5], [np.nan, 3, 3, np.nan, 5, 5])
    # Its age counts from when it was known: at the close of hour 4 it is two hours old, and not more.
    np.testing.assert_array_equal(got.values[:, 0, 6], [np.nan, 3, 3, 3, np.nan, 5])


def test_each_instrument_has_its_own_rows_of_a_long_table(history: History, tmp_path: Path) -> None:
    lines = ["timestamp,symbol,interest", "2024-01-01T02:00,ETH,20", "2024-01-01T02:00,btc-usdt,10"]
    lines += ["2024-01-01T05:00,ETHUSDT,21", "2024-01-01T04:30,BTC/USDT,11", "2024-01-01T03:00,ETC,99"]
    (tmp_path / "interest.csv").write_text("\n".join(lines))
    got = extend(history, ("oi=interest.csv:interest:0s",), tmp_path)
    np.testing.assert_array_equal(got.values[:, 0, 5], [np.nan, 10, 10, 10, 11, 11])
    np.testing.assert_array_equal(got.values[:, 1, 5], [np.nan, np.nan, np.nan, 20, 21, np.nan])
    (tmp_path / "both.csv").write_text(
        "timestamp,symbol,interest\n2024-01-01T02:00,BTC/USDT:USDT,7\n2024-01-01T04:30,BTC/USDT,5"
    )
    perpetual = replace(history, instruments=(replace(history.instruments[0], symbol="BTC/USDT:USDT"),) * 2)
    both = extend(perpetual, ("oi=both.csv:interest:0s",), tmp_path)
    np.testing.assert_array_equal(both.values[:, 0, 5], [np.nan, 7, 7, 7, 7, 7])  # a spot market's rows are not its own


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("mood", "is not NAME=FILE:COLUMN"),
        ("mood=absent.csv:Mood:0s", "no such file"),
        ("mood=mood.csv:Other:0s", "no column 'Other'; it has Timestamp, Mood"),
        ("mood=mood.csv:Mood", r"does not say when its values were known; add how long .*mood\.csv:Mood:1d"),
        ("mood=unsorted.csv:Mood:0s", "not sorted at 2024-01-01 01:30:00"),
        ("mood=hole.csv:Mood:0s", "no finite value at 2024-01-01 03:00:00"),
        ("mood=early.csv:Mood", "2024-01-01 03:00:00 was published at 2024-01-01 02:00:00, before it"),
        ("mood=two.csv:close", "neither its name nor their spacing tells how long they are"),
        ("mood=ragged.csv:close", "neither its name nor their spacing tells how long they are"),
        ("mood=1h.csv:close", "holds bars of 1h, but they lie 1d apart"),
        ("mood=1d.csv:close", "holds bars of 1d, but they lie 1h apart"),
        ("funding_rate=mood.csv:Mood:0s", "taken"),
        ("mood=days.csv:Mood:0s", r"are days, and what a day says is known at its end; .* mood=days\.csv:Mood:1d"),
        ("mood=days.csv:Mood:23h:3d", r"are days, .* such as mood=days\.csv:Mood:1d"),
        ("mood=told.csv:Mood", "are days"),
        ("mood=others.csv:Mood:0s", r"none of its symbols \(DOGE, XRP\) is one of BTC/USDT:USDT"),
        ("mood=nameless.csv:Mood:0s", "column 'symbol' has no value in row 2"),
        ("mood=mood.csv:Mood:0s:0d", "'0d' is not a number followed by"),
    ],
)
def test_bad_columns_are_one_sentence(tmp_path: Path, spec: str, text: str) -> None:
    def write(name: str, *lines: str) -> None:
        (tmp_path / name).write_text("\n".join(lines))

    bar = "timestamp,open,high,low,close"
    write("mood.csv", "Timestamp,Mood", "2024-01-01T01:30:00,3", "2024-01-01T03:00:00,5")
    write("unsorted.csv", "timestamp,Mood", "2024-01-01T03:00:00,3", "2024-01-01T01:30:00,5")
    write("hole.csv", "timestamp,Mood", "2024-01-01T01:00:00,3", "2024-01-01T03:00:00,")
    write("early.csv", "timestamp,published,Mood", "2024-01-01T03:00:00,2024-01-01T02:00:00,3")
    write("days.csv", "timestamp,Mood", "2024-01-01,3", "2024-01-02,5")
    write("told.csv", "published,Mood", "2024-01-01,3", "2024-01-02,5")
    write("others.csv", "timestamp,symbol,Mood", "2024-01-01T01:30,XRP,3", "2024-01-01T01:30,DOGE,5")
    write("nameless.csv", "timestamp,symbol,Mood", "2024-01-01T01:30,BTC,3", "2024-01-01T01:30,,5")
    write("two.csv", bar, "2024-01-01,1,2,1,1")
    write("ragged.csv", bar, *(f"2024-01-0{d},1,2,1,1" for d in (1, 2, 4, 7)))
    write("1h.csv", bar, *(f"2024-01-0{d},1,2,1,1" for d in (1, 2, 3)))
    write("1d.csv", bar, *(f"2024-01-01T0{h}:00,1,2,1,1" for h in (1, 2, 3)))
    save(tmp_path, "BTC/USDT:USDT", bars(hours(*range(6))))
    history = load_store(tmp_path, "binance", ("BTC/USDT:USDT",), "1h", funding="zero")
    with pytest.raises(UserError, match=text) as caught:
        extend(history, (spec,), tmp_path)
    assert "\n" not in str(caught.value)


def test_every_door_joins_when_it_was_known(tmp_path: Path) -> None:
    save(tmp_path, "BTC/USDT", bars(hours(*range(120))))
    peek = "peek=ohlcv/binance/BTC-USDT/1h.parquet:close"
    whole = load(DataConfig(data=str(tmp_path), symbols=("BTC/USDT",), columns=(peek,)))
    assert (whole.values[:, 0, 5] == whole.values[:, 0, CLOSE]).all()
    cut = load(DataConfig(data=str(tmp_path), symbols=("BTC/USDT",), columns=(peek,), since="2024-01-02"))
    assert (cut.values[:, 0, 5] == cut.values[:, 0, CLOSE]).all()
    file = store.bars_path(tmp_path, listing("binance", "BTC/USDT"), "1h")
    one = load(DataConfig(data=str(file), columns=(f"peek={file}:close",), since="2024-01-02"))
    assert (one.values[:, 0, 5] == one.values[:, 0, CLOSE]).all()
