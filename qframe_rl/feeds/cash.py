"""What idle cash earns: a constant rate, or a series of rates with the times at which they were published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.feeds import fields
from qframe_rl.feeds.parquet import Series
from qframe_rl.types import YEAR, Float, History, iso

SYNTHETIC = "synthetic"
"""Name of the series that ships: made up, near zero and then 5 %, for trying things out."""
_SHIPPED = Path(__file__).parent / "rates" / "synthetic.csv"


def with_cash(history: History, rate: str, root: Path, after: int | None = None) -> History:
    """State what idle cash earns in each bar of a history: actual/365, at the rate known when the bar began.

    Parameters
    ----------
    history
        The bars. A bar begins where the one before it closed.
    rate
        Annual rate, a number such as ``0.03``; or ``synthetic``, or a file (CSV or Parquet, relative to ``root`` or
        absolute) with the columns ``timestamp``, the time of publication, and ``rate``, annual.
    root
        Folder of the data.
    after
        Close of the bar before the first; None = a bar length before the close of the first.

    Returns
    -------
    History
        With (T,) ``cash_rate``.

    Raises
    ------
    UserError
        For a rate of 100 % or more, a file that cannot be read or is not in order, or a bar that began before the first
        publication.
    """
    begin = np.concatenate([[history.time[0] - history.bar_ns if after is None else after], history.time[:-1]])
    series = published(rate, root)
    known = np.searchsorted(series.time, begin, side="right") - 1
    if (known < 0).any():
        row = int(np.argmax(known < 0))
        raise UserError(
            f"risk_free {rate}: no rate had been published by {iso(int(begin[row]))}; the series begins at "
            f"{iso(int(series.time[0]))}: take one that begins earlier, or later bars."
        )
    earned: Float = series.values[known, 0] * ((history.time - begin) / YEAR)
    return replace(history, cash_rate=earned)


def published(rate: str, root: Path) -> Series:
    """(M, 1) annual rates at the times of their publication; a constant was published before everything.

    Raises
    ------
    UserError
        As in `with_cash`.
    """
    try:
        constant = np.array([float(rate)])
    except ValueError:
        return _read(_SHIPPED if rate == SYNTHETIC else root / rate)
    return _sound(Series(np.array([np.iinfo(np.int64).min]), constant[:, None]), f"risk_free {rate}")


def _read(path: Path) -> Series:
    columns = fields.open_columns(path)
    time = fields.times(columns.column(fields.column_of(columns.column_names, "timestamp", path)), path)
    return _sound(Series(time, fields.numeric(columns, "rate", path)[:, None]), str(path))


def _sound(series: Series, where: str) -> Series:
    if len(series.time) == 0:
        raise UserError(f"{where}: there is no rate in it.")
    if (np.diff(series.time) <= 0).any():
        row = int(np.argmax(np.diff(series.time) <= 0)) + 1
        raise UserError(f"{where}: timestamps are not sorted or are doubled at {iso(int(series.time[row]))}.")
    if not (np.abs(series.values) < 1.0).all():
        row = int(np.argmin(np.abs(series.values[:, 0]) < 1.0))
        raise UserError(
            f"{where}: the rate {series.values[row, 0]:g} is not an annual fraction between -1 and 1 (0.03 is 3 %)."
        )
    return series
