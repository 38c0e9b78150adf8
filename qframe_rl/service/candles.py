"""Bars of the store for a chart: as many as a screen shows, with their true highs and lows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.feeds import parquet
from qframe_rl.feeds.listing import listing
from qframe_rl.feeds.store import bars_path
from qframe_rl.types import CLOSE, HIGH, LOW, OPEN, VOLUME, timeframe_ns

POINTS = 5000


def candles(
    root: Path, exchange: str, symbol: str, timeframe: str, since_ns: int, until_ns: int, points: int
) -> list[dict[str, Any]]:
    """Bars that open in [since, until), several in one where there are more than ``points``.

    Parameters
    ----------
    root
        Folder of the store.
    exchange, symbol, timeframe
        As in `qframe_rl.feeds.store.load_store`.
    since_ns, until_ns
        ns UTC.
    points
        How many at most.

    Raises
    ------
    UserError
        For an unknown symbol or timeframe, or one that is not in the store.
    """
    timeframe_ns(timeframe)
    path = bars_path(root, listing(exchange, symbol), timeframe)
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"there are no bars of {symbol} on {exchange}, {timeframe}.")
    series = parquet.read(path, parquet.PRICES).between(since_ns, until_ns)
    n = len(series.time)
    if n == 0:
        return []
    edges = np.unique(np.linspace(0, n, min(points, n) + 1).astype(np.int64))[:-1]
    ends = np.append(edges[1:], n) - 1
    values = series.values
    high, low = np.fmax.reduceat(values[:, HIGH], edges), np.fmin.reduceat(values[:, LOW], edges)
    volume = np.add.reduceat(values[:, VOLUME], edges)
    return [
        {"time_ns": str(int(series.time[a])), "open": float(values[a, OPEN]), "high": float(high[k]),
         "low": float(low[k]), "close": float(values[b, CLOSE]), "volume": float(volume[k])}
        for k, (a, b) in enumerate(zip(edges, ends, strict=True))
    ]  # fmt: skip
