"""Time series on disk: Parquet files with a `timestamp` column, read as arrays and written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.types import OHLCV, Float, Int, iso

if TYPE_CHECKING:
    import pyarrow

PRICES = OHLCV
RATES = ("rate",)
_MS = 1_000_000


class Series(NamedTuple):
    """Rows of numbers in time."""

    time: Int
    """(N,) ns UTC, strictly increasing."""
    values: Float
    """(N, K) one column per name."""

    @classmethod
    def empty(cls, n_columns: int) -> Series:
        """No rows."""
        return cls(np.empty(0, dtype=np.int64), np.empty((0, n_columns)))

    @classmethod
    def joined(cls, parts: Sequence[Series]) -> Series:
        """All rows of ``parts`` in the order of time; of rows with equal times the last part's one stays."""
        time = np.concatenate([part.time for part in parts])
        values = np.concatenate([part.values for part in parts])
        order = np.argsort(time, kind="stable")
        time = time[order]
        last = np.append(time[1:] != time[:-1], True)
        return cls(time[last], values[order][last]) if len(time) else cls(time, values)

    def whole(self) -> Series:
        """Rows without a NaN."""
        known = ~np.isnan(self.values).any(axis=1)
        return self if known.all() else Series(self.time[known], self.values[known])

    def between(self, since: int, until: int) -> Series:
        """Rows with since <= time < until."""
        start, stop = (int(k) for k in np.searchsorted(self.time, (since, until)))
        return Series(self.time[start:stop], self.values[start:stop])


def table(path: Path, columns: Sequence[str] | None = None) -> pyarrow.Table:
    """Open a Parquet file.

    Raises
    ------
    UserError
        If there is none, it is not Parquet, lacks one of ``columns``, or has one twice.
    """
    import pyarrow
    from pyarrow import parquet

    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for column in names if columns is None else columns:
                if names.count(column) > 1:
                    raise UserError(f"{path}: two columns are named {column!r}; rename one.")
                if column not in names:
                    raise UserError(f"{path}: no column {column!r}; it has {', '.join(names) or 'none'}.")
            found = file.read(columns=None if columns is None else list(columns))
            for column in found.columns:
                if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
                    column.validate(full=True)  # else what is not UTF-8 fails where it is looked at
            return found
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({reason(error)}).") from None


def read(path: Path, names: Sequence[str]) -> Series:
    """Read one series.

    Parameters
    ----------
    path
        A Parquet file with ``timestamp`` (UTC; any unit) and ``names``.
    names
        The numeric columns to read.

    Raises
    ------
    UserError
        If `table` refuses the file, a column has another type or a missing value, or the timestamps are not strictly
        increasing.
    """
    found = table(path, ("timestamp", *names))
    time = stamps(found.column("timestamp"), path)
    values = np.column_stack([numbers(found.column(name), name, path) for name in names])
    step = np.diff(time)
    if (step <= 0).any():
        row = int(np.argmax(step <= 0)) + 1
        what = "duplicated" if step[row - 1] == 0 else "not sorted"
        raise UserError(f"{path}: timestamps are {what} at {iso(int(time[row]))}.")
    if np.isnan(values).any():
        row, k = (int(n) for n in np.argwhere(np.isnan(values))[0])
        raise UserError(f"{path}: column {names[k]!r} has no value at {iso(int(time[row]))}; mend the data.")
    return Series(time, values)


def stamps(column: Any, path: Path, name: str = "timestamp") -> Int:
    """Nanoseconds UTC of an Arrow column of timestamps, which is called ``name``.

    Parameters
    ----------
    column
        An Arrow column.
    path, name
        Of the file and the column, for the message.

    Returns
    -------
    Int
        (N,) ns UTC.

    Raises
    ------
    UserError
        If it holds anything else, a missing value, or a time beyond the years that nanoseconds can count.
    """
    import pyarrow

    if not pyarrow.types.is_timestamp(column.type):
        raise UserError(f"{path}: column {name!r} holds {column.type}, not timestamps.")
    if column.null_count:
        raise UserError(f"{path}: column {name!r} has a missing value.")
    try:
        whole = column.cast(pyarrow.timestamp("ns", column.type.tz)).cast(pyarrow.int64())
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{path}: column {name!r} has a time that is too far away ({reason(error)}).") from None
    return np.array(whole.to_numpy(), dtype=np.int64)


def numbers(column: Any, name: str, path: Path) -> Float:
    """Float64 values of an Arrow column; NaN where it has none.

    Parameters
    ----------
    column
        An Arrow column.
    name, path
        Of the column and the file, for the message.

    Returns
    -------
    Float
        (N,).

    Raises
    ------
    UserError
        If it does not hold numbers.
    """
    import pyarrow

    kind = column.type
    if pyarrow.types.is_null(kind):
        return np.full(len(column), np.nan)
    if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_decimal(kind)):
        raise UserError(f"{path}: column {name!r} holds {kind}, not numbers.")
    return np.array(column.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)


def write(path: Path, names: Sequence[str], series: Series) -> None:
    """Write one series; a reader sees the old file or the new one, never a part.

    Parameters
    ----------
    path
        The file; its folder is made where there is none.
    names
        Names of the K columns.
    series
        Rows with whole milliseconds: a store keeps no finer times.
    """
    import pyarrow
    from pyarrow import parquet

    time = pyarrow.array(series.time // _MS).cast(pyarrow.timestamp("ms"))
    columns = [pyarrow.array(np.ascontiguousarray(series.values[:, k])) for k in range(len(names))]
    with replacing(path) as temporary:
        parquet.write_table(pyarrow.table([time, *columns], ["timestamp", *names]), temporary, compression="zstd")


def merge(path: Path, names: Sequence[str], series: Series) -> Series:
    """Add rows to a file, which need not exist yet; where both have a time, the new row stays.

    Parameters
    ----------
    path
        The file; its folder is locked against other processes meanwhile.
    names
        Columns beside the time.
    series
        The rows.

    Returns
    -------
    Series
        All rows that the file has now.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path.parent):
        parts = [read(path, names), series] if path.exists() else [series]
        joined = Series.joined(parts)
        if len(joined.time):
            write(path, names, joined)
    return joined


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file beside ``path``; put it in its place, flushed to disk, if the body succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name for all: what a killed process left behind is overwritten, and `alone` keeps two writers apart.
    temporary = path.parent / f".{path.name}.partial"
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a folder while reading and rewriting a file of it, so that two downloads do not lose each other's rows.

    Parameters
    ----------
    folder
        It must be there.
    wait
        For another that holds it.

    Raises
    ------
    UserError
        If another holds it and is not to be waited for.
    """
    if sys.platform == "win32":
        # A folder cannot be locked there; a second download into the same files is not guarded against.
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise UserError(f"{folder} is being written by another process; stop that one, or take another.") from None
        yield
    finally:
        os.close(handle)


def reason(error: Exception) -> str:
    """First line of an error of the reader, without its full stop."""
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
