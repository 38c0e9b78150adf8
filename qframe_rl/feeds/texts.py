"""Texts with their hour: read from a file or a folder of them, each once, with the time from which it was known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.feeds import fields
from qframe_rl.feeds.parquet import reason
from qframe_rl.times import MINUTE
from qframe_rl.types import DAY, SECOND, Int, iso, timeframe_name

if TYPE_CHECKING:
    import pyarrow

RECEIVED, PUBLISHED = "received", "published"
"""Columns of texts that were recorded: when one came in, and when it was published by its own account."""
WRITING_NS = 10 * SECOND
"""From a text's reception until a session surely finds it in its file."""
LEAST_NS = 5 * MINUTE
"""From a stamp that nobody watched until the text counts as known."""
_TEXT = ("text", "title")


class Texts(NamedTuple):
    """Texts by the time from which they were known, oldest first."""

    known: Int
    """(N,) ns UTC."""
    text: list[str]
    table: pyarrow.Table
    """The rows that they came from, in the same order."""


def texts_of(path: Path, delay: int | None) -> Texts:
    """Read texts; one that comes again, by its words, is left out.

    Parameters
    ----------
    path
        CSV or Parquet, or a folder whose Parquet files, and those of the folders in it, are one table. Columns:
        ``text`` or ``title``, and when it was known, by the first of these that is there: ``received``, the time at
        which it came in (if a text was published later by its own account, that time), ``published``, ``timestamp``. A
        stamp of the last two at midnight is a day, and known at its end.
    delay
        What is added, ns; None = 10 s where texts were ``received``, else 5 minutes, the least.

    Raises
    ------
    UserError
        For a missing file or column, a row without a text, one that was published before its timestamp, or a shorter
        delay than 5 minutes where texts were not received.
    """
    table = _table(path)
    names = {name.strip().lower() for name in table.column_names}
    known = _known(table, names, path, delay)
    column = table.column(fields.column_of(table.column_names, next((c for c in _TEXT if c in names), _TEXT[0]), path))
    said = column.to_pylist()
    for row, text in enumerate(said):
        if isinstance(text, bytes):
            raise UserError(f"{path}: the text of row {row + 1} is not UTF-8; write the file anew in it.")
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{path}: row {row + 1} has no text; drop it.")
    keys = [same_words(text) for text in said]
    if "symbol" in names:
        whose = table.column(fields.column_of(table.column_names, "symbol", path)).to_pylist()
        keys = [f"{one}\n{key}" for one, key in zip(whose, keys, strict=True)]
    order, seen = [], set()
    for row in np.argsort(known, kind="stable").tolist():
        if keys[row] not in seen:
            seen.add(keys[row])
            order.append(row)
    rows = np.array(order, dtype=np.int64)
    return Texts(known[rows], [said[row] for row in order], table.take(rows))


def same_words(text: str) -> str:
    """What two texts have in common that count as one: words, whatever their case and the spaces between them."""
    return " ".join(text.split()).casefold()


def _table(path: Path) -> pyarrow.Table:
    if not path.is_dir():
        return fields.open_columns(path)
    import pyarrow

    parts = [fields.open_columns(file) for file in sorted(path.rglob("*.parquet"))]
    if not parts:
        raise UserError(f"{path}: no .parquet file in this folder.")
    try:
        return pyarrow.concat_tables(parts, promote_options="default")
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: the files of this folder do not go together ({reason(error)}).") from None


def _known(table: pyarrow.Table, names: set[str], path: Path, delay: int | None) -> Int:
    """(N,) time from which each row was known, ns UTC."""

    def stamps(name: str) -> Int:
        return fields.times(table.column(fields.column_of(table.column_names, name, path)), path, name)

    stamp = next((name for name in (PUBLISHED, "timestamp") if name in names), None)
    if RECEIVED in names:
        received = stamps(RECEIVED)
        return np.maximum(received, stamps(stamp) if stamp else received) + (WRITING_NS if delay is None else delay)
    if stamp is None:
        raise UserError(f"{path}: no column {RECEIVED!r}, {PUBLISHED!r} or 'timestamp' says when its texts were known.")
    if delay is not None and delay < LEAST_NS:
        raise UserError(
            f"{path}: its texts were not received by anyone, so they are known {timeframe_name(LEAST_NS)} after their "
            f"stamps or later; a delay of {timeframe_name(delay) if delay else '0s'} shows them too early."
        )
    at = stamps(stamp)
    if stamp == PUBLISHED and "timestamp" in names and (at < (of := stamps("timestamp"))).any():
        row = int(np.argmax(at < of))
        raise UserError(f"{path}: the row of {iso(int(of[row]))} was published at {iso(int(at[row]))}, before it.")
    return np.where(at % DAY == 0, at + DAY, at) + (LEAST_NS if delay is None else delay)
