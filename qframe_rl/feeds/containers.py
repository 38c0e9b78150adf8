"""Tables in files of any kind, told by their content: Parquet, Feather, JSON and text, as they are or compressed."""

from __future__ import annotations

import gzip
import io
import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qframe_rl.config import UserError
from qframe_rl.feeds.parquet import reason

if TYPE_CHECKING:
    import pyarrow

_MOST_BYTES = 1 << 29
_HEAD = 1 << 16
_NUMBER = re.compile(r"\s*\"?\s*([-+]?(\d+[.,]?\d*|[.,]\d+)([eE][-+]?\d+)?|nan|null|)\s*\"?\s*", re.IGNORECASE)
_FEWEST = 4
"""Delimiters in a row of candles."""


class Raw(NamedTuple):
    """A table as a file has it."""

    table: pyarrow.Table
    headed: bool
    """Whether its columns have names."""
    name: str
    """Of the file itself, inside of an archive."""
    first: str = ""
    """First field of the first row, where columns have no names."""


def opened(path: Path) -> Raw:
    """Table of a file.

    Raises
    ------
    UserError
        If there is no such file, or it is nothing of the kind.
    """
    if path.is_dir():
        raise UserError(f"{path}: a folder where a file is needed.")
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    if path.stat().st_size > _MOST_BYTES:
        raise UserError(f"{path}: larger than {_MOST_BYTES >> 20} MB; split it, or make a store of it.")
    name, data = _unpacked(path.name, path.read_bytes(), path)
    if not data.strip():
        raise UserError(f"{path}: the file is empty.")
    if data[:4] == b"PAR1" or name.lower().endswith((".parquet", ".pq")):
        return Raw(_arrow(data, path, "Parquet"), True, name)
    if data[:6] == b"ARROW1" or data[:4] == b"FEA1":
        return Raw(_arrow(data, path, "Feather"), True, name)
    if data.lstrip()[:1] in (b"[", b"{"):
        return _json(data, name, path)
    return _text(data, name, path)


def _unpacked(name: str, data: bytes, path: Path) -> tuple[str, bytes]:
    """Name and content of what is inside of an archive."""
    try:
        if data[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(data)) as file:
                return name.removesuffix(".gz"), _limited(file.read(_MOST_BYTES + 1), path)
        if data[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                inside = [one for one in archive.namelist() if one.lower().endswith((".csv", ".txt", ".json"))]
                if len(inside) != 1:
                    raise UserError(
                        f"{path}: {len(inside)} files of candles in one archive; unpack the one that is meant."
                    )
                with archive.open(inside[0]) as file:
                    return Path(inside[0]).name, _limited(file.read(_MOST_BYTES + 1), path)
    except UserError:
        raise
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a readable archive ({reason(error)}).") from None
    return name, data


def _limited(data: bytes, path: Path) -> bytes:
    if len(data) > _MOST_BYTES:
        raise UserError(f"{path}: more than {_MOST_BYTES >> 20} MB when unpacked; split it, or make a store of it.")
    return data


def _arrow(data: bytes, path: Path, kind: str) -> pyarrow.Table:
    import pyarrow
    from pyarrow import feather, parquet

    try:
        read = parquet.read_table if kind == "Parquet" else feather.read_table
        table = read(io.BytesIO(data))
        names = table.column_names
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a readable {kind} file ({reason(error)}).") from None
    return table.rename_columns([*names])


def _json(data: bytes, name: str, path: Path) -> Raw:
    """Rows of lists, or of objects."""
    import pyarrow

    try:
        rows = json.loads(data)
        if rows and isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
            return Raw(pyarrow.Table.from_pylist(rows), True, name)
        if rows and isinstance(rows, list) and all(isinstance(row, list) for row in rows):
            columns = list(zip(*rows, strict=True))
            table = pyarrow.table([pyarrow.array(column) for column in columns], [f"f{k}" for k in range(len(columns))])
            return Raw(table, False, name, str(rows[0][0]))
    except (ValueError, TypeError, OverflowError, IndexError, RecursionError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: not readable JSON ({reason(error)}).") from None
    raise UserError(f"{path}: JSON, but no list of rows or of objects; take its rows out of it.")


def _text(data: bytes, name: str, path: Path) -> Raw:
    """Fields with a delimiter, with or without names; what stands before them is passed over."""
    import pyarrow
    from pyarrow import csv

    lines = data[:_HEAD].decode("utf-8-sig", "replace").splitlines()
    lines = lines[:-1] if len(data) > _HEAD and len(lines) > 1 else lines
    if not lines:  # a mark of the byte order, and nothing after it
        raise UserError(f"{path}: the file is empty.")
    delimiter = next((d for d in ";\t|," if lines[-1].count(d) >= _FEWEST), ",")
    begin = next((k for k, line in enumerate(lines) if line.count(delimiter) >= _FEWEST), 0)
    fields = [field.strip().strip('"') for field in lines[begin].split(delimiter)]
    headed = not all(_NUMBER.fullmatch(field) for field in fields[1:])
    names: list[str] | None = None
    if fields[0].lower() == "price" and lines[begin + 1 : begin + 2] and lines[begin + 1].startswith("Ticker"):
        names, begin = ["Date", *fields[1:]], begin + 3
    comma = delimiter != "," and any(re.fullmatch(r"-?\d+,\d+", f) for f in lines[-1].split(delimiter))
    try:
        table = csv.read_csv(
            io.BytesIO(data),
            csv.ReadOptions(
                skip_rows=begin, column_names=names, autogenerate_column_names=not headed and names is None
            ),
            csv.ParseOptions(delimiter=delimiter),
            csv.ConvertOptions(decimal_point="," if comma else "."),
        )
        # Names are decoded when they are looked at.
        if not table.column_names:
            raise UserError(f"{path}: the file has no columns.")
    except UserError:
        raise
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable CSV file ({reason(error)}).") from None
    if names is not None:
        return Raw(table.append_column("Yahoo ticker", _nothing(len(table))), True, name)
    return Raw(table, headed, name, "" if headed else fields[0])


def _nothing(n: int) -> Any:
    import pyarrow

    return pyarrow.nulls(n)
