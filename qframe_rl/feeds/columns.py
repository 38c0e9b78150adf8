"""Exogenous columns: what a file says, joined to bars only once it could be known.

A file of bars is stamped by their opens, and a bar is known when it has closed. No other file tells by itself when its
values became known: it says so in a column, or whoever joins it says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.feeds import fields
from qframe_rl.types import CLOSE, OHLCV, Float, History, Int, iso, timeframe_name, timeframe_ns

if TYPE_CHECKING:
    import pyarrow

PUBLISHED = "published"
"""Column that states when each value of a file became known."""
_SPEC = re.compile(r"(?P<name>\w+)=(?P<file>.+?):(?P<column>[^:]+?)(?::(?P<delay>\d+[smhdw]))?")
# The store's `1h.parquet`, and names such as `1m_2020-03.parquet`.
_TIMEFRAME = re.compile(r"([1-9]\d*[smhdw])(?![A-Za-z0-9])")


class _Column(NamedTuple):
    """One specification, taken apart; of ticks the name alone counts."""

    name: str
    path: Path
    column: str
    delay: int | None
    """What was stated, ns; None = nothing was."""
    text: str
    """As it was written."""


def extend(history: History, specs: Sequence[str], root: Path) -> History:
    """Add exogenous columns, joined as of the time at which they were known.

    Parameters
    ----------
    history
        The bars.
    specs
        ``NAME=FILE:COLUMN[:DELAY]`` each; FILE is CSV or Parquet, relative to ``root`` or absolute. When a value is
        known, the first of these that holds decides, plus DELAY:

        - a column ``published`` states it;
        - a file with open, high, low and close holds bars, whose ``timestamp`` is their open: one timeframe later;
        - else ``timestamp`` plus DELAY, which must be stated; ``0s`` says that the file is stamped by publication.

        A value stays until the next one is known. Of equal times the last row counts.

        ``NAME=ticks:FEATURE`` is what recorded ticks say of each bar of each instrument, see `tick_columns`: known at
        the bar's close, and NaN, not the last one, where there are no ticks.
    root
        Folder that relative files lie in.

    Returns
    -------
    History
        With (T, A, C + len(specs)) values: the same for every instrument that traded in the row, NaN before the first.

    Raises
    ------
    UserError
        For another spelling, a name that is taken, a missing file or column, unsorted times, a missing value, or a file
        that does not tell when its values were known.
    """
    if not specs:
        return history
    names = list(history.columns)
    parts = [history.values]
    of_ticks = [spec for spec in specs if is_of_ticks(spec)]
    ticks = _of_ticks(history, of_ticks, root) if of_ticks else {}
    absent = np.isnan(history.values[:, :, CLOSE])
    for spec in specs:
        column = _parsed(spec, root)
        if column.name in names:
            raise UserError(f"column {spec!r}: the name {column.name!r} is taken.")
        names.append(column.name)
        known = ticks[spec] if spec in ticks else _as_of(column, history.time)[:, None]
        parts.append(np.where(absent, np.nan, known)[:, :, None])
    return replace(history, values=np.concatenate(parts, axis=2), columns=tuple(names))


def is_of_ticks(spec: str) -> bool:
    """Whether a column is written ``NAME=ticks:FEATURE``."""
    return spec.partition("=")[2].startswith("ticks:")


def _of_ticks(history: History, specs: Sequence[str], root: Path) -> dict[str, Float]:
    from qframe_rl.feeds.tick_columns import tick_columns

    return dict(zip(specs, tick_columns(history, specs, root), strict=True))


def _parsed(spec: str, root: Path) -> _Column:
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise UserError(f"column {spec!r} is not NAME=FILE:COLUMN or NAME=FILE:COLUMN:DELAY (DELAY such as 1d).")
    delay = None if match["delay"] is None else _length(match["delay"])
    return _Column(match["name"], root / match["file"], match["column"], delay, spec)


def _length(delay: str) -> int:
    """Nanoseconds of a delay, which unlike a timeframe may be none."""
    return 0 if int(delay[:-1]) == 0 else timeframe_ns(delay)


def _as_of(column: _Column, close: Int) -> Float:
    """(T,) last value that was known by each close."""
    table = fields.open_columns(column.path)
    value = fields.numeric(table, column.column, column.path)
    time = _known_from(column, table)
    if (np.diff(time) < 0).any():
        row = int(np.argmax(np.diff(time) < 0)) + 1
        raise UserError(f"{column.path}: timestamps are not sorted at {iso(int(time[row]))}.")
    if not np.isfinite(value).all():
        row = int(np.argmin(np.isfinite(value)))
        raise UserError(
            f"{column.path}: column {column.column!r} has no finite value at {iso(int(time[row]))}; drop the row."
        )
    known: Float = np.append(value, np.nan)[np.searchsorted(time, close, side="right") - 1]
    return known


def _known_from(column: _Column, table: pyarrow.Table) -> Int:
    """(N,) time from which each row of a file is known, ns UTC."""
    path, names = column.path, {name.strip().lower() for name in table.column_names}
    if PUBLISHED in names:
        return _stated(column, table) + (column.delay or 0)
    time = fields.times(table.column(fields.column_of(table.column_names, "timestamp", path)), path)
    if set(OHLCV[:4]) <= names:
        return time + _timeframe(path, time) + (column.delay or 0)
    if column.delay is None:
        raise UserError(
            f"column {column.text!r}: {path} does not say when its values were known; add how long after their "
            f"timestamps ({column.text}:1d; 0s if they are stamped by publication), or a column {PUBLISHED!r}."
        )
    return time + column.delay


def _stated(column: _Column, table: pyarrow.Table) -> Int:
    """(N,) times of publication, which a row's own timestamp, where there is one, never follows."""
    path, names = column.path, table.column_names
    published = fields.times(table.column(fields.column_of(names, PUBLISHED, path)), path, PUBLISHED)
    if "timestamp" in {name.strip().lower() for name in names}:
        stamped = fields.times(table.column(fields.column_of(names, "timestamp", path)), path)
        if (published < stamped).any():
            row = int(np.argmax(published < stamped))
            raise UserError(
                f"{path}: the row of {iso(int(stamped[row]))} was published at {iso(int(published[row]))}, before it."
            )
    return published


def _timeframe(path: Path, opens: Int) -> int:
    """Length of the bars of a file, ns: as it is named, or as its bars lie.

    Raises
    ------
    UserError
        If neither tells, or if they contradict each other.
    """
    named = _TIMEFRAME.match(path.stem)
    steps, counts = np.unique(np.diff(np.unique(opens)), return_counts=True)
    usual = int(steps[np.argmax(counts)]) if len(steps) and 2 * counts.max() > counts.sum() else None
    length = timeframe_ns(named[1]) if named else usual
    if length is None:
        raise UserError(
            f"{path}: it holds bars, but neither its name nor their spacing tells how long they are, and so not when "
            f"they were known; name it by their length, such as 1d.parquet, or add a column {PUBLISHED!r}."
        )
    near, far = min([length, *steps.tolist()]), max(length, usual or 0)
    if near < length or far > length:
        found = timeframe_name(near if near < length else far)
        raise UserError(
            f"{path}: it holds bars of {timeframe_name(length)}, but they lie {found} apart; "
            f"name it by their length, or add a column {PUBLISHED!r}."
        )
    return length
