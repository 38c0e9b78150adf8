"""Curves side by side: growth, drawdown, exposure, and the Sharpe ratio of a moving window with its interval."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qframe_rl.config import UserError
from qframe_rl.service.places import Found
from qframe_rl.service.projection import thinned
from qframe_rl.times import YEAR
from qframe_rl.types import Float, Int

_STEM = re.compile(r"[0-9a-z_-]{1,100}")
_Z = 1.6448536269514722
"""Quantile of the normal law: an interval of 90%, as the house's reports have it."""
LONGEST = 2_000_000
"""Bars of a record that is shown."""


class EquityCurve(NamedTuple):
    """An account bar by bar."""

    time: Int
    """(T,) closes, ns UTC."""
    equity: Float
    """(T,)."""
    exposure: Float
    """(T,) sum of exposures, share of equity."""


def records_of(run: Found) -> list[dict[str, Any]]:
    """Records of a run: what each is called, and its stretch of time."""
    found = []
    for path in sorted((run.folder / "journals").glob("*.parquet")):
        if _STEM.fullmatch(path.stem) and _within(path):
            try:
                n = pq.ParquetFile(path).metadata.num_rows
            except (OSError, pa.ArrowException):
                continue  # it is being written
            found.append({"name": path.stem, "bars": n})
    return found


def record_of(run: Found, name: str) -> EquityCurve:
    """A record of a run.

    Raises
    ------
    UserError
        If there is none of that name, or it cannot be read.
    """
    path = run.folder / "journals" / f"{name}.parquet"
    if not _STEM.fullmatch(name) or not path.is_file() or not _within(path):
        raise UserError(f"{run.name} has no record {name[:64]!r}.")
    return _read(path, f"{run.name} {name}")


def _within(path: Path) -> bool:
    """Whether no link leads from a run to a file of its journals."""
    return not path.is_symlink() and not path.parent.is_symlink()


def _read(path: Path, said: str) -> EquityCurve:
    try:
        file = pq.ParquetFile(path)
        if file.metadata.num_rows > LONGEST:
            raise UserError(f"the record {said} has more than {LONGEST:,} bars.")
        names = file.schema_arrow.names
        held = [name for name in names if name.endswith((" position", " mark"))]
        table = file.read(columns=["time", "equity", *held])
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
    except (OSError, pa.ArrowException, KeyError):
        raise UserError(f"the record {said} cannot be read.") from None
    equity = columns["equity"].astype(np.float64)
    worth = np.zeros(len(equity))
    for name in held:
        if name.endswith(" position"):
            mark = columns[name.removesuffix("position") + "mark"]
            worth += np.abs(np.nan_to_num(columns[name]) * np.nan_to_num(mark))
    exposure = np.divide(worth, equity, out=np.zeros(len(equity)), where=equity > 0.0)
    return EquityCurve(columns["time"].astype("datetime64[ns]").astype(np.int64), equity, exposure)


def compared(name: str, curve: EquityCurve, window: int, points: int) -> dict[str, Any]:
    """A curve by columns, thinned out with its lowest and highest points.

    Parameters
    ----------
    name
        What it is called.
    curve
        The curve, at least two bars long.
    window
        Bars of the moving Sharpe ratio; less where the curve is shorter than three of them.
    points
        How many at most.
    """
    n = len(curve.time)
    equity = curve.equity / curve.equity[0]
    peak = np.maximum.accumulate(equity)
    window = max(2, min(window, n // 3))
    per_year = YEAR / float(np.median(np.diff(curve.time))) if n > 1 else 1.0
    ratio, error = moving_sharpe(equity, window, per_year)
    columns = np.stack([equity, equity / peak - 1.0, curve.exposure, ratio, ratio - _Z * error, ratio + _Z * error], 1)
    kept = thinned(list(zip(range(n), equity.tolist(), strict=True)), points, 1)
    rows = np.array(sorted({row[0] for row in kept}), dtype=np.int64)
    shown = {
        label: [None if x != x else x for x in columns[rows, k].tolist()]
        for k, label in enumerate(("growth", "drawdown", "exposure", "sharpe", "sharpe_low", "sharpe_high"))
    }
    return {
        "name": name, "bars": n, "window": window, "time_ns": [str(t) for t in curve.time[rows].tolist()], **shown,
        "first": float(curve.equity[0]), "last": float(curve.equity[-1]), "max_drawdown": float(columns[:, 1].min()),
    }  # fmt: skip


def moving_sharpe(equity: Float, window: int, per_year: float) -> tuple[Float, Float]:
    """Sharpe ratio a year over the last ``window`` returns at each bar, and its standard error (Lo, 2002).

    Parameters
    ----------
    equity
        (T,).
    window
        Returns in it.
    per_year
        Bars of a year.

    Returns
    -------
    tuple[Float, Float]
        (T,) each; NaN before the window is full, and where nothing moved.
    """
    returns = np.diff(equity) / np.where(equity[:-1] > 0.0, equity[:-1], np.nan)
    ratio = np.full(len(equity), np.nan)
    if len(returns) >= window:
        view = np.lib.stride_tricks.sliding_window_view(returns, window)
        mean, spread = view.mean(axis=1), view.std(axis=1, ddof=1)
        ratio[window:] = np.divide(mean, spread, out=np.full(len(mean), np.nan), where=spread > 1e-15)
    error = np.sqrt((1.0 + 0.5 * ratio**2) / window)
    return ratio * per_year**0.5, error * per_year**0.5


def drift(live: EquityCurve, time: Sequence[int], equity: Sequence[float], points: int) -> dict[str, Any]:
    """A session against a backtest of the same checkpoint on the same bars, thinned out by their distance.

    Parameters
    ----------
    live
        The session.
    time, equity
        The backtest's.
    points
        How many at most.
    """
    both, a, b = np.intersect1d(live.time, np.array(time, dtype=np.int64), return_indices=True)
    if len(both) == 0:
        raise UserError("the session and a backtest of its bars have no bar in common yet.")
    mine, theirs = live.equity[a], np.array(equity)[b]
    apart = (mine / theirs - 1.0) * 1e4
    rows = np.array(sorted({r[0] for r in thinned(list(enumerate(apart.tolist())), points, 1)}), dtype=np.int64)
    return {
        "time_ns": [str(t) for t in both[rows].tolist()], "live": mine[rows].tolist(),
        "backtest": theirs[rows].tolist(), "drift_bps": apart[rows].tolist(), "last_bps": float(apart[-1]),
        "worst_bps": float(apart[np.abs(apart).argmax()]), "bars": len(both),
        "identical": bool((mine == theirs).all()),
    }  # fmt: skip
