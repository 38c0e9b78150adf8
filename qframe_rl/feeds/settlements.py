"""Daily settlements of many contracts in one long table, as bars: what there is of futures where no bars are kept.

A day's bar opens at the settlement before and closes at its own. A contract without a settlement on a day keeps the one
before, without volume: it has a price, and nothing fills.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qframe_rl.config import UserError, nearest
from qframe_rl.feeds import fields
from qframe_rl.feeds.check import checked
from qframe_rl.feeds.listing import listings
from qframe_rl.feeds.panel import Leg, panel
from qframe_rl.feeds.parquet import Series
from qframe_rl.feeds.presets import preset
from qframe_rl.types import DAY, Float, History, Int, Source, iso

_PLENTY = 1e12
"""Volume of a day with a settlement, base units: whatever is ordered fills."""


def settlements(path: Path, exchange: str, symbols: Sequence[str], since: int | None, until: int | None) -> History:
    """Bars of contracts from a table of settlements.

    Parameters
    ----------
    path
        CSV or Parquet with the columns timestamp (the day), symbol and settle. A symbol such as ``CME_CL`` is asked for
        as ``CMECL/USD:USD``.
    exchange
        What the source is called.
    symbols
        The contracts, traded without funding.
    since, until
        As in `qframe_rl.feeds.store.load_store`.

    Returns
    -------
    History
        (T, A, 6) days on which at least half of the contracts have a settlement.

    Raises
    ------
    UserError
        For a missing column, a symbol that is not in the table, or a contract with two settlements on a day.
    """
    if not symbols:
        raise UserError(f"{path}: the table holds many contracts; name those to trade with --symbols.")
    markets = listings(exchange, symbols)
    days, settle = _table(path, [market.pair.partition("-")[0] for market in markets])
    legs = [Leg(preset(market), _bars(days, settle[:, a])) for a, market in enumerate(markets)]
    whole = panel(legs, DAY, Source(exchange, "unknown", str(path)))
    return checked(whole.rows(*whole.between(since, until)))


def _table(path: Path, names: Sequence[str]) -> tuple[Int, Float]:
    """(D,) days, ns UTC, and (D, A) settlements, NaN where there is none."""
    table = fields.open_columns(path)
    time = fields.times(table.column(fields.column_of(table.column_names, "timestamp", path)), path)
    ticker = np.array(table.column(fields.column_of(table.column_names, "symbol", path)).to_pylist())
    price = fields.numeric(table, "settle", path)
    known = {text.replace("_", ""): text for text in np.unique(ticker).tolist()}
    days = np.unique(time)
    settle = np.full((len(days), len(names)), np.nan)
    for a, name in enumerate(names):
        if name not in known:
            raise UserError(f"{path}: there is no contract {name!r}{nearest(name, known)}")
        mine = np.flatnonzero(ticker == known[name])
        rows = np.searchsorted(days, time[mine])
        if len(np.unique(rows)) < len(rows):
            raise UserError(f"{path}: {name} has two settlements on {iso(int(days[np.bincount(rows).argmax()]))[:10]}.")
        settle[rows, a] = price[mine]
    kept = np.count_nonzero(~np.isnan(settle), axis=1) * 2 >= len(names)
    return days[kept], settle[kept]


def _bars(days: Int, settle: Float) -> Series:
    """(N, 5) bars of one contract from its first settlement on."""
    settled = np.flatnonzero(~np.isnan(settle))
    first = settled[0] if len(settled) else len(settle)
    known = np.maximum.accumulate(np.where(np.isnan(settle[first:]), 0, np.arange(len(settle) - first)))
    close = settle[first:][known]
    opening = np.concatenate([close[:1], close[:-1]])
    volume = np.where(np.isnan(settle[first:]), 0.0, _PLENTY)
    values = np.column_stack([opening, np.maximum(opening, close), np.minimum(opening, close), close, volume])
    return Series(days[first:], values)
