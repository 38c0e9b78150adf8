"""Bars of the store for a chart: as many as a screen shows, with their true highs and lows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.feeds import parquet
from qframe_rl.feeds.listing import listing
from qframe_rl.feeds.store import bars_path
from qframe_rl.types import CLOSE, HIGH, LOW, OPEN, VOLUME, Float, Int, timeframe_ns

POINTS = 5000


def candles(
    place: Path | str, exchange: str, symbol: str, timeframe: str, since_ns: int, until_ns: int, points: int
) -> list[dict[str, Any]]:
    """Bars that open in [since, until), several in one where there are more than ``points``.

    Parameters
    ----------
    place
        Folder of the store, or address of a database.
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
    market = listing(exchange, symbol)
    root = place if isinstance(place, Path) else _brought(place, exchange, symbol, timeframe)
    path = bars_path(root, market, timeframe)
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"there are no bars of {symbol} on {exchange}, {timeframe}.")
    series = parquet.read(path, parquet.PRICES).between(since_ns, until_ns)
    time, bars = thinned_bars(series.time, series.values, points)
    return [
        {"time_ns": str(int(t)), "open": float(bar[OPEN]), "high": float(bar[HIGH]), "low": float(bar[LOW]),
         "close": float(bar[CLOSE]), "volume": float(bar[VOLUME])}
        for t, bar in zip(time, bars, strict=True)
    ]  # fmt: skip


def _brought(url: str, exchange: str, symbol: str, timeframe: str) -> Path:
    """The copy of a database on this machine; what that lacks is not in it either."""
    from qframe_rl.feeds.database import MarketDatabase

    database = MarketDatabase(url)
    if database.has(exchange, symbol, timeframe):
        database.bring(exchange, [symbol], timeframe)
    return database.root


def thinned_bars(time: Int, values: Float, points: int, *, last: bool = False) -> tuple[Int, Float]:
    """Several bars in one where there are more than ``points``: first open, highest, lowest, last close, all volume.

    Parameters
    ----------
    time, values
        (T,) ns UTC and (T, C) channels of one instrument.
    points
        How many at most.
    last
        Whether a bar of several has the time of its last one; else that of its first.

    Returns
    -------
    tuple[Int, Float]
        (P,) and (P, 5); NaN where nothing traded.
    """
    n = len(time)
    if n == 0:
        return time, values[:, : VOLUME + 1]
    edges = np.unique(np.linspace(0, n, min(points, n) + 1).astype(np.int64))[:-1]
    ends = np.append(edges[1:], n) - 1
    bars = np.empty((len(edges), VOLUME + 1))
    bars[:, OPEN], bars[:, CLOSE] = values[edges, OPEN], values[ends, CLOSE]
    bars[:, HIGH] = np.fmax.reduceat(values[:, HIGH], edges)
    bars[:, LOW] = np.fmin.reduceat(values[:, LOW], edges)
    bars[:, VOLUME] = np.add.reduceat(values[:, VOLUME], edges)
    return time[ends if last else edges], bars
