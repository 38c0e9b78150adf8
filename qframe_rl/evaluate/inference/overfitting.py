"""How often the best of many backtests is worse than their median out of sample.

Source: Bailey, Borwein, López de Prado and Zhu, The probability of backtest overfitting, Journal of Computational
Finance (2017): combinatorially symmetric cross-validation.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

from qframe_rl.evaluate.metrics import ROUNDING
from qframe_rl.types import Float


class Overfitting(NamedTuple):
    """Result of combinatorially symmetric cross-validation over C splits."""

    probability: float
    """Share of splits in which the choice ranks in the lower half out of sample (PBO)."""
    logits: Float
    """(C,) log odds of the choice's relative rank out of sample; zero or negative = overfitted."""
    in_sample: Float
    """(C,) Sharpe ratio per bar of the choice where it was chosen."""
    out_of_sample: Float
    """(C,) Sharpe ratio per bar of the choice on the other half."""
    loss: float
    """Share of splits in which the choice lost money out of sample."""


def overfitting(rates: Float, n_blocks: int = 16) -> Overfitting:
    """Probability of backtest overfitting.

    Parameters
    ----------
    rates
        (T, N) returns per bar of N configurations over the same bars. The first T mod S bars are left out, so that all
        blocks are equally long.
    n_blocks
        Even number S of blocks; each of the C(S, S/2) halves is a training set once.

    Raises
    ------
    ValueError
        For fewer than two configurations, an odd number of blocks, or blocks of fewer than two bars.
    """
    n_bars, n_configs = rates.shape
    size = n_bars // max(n_blocks, 1)
    if n_configs < 2 or n_blocks % 2 or n_blocks < 2 or size < 2:
        raise ValueError(
            f"{n_configs} configurations over {n_bars} bars do not fill {n_blocks} blocks (an even number)"
        )
    # Sums over a half are sums over its blocks; taken about the mean, so that squares lose no digits.
    used = rates[n_bars - size * n_blocks :]
    mean = used.mean(axis=0)
    blocks = (used - mean).reshape(n_blocks, size, n_configs)
    chosen = list(combinations(range(n_blocks), n_blocks // 2))
    half = np.zeros((len(chosen), n_blocks))
    half[np.arange(len(chosen))[:, None], np.array(chosen)] = 1.0
    inside = _sharpe(half, blocks, mean)
    outside = _sharpe(1.0 - half, blocks, mean)
    rows, best = np.arange(len(chosen)), np.argmax(inside, axis=1)
    of_best = outside[rows, best]
    # Ties count half, so that configurations that are all the same rank in the middle.
    below = (outside < of_best[:, None]).sum(axis=1)
    equal = (outside == of_best[:, None]).sum(axis=1) - 1
    rank = 1.0 + below + equal / 2.0
    logits = np.log(rank / (n_configs + 1.0 - rank))
    return Overfitting(
        float(np.mean(logits <= 0.0)), logits, inside[rows, best], of_best, float(np.mean(of_best < 0.0))
    )


def _sharpe(half: Float, blocks: Float, mean: Float) -> Float:
    """(C, N) Sharpe ratios per bar over the blocks that ``half`` (C, S) picks from ``blocks`` (S, size, N)."""
    n = blocks.shape[0] // 2 * blocks.shape[1]
    total = half @ blocks.sum(axis=1)
    squares = half @ (blocks**2).sum(axis=1)
    deviation = np.sqrt(np.maximum(squares - total**2 / n, 0.0) / (n - 1))
    ratio: Float = np.divide(mean + total / n, deviation, out=np.zeros_like(total), where=deviation > ROUNDING)
    return ratio
