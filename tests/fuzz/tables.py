"""Spoiled tables: text with commas, Arrow columns of other types, and configuration written as TOML."""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

import numpy as np
import pyarrow

from tests.fuzz.mutate import NUMBERS, TEXTS, spoil_bytes


def spoil_csv(text: str, rng: Random) -> bytes:
    """Change cells, rows, columns, separators, the encoding or single bytes of a table."""
    if rng.random() < 0.25:
        return spoil_bytes(text.encode(), rng)
    rows = [line.split(",") for line in text.splitlines()]
    for _ in range(rng.choice((1, 1, 2, 4))):
        _spoil_rows(rows, rng)
    comma, end = rng.choice((",",) * 9 + (";", "\t", "|")), rng.choice(("\n",) * 9 + ("\r\n", "\r", "\n\n"))
    made = end.join(comma.join(row) for row in rows)
    code = rng.choice(("utf-8",) * 12 + ("utf-8-sig", "utf-16", "latin-1"))
    return made.encode(code, "replace")


def _spoil_rows(rows: list[list[str]], rng: Random) -> None:
    if not rows:
        return
    k, how = rng.randrange(len(rows)), rng.random()
    c = rng.randrange(len(rows[k])) if rows[k] else 0
    if how < 0.5 and rows[k]:
        rows[k][c] = rng.choice(
            (*TEXTS, *(_digits(n) for n in NUMBERS), '"', '"a\nb"', "1,5", "1.000,5", "$1", "1e5", "0x10")
        )
    elif how < 0.6:
        for row in rows[1:]:
            if c < len(row):
                row[c] = rng.choice((row[c], _digits(rng.choice(NUMBERS)), "", rng.choice(TEXTS)))
    elif how < 0.7:
        for row in rows:
            del row[c : c + 1]
    elif how < 0.75:
        rows.insert(k, list(rows[k]))
    elif how < 0.8:
        rng.shuffle(rows)
    elif how < 0.85:
        del rows[rng.choice((0, 1, k)) :]
    elif how < 0.9:
        rows[0] = [rng.choice((*rows[0], name.upper(), f" {name} ", "")) for name in rows[0]]
    elif how < 0.95:
        rows[k] = rows[k] * rng.choice((2, 300))
    else:
        del rows[0]


def _digits(number: Any) -> str:
    return str(number) if not isinstance(number, int) or abs(number) < 10**300 else "1" + "0" * 400


def spoil_table(table: pyarrow.Table, rng: Random) -> pyarrow.Table:
    """Give one or two columns another type or other values, or change the rows."""
    for _ in range(rng.choice((1, 1, 2))):
        if table.num_columns == 0:
            return table
        k = rng.randrange(table.num_columns)
        how = rng.random()
        if how < 0.7:
            table = table.set_column(k, table.column_names[k], _other(table.column(k), rng))
        elif how < 0.75:
            table = table.remove_column(k)
        elif how < 0.8:
            table = table.append_column(table.column_names[k], table.column(k))
        elif how < 0.85:
            table = table.rename_columns(
                [n if j != k else rng.choice((n.upper(), "", *TEXTS[:4])) for j, n in enumerate(table.column_names)]
            )
        elif how < 0.9:
            table = table.slice(0, rng.choice((0, 1, 2)))
        elif how < 0.95:
            table = pyarrow.concat_tables([table, table])
        else:
            table = table.take(rng.sample(range(table.num_rows), table.num_rows))
    return table


def _other(column: Any, rng: Random) -> Any:
    """A column of as many rows."""
    n = len(column)
    number = rng.choice([float(x) for x in NUMBERS if not isinstance(x, int) or abs(x) < 10**300])
    whole = rng.choice([x for x in NUMBERS if isinstance(x, int) and abs(x) < 2**63])
    numbers = np.where(np.arange(n) == rng.randrange(max(n, 1)), number, 1.0)
    made: Any = rng.choice(
        (
            lambda: pyarrow.array(numbers),
            lambda: pyarrow.array(numbers.astype(np.float32)),
            lambda: pyarrow.array([whole] * n, pyarrow.int64()),
            lambda: pyarrow.array([2**64 - 1] * n, pyarrow.uint64()),
            lambda: pyarrow.array([True] * n),
            lambda: pyarrow.nulls(n),
            lambda: pyarrow.array([None if rng.random() < 0.2 else 1.0 for _ in range(n)]),
            lambda: pyarrow.array([rng.choice(TEXTS[:20]).encode("utf-8", "replace").decode() for _ in range(n)]),
            lambda: pyarrow.array([b"\xff\x00"] * n, pyarrow.binary()),
            lambda: pyarrow.array([[1.0]] * n),
            lambda: pyarrow.array([{"a": 1}] * n),
            lambda: pyarrow.array(["a"] * n).dictionary_encode(),
            lambda: pyarrow.array([1.0] * n).dictionary_encode(),
            lambda: pyarrow.array([1] * n).cast(pyarrow.decimal128(38, 10)),
            lambda: pyarrow.array([whole] * n).cast(pyarrow.timestamp(rng.choice(("s", "ms", "us", "ns")))),
            lambda: pyarrow.array(range(n)).cast(pyarrow.timestamp(rng.choice(("s", "ms")), "Europe/Berlin")),
            lambda: pyarrow.array(range(n), pyarrow.int32()).cast(pyarrow.date32()),
            lambda: pyarrow.array(range(n)).cast(pyarrow.duration("s")),
            lambda: pyarrow.array(range(n), pyarrow.int32()).cast(pyarrow.time32("s")),
        )
    )  # fmt: skip
    return made()


def toml(tree: Any) -> str:
    """Plain data as TOML; what TOML has no word for (None, too large a number) is written all the same."""
    if not isinstance(tree, dict):
        return f"x = {_word(tree)}\n"
    return "".join(f"{json.dumps(str(key))} = {_word(value)}\n" for key, value in tree.items())


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {_word(below)}" for key, below in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_word(below) for below in value) + "]"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, float):
        return (
            "nan"
            if math.isnan(value)
            else "inf"
            if value == math.inf
            else "-inf"
            if value == -math.inf
            else repr(value)
        )
    return "null" if value is None else _digits(value)
