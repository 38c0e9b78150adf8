"""One CSV or Parquet file as market data, and every way in which it may be wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.feeds import parquet
from qframe_rl.feeds.check import checked
from qframe_rl.feeds.listing import Listing, base_exchange, listing
from qframe_rl.feeds.presets import preset
from qframe_rl.types import (
    FIRST_YEAR,
    LAST_NS,
    LAST_YEAR,
    OHLCV,
    SECOND,
    Bool,
    Float,
    History,
    Int,
    Source,
    iso,
    timeframe_name,
    timeframe_ns,
)  # fmt: skip

if TYPE_CHECKING:
    import pyarrow

_PARQUET, _CSV = (".parquet", ".pq"), (".csv", ".txt", ".gz")
# Epoch numbers tell their unit by their size: each unit's range begins where the finer one would mean 1973.
_EPOCHS = ((1e8, SECOND), (1e11, 1_000_000), (1e14, 1_000), (1e17, 1))


def load_file(
    path: Path, exchange: str, symbols: Sequence[str] = (), timeframe: str = "1h", funding: str = "require"
) -> History:
    """Bars of one instrument from a file.

    Parameters
    ----------
    path
        CSV or Parquet with the columns timestamp, open, high, low, close and volume, in any case and order; others are
        ignored. The timestamp is the bar's open, UTC: ISO 8601 text or epoch s, ms, us or ns.
    exchange
        Exchange whose preset rules (fees, lots) the instrument gets.
    symbols
        The instrument's symbol; without one it is read from the file's name.
    timeframe
        Length of a bar.
    funding
        ``zero`` trades a perpetual without funding; anything else refuses one, as a file carries no funding rates.

    Returns
    -------
    History
        (T, 1, 5), or (T, 1, 6) with a `funding_rate` of 0 for a perpetual.

    Raises
    ------
    UserError
        For a missing or unreadable file, a missing or wrong column, timestamps that are unsorted or duplicated, prices
        that no exchange could print, or a ``timeframe`` that contradicts the timestamps.
    """
    if len(symbols) > 1:
        raise UserError(f"{path}: one file holds one symbol, but {len(symbols)} are named: {', '.join(symbols)}.")
    bar_ns = timeframe_ns(timeframe)
    columns = open_columns(path)
    time = times(columns.column(column_of(columns.column_names, "timestamp", path)), path) + bar_ns
    bars = np.column_stack([numeric(columns, name, path) for name in OHLCV])[:, None, :]
    absent = np.isnan(bars).all(axis=(1, 2))
    if absent.any():
        raise UserError(f"{path}: the bar of {iso(int(time[absent][0]) - bar_ns)} has no values; drop the row.")
    market = _market(path, exchange, symbols)
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
    return _in_step(checked(history))


def open_columns(path: Path) -> pyarrow.Table:
    """Columns of a CSV or Parquet file, as it stands.

    Raises
    ------
    UserError
        If there is no such file, or it cannot be read as what its suffix says.
    """
    if path.is_dir():
        raise UserError(f"{path}: a folder where a file is needed.")
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty.")
    if path.suffix.lower() in _PARQUET:
        return parquet.table(path)
    if path.suffix.lower() in _CSV:
        return _csv(path)
    raise UserError(f"{path}: neither .csv nor .parquet.")


def _csv(path: Path) -> pyarrow.Table:
    import pyarrow
    from pyarrow import csv

    try:
        table = csv.read_csv(path)
        # Names are decoded when they are looked at.
        if not table.column_names:
            raise UserError(f"{path}: the file has no columns.")
        return table
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: not a readable CSV file ({parquet.reason(error)}).") from None


def column_of(names: Sequence[str], wanted: str, path: Path) -> str:
    """Return the name of a column whatever its case.

    Raises
    ------
    UserError
        If there is none, or two differ in case only.
    """
    found = [name for name in names if name.strip().lower() == wanted.lower()]
    if len(found) > 1:
        raise UserError(f"{path}: two columns are named {wanted!r}; rename one.")
    if not found:
        raise UserError(f"{path}: no column {wanted!r}; it has {', '.join(names) or 'none'}.")
    return found[0]


def numeric(columns: pyarrow.Table, wanted: str, path: Path) -> Float:
    """Numbers of one column; NaN where it has none.

    Raises
    ------
    UserError
        If there is no such column, or a value of it is not a number, naming the first such row.
    """
    import pyarrow

    name = column_of(columns.column_names, wanted, path)
    column = columns.column(name)
    if not _is_text(column):
        return parquet.numbers(column, name, path)
    values = column.to_pylist()
    for row, value in enumerate(values):
        if value is not None and not re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", value):
            raise UserError(f"{path}: column {name!r} has {value!r} in row {row + 1}, which is not a number.")
    return parquet.numbers(pyarrow.array([None if v is None else float(v) for v in values]), name, path)


def times(column: Any, path: Path, name: str = "timestamp") -> Int:
    """Nanoseconds UTC of the column ``name``: timestamps, ISO texts or epoch numbers.

    Raises
    ------
    UserError
        Naming the first row whose value is none of these.
    """
    import pyarrow

    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise UserError(f"{path}: column {name!r} has no value in row {row + 1}.")
    if pyarrow.types.is_date(column.type):
        column = column.cast(pyarrow.timestamp("s"))
    if pyarrow.types.is_timestamp(column.type):
        return parquet.stamps(column, path, name)
    if not _is_text(column):
        return _epochs(parquet.numbers(column, name, path), column, path)
    texts = [text.strip() for text in column.to_pylist()]
    return np.array([_moment(text, row, path) for row, text in enumerate(texts)], dtype=np.int64)


def _is_text(column: Any) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type))


def _epochs(values: Float, column: Any, path: Path) -> Int:
    import pyarrow

    if len(values) == 0:
        return np.empty(0, dtype=np.int64)
    units = [unit for start, unit in _EPOCHS if (values >= start).all()]
    if not units or not (values * units[-1] < LAST_NS).all():
        row = int(np.argmin(values)) if not units else int(np.argmax(values))
        raise UserError(f"{path}: timestamp {values[row]:g} in row {row + 1} is not an epoch time in s, ms, us or ns.")
    unit = units[-1]
    if pyarrow.types.is_integer(column.type):
        return np.array(column.to_numpy(), dtype=np.int64) * unit
    milli = max(unit // 1_000_000, 1)
    return np.round(values * milli).astype(np.int64) * (unit // milli)


def _moment(text: str, row: int, path: Path) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(
            f"{path}: timestamp {text!r} in row {row + 1} is neither ISO 8601 nor an epoch number."
        ) from None
    if not FIRST_YEAR <= moment.year < LAST_YEAR:
        raise UserError(f"{path}: timestamp {text!r} in row {row + 1} is not between {FIRST_YEAR} and {LAST_YEAR}.")
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    return int(moment.timestamp()) * SECOND + moment.microsecond * 1_000


def _market(path: Path, exchange: str, symbols: Sequence[str]) -> Listing:
    if symbols:
        return listing(exchange, symbols[0])
    name = path.name.split(".")[0]
    # A file of a store is named by its timeframe and lies in its symbol's folder.
    name = path.parent.name if re.fullmatch(r"\d+[smhdw]", name) else name
    pair = re.fullmatch(r"([A-Za-z0-9]+)[-_]([A-Za-z]+)", name)
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
