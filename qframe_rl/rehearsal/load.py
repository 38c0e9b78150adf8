"""Markets of a `DataConfig`: a store's funding rates and mark prices are served as they were recorded."""

from __future__ import annotations

from pathlib import Path

from qframe_rl.config import UserError, nearest
from qframe_rl.feeds import parquet
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.download import Report
from qframe_rl.feeds.listing import Listing, listing
from qframe_rl.feeds.load import load, store_root
from qframe_rl.feeds.parquet import PRICES, RATES, Series
from qframe_rl.feeds.store import marks_path, rates_path
from qframe_rl.feeds.tick_load import load_ticks
from qframe_rl.rehearsal.market import ListedMarket, listed
from qframe_rl.rehearsal.ticks import tick_market
from qframe_rl.types import timeframe_name, timeframe_ns

LONGEST = "longest"
"""The run with the most rows."""


def markets_of(config: DataConfig, report: Report | None = None) -> tuple[ListedMarket, ...]:
    """Markets that a configuration names.

    Parameters
    ----------
    config
        As of `feeds.load.load`. Spot coins and perpetuals may be mixed; both come onto one exchange.
    report
        Told of a download's progress.

    Raises
    ------
    UserError
        As in `feeds.load.load`.
    """
    history, root = load(config, report), store_root(config)
    if root is None:
        return listed(history)
    perpetuals = [listing(config.exchange, i.symbol) for i in history.instruments if i.kind == "perpetual"]
    rates = {one.symbol: _rates(root, one) for one in perpetuals}
    marks = {one.symbol: _marks(root, one) for one in perpetuals}
    return listed(
        history,
        {symbol: series for symbol, series in rates.items() if series is not None},
        {symbol: found for symbol, found in marks.items() if found is not None},
    )


def tick_market_of(config: DataConfig, run: str = LONGEST) -> ListedMarket:
    """The market of a recorded run of ticks.

    Parameters
    ----------
    config
        As of `feeds.tick_load.load_ticks`: one symbol of a store with ``ticks/``, or ``synthetic:ticks``.
    run
        Name of the run, such as ``20240718T2357#0``, or ``longest``.

    Raises
    ------
    UserError
        As in `feeds.tick_load.load_ticks`, and if there is no such run.
    """
    found = load_ticks(config)
    runs = {one.name: one for one in found.runs}
    if run != LONGEST and run not in runs:
        raise UserError(f"no run {run!r} of ticks of {found.instrument.symbol}{nearest(run, [*runs, LONGEST])}")
    taken = max(found.runs, key=lambda one: len(one.events.tick)) if run == LONGEST else runs[run]
    return tick_market(taken, found.instrument)


def _rates(root: Path, market: Listing) -> Series | None:
    path = rates_path(root, market)
    return parquet.read(path, RATES) if path.is_file() else None


def _marks(root: Path, market: Listing) -> tuple[Series, int] | None:
    """Mark-price candles of the shortest timeframe there is, and their length."""
    lengths = sorted(timeframe_ns(file.stem) for file in marks_path(root, market, "1h").parent.glob("*.parquet"))
    if not lengths:
        return None
    return parquet.read(marks_path(root, market, timeframe_name(lengths[0])), PRICES), lengths[0]
