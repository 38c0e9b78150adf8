"""Whether the best of several strategies beats a benchmark by more than the search for it explains.

Reality check (White, 2000), test of superior predictive ability (Hansen, 2005) and model confidence set (Hansen, Lunde
and Nason, 2011), all by the stationary bootstrap of the library ``arch``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.evaluate.inference.bootstrap import RESAMPLES, block_length
from qframe_rl.evaluate.metrics import volatility
from qframe_rl.types import Float

_FEWEST = 10


class Superiority(NamedTuple):
    """p-values of the hypothesis that no strategy beats the benchmark in the mean."""

    spa: float
    """Hansen's consistent p-value: hopeless strategies do not dilute it."""
    spa_lower: float
    """Its lower bound."""
    reality_check: float
    """Upper bound: White's reality check, studentised."""
    block: int
    """Expected block length, in the bars that were handed in."""
    n_strategies: int
    """Strategies compared; those that never differ from the benchmark are left out."""


class ConfidenceSet(NamedTuple):
    """Strategies that cannot be told from the best."""

    included: tuple[int, ...]
    """Their columns."""
    p_values: Float
    """(N,) of each strategy: it is in the set if this is above ``size``."""
    size: float


def superiority(
    rates: Float, benchmark: Float, *, n_resamples: int = RESAMPLES, block: int | None = None, seed: int = 0
) -> Superiority:
    """Test whether any strategy beats a benchmark.

    Parameters
    ----------
    rates
        (T, N) returns of the strategies over the same bars; sums of a day are as good as hours, and much faster.
    benchmark
        (T,) returns to beat; zeros for holding cash.
    n_resamples, seed
        Of the bootstrap.
    block
        Expected block length, bars; None = the longest `block_length` of the strategies' excess returns.

    Returns
    -------
    Superiority
        All p-values are 1 where no strategy ever differs from the benchmark.

    Raises
    ------
    ValueError
        If there is no strategy, or fewer than 10 bars, which is a UserError.
    """
    _refuse(rates)
    excess = rates - benchmark[:, None]
    moving = np.ascontiguousarray(excess[:, [volatility(column) > 0.0 for column in excess.T]])
    if moving.shape[1] == 0:
        return Superiority(1.0, 1.0, 1.0, 1, 0)
    from arch.bootstrap import SPA

    length = block or _block(moving)
    test = SPA(np.zeros(len(moving)), -moving, block_size=length, reps=n_resamples, bootstrap="stationary", seed=seed)
    test.compute()
    lower, consistent, upper = (float(test.pvalues[name]) for name in ("lower", "consistent", "upper"))
    return Superiority(consistent, lower, upper, length, moving.shape[1])


def confidence_set(
    rates: Float, *, size: float = 0.1, n_resamples: int = RESAMPLES, block: int | None = None, seed: int = 0
) -> ConfidenceSet:
    """Set that holds the strategy with the highest mean return with probability 1 - ``size``.

    Strategies that returned the same are in it together or not at all.

    Parameters
    ----------
    rates
        (T, N) returns over the same bars.
    size
        Probability of leaving the best one out.
    n_resamples, block, seed
        As in `superiority`.

    Raises
    ------
    ValueError
        If there are fewer than two strategies, or fewer than 10 bars, which is a UserError.
    """
    _refuse(rates)
    if rates.shape[1] < 2:
        raise ValueError("a confidence set needs at least two strategies")
    # Two that did the same are one: of these the test would never find which is the worse, and go on for ever.
    _, first, same = np.unique(rates, axis=1, return_index=True, return_inverse=True)
    kept = np.sort(first)
    of_kept = np.ones(len(kept))
    if len(kept) > 1:
        from arch.bootstrap import MCS

        told, length = np.ascontiguousarray(rates[:, kept]), block or _block(rates)
        test = MCS(-told, size, reps=n_resamples, block_size=length, method="max", seed=seed)
        test.compute()
        of_kept = test.pvalues["Pvalue"].sort_index().to_numpy(dtype=np.float64)
    p_values = of_kept[np.searchsorted(kept, first[same.reshape(-1)])]
    return ConfidenceSet(tuple(int(k) for k in np.flatnonzero(p_values > size)), p_values, size)


def _block(rates: Float) -> int:
    return math.ceil(max(block_length(column) for column in rates.T))


def _refuse(rates: Float) -> None:
    if 0 < len(rates) < _FEWEST:
        raise UserError(
            f"{len(rates)} days are too few to test whether anything beats a benchmark; take a longer period, of "
            f"{_FEWEST} days or more."
        )
    if rates.ndim != 2 or rates.shape[1] < 1 or len(rates) < _FEWEST or not np.isfinite(rates).all():
        raise ValueError(f"returns must be (at least {_FEWEST} bars, strategies) finite numbers, got {rates.shape}")
