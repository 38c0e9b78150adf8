"""A hidden Markov chain with independent Gaussian observations: fitted by Baum-Welch, used by its forward filter.

Source: Rabiner, A tutorial on hidden Markov models, Proc. IEEE 77 (1989), equations 19-20 (forward), 24-25 (backward)
and 40 (re-estimation), with the scaling of section V.A. Only the filter is for decisions: the smoothed probabilities
of the fit know the future and stay inside it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.features import frozen
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Bool, Float

_PRIOR = 1.0
"""Rows that the model begun with counts for: a state that no row shows stays where it was, and divides nothing by 0."""
_LEAST = 1e-12
"""Least likelihood of a row over its largest: no state is ruled out by one row for good, and a bar beyond all training
rows does not divide zero by zero."""
_SMALL = 1e-200
"""A product of likelihoods is turned into its logarithm before it is smaller by much."""


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
        (T, K); row t knows rows up to t alone, and going on from it gives the same bits as going through.
    """
    out = np.empty((len(seen), len(chain.start)))
    begun = before is not None
    prior = frozen(chain.start if before is None else before)
    _filter(frozen(seen), begun, prior, *_model(chain), np.empty(len(prior)), out)
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
    (n_rows, n_seen), n = seen.shape, len(chain.start)
    seen, begins = frozen(seen), frozen(begins)
    forward, likely, work = np.empty((n_rows, n)), np.empty((n_rows, n + 1)), np.empty((2, n))
    path: list[float] = []
    prior = chain
    for _ in range(n_iterations):
        mass, pairs, firsts = np.zeros(n), np.zeros((n, n)), np.zeros(n)
        sums = np.zeros((2, n, n_seen))
        model = _model(chain)
        total = _forward(seen, begins, frozen(chain.start), *model, likely, forward)
        _backward(seen, begins, model[0], likely, forward, work, mass, sums, pairs, firsts)
        path.append(total / n_rows)
        pairs, firsts = pairs * chain.move + _PRIOR * prior.move, firsts + _PRIOR * prior.start
        rows = (mass + _PRIOR)[:, None]
        mean = (sums[0] + _PRIOR * prior.mean) / rows
        square = sums[1] + _PRIOR * (prior.variance + prior.mean**2)
        variance = np.maximum(square / rows - mean * mean, 1e-3)
        chain = Chain(firsts / firsts.sum(), pairs / pairs.sum(axis=1, keepdims=True), mean, variance)
        if len(path) > 1 and path[-1] - path[-2] < tolerance:
            break
    return chain, np.array(path)


def _model(chain: Chain) -> tuple[Float, Float, Float, Float]:
    """(K, K) moves, (K, D) means, (K, D) halved inverse variances, and the (K,) logs of the densities' heights."""
    height = -0.5 * np.log(2.0 * math.pi * chain.variance).sum(axis=1)
    return frozen(chain.move), frozen(chain.mean), frozen(0.5 / chain.variance), frozen(height)


@inlined
def _likelihoods(row: Float, mean: Float, sharp: Float, height: Float, out: Float) -> float:
    """Write the (K,) likelihoods of a row over the largest of them, and return the log of that."""
    largest = -math.inf
    for k in range(len(height)):
        log = height[k]
        for d in range(len(row)):
            log -= (row[d] - mean[k, d]) * (row[d] - mean[k, d]) * sharp[k, d]
        out[k] = log
        largest = log if log > largest else largest
    for k in range(len(height)):
        value = 1.0 if out[k] == largest else math.exp(out[k] - largest)
        out[k] = _LEAST if value < _LEAST else value
    return largest


@compiled
def _filter(
    seen: Float, begun: bool, before: Float, move: Float, mean: Float, sharp: Float, height: Float, work: Float,
    out: Float,
) -> None:  # fmt: skip
    """Write the (T, K) filtered probabilities."""
    n = len(height)
    for t in range(len(seen)):
        known = True
        for d in range(seen.shape[1]):
            known &= not math.isnan(seen[t, d])
        if known:
            _likelihoods(seen[t], mean, sharp, height, work)
        total = 0.0
        for k in range(n):
            prior = 0.0
            for j in range(n):
                prior += (out[t - 1, j] if t > 0 else before[j]) * move[j, k]
            prior = before[k] if t == 0 and not begun else prior
            out[t, k] = prior * work[k] if known else prior
            total += out[t, k]
        for k in range(n):
            out[t, k] /= total


@compiled
def _forward(
    seen: Float, begins: Bool, start: Float, move: Float, mean: Float, sharp: Float, height: Float, likely: Float,
    forward: Float,
) -> float:  # fmt: skip
    """Write the (T, K) filtered probabilities, and (T, K + 1) likelihoods with the inverse of each row's scale.

    Returns the log likelihood.
    """
    n = len(height)
    total, product = 0.0, 1.0
    for t in range(len(seen)):
        total += _likelihoods(seen[t], mean, sharp, height, likely[t])
        norm = 0.0
        for k in range(n):
            prior = start[k]
            if not begins[t]:
                prior = 0.0
                for j in range(n):
                    prior += forward[t - 1, j] * move[j, k]
            forward[t, k] = prior * likely[t, k]
            norm += forward[t, k]
        inverse = 1.0 / norm
        for k in range(n):
            forward[t, k] *= inverse
        likely[t, n] = inverse
        product *= norm
        if product < _SMALL:
            total, product = total + math.log(product), 1.0
    return total + math.log(product)


@compiled
def _backward(
    seen: Float, begins: Bool, move: Float, likely: Float, forward: Float, work: Float, mass: Float, sums: Float,
    pairs: Float, firsts: Float,
) -> None:  # fmt: skip
    """Go backward and gather what the smoothed probabilities expect.

    ``mass`` (K,) rows in each state, ``sums`` (2, K, D) what is seen there and its squares, ``pairs`` (K, K) moves over
    their probabilities, ``firsts`` (K,) first states. ``work`` (2, K) is overwritten.
    """
    n_rows, n = forward.shape
    ahead, back = work[0], work[1]
    for t in range(n_rows - 1, -1, -1):
        last = t == n_rows - 1 or begins[t + 1]
        for k in range(n):
            ahead[k] = 0.0 if last else likely[t + 1, k] * back[k] * likely[t + 1, n]
        for k in range(n):
            value = 1.0 if last else 0.0
            for j in range(n):
                pairs[k, j] += forward[t, k] * ahead[j]
                value += move[k, j] * ahead[j]
            back[k] = value
            weight = forward[t, k] * value
            mass[k] += weight
            firsts[k] += weight if begins[t] else 0.0
            for d in range(seen.shape[1]):
                sums[0, k, d] += weight * seen[t, d]
                sums[1, k, d] += weight * seen[t, d] * seen[t, d]
