"""A hidden Markov chain with independent Gaussian observations: fitted by Baum-Welch, used by its forward filter.

Source: Rabiner, A tutorial on hidden Markov models, Proc. IEEE 77 (1989), equations 19-20 (forward), 24-25 (backward)
and 40 (re-estimation), with the scaling of section V.A. Only the filter is for decisions: the smoothed probabilities
of the fit know the future and stay inside it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.jit import compiled
from qframe_rl.types import Bool, Float

_PRIOR = 1.0
"""Rows that the model begun with counts for: a state that no row shows stays where it was, and divides nothing by 0."""


class Chain(NamedTuple):
    """K states, D observed numbers."""

    start: Float
    """(K,) probabilities before the first observation."""
    move: Float
    """(K, K) probability of going from row to column."""
    mean: Float
    """(K, D)."""
    variance: Float
    """(K, D)."""


def filtered(chain: Chain, seen: Float, before: Float | None = None) -> Float:
    """Probabilities of the states given the observations so far.

    Parameters
    ----------
    chain
        The model.
    seen
        (T, D); a row with a NaN tells nothing.
    before
        (K,) probabilities after the observation before the first of these; None at the start of a sequence.

    Returns
    -------
    Float
        (T, K); row t knows rows up to t alone.
    """
    prior = chain.start if before is None else before @ chain.move
    likely = _likelihood(chain, seen)
    out = np.empty_like(likely)
    for t, row in enumerate(likely):
        joint = prior * row
        out[t] = joint / joint.sum()
        prior = out[t] @ chain.move
    return out


def fit(chain: Chain, seen: Float, begins: Bool, n_iterations: int, tolerance: float = 1e-6) -> tuple[Chain, Float]:
    """Raise the likelihood of training sequences by expectation-maximisation, with the first guess as a weak prior.

    Parameters
    ----------
    chain
        Where to begin, and what counts as much as one row in each state; the order of its states is kept.
    seen
        (T, D) sequences end to end, without NaN; of about unit variance.
    begins
        (T,) whether a sequence begins at the row.
    n_iterations
        Most steps.
    tolerance
        Stop when the log likelihood per row gains less.

    Returns
    -------
    tuple[Chain, Float]
        The model, and the log likelihood per row before each step.
    """
    n_rows, n_states = len(seen), len(chain.start)
    forward, backward = np.empty((n_rows, n_states)), np.empty((n_rows, n_states))
    path: list[float] = []
    prior = chain
    for _ in range(n_iterations):
        likely, scale = _scaled(chain, seen)
        pairs, firsts = _PRIOR * prior.move, _PRIOR * prior.start
        total = _sweep(likely, begins, chain.start, chain.move, forward, backward, pairs, firsts)
        path.append((total + float(scale.sum())) / n_rows)
        weight = forward * backward
        mass = weight.sum(axis=0)[:, None] + _PRIOR
        mean = (weight.T @ seen + _PRIOR * prior.mean) / mass
        square = weight.T @ (seen * seen) + _PRIOR * (prior.variance + prior.mean**2)
        variance = np.maximum(square / mass - mean * mean, 1e-3)
        move = pairs / pairs.sum(axis=1, keepdims=True)
        chain = Chain(firsts / firsts.sum(), move, mean, variance)
        if len(path) > 1 and path[-1] - path[-2] < tolerance:
            break
    return chain, np.array(path)


def _scaled(chain: Chain, seen: Float) -> tuple[Float, Float]:
    """(T, K) likelihoods of each row over the row's largest, and the (T,) log of that largest."""
    logs = np.stack(
        [
            -0.5 * ((seen - mean) ** 2 / variance + np.log(2.0 * math.pi * variance)).sum(axis=1)
            for mean, variance in zip(chain.mean, chain.variance, strict=True)
        ],
        axis=1,
    )
    largest = logs.max(axis=1)
    # No state is ruled out by one row for good: a bar beyond all training rows would else divide zero by zero.
    return np.maximum(np.exp(logs - largest[:, None]), 1e-12), largest


def _likelihood(chain: Chain, seen: Float) -> Float:
    unknown: Bool = np.isnan(seen.sum(axis=1))
    likely, _ = _scaled(chain, np.where(unknown[:, None], 0.0, seen))
    likely[unknown] = 1.0
    return likely


@compiled
def _sweep(
    likely: Float, begins: Bool, start: Float, move: Float, forward: Float, backward: Float, pairs: Float, firsts: Float
) -> float:
    """One forward and one backward pass; return the log likelihood.

    ``forward * backward`` (T, K) are the smoothed probabilities afterwards; ``pairs`` (K, K) gathers expected moves and
    ``firsts`` (K,) expected first states.
    """
    n_rows, n = likely.shape
    total = 0.0
    for t in range(n_rows):
        norm = 0.0
        for k in range(n):
            prior = start[k] if begins[t] else 0.0
            if not begins[t]:
                for j in range(n):
                    prior += forward[t - 1, j] * move[j, k]
            forward[t, k] = prior * likely[t, k]
            norm += forward[t, k]
        for k in range(n):
            forward[t, k] /= norm
        # The backward pass needs the same scale; it borrows the row until it gets there.
        backward[t, 0] = norm
        total += math.log(norm)
    scale = 1.0
    for t in range(n_rows - 1, -1, -1):
        here = backward[t, 0]
        last = t == n_rows - 1 or begins[t + 1]
        for k in range(n):
            value = 1.0
            if not last:
                value = 0.0
                for j in range(n):
                    ahead = move[k, j] * likely[t + 1, j] * backward[t + 1, j] / scale
                    pairs[k, j] += forward[t, k] * ahead
                    value += ahead
            backward[t, k] = value
        if begins[t]:
            for k in range(n):
                firsts[k] += forward[t, k] * backward[t, k]
        scale = here
    return total
