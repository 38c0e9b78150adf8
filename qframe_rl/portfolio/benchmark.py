"""What a portfolio is measured by: its members' instruments, bought in equal parts and held."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qframe_rl.types import Float, Int


def held_growth(series: Sequence[tuple[Int, Float]], at: Int) -> Float:
    """Growth of equal parts of some instruments that are bought at the first moment and never traded again.

    No costs and no funding. A part is cash until its instrument's first close; where a close is missing, the last one
    counts.

    Parameters
    ----------
    series
        Of each instrument: (N,) closes of bars, ns UTC, rising, and (N,) prices then; NaN = none.
    at
        (P,) moments, ns UTC, rising.

    Returns
    -------
    Float
        (P,) value over that of the first moment; ones where there is no instrument.
    """
    parts = [_growth(time[known], price[known], at) for time, price in series if (known := np.isfinite(price)).any()]
    return np.mean(parts, axis=0) if parts and len(at) else np.ones(len(at))


def _growth(time: Int, price: Float, at: Int) -> Float:
    k = np.searchsorted(time, at, side="right") - 1
    first = price[max(int(k[0]), 0)] if len(k) else 1.0
    return np.where(k < 0, 1.0, price[np.maximum(k, 0)] / first)
