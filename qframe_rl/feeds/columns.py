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
from qframe_rl.feeds.own_rows import SYMBOL, own_rows
from qframe_rl.members import MEMBER
from qframe_rl.times import delay_ns
from qframe_rl.types import CLOSE, DAY, OHLCV, Float, History, Int, iso, timeframe_name, timeframe_ns

if TYPE_CHECKING:
    import pyarrow

PUBLISHED = "published"
"""Column that states when each value of a file became known."""
_SPEC = re.compile(
    r"(?P<name>\w+)=(?P<file>.+?):(?P<column>[^:]+?)(?::(?P<delay>\d+[smhdw])(?::(?P<age>\d+[smhdw]))?)?"
)
_SPELLING = "is not NAME=FILE:COLUMN, NAME=FILE:COLUMN:DELAY (DELAY such as 1d) or NAME=FILE:COLUMN:DELAY:AGE."
# The store's `1h.parquet`, and names such as `1m_2020-03.parquet`.
_TIMEFRAME = re.compile(r"([1-9]\d*[smhdw])(?![A-Za-z0-9])")


class _Column(NamedTuple):
    """One specification, taken apart; of ticks the name alone counts."""

    name: str
    path: Path
    column: str
    delay: int | None
    """What was stated, ns; None = nothing was."""
    age: int | None
    """How long a value holds, ns; None = until the next one is known."""
    text: str
    """As it was written."""


def extend(history: History, specs: Sequence[str], root: Path) -> History:
    """Add exogenous columns, joined as of the time at which they were known.

    Parameters
    ----------
    history
        The bars.
    specs
        ``NAME=FILE:COLUMN[:DELAY[:AGE]]`` each; FILE is CSV or Parquet, relative to ``root`` or absolute. When a value
        is known, the first of these that holds decides, plus DELAY:

        - a column ``published`` states it;
        - a file with open, high, low and close holds bars, whose ``timestamp`` is their open: one timeframe later;
        - else ``timestamp`` plus DELAY, which must be stated; ``0s`` says that the file is stamped by publication.

        Where all stamps are days, DELAY is a day or more: what a day says is known at its end. A value stays until the
        next one is known, at most for AGE: then it is NaN. Of equal times the last row counts. Where the file has a
        column ``symbol``, each instrument has its own rows.

        ``NAME=ticks:FEATURE`` is what recorded ticks say of each bar of each instrument, see `tick_columns`: known at
        the bar's close, and NaN, not the last one, where there are no ticks. ``NAME=texts:FILE:STATISTIC:WINDOW`` is
        what texts of the time before each close say, see `text_columns`; ``NAME=decisions:FILE`` what was decided
        outside, see `decisions`.
    root
        Folder that relative files lie in.

    Returns
    -------
    History
        With (T, A, C + len(specs)) values: NaN before the first, and for an instrument that did not trade in the row;
        the same for all others, but where the file tells instruments apart.

    Raises
    ------
    UserError
        For another spelling, a name that is taken, a missing file or column, unsorted times, a missing value, a file
        that does not tell when its values were known, or none of whose symbols is an instrument's.
    """
    if not specs:
        return history
    names = list(history.columns)
    parts = [history.values]
    of_ticks = [spec for spec in specs if is_of_ticks(spec)]
    found = _of_ticks(history, of_ticks, root) if of_ticks else {}
    if of_decisions := [spec for spec in specs if is_of_decisions(spec)]:
        found |= _of_decisions(history, of_decisions, root)
    if of_texts := [spec for spec in specs if is_of_texts(spec)]:
        found |= _of_texts(history, of_texts, root)
    absent = np.isnan(history.values[:, :, CLOSE])
    for spec in specs:
        name = name_of(spec)
        if name in names or name == MEMBER:
            raise UserError(f"column {spec!r}: the name {name!r} is taken.")
        names.append(name)
        known = found[spec] if spec in found else _as_of(_parsed(spec, root), history)
        parts.append(np.where(absent, np.nan, known)[:, :, None])
    return replace(history, values=np.concatenate(parts, axis=2), columns=tuple(names))


def name_of(spec: str) -> str:
    """The name that a column's specification begins with.

    Raises
    ------
    UserError
        If it begins with none.
    """
    match = re.match(r"(\w+)=.", spec)
    if match is None:
        raise UserError(f"column {spec!r} {_SPELLING}")
    return match[1]


