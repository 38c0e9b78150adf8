"""Series as PostgreSQL's binary COPY has them: rows of one bigint and some numbers, exact in both directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from qframe_rl.feeds.parquet import Series

HEADER = b"PGCOPY\n\xff\r\n\0" + b"\0" * 8


def _row(n: int) -> np.dtype[Any]:
    """A row of PostgreSQL's binary COPY with one bigint and ``n`` numbers, each behind its length."""
    parts: list[tuple[str, Any]] = [("n", ">i2"), ("l", ">i4"), ("time", ">i8")]
    return np.dtype([*parts, ("values", [("l", ">i4"), ("x", ">f8")], (n,))])


def packed(series: Series) -> bytes:
    """A series as binary COPY takes it."""
    n = series.values.shape[1]
    rows = np.zeros(len(series.time), _row(n))
    rows["n"], rows["l"], rows["time"] = n + 1, 8, series.time
    rows["values"]["l"], rows["values"]["x"] = 8, series.values
    return HEADER + rows.tobytes() + b"\xff\xff"


def unpacked(plain: bytes, n: int) -> Series:
    """What binary COPY gave, with ``n`` numbers a row."""
    rows = np.frombuffer(plain[len(HEADER) : -2], _row(n))
    return Series(rows["time"].astype(np.int64), np.ascontiguousarray(rows["values"]["x"], dtype=np.float64))
