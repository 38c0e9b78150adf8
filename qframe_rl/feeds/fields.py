"""Columns of a table: by name, as numbers, and as times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.feeds import parquet
from qframe_rl.types import FIRST_YEAR, LAST_NS, LAST_YEAR, SECOND, Float, Int

if TYPE_CHECKING:
    import pyarrow

# Epoch numbers tell their unit by their size: each unit's range begins where the finer one would mean 1973.
_EPOCHS = ((1e8, SECOND), (1e11, 1_000_000), (1e14, 1_000), (1e17, 1))
_SPELLINGS = (
    "%Y%m%d %H:%M",
    "%Y.%m.%d %H:%M",
    "%Y.%m.%d %H:%M:%S",
    "%Y-%m-%d %I-%p",
    "%d.%m.%Y %H:%M:%S.%f",
    "%d.%m.%Y %H:%M",
)
"""Of times that are not ISO 8601 and cannot be mistaken."""
_PARQUET, _CSV = (".parquet", ".pq"), (".csv", ".txt", ".gz")


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

    Parameters
    ----------
    names
        Columns that the file has.
    wanted
        The one that is looked for; spaces around a name do not count either.
    path
        Of the file, for the message.

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

    Parameters
    ----------
    columns
        The file as an Arrow table.
    wanted
        Name of the column, whatever its case.
    path
        Of the file, for the message.

    Returns
    -------
    Float
        (N,).

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

    Parameters
    ----------
    column
        An Arrow column. Of epoch numbers each tells its unit (s, ms, us or ns) by its size.
    path, name
        Of the file and the column, for the message.

    Returns
    -------
    Int
        (N,) ns UTC; a time without a zone is taken as UTC.

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
        return _epochs(parquet.numbers(column, name, path), column, path, name)
    texts = [text.strip() for text in column.to_pylist()]
    if texts and (spelled := _spelled(texts)) is not None:
        return spelled
    return np.array([_moment(text, row, path) for row, text in enumerate(texts)], dtype=np.int64)


def _is_text(column: Any) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type))


def _epochs(values: Float, column: Any, path: Path, name: str) -> Int:
    """Nanoseconds of epoch numbers; each tells its unit by itself, for there are files that changed it."""
    import pyarrow

    out = np.zeros(len(values), dtype=np.int64)
    whole = column.to_numpy() if pyarrow.types.is_integer(column.type) else None
    begins = np.array([start for start, _ in _EPOCHS])
    which = np.searchsorted(begins, values, side="right") - 1
    units = np.array([unit for _, unit in _EPOCHS], dtype=np.float64)
    bad = (which < 0) | ~(values * units[which] < LAST_NS)
    if bad.any():
        row = int(np.argmax(bad))
        raise UserError(
            f"{path}: timestamp {values[row]:g} in row {row + 1} of {name!r} is not an epoch time in s, ms, us or ns."
        )
    for k, (_, unit) in enumerate(_EPOCHS):
        rows, milli = which == k, max(unit // 1_000_000, 1)
        if whole is not None:
            out[rows] = whole[rows].astype(np.int64) * unit
        else:
            out[rows] = np.round(values[rows] * milli).astype(np.int64) * (unit // milli)
    return out


def _spelled(texts: Sequence[str]) -> Int | None:
    """Nanoseconds of times that are all spelled in one of `_SPELLINGS`."""
    for spelling in _SPELLINGS:
        try:
            moments = [datetime.strptime(text, spelling).replace(tzinfo=UTC) for text in texts]
        except ValueError:
            continue
        if all(FIRST_YEAR <= moment.year < LAST_YEAR for moment in moments):
            return np.array([int(m.timestamp()) * SECOND + m.microsecond * 1_000 for m in moments], dtype=np.int64)
    return None


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
