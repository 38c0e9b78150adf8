"""A store of market data on disk, and the same store with everything scrambled that a moment does not know yet.

What is known when is written down here once more, without the loaders: a bar's open when it opens and the rest of it
when it closes; a settlement when it is due; a published value when it is published.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from qframe_rl.feeds import parquet
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.parquet import PRICES, RATES, Series
from qframe_rl.types import DAY, HOUR, SECOND, Int, parse_time, timeframe_ns

START = parse_time("2024-01-01")
N_HOURS = 480
CRASH = 300
"""Hour whose bar opens a third lower and after which the price is back, on thrice the volume."""
COLUMNS = (
    "mood=alt/mood.csv:mood",
    "index=alt/index.csv:value:3h",
    "coin=ohlcv/binance/SOL-USDT/4h.parquet:close",
    "own=ohlcv/binance/BTC-USDT/1h.parquet:close",
)
_BARS = {
    "ohlcv/binance/BTC-USDT/1h.parquet": 100.0,
    "ohlcv/binance/ETH-USDT/1h.parquet": 10.0,
    "ohlcv/binance/SOL-USDT/4h.parquet": 5.0,
    "ohlcv/binance_um/BTC-USDT/1h.parquet": 100.0,
    "mark/binance_um/BTC-USDT/8h.parquet": 100.0,
}
_FUNDING = "funding/binance_um/BTC-USDT.parquet"
_TEXTS = {"alt/mood.csv": ("published,mood", 0), "alt/index.csv": ("timestamp,value", 3 * HOUR)}
_BILLS = "rates/bills.csv"


def config(root: Path, symbols: tuple[str, ...]) -> DataConfig:
    """All that a store can hold, for these symbols."""
    return DataConfig(
        data=str(root), symbols=symbols, columns=COLUMNS, risk_free=_BILLS, since="2024-01-02", until="2024-01-21"
    )


def made(root: Path) -> Path:
    """Write the store: two coins, a perpetual with funding and mark prices, columns of four kinds, rates of bills."""
    for n, (name, level) in enumerate(_BARS.items()):
        _write_bars(root / name, _bars(level, timeframe_ns(Path(name).stem), n))
    stamps = START + 8 * HOUR * np.arange(N_HOURS // 8, dtype=np.int64)
    stamps[1::3] += 7_000_000  # exchanges stamp them some ms late
    _write_rates(root / _FUNDING, stamps, np.random.default_rng(20))
    for name in _TEXTS:
        _write_text(root / name, _texts(), np.random.default_rng(21))
    _write_bills(root / _BILLS, np.random.default_rng(22))
    return root


def hidden(root: Path, out: Path, now: int, seed: int = 9) -> Path:
    """Copy a store, with everything scrambled that nobody could know at ``now``, ns UTC."""
    shutil.copytree(root, out)
    rng = np.random.default_rng(seed)
    for name in _BARS:
        length = timeframe_ns(Path(name).stem)
        _change_bars(out / name, now, length, rng)
    rates = parquet.read(out / _FUNDING, RATES)
    due = (rates.time + SECOND // 2) // SECOND * SECOND >= now
    values = np.where(due[:, None], 0.01 * rng.standard_normal(rates.values.shape), rates.values)
    parquet.write(out / _FUNDING, RATES, Series(rates.time, values))
    for name, (_, delay) in _TEXTS.items():
        _change_text(out / name, now - delay, lambda n: rng.standard_normal(n))
    _change_text(out / _BILLS, now, lambda n: rng.uniform(-0.5, 0.5, n))
    return out


def _bars(level: float, length: int, seed: int) -> Series:
    opens = START + length * np.arange(N_HOURS * HOUR // length, dtype=np.int64)
    rng = np.random.default_rng(seed)
    close = level * np.exp(np.cumsum(0.01 * rng.standard_normal(len(opens))))
    values = _around(np.concatenate([[level], close[:-1]]), close, rng)
    if length == HOUR:
        values[CRASH, :4] *= 2.0 / 3.0
        values[CRASH, 4] *= 3.0
    return Series(opens, values)


def _around(opening: np.ndarray, close: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, 5) bars with wicks and a volume."""
    high, low = np.maximum(opening, close) * 1.003, np.minimum(opening, close) / 1.003
    return np.column_stack([opening, high, low, close, 1e5 * np.exp(rng.standard_normal(len(close)))])


def _change_bars(path: Path, now: int, length: int, rng: np.random.Generator) -> None:
    series = parquet.read(path, PRICES)
    later, opened = series.time + length > now, series.time < now
    close = np.where(later, series.values[:, 3] * np.exp(0.3 * rng.standard_normal(len(later))), series.values[:, 3])
    # It opens where it closed, roughly: a level that shifts would make another instrument of it.
    opening = np.concatenate([series.values[:1, 0], close[:-1]]) * np.exp(0.03 * rng.standard_normal(len(later)))
    other = _around(np.where(opened, series.values[:, 0], opening), close, rng)
    _write_bars(path, Series(series.time, np.where(later[:, None], other, series.values)))


def _write_bars(path: Path, series: Series) -> None:
    parquet.write(path, PRICES, series)


def _write_rates(path: Path, stamps: Int, rng: np.random.Generator) -> None:
    parquet.write(path, RATES, Series(stamps, 1e-4 * rng.standard_normal((len(stamps), 1))))


def _texts() -> Int:
    """Every 100 minutes: among and on the closes."""
    return START - DAY + 100 * 60 * SECOND * np.arange(350, dtype=np.int64)


def _write_text(path: Path, times: Int, rng: np.random.Generator) -> None:
    header, _ = _TEXTS[f"alt/{path.name}"]
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{t // 10**6},{x!r}" for t, x in zip(times, rng.standard_normal(len(times)).tolist(), strict=True)]
    path.write_text("\n".join([header, *rows]))


def _write_bills(path: Path, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    times = START - DAY + 6 * HOUR * np.arange(100, dtype=np.int64)
    rows = [f"{t // 10**6},{x!r}" for t, x in zip(times, rng.uniform(0.0, 0.08, len(times)).tolist(), strict=True)]
    path.write_text("\n".join(["timestamp,rate", *rows]))


def _change_text(path: Path, last: int, draw: Callable[[int], np.ndarray]) -> None:
    """Draw new values for the rows after ``last``, ns UTC."""
    header, *rows = path.read_text().splitlines()
    new = draw(len(rows)).tolist()
    kept = [
        row if int(row.partition(",")[0]) * 10**6 <= last else f"{row.partition(',')[0]},{x!r}"
        for row, x in zip(rows, new, strict=True)
    ]
    path.write_text("\n".join([header, *kept]))
