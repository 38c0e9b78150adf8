"""Rows of an exchange's answer, judged one by one: what cannot be true is no row, and says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, FiniteFloat

from qframe_rl.types import LAST_NS, Bool, Float, Int

MS = 1_000_000
PRICE, AMOUNT = range(2)
"""Columns of a side of an order book."""
UNPLACED = 0
"""Stands for the time of rows that have none."""


def _two(row: Any) -> Any:
    return row[:2] if isinstance(row, list | tuple) else row


_Level = Annotated[tuple[FiniteFloat, FiniteFloat], BeforeValidator(_two)]
"""Price and amount; what CCXT says of a level beyond that is left out."""


class BookAnswer(BaseModel):
    """What is read of an order book, in CCXT's words: it is right as a whole or not at all."""

    model_config = ConfigDict(frozen=True)

    bids: list[_Level]
    asks: list[_Level]
    timestamp: int | None = None


class Page(NamedTuple):
    """Rows of one answer."""

    time: Int
    """(N,) ns UTC, strictly increasing."""
    values: Float
    """(N, K); NaN throughout in a row that cannot be true."""
    odd: dict[int, str]
    """What is wrong with each of those, by its time; `UNPLACED` for rows that state no time."""


def candles(rows: Sequence[Sequence[Any]], step_ns: int, mark: bool) -> Page:
    """Open, high, low, close and volume of candles of a length, as CCXT gives them; 0 is the volume of a mark price.

    Parameters
    ----------
    rows
        ``[open time in ms, open, high, low, close, volume]`` each.
    step_ns
        Length of a candle, ns.
    mark
        Whether they are candles of a mark price, whose volume means nothing.

    Returns
    -------
    Page
        The rows that can be true, and the time and fault of each that cannot.
    """
    table, odd = _placed([[*row[:5], 0.0] for row in rows] if mark else rows, 6)
    o, h, low, c, v = (table[:, k] for k in range(1, 6))
    faults: dict[str, Bool] = {
        "a missing value": np.logical_not(np.isfinite(table).all(axis=1)),
        "a price that is not above zero": low <= 0.0,
        "its open or close outside of low to high": (np.minimum(o, c) < low) | (np.maximum(o, c) > h),
        "a negative volume": v < 0.0,
        "another row for its time": _doubled(table[:, 0]),
        "no place among the others": _astray(table[:, 0], step_ns // MS),
    }
    return _page(table, faults, odd)


def rates(rows: Sequence[dict[str, Any]]) -> Page:
    """Funding rates as CCXT gives them."""
    table, odd = _placed([[row.get("timestamp"), row.get("fundingRate")] for row in rows], 2)
    faults: dict[str, Bool] = {
        "a missing value": np.logical_not(np.isfinite(table).all(axis=1)),
        "a funding rate of 100 % or more": np.abs(table[:, 1]) >= 1.0,
        "another row for its time": _doubled(table[:, 0]),
    }
    return _page(table, faults, odd)


def levels(side: Sequence[tuple[float, float]], depth: int) -> Float:
    """(N, 2) price and amount of the first ``depth`` levels of one side of a `BookAnswer`."""
    return np.array(side[:depth], dtype=np.float64).reshape(-1, 2)


def _placed(rows: Sequence[Sequence[Any]], width: int) -> tuple[Float, dict[int, str]]:
    """(N, width) numbers in the order of their times, each row once; NaN where there is none."""
    import ccxt

    try:
        table = np.array(rows, dtype=np.float64).reshape(len(rows), width)
    except (TypeError, ValueError):
        table = np.array([_row(row, width) for row in rows]).reshape(-1, width)
    with np.errstate(invalid="ignore"):
        placed = (table[:, 0] > 0.0) & (table[:, 0] < LAST_NS // MS)
    if len(table) and not placed.any():
        raise ccxt.BadResponse("an answer with no time in any row")
    odd = {} if placed.all() else {UNPLACED: "no time"}
    return np.unique(table[placed], axis=0), odd


def _row(row: Sequence[Any], width: int) -> Float:
    """Numbers of one row; NaN instead of what is none, and throughout but for its time if it has another length."""
    numbers = np.array([x if isinstance(x, int | float) else np.nan for x in row[:width]], dtype=np.float64)
    made = np.full(width, np.nan)
    made[: len(numbers) if len(row) == width else min(1, len(numbers))] = numbers[: width if len(row) == width else 1]
    return made


def _doubled(stamps: Float) -> Bool:
    """(N,) whether another row states the same time, of sorted ones."""
    same = np.diff(stamps) == 0.0
    doubled: Bool = np.append(False, same) | np.append(same, False)
    return doubled


def _astray(stamps: Float, step_ms: int) -> Bool:
    """(N,) whether a row lies nearer to another than a candle lasts, and is not where most are."""
    near = (np.diff(stamps) > 0.0) & (np.diff(stamps) < step_ms)
    phases, counts = np.unique(stamps % step_ms, return_counts=True)
    usual = phases[np.argmax(counts)] if len(phases) else 0.0
    astray: Bool = (np.append(False, near) | np.append(near, False)) & (stamps % step_ms != usual)
    return astray


def _page(table: Float, faults: dict[str, Bool], odd: dict[int, str]) -> Page:
    time, values = table[:, 0].astype(np.int64) * MS, table[:, 1:].copy()
    wrong = np.zeros(len(table), dtype=np.bool_)
    for what, bad in faults.items():
        for at in time[bad & ~wrong]:
            odd.setdefault(int(at), what)
        wrong |= bad
    values[wrong] = np.nan
    time, first = np.unique(time, return_index=True)
    return Page(time, values[first], odd)
