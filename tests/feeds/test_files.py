"""One file: what is read, and one clear sentence for everything that may be wrong with it."""

import zipfile
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet as arrow

from qframe_rl.config import UserError
from qframe_rl.feeds.files import load_file
from qframe_rl.types import HOUR, MINUTE, OHLCV, parse_time

START = parse_time("2024-01-01")
HEADER = "timestamp,open,high,low,close,volume"
GOOD = [f"2024-01-01T0{h}:00:00,10{h},10{h}.9,99.5,10{h}.5,{h}" for h in range(6)]


def write(folder: Path, *lines: str, name: str = "BTC-USDT.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_csv_file(tmp_path: Path) -> None:
    history = load_file(write(tmp_path, HEADER, *GOOD), "binance")
    assert history.symbols == ("BTC/USDT",) and history.bar_ns == HOUR and history.instruments[0].lot == 1e-5
    assert (history.time == START + HOUR * np.arange(1, 7)).all()
    np.testing.assert_array_equal(history.values[2, 0], [102.0, 102.9, 99.5, 102.5, 2.0])
    assert history.source.environment == "unknown" and history.source.origin.endswith("BTC-USDT.csv")
    assert not history.final.any() and not history.funding.any()


def test_columns_in_any_case_and_order(tmp_path: Path) -> None:
    lines = ["Volume,CLOSE,Low,note,High,Open,TimeStamp"]
    lines += [",".join([r[5], r[4], r[3], "x", r[2], r[1], r[0]]) for r in (line.split(",") for line in GOOD)]
    one = load_file(write(tmp_path, *lines), "binance")
    other = load_file(write(tmp_path, HEADER, *GOOD), "binance")
    assert (one.values == other.values).all() and (one.time == other.time).all()


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("fraction", ["", ".0"])
def test_epochs_in_every_unit(tmp_path: Path, unit: int, fraction: str) -> None:
    seconds = [START // 10**9 + 3600 * h for h in range(6)]
    lines = [f"{s * unit}{fraction}," + line.partition(",")[2] for s, line in zip(seconds, GOOD, strict=True)]
    history = load_file(write(tmp_path, HEADER, *lines), "binance")
    assert (history.time == START + HOUR * np.arange(1, 7)).all()


@pytest.mark.parametrize("shape", ["{}Z", "{}+00:00", "{}.000", "{}.000+00:00"])
def test_iso_times_in_utc(tmp_path: Path, shape: str) -> None:
    lines = [shape.format(line.partition(",")[0]) + "," + line.partition(",")[2] for line in GOOD]
    history = load_file(write(tmp_path, HEADER, *lines), "binance")
    assert (history.time == START + HOUR * np.arange(1, 7)).all()


def test_other_time_zones_are_converted_and_days_are_read(tmp_path: Path) -> None:
    lines = [line.replace(",", "+02:00,", 1) for line in GOOD]
    assert load_file(write(tmp_path, HEADER, *lines), "binance").time[0] == START - HOUR
    days = [f"2024-01-0{d},1,2,1,1,1" for d in range(1, 6)]
    assert load_file(write(tmp_path, HEADER, *days), "binance", timeframe="1d").time[0] == START + 24 * HOUR


@pytest.mark.parametrize(
    "kind", [pyarrow.timestamp("ms"), pyarrow.timestamp("us", "UTC"), pyarrow.int64(), pyarrow.string()]
)
def test_a_parquet_file(tmp_path: Path, kind: pyarrow.DataType) -> None:
    ms = pyarrow.array([START // 10**6 + 3_600_000 * h for h in range(3)])
    text = ["2024-01-01 00:00:00", "2024-01-01 01:00:00", "2024-01-01 02:00:00"]
    if pyarrow.types.is_timestamp(kind):
        time = ms.cast(pyarrow.timestamp("ms", kind.tz)).cast(kind)
    else:
        time = ms if kind == pyarrow.int64() else pyarrow.array(text)
    prices = [pyarrow.array([1.0, 2.0, 3.0])] * 5
    path = tmp_path / "ETH_USDT.parquet"
    arrow.write_table(pyarrow.table([time, *prices], ["timestamp", *OHLCV]), path)
    history = load_file(path, "binance")
    assert history.symbols == ("ETH/USDT",) and (history.time == START + HOUR * np.arange(1, 4)).all()


def test_the_symbol_is_named_or_read_from_the_name(tmp_path: Path) -> None:
    assert load_file(write(tmp_path, HEADER, *GOOD, name="prices.csv"), "binance").symbols == ("prices",)
    assert load_file(write(tmp_path, HEADER, *GOOD), "binance", ("SOL/USDT",)).symbols == ("SOL/USDT",)
    folder = tmp_path / "ADA-USDT"
    folder.mkdir()
    assert load_file(write(folder, HEADER, *GOOD, name="1h.csv"), "binance").symbols == ("ADA/USDT",)


def test_a_perpetual_needs_a_word_about_funding(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, *GOOD)
    with pytest.raises(UserError, match="no funding rates for BTC/USDT:USDT"):
        load_file(path, "binance", ("BTC/USDT:USDT",))
    history = load_file(path, "binance", ("BTC/USDT:USDT",), funding="zero")
    assert history.columns == ("funding_rate",) and not history.values[:, 0, 5].any()


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["timestamp,open,high,low,close", *GOOD], "no column 'volume'|not a readable CSV"),
        (
            ["when,open,high,low,last,volume", *GOOD],
            "no column for time, close among when, open, high, low, last, volume; add --map time=NAME --map close=NAME",
        ),
        ([HEADER + ",Close", *(line + ",1" for line in GOOD)], "two columns are named 'close'"),
        ([HEADER, GOOD[1], GOOD[0], *GOOD[2:]], "not sorted at 2024-01-01 00:00:00"),
        ([HEADER, GOOD[0], *GOOD], "duplicated at 2024-01-01 00:00:00"),
        ([HEADER, *GOOD, "2024-01-01T06:00:00,1,2,1,nan,0"], "NaN among .* in the bar of 2024-01-01 06:00:00"),
        ([HEADER, *GOOD, "2024-01-01T06:00:00,1,2,1,,0"], "NaN among .* in the bar of 2024-01-01 06:00:00"),
        ([HEADER, *GOOD, "2024-01-01T06:00:00,,,,,"], "the bar of 2024-01-01 06:00:00 has no values"),
        ([HEADER, *GOOD, "2024-01-01T06:00:00,1,0.5,1,1,0"], "high below low in the bar of 2024-01-01 06:00:00"),
        ([HEADER, *GOOD, "2024-01-01T06:00:00,5,2,1,1,0"], "open or close outside"),
        ([HEADER, *GOOD, "2024-01-01T06:00:00,0,2,0,1,0"], "not above zero"),
        ([HEADER, *GOOD, "2024-01-01T06:00:00,1,inf,1,1,0"], "infinite"),
        ([HEADER, *GOOD, "2024-01-01T06:00:00,1,2,1,1,-3"], "negative volume"),
        (
            [HEADER, *GOOD, "2024-01-01T06:00:00,1,2,1,dear,0"],
            "column 'close' has 'dear' in row 7, which is not a number",
        ),
        ([HEADER, "yesterday,1,2,1,1,0"], "timestamp 'yesterday' in row 1 is neither ISO 8601 nor an epoch"),
        ([HEADER, "20240101,1,2,1,1,0", "20240102,1,2,1,1,0"], "not an epoch time"),
        ([HEADER, GOOD[0], ",1,2,1,1,0"], "'timestamp' has no value in row 2"),
        ([HEADER, *GOOD, "2024-01-01T06:00:00,1,2"], "not a readable CSV file"),
        ([HEADER], "no bars"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path: Path, lines: list[str], text: str) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(UserError, match=text) as caught:
        load_file(path, "binance")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_the_timeframe_must_fit(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, *GOOD)
    with pytest.raises(UserError, match="bars lie 1h apart, but the timeframe is 4h"):
        load_file(path, "binance", timeframe="4h")
    with pytest.raises(UserError, match="bars lie 1h apart, but the timeframe is 30m"):
        load_file(path, "binance", timeframe="30m")
    gapped = load_file(write(tmp_path, HEADER, *GOOD[:3], *GOOD[5:]), "binance")
    assert len(gapped) == 4
    odd = [HEADER, *GOOD, "2024-01-01T05:30:00,1,2,1,1,0"]
    with pytest.raises(UserError, match="bars lie 30m apart"):
        load_file(write(tmp_path, *odd), "binance")
    assert 30 * MINUTE < HOUR


def test_what_is_no_file_of_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_file(tmp_path / "absent.csv", "binance")
    with pytest.raises(UserError, match="a folder where a file is needed"):
        load_file(tmp_path, "binance")
    empty = tmp_path / "empty.csv"
    empty.touch()
    with pytest.raises(UserError, match="is empty"):
        load_file(empty, "binance")
    sheet = tmp_path / "prices.xlsx"
    with zipfile.ZipFile(sheet, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(UserError, match="0 files of candles in one archive"):
        load_file(sheet, "binance")
    text = write(tmp_path, HEADER, *GOOD, name="prices.parquet")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        load_file(text, "binance")
    silent = write(tmp_path, HEADER, *(line.rpartition(",")[0] + ",0" for line in GOOD))
    with pytest.raises(UserError, match="all volumes are 0, so no order could fill"):
        load_file(silent, "binance")
    nameless = write(tmp_path, *(line.rpartition(",")[0] for line in GOOD), name="five.csv")
    with pytest.raises(UserError, match="5 columns without names"):
        load_file(nameless, "binance")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(UserError, match=r"binary\.csv"):
        load_file(binary, "binance")
    with pytest.raises(UserError, match="one file holds one symbol"):
        load_file(write(tmp_path, HEADER, *GOOD), "binance", ("BTC/USDT", "ETH/USDT"))


@pytest.mark.parametrize("stamp", ["6024-01-01", "0999-01-01", "99000000000", "1e300", "nan", "99999999999999999999"])
def test_a_time_beyond_all_reason_is_refused(tmp_path: Path, stamp: str) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(f"{HEADER}\n{stamp},1,2,1,1,0\n")
    with pytest.raises(UserError, match="timestamp"):
        load_file(path, "binance", ("AAA/USDT",))


def test_a_header_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes(b"timestamp,op\xffen,high,low,close,volume\n1577836800,1,2,1,1,0\n")
    with pytest.raises(UserError, match="not a readable CSV"):
        load_file(path, "binance", ("AAA/USDT",))


def test_a_mark_of_the_byte_order_alone_is_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes(b"\xef\xbb\xbf")
    with pytest.raises(UserError, match="the file is empty"):
        load_file(path, "binance", ("AAA/USDT",))