def is_of_ticks(spec: str) -> bool:
    """Whether a column is written ``NAME=ticks:FEATURE``."""
    return spec.partition("=")[2].startswith("ticks:")


def _of_ticks(history: History, specs: Sequence[str], root: Path) -> dict[str, Float]:
    from qframe_rl.feeds.tick_columns import tick_columns

    return dict(zip(specs, tick_columns(history, specs, root), strict=True))


def is_of_decisions(spec: str) -> bool:
    """Whether a column is written ``NAME=decisions:FILE``."""
    return spec.partition("=")[2].startswith("decisions:")


def _of_decisions(history: History, specs: Sequence[str], root: Path) -> dict[str, Float]:
    from qframe_rl.feeds.decisions import decision_columns

    return dict(zip(specs, decision_columns(history, specs, root), strict=True))


def is_of_texts(spec: str) -> bool:
    """Whether a column is written ``NAME=texts:FILE:STATISTIC:WINDOW``."""
    return spec.partition("=")[2].startswith("texts:")


def _of_texts(history: History, specs: Sequence[str], root: Path) -> dict[str, Float]:
    from qframe_rl.feeds.text_columns import text_columns

    return dict(zip(specs, text_columns(history, specs, root), strict=True))


def _parsed(spec: str, root: Path) -> _Column:
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise UserError(f"column {spec!r} {_SPELLING}")
    delay = None if match["delay"] is None else delay_ns(match["delay"])
    age = None if match["age"] is None else timeframe_ns(match["age"])
    return _Column(match["name"], root / match["file"], match["column"], delay, age, spec)


def _as_of(column: _Column, history: History) -> Float:
    """(T, A), or (T, 1) for all alike: last value that was known by each close and is not too old."""
    table = fields.open_columns(column.path)
    value = fields.numeric(table, column.column, column.path)
    time = _known_from(column, table)
    if not any(name.strip().lower() == SYMBOL for name in table.column_names):
        return _standing(column, value, time, history.time)[:, None]
    own = own_rows(table, history.symbols, column.path)
    return np.column_stack([_standing(column, value[rows], time[rows], history.time) for rows in own])


def _standing(column: _Column, value: Float, time: Int, close: Int) -> Float:
    """(T,) of one series: (N,) values, known from these times on."""
    if (np.diff(time) < 0).any():
        row = int(np.argmax(np.diff(time) < 0)) + 1
        raise UserError(f"{column.path}: timestamps are not sorted at {iso(int(time[row]))}.")
    if not np.isfinite(value).all():
        row = int(np.argmin(np.isfinite(value)))
        raise UserError(
            f"{column.path}: column {column.column!r} has no finite value at {iso(int(time[row]))}; drop the row."
        )
    last = np.searchsorted(time, close, side="right") - 1
    known: Float = np.append(value, np.nan)[last]
    if column.age is not None and len(time):
        known[close - time[last] > column.age] = np.nan
    return known


def _known_from(column: _Column, table: pyarrow.Table) -> Int:
    """(N,) time from which each row of a file is known, ns UTC."""
    path, names = column.path, {name.strip().lower() for name in table.column_names}
    if PUBLISHED in names:
        return _whole(column, _stated(column, table)) + (column.delay or 0)
    time = fields.times(table.column(fields.column_of(table.column_names, "timestamp", path)), path)
    if set(OHLCV[:4]) <= names:
        return time + _timeframe(path, time) + (column.delay or 0)
    if column.delay is None:
        raise UserError(
            f"column {column.text!r}: {path} does not say when its values were known; add how long after their "
            f"timestamps ({column.text}:1d; 0s if they are stamped by publication), or a column {PUBLISHED!r}."
        )
    return _whole(column, time) + column.delay


def _whole(column: _Column, stamps: Int) -> Int:
    """Stamps as they are; days, if all of them are, need a delay until their end."""
    if len(stamps) and not (stamps % DAY).any() and (column.delay or 0) < DAY:
        raise UserError(
            f"column {column.text!r}: the stamps of {column.path} are days, and what a day says is known at its end; "
            f"state how long after its beginning, such as {_bare(column)}:1d."
        )
    return stamps


def _bare(column: _Column) -> str:
    """A specification without delay and age."""
    return column.text[: column.text.rindex(f":{column.column}") + len(column.column) + 1]


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
