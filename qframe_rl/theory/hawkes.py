"""Arrivals that excite one another (Hawkes, 1971): several kinds, exponential kernels.

The intensity of kind i is ``base_i + sum_j branching_ij decay exp(-decay (t - t_k))`` over all arrivals t_k of kind j
before t: an arrival of kind j has ``branching_ij`` children of kind i on average.

Sources: Hawkes, Spectra of some self-exciting and mutually exciting point processes, Biometrika 58 (1971); Bacry,
Mastromatteo & Muzy, Hawkes processes in finance, Market Microstructure and Liquidity 1 (2015), section 2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.types import Float


class Excitement(NamedTuple):
    """What is known of such arrivals in the long run."""

    rates: Float
    """(d,) arrivals a unit of time, by kind."""
    radius: float
    """Spectral radius of the branching: children of children and so on of an arrival; below 1."""
    fano: float
    """Variance over mean of the number of arrivals of all kinds in a long window."""


def hawkes(base: Float, branching: Float) -> Excitement:
    """Long-run moments of mutually exciting arrivals; with one kind, rate ``mu / (1 - n)`` and Fano ``1 / (1 - n)²``.

    Parameters
    ----------
    base
        (d,) mu, arrivals of their own accord a unit of time.
    branching
        (d, d) average number of direct children of kind i of an arrival of kind j.

    Raises
    ------
    UserError
        If they are of other shapes or below 0, or so excited that arrivals explode.
    """
    base, branching = np.asarray(base, np.float64), np.asarray(branching, np.float64)
    if base.ndim != 1 or branching.shape != (len(base), len(base)) or min(base.min(), branching.min()) < 0.0:
        raise UserError(f"rates of shape {base.shape} and branching of {branching.shape}: (d,), (d, d), 0 or more.")
    radius = float(np.abs(np.linalg.eigvals(branching)).max())
    if radius >= 1.0:
        raise UserError(f"the branching has a spectral radius of {radius:.4g}; arrivals explode from 1 on.")
    spread = np.linalg.inv(np.eye(len(base)) - branching)
    rates = spread @ base
    total = spread @ np.diag(rates) @ spread.T
    return Excitement(rates, radius, float(total.sum() / rates.sum()) if rates.sum() > 0.0 else 1.0)
