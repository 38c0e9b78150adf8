"""One file of candles as market data, and every way in which it may be wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.feeds.check import checked
from qframe_rl.feeds.imported import imported, pair_in
from qframe_rl.feeds.listing import Listing, base_exchange, listing
from qframe_rl.feeds.presets import preset
from qframe_rl.types import VOLUME, Bool, History, Source, iso, timeframe_name, timeframe_ns


def load_file(
    path: Path,
    exchange: str,
    symbols: Sequence[str] = (),
    timeframe: str = "1h",
    funding: str = "require",
    stated: Sequence[str] = (),
) -> History:
    """Bars of one instrument from a file.

    Parameters
    ----------
    path
        Candles as an exporter wrote them, see `qframe_rl.feeds.imported`; its columns in any case and order, others
        are ignored.
    exchange
        Exchange whose preset rules (fees, lots) the instrument gets.
    symbols
        The instrument's symbol; without one it is read from the file's name.
    timeframe
        Length of a bar.
    funding
        ``zero`` trades a perpetual without funding; anything else refuses one, as a file carries no funding rates.
    stated
        Which column is what, where it cannot be told: texts ``ROLE=COLUMN`` as in `formats.stated_roles`.

    Returns
    -------
    History
        (T, 1, 5), or (T, 1, 6) with a `funding_rate` of 0 for a perpetual; its notes say what the file was taken for.

    Raises
    ------
    UserError
        For a missing or unreadable file, a missing or wrong column, timestamps that are unsorted or duplicated, prices
        that no exchange could print, or a ``timeframe`` that contradicts the timestamps.
    """
    if len(symbols) > 1:
        raise UserError(f"{path}: one file holds one symbol, but {len(symbols)} are named: {', '.join(symbols)}.")
    bar_ns = timeframe_ns(timeframe)
    found = imported(path, bar_ns, stated)
    time, bars = found.opens + bar_ns, found.bars[:, None, :]
    absent = np.isnan(bars).all(axis=(1, 2))
    if absent.any():
        raise UserError(f"{path}: the bar of {iso(int(time[absent][0]) - bar_ns)} has no values; drop the row.")
    market = _market(path, exchange, symbols, found.symbol)
    names: tuple[str, ...] = ()
    if market.kind == "perpetual":
        if funding != "zero":
            raise UserError(
                f"{path}: a single file has no funding rates for {market.symbol}; set funding to zero to trade without."
            )
        bars, names = np.concatenate([bars, np.zeros((len(time), 1, 1))], axis=2), ("funding_rate",)
    none: Bool = np.zeros((len(time), 1), dtype=np.bool_)
    source = Source(market.exchange, "unknown", str(path))
    history = History((preset(market),), bar_ns, time, bars, np.zeros((len(time), 1)), none, source, names)
    history = _in_step(checked(history))
    if not history.values[:, 0, VOLUME].any():
        raise UserError(f"{path}: all volumes are 0, so no order could fill; name another column by --map volume=NAME.")
    return replace(history, notes=(found.said,) if found.said else ())


def _market(path: Path, exchange: str, symbols: Sequence[str], told: str) -> Listing:
    if symbols or told:
        return listing(exchange, (*symbols, told)[0])
    name = path.name.split(".")[0]
    # A file of a store is named by its timeframe and lies in its symbol's folder.
    name = path.parent.name if re.fullmatch(r"\d+[smhdw]", name) else name
    pair = re.fullmatch(r"([A-Za-z0-9]+)[-_]([A-Za-z]+)(-\d+[smhdw])?", name) or pair_in(name)
    return listing(exchange, f"{pair[1]}/{pair[2]}".upper()) if pair else Listing(base_exchange(exchange)[0], name)


def _in_step(history: History) -> History:
    """Refuse a history whose bars are usually further apart, or nearer, than the length that was stated."""
    steps, counts = np.unique(np.diff(history.time), return_counts=True)
    if len(steps) == 0:
        return history
    usual = int(steps[np.argmax(counts)])
    if usual != history.bar_ns or steps[0] < history.bar_ns:
        wrong = usual if usual != history.bar_ns else int(steps[0])
        raise UserError(
            f"{history.source.origin}: bars lie {timeframe_name(wrong)} apart, but the timeframe is"
            f" {timeframe_name(history.bar_ns)}; set --timeframe to the file's own."
        )
    return history
