"""Tiny made-up files of each exporter's format: the same six bars come of all, and a line says what was read."""

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import feather
from pyarrow import parquet as arrow

from qframe_rl.config import UserError
from qframe_rl.feeds import formats
from qframe_rl.feeds import load as loading
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.files import load_file
from qframe_rl.types import HOUR, History, iso, parse_time

START = parse_time("2024-01-01")
S = [START // 10**9 + 3600 * k for k in range(6)]
"""Opens, epoch s."""
BARS = [(100.0 + k, 102.0 + k, 99.0 + k, 101.0 + k, 5.0 + k) for k in range(6)]
"""Open, high, low, close and volume in base units."""
ROWS = [(s, *bar) for s, bar in zip(S, BARS, strict=True)]
MONEY = [v * (h + low + c) / 3.0 for _, h, low, c, v in BARS]


def text(*lines: str) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def zipped(name: str, data: bytes) -> bytes:
    import io

    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(name, data)
    return made.getvalue()


def each(line: Callable[..., str]) -> list[str]:
    return [line(*row) for row in ROWS]


def binance(unit: int) -> list[str]:
    end = 3600 * unit - 1
    return each(lambda s, o, h, low, c, v: f"{s * unit},{o},{h},{low},{c},{v},{s * unit + end},9.0,7,1.0,2.0,0")


BINANCE = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
CDD = "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT,tradecount"
PLAIN = "timestamp,open,high,low,close,volume"


def day(s: int) -> str:
    return iso(s * 10**9)


def cdd(mixed: bool) -> list[str]:
    """Newest first; the older half in s where it is mixed."""
    lines = [
        f"{s * (1 if mixed and k < 3 else 1000)},{day(s)},BTC/USDT,{o},{h},{low},{c},{v},9e3,12"
        for k, (s, o, h, low, c, v) in enumerate(ROWS)
    ]
    return ["https://www.CryptoDataDownload.com", CDD, *reversed(lines)]


def lean_minutes() -> bytes:
    lines = each(lambda s, o, h, low, c, v: f"{(s - S[0]) * 1000},{o},{h},{low},{c},{v}")
    return zipped("20240101_btcusdt_minute_trade.csv", text(*lines))


def table() -> pyarrow.Table:
    time = pyarrow.array([s * 1000 for s in S]).cast(pyarrow.timestamp("ms", "UTC"))
    return pyarrow.table([time, *(pyarrow.array(x) for x in zip(*BARS, strict=True))],
                         ["date", "open", "high", "low", "close", "volume"])  # fmt: skip


def written(write: Callable[..., None], made: pyarrow.Table) -> bytes:
    sink = pyarrow.BufferOutputStream()
    write(made, sink)
    return bytes(sink.getvalue())


POLONIEX = [
    {"date": s, "high": h, "low": low, "open": o, "close": c, "volume": v * c, "quoteVolume": v, "weightedAverage": c}
    for s, o, h, low, c, v in ROWS
]
FILES: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "binance-ms": ("BTCUSDT-1h-2024-01.csv", lambda: text(*binance(1000)), "Binance klines"),
    "binance-us": ("BTCUSDT-1h-2024-01.csv", lambda: text(BINANCE, *binance(10**6)), "Binance klines"),
    "binance-zip": ("BTCUSDT-1h-2024-01.zip", lambda: zipped("BTCUSDT-1h-2024-01.csv", text(*binance(10**6))),
                    "Binance klines"),
    "cryptodatadownload": ("Binance_BTCUSDT_1h.csv", lambda: text(*cdd(False)), "CryptoDataDownload"),
    "cryptodatadownload-mixed": ("Binance_BTCUSDT_1h.csv", lambda: text(*cdd(True)), "CryptoDataDownload"),
    "cryptodatadownload-old": ("x.csv", lambda: text("Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT", *each(
        lambda s, o, h, low, c, v: f"2024-01-01 {['12', '01', '02', '03', '04', '05'][(s - S[0]) // 3600]}-AM,BTCUSDT,"
        f"{o},{h},{low},{c},{v},9e3")), "CryptoDataDownload"),
    "poloniex-csv": ("BTC_USDT.csv", lambda: text(",".join(POLONIEX[0]), *(
        ",".join(str(x) for x in row.values()) for row in POLONIEX)), "Poloniex chart data"),
    "poloniex-json": ("BTC_USDT.json", lambda: json.dumps(POLONIEX).encode(), "Poloniex chart data"),
    "freqtrade-feather": ("BTC_USDT-1h.feather", lambda: written(feather.write_feather, table()), "columns by"),
    "freqtrade-json": ("BTC_USDT-1h.json", lambda: json.dumps([[s * 1000, *b] for s, *b in ROWS]).encode(),
                       "rows of time"),
    "freqtrade-json-gz": ("BTC_USDT-1h.json.gz", lambda: gzip.compress(
        json.dumps([[s * 1000, *b] for s, *b in ROWS]).encode()), "rows of time"),
    "lean-hour": ("btcusdt_trade.zip", lambda: zipped("btcusdt.csv", text(*each(
        lambda s, o, h, low, c, v: f"{day(s)[:10].replace('-', '')} {day(s)[11:16]},{o},{h},{low},{c},{v}"))),
        "LEAN hours"),
    "lean-minute": ("20240101_trade.zip", lean_minutes, "LEAN seconds or minutes"),
    "bybit": ("BTCUSDT.csv", lambda: text("startTime,openPrice,highPrice,lowPrice,closePrice,volume,turnover".replace(
        "Price", ""), *reversed(each(lambda s, o, h, low, c, v: f"{s * 1000},{o},{h},{low},{c},{v},9e3"))),
        "Bybit klines"),
    "bybit-metatrader": ("BTCUSDT_60_2024-01-01_2024-01-31.csv.gz", lambda: gzip.compress(text(*each(
        lambda s, o, h, low, c, v: f"{day(s)[:16].replace('-', '.')},{o},{h},{low},{c},{v}"))), "MetaTrader"),
    "htx": ("BTCUSDT-60min-2024-01-01.csv", lambda: text("id,open,high,low,close,vol,amount,count", *each(
        lambda s, o, h, low, c, v: f"{s},{o},{h},{low},{c},9e3,{v},12")), "HTX klines"),
    "htx-no-header": ("BTCUSDT-60min.csv", lambda: text(*each(
        lambda s, o, h, low, c, v: f"{s},{o},{h},{low},{c},{m(s)},{v},12")), "HTX klines"),
    "yfinance": ("BTC-USD.csv", lambda: text(
        "Price,Close,High,Low,Open,Volume", "Ticker" + ",BTC-USD" * 5, "Date,,,,,", *each(
        lambda s, o, h, low, c, v: f"{day(s)}+00:00,{c},{h},{low},{o},{m(s)!r}")), "Yahoo Finance"),
    "yfinance-old": ("BTC-USD.csv", lambda: text("Date,Open,High,Low,Close,Adj Close,Volume", *each(
        lambda s, o, h, low, c, v: f"{day(s)},{o},{h},{low},{c},{c},{m(s)!r}")), "Yahoo Finance"),
    "kraken": ("XBTUSD_60.csv", lambda: text(*each(
        lambda s, o, h, low, c, v: f"{s},{o},{h},{low},{c},{v},12")), "Kraken OHLCVT"),
    "tradingview": ("BINANCE_BTCUSDT, 60.csv", lambda: text("time,open,high,low,close,Volume,MA", *each(
        lambda s, o, h, low, c, v: f"{day(s).replace(' ', 'T')}Z,{o},{h},{low},{c},{v},NaN")),
        "columns by their names"),
    "coinbase": ("BTC-USD.csv", lambda: text(*reversed(each(
        lambda s, o, h, low, c, v: f"{s},{low},{h},{o},{c},{v}"))), "Coinbase candles"),
    "pandas-csv": ("BTC-USDT.csv", lambda: text(",Open,High,Low,Close,Volume", *each(
        lambda s, o, h, low, c, v: f"{day(s)},{o},{h},{low},{c},{v}")), "columns by their names"),
    "pandas-parquet": ("BTC-USDT.parquet", lambda: written(arrow.write_table, table().rename_columns(
        ["__index_level_0__", "Open", "High", "Low", "Close", "Volume"])), "columns by their names"),
    "decimal-comma": ("BTC-USDT.csv", lambda: text("Date;Open;High;Low;Close;Volume", *each(
        lambda s, *b: ";".join([day(s), *(str(x).replace(".", ",") for x in b)]))), "columns by their names"),
    "jitter": ("BTC-USDT.csv", lambda: text(PLAIN, *each(
        lambda s, o, h, low, c, v: f"{s * 1000 + (s // 3600) % 7 - 3},{o},{h},{low},{c},{v}")), "ms beside the second"),
    "closes": ("BTC-USDT.csv", lambda: text("close_time,open,high,low,close,volume", *each(
        lambda s, o, h, low, c, v: f"{s + 3600},{o},{h},{low},{c},{v}")), "stamped by its closes"),
    "last-moments": ("BTC-USDT.csv", lambda: text(PLAIN, *each(
        lambda s, o, h, low, c, v: f"{(s + 3600) * 1000 - 1},{o},{h},{low},{c},{v}")), "stamped by its closes"),
    "no-header": ("BTC-USDT.csv", lambda: text(*each(
        lambda s, o, h, low, c, v: f"{s},{o},{h},{low},{c},{v}")), "rows of time"),
    "nanoseconds": ("BTC-USDT.csv", lambda: text(PLAIN.replace("timestamp", "unix"), *each(
        lambda s, o, h, low, c, v: f"{s * 10**9 if s < S[3] else s * 10**6},{o},{h},{low},{c},{v}")), "unix"),
}  # fmt: skip


