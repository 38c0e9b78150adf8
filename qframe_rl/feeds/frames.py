"""Tables of pandas as market data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qframe_rl.config import UserError, shortened
from qframe_rl.feeds import formats
from qframe_rl.feeds.check import checked
from qframe_rl.feeds.containers import Raw
from qframe_rl.feeds.fields import numeric
from qframe_rl.feeds.imported import interpreted, stamps
from qframe_rl.feeds.listing import Listing, base_exchange, listing
from qframe_rl.feeds.panel import FUNDING_RATE, Leg, panel
from qframe_rl.feeds.parquet import Series
from qframe_rl.feeds.presets import preset
from qframe_rl.types import MINUTE, SECOND, VOLUME, Bool, Float, History, Int, Source, iso, timeframe_name

if TYPE_CHECKING:
    import pandas as pd

_NAMES = frozenset({*formats.ROLES, "symbol", "pair", "ticker", "timestamp", "date", "datetime", "index", FUNDING_RATE})
"""Columns, normalised, that are no series of a user's own."""


def from_frames(frames: Mapping[str, pd.DataFrame], exchange: str = "binance") -> History:
    """Bars of one or several instruments from tables of pandas.

    Parameters
    ----------
    frames
        By symbol, such as ``BTC/USDT``, or ``BTC/USDT:USDT`` for a perpetual: a table with a row for each bar. Its
        index or a column of it has the opens of the bars (a time without a zone is UTC); open, high, low, close and
        volume are found by their names, as in files; a row without any of them is no bar. Every other column of numbers
        or truths becomes a series that policies see: its value must have been known when the bar closed. A perpetual
        needs a column ``funding_rate``, which has the rate where a settlement fell at the open of the bar, and no value
        elsewhere.
    exchange
        Whose preset rules (fees, lots) instruments get.

    Returns
    -------
    History
        (T, A, 5 + series); not looked through for bad prints. The length of a bar is the usual distance of two rows.

    Raises
    ------
    UserError
        For a missing or wrong column, times that are unsorted or duplicated, prices that no exchange could print, or
        tables that do not have the same series or bars of one length.
    """
    if not frames:
        raise UserError("history: no tables; give one for each symbol.")
    for symbol, frame in frames.items():
        if not isinstance(symbol, str):
            raise UserError(f"history: {symbol!r} is no symbol of a table; take a text such as BTC/USDT.")
        if not hasattr(frame, "reset_index"):
            raise UserError(f"history: {symbol!r} is no DataFrame (got {shortened(frame)}).")
    tables = [_Table(symbol, frame) for symbol, frame in frames.items()]
    bar_ns = _usual_step(tables)
    first = tables[0]
    for table in tables[1:]:
        if set(table.series) != set(first.series):
            raise UserError(
                f"{table.where}: it has different series ({', '.join(table.series) or 'none'}) than that of "
                f"{first.symbol} ({', '.join(first.series) or 'none'}); give all tables the same."
            )
    legs = [table.leg(bar_ns, exchange) for table in tables]
    history = panel(legs, bar_ns, Source(base_exchange(exchange)[0], "unknown", "DataFrame"))
    return checked(_extended(history, tables, bar_ns))


