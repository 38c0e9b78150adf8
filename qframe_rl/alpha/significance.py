"""Whether a mean is more than chance, and which of many are: bootstrap of blocks, and false discoveries.

Dates that follow each other are not independent: what was followed by a day's return is followed by most of the same
return an hour later. So whole blocks of dates are drawn, and each mean is measured by the spread of its own blocks.
"""

from __future__ import annotations

import numpy as np

from qframe_rl.types import Float

LEAST_BLOCKS = 20
"""Blocks below which their spread says too little."""
_AT_ONCE, _CELLS = 64, 2**21
"""Series that are looked at together, and most counts that are in memory at once."""


def block_means(series: Float, length: int) -> Float:
    """Means of consecutive blocks of at least ``length`` dates, as equal in length as can be.

    Parameters
    ----------
    series
        (N,) one number a date.
    length
        Dates of a block.

    Returns
    -------
    Float
        (N // length,).
    """
    n = len(series) // length
    edges = np.linspace(0, len(series), n + 1).astype(np.int64)
    means: Float = np.add.reduceat(series, edges[:-1]) / np.diff(edges)
    return means


def bootstrap_p(blocks: Float, n_resamples: int, seed: int) -> Float:
    """How probable means as far from zero as these are, where the true ones are zero; on both sides.

    The mean of the blocks over its error is compared with what resamples of the blocks give about their own mean
    (Carlstein, The Use of Subseries Values, 1986; studentised as in Götze and Künsch, 1996). All series are resampled
    alike.

    Parameters
    ----------
    blocks
        (F, n) means of the blocks of F series, from `block_means`.
    n_resamples
        Resamples, B.
    seed
        Of the draws.

    Returns
    -------
    Float
        (F,) in [1 / (1 + B), 1]; 1 where the blocks do not differ.
    """
    n = blocks.shape[1]
    rng, even, step = np.random.default_rng(seed), np.full(n, 1.0 / n), max(1, _CELLS // n)
    beyond = np.zeros(len(blocks))
    for begin in range(0, n_resamples, step):
        counts = rng.multinomial(n, even, min(step, n_resamples - begin)).astype(np.float64)
        for k in range(0, len(blocks), _AT_ONCE):
            beyond[k : k + _AT_ONCE] += _beyond(blocks[k : k + _AT_ONCE], counts)
    return (1.0 + beyond) / (1.0 + n_resamples)


def _beyond(blocks: Float, counts: Float) -> Float:
    """(F,) how many of some resamples, counts (B, n) of the blocks (F, n), lie as far from their mean as it from 0."""
    n = blocks.shape[1]
    apart = blocks - blocks.mean(axis=1, keepdims=True)
    asked = np.abs(_studentised(blocks.mean(axis=1), (blocks**2).mean(axis=1), n))
    drawn = np.abs(_studentised(apart @ counts.T / n, (apart**2) @ counts.T / n, n))
    return np.asarray((drawn >= asked[:, None]).sum(axis=1), dtype=np.float64)


def _studentised(mean: Float, square: Float, n: int) -> Float:
    """Means over their errors, from the means of squares; 0 without any spread."""
    error = np.sqrt(np.maximum(square - mean**2, 0.0) / max(1, n - 1))
    safe = np.where(error > 1e-12 * np.sqrt(square), error, np.inf)
    return np.asarray(mean / safe)


def discovery_rates(p: Float) -> Float:
    """Share of false ones among all that are at least as significant (Benjamini and Hochberg, 1995).

    Parameters
    ----------
    p
        (F,) one for each hypothesis that was tested.

    Returns
    -------
    Float
        (F,) q: to take those with q <= 0.1 makes a tenth of them false on average, at most.
    """
    order = np.argsort(p, kind="stable")
    raised = p[order] * len(p) / np.arange(1, len(p) + 1)
    found = np.empty(len(p))
    found[order] = np.minimum.accumulate(raised[::-1])[::-1]
    return np.minimum(found, 1.0)