def m(s: int) -> float:
    """What was traded, in money."""
    return MONEY[(s - S[0]) // 3600]


def loaded(folder: Path, name: str) -> History:
    file, make, _ = FILES[name]
    (folder / file).write_bytes(make())
    symbols = () if name != "cryptodatadownload-old" and "lean" not in name else ("BTC/USDT",)
    return load_file(folder / file, "binance", symbols)


@pytest.mark.parametrize("name", FILES)
def test_the_usual_exporters_are_read_as_they_are(tmp_path: Path, name: str) -> None:
    history = loaded(tmp_path, name)
    assert (history.time == START + HOUR * np.arange(1, 7)).all()
    np.testing.assert_allclose(history.values[:, 0], BARS, rtol=1e-12)
    (said,) = history.notes
    assert FILES[name][2] in said and said.startswith(FILES[name][0]) and "\n" not in said
    if name != "kraken":
        assert history.symbols[0] in ("BTC/USDT", "BTC/USD")


def test_columns_are_named_where_they_cannot_be_told(tmp_path: Path) -> None:
    lines = [PLAIN.replace("close", "Last").replace("timestamp", "When"), *each(lambda *row: ",".join(map(str, row)))]
    path = tmp_path / "BTC-USDT.csv"
    path.write_bytes(text(*lines))
    config = DataConfig(data=str(path), map=("close=Last", "time=when"))
    history = loading.load(config)
    np.testing.assert_array_equal(history.values[:, 0], BARS)
    assert next(iter(loading.remarks(history))).startswith("BTC-USDT.csv: taken for columns by their names (")
    with pytest.raises(UserError, match="no column 'Latest'; it has When"):
        load_file(path, "binance", stated=("close=Latest", "time=When"))
    with pytest.raises(UserError, match="map 'shut=Last' is not ROLE=COLUMN"):
        load_file(path, "binance", stated=("shut=Last",))


def test_the_table_of_formats_is_whole() -> None:
    document = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()
    for one in (*formats.FORMATS, *formats.LAYOUTS):
        assert f"| {one.name} |" in document
        assert any(one.name.startswith(name) or name in one.name for _, _, name in FILES.values())


def test_our_own_columns_need_no_word(tmp_path: Path) -> None:
    path = tmp_path / "BTC-USDT.csv"
    path.write_bytes(text(PLAIN, *each(lambda *row: ",".join(map(str, row)))))
    assert load_file(path, "binance").notes == ()