class _Table:
    """One table of pandas, looked through for its columns."""

    def __init__(self, symbol: str, frame: pd.DataFrame):
        import pyarrow

        self.symbol, self.where = symbol, Path(f"DataFrame of {symbol}")
        flat = frame if _counts_rows(frame.index) else _timed(frame).reset_index()
        flat = flat.set_axis([str(name) for name in flat.columns], axis=1)
        for name in flat.columns[flat.columns.duplicated()][:1]:
            raise UserError(f"{self.where}: two columns are named {name!r}; rename one.")
        try:
            table = pyarrow.Table.from_pandas(flat, preserve_index=False)
        except pyarrow.ArrowException as error:
            raise UserError(f"{self.where}: {str(error.args[-1]).rstrip('.')}; leave the column out.") from None
        self.raw = Raw(table, True, symbol)
        mend = "name its columns so, and give it the times of the opens as an index"
        self.roles = formats.roles(table.column_names, None, {}, str(self.where), mend)
        self.stamps = stamps(self.raw, self.roles, self.where)
        used = {*self.roles.values()}
        self.series = tuple(n for n in table.column_names if n not in used and _is_series(n, table.column(n)))
        self.opens: Int = np.empty(0, dtype=np.int64)
        self.traded: Bool = np.empty(0, dtype=np.bool_)
        """(N,) rows that are a bar: aligned tables have rows without values where an instrument did not trade."""

    def leg(self, bar_ns: int, exchange: str) -> Leg:
        """Its bars and funding rates."""
        found = interpreted(self.raw, self.where, bar_ns)
        self.opens = found.opens
        for row in np.flatnonzero(np.diff(self.opens) <= 0)[:1]:
            what = "duplicated" if self.opens[row] == self.opens[row + 1] else "not sorted"
            raise UserError(f"{self.where}: timestamps are {what} at {iso(int(self.opens[row + 1]))}.")
        if not np.nan_to_num(found.bars[:, VOLUME]).any():
            raise UserError(f"{self.where}: all volumes are 0, so no order could fill; give it a column of volumes.")
        self.traded = np.logical_not(np.isnan(found.bars).all(axis=1))
        named = "/" in self.symbol
        market = listing(exchange, self.symbol) if named else Listing(base_exchange(exchange)[0], self.symbol)
        rates = self._rates() if market.kind == "perpetual" else None
        return Leg(preset(market), Series(self.opens[self.traded], found.bars[self.traded]), rates)

    def values(self, name: str) -> Float:
        """(N,) numbers of a column, in the order of `opens`; 1 for true and 0 for false."""
        import pyarrow

        column, table = self.raw.table.column(name), self.raw.table
        if pyarrow.types.is_boolean(column.type):
            table = pyarrow.table({name: column.cast(pyarrow.uint8())})
        found = numeric(table, name, self.where)
        return found[::-1] if self.stamps[0] > self.stamps[-1] else found

    def _rates(self) -> Series:
        names = [n for n in self.raw.table.column_names if formats.normalised(n) == FUNDING_RATE]
        if not names:
            raise UserError(
                f"{self.where}: a perpetual needs a column {FUNDING_RATE}: the rate where a settlement fell at the "
                "open of the bar, no value elsewhere (0 throughout trades without funding)."
            )
        values = self.values(names[0])
        known = ~np.isnan(values)
        return Series(self.opens[known], values[known, None])


def _counts_rows(index: Any) -> bool:
    """Whether an index is the one of a table that has none."""
    return type(index).__name__ == "RangeIndex" and index.name is None


def _timed(frame: pd.DataFrame) -> pd.DataFrame:
    """A table whose index has moments, not periods."""
    return frame.to_timestamp() if type(frame.index).__name__ == "PeriodIndex" else frame


def _is_series(name: str, column: Any) -> bool:
    import pyarrow

    numbers = pyarrow.types.is_floating(column.type) or pyarrow.types.is_integer(column.type)
    return bool(numbers or pyarrow.types.is_boolean(column.type)) and formats.normalised(name) not in _NAMES


def _usual_step(tables: list[_Table]) -> int:
    each = [_steps(table.stamps) for table in tables]
    bar_ns, _ = _usual(np.concatenate(each))
    if not bar_ns:
        raise UserError(f"{tables[0].where}: two bars at least are needed.")
    for table, steps in zip(tables, each, strict=True):
        own, share = _usual(steps)
        # Days have an hour more or less in zones with a summer time, and months some days.
        if share > 0.5 and not 0.5 * bar_ns < own < 2 * bar_ns:
            raise UserError(
                f"{table.where}: its rows are {timeframe_name(own)} apart, and bars of the tables together are of "
                f"{timeframe_name(bar_ns)}; give all tables bars of one length."
            )
    return bar_ns


def _steps(stamps: Int) -> Int:
    """Distances of successive times, ns, to the second from a minute on: what is beside it is no length of a bar."""
    steps = np.diff(np.sort(stamps))
    whole: Int = np.where(steps >= MINUTE, (steps + SECOND // 2) // SECOND * SECOND, steps)
    return whole[whole > 0]


def _usual(steps: Int) -> tuple[int, float]:
    """Most frequent of some distances, and its share of them; 0 where there are none."""
    values, counts = np.unique(steps, return_counts=True)
    return (int(values[np.argmax(counts)]), float(counts.max() / counts.sum())) if len(values) else (0, 0.0)


def _extended(history: History, tables: list[_Table], bar_ns: int) -> History:
    """The same bars with the series of the tables as further channels."""
    names = tables[0].series
    more = np.full((*history.values.shape[:2], len(names)), np.nan)
    for a, table in enumerate(tables):
        rows = np.searchsorted(history.time, table.opens[table.traded] + bar_ns)
        for k, name in enumerate(names):
            more[rows, a, k] = table.values(name)[table.traded]
    values = np.concatenate([history.values, more], axis=2)
    return replace(history, values=values, columns=(*history.columns, *names))
