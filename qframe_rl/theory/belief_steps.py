"""The compiled steps of `qframe_rl.theory.beliefs`: one backward in time, one choice, one observation.

A value W over beliefs is kept at nodes of three grids: the last return x, the share q of the first of the first two
models in their common probability, and that probability p. Probabilities are interpolated by the cubic polynomial
through four nodes, so that what is linear in the three probabilities (p q, p (1 - q), 1 - p) stays exact; an
expectation over the next return is a sum over the nodes of x.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Float, Int

Table = NDArray[np.float32]
_TINY = 1e-300


@inlined
def _cubic(grid: Float, k: int, v: float) -> tuple[float, float, float, float]:
    """Weights of the nodes k to k + 3 at v; of a grid of one node, one."""
    if len(grid) < 4:
        return 1.0, 0.0, 0.0, 0.0
    a, b, c, d = grid[k], grid[k + 1], grid[k + 2], grid[k + 3]
    return (
        (v - b) * (v - c) * (v - d) / ((a - b) * (a - c) * (a - d)),
        (v - a) * (v - c) * (v - d) / ((b - a) * (b - c) * (b - d)),
        (v - a) * (v - b) * (v - d) / ((c - a) * (c - b) * (c - d)),
        (v - a) * (v - b) * (v - c) / ((d - a) * (d - b) * (d - c)),
    )


@inlined
def _scaled(grid: Float, inverse: Float, k: int, v: float) -> tuple[float, float, float, float]:
    """The same with the reciprocals of the denominators at hand."""
    if len(grid) < 4:
        return 1.0, 0.0, 0.0, 0.0
    a, b, c, d = v - grid[k], v - grid[k + 1], v - grid[k + 2], v - grid[k + 3]
    ab, cd = a * b, c * d
    return b * cd * inverse[k, 0], a * cd * inverse[k, 1], ab * d * inverse[k, 2], ab * c * inverse[k, 3]


@inlined
def _first(n: int, below: int) -> int:
    """First of the four nodes around the interval that begins at a node."""
    return max(min(below - 1, n - 4), 0)


@inlined
def _below(grid: Float, v: float) -> int:
    """Last node that is not above v."""
    low, high = 0, len(grid)
    while high - low > 1:
        middle = (low + high) // 2
        if grid[middle] <= v:
            low = middle
        else:
            high = middle
    return low


@inlined
def _best(out: Float, i: int, r: int, k: int, prob: float, up: float, flat: float, down: float, cost: float) -> None:
    """Add the best of three positions, from each of three."""
    out[0, i, r, k] += prob * max(down, flat - cost, up - 2.0 * cost)
    out[1, i, r, k] += prob * max(down - cost, flat, up - cost)
    out[2, i, r, k] += prob * max(down - 2.0 * cost, flat - cost, up)


@inlined
def _along(after: Float, t: int, first: int, weight: tuple[float, float, float, float], line: Float) -> None:
    """Interpolate along q, for every p."""
    for a in range(3):
        for k in range(line.shape[1]):
            line[a, k] = weight[0] * after[a, t, first, k]
            if after.shape[2] > 1:
                line[a, k] += (
                    weight[1] * after[a, t, first + 1, k]
                    + weight[2] * after[a, t, first + 2, k]
                    + weight[3] * after[a, t, first + 3, k]
                )


@inlined
def _at(line: Float, a: int, first: int, weight: tuple[float, float, float, float]) -> float:
    """Interpolate along p."""
    total = weight[0] * line[a, first]
    if line.shape[1] > 1:
        total += weight[1] * line[a, first + 1] + weight[2] * line[a, first + 2] + weight[3] * line[a, first + 3]
    return float(total)


@compiled
def backward(
    after: Float, before: Float, like: Float, span: Int, node: Float, model: Float, pair: Float,
    pair_inverse: Float, joint: Float, joint_inverse: Float, step: float, line: Float,
) -> None:  # fmt: skip
    """One step back in time.

    Parameters
    ----------
    after
        (3, Y, Q, P) what the steps after the next decision are worth, by the position that it takes, at each next
        return; (3, 1, Q, P) where the last return does not matter.
    before
        (3, X, Q, P) written: what the steps from the next decision on are worth, by the position that it finds.
    like
        (3, X, Y) probability of each next return under each model.
    span
        (X, 2) first next return that matters, and one behind the last.
    node
        (Y,) the returns.
    model
        (9,) autocorrelations and drifts of the three models, probability that the first two do not change places, cost
        of a unit of turnover, cost of holding one through a step.
    pair, joint
        (Q,) and (P,) grids of q and p; the inner nodes of p are evenly spaced in log-odds.
    pair_inverse, joint_inverse
        (Q, 4) and (P, 4) reciprocals of the denominators of the interpolation.
    step
        Spacing of the log-odds of p.
    line
        (3, P) room for values along p.
    """
    n_pair, n_joint, stay, cost, risk = len(pair), len(joint), model[6], model[7], model[8]
    before[:] = 0.0
    for i in range(len(span)):
        for j in range(span[i, 0], span[i, 1]):
            t, y = min(j, after.shape[1] - 1), node[j]
            e0, e1, e2 = model[3] + model[0] * y, model[4] + model[1] * y, model[5] + model[2] * y
            for r in range(n_pair):
                both = pair[r] * like[0, i, j] + (1.0 - pair[r]) * like[1, i, j]
                share = pair[r] * like[0, i, j] / both if both > 0.0 else pair[r]
                share = (1.0 - stay) + (2.0 * stay - 1.0) * share
                kq = _first(n_pair, _below(pair, share))
                wq = _scaled(pair, pair_inverse, kq, share)
                _along(after, t, kq, wq, line)
                mean = share * e0 + (1.0 - share) * e1
                shift = math.floor(math.log((both + _TINY) / (like[2, i, j] + _TINY)) / step)
                for k in range(n_joint):
                    prob = joint[k] * both + (1.0 - joint[k]) * like[2, i, j]
                    if prob > 0.0:
                        p = joint[k] * both / prob
                        kp = _first(n_joint, int(min(max(k + shift, 0.0), n_joint - 2.0)))
                        wp = _scaled(joint, joint_inverse, kp, p)
                        f = p * mean + (1.0 - p) * e2
                        down, flat, up = _at(line, 0, kp, wp), _at(line, 1, kp, wp), _at(line, 2, kp, wp)
                        _best(before, i, r, k, prob, up + f - risk, flat, down - f - risk, cost)


@compiled
def lookup(table: Table, which: Int, kept: int, belief: Float, last: Float, node: Float, pair: Float, joint: Float,
           out: Float) -> None:  # fmt: skip
    """Interpolate a table.

    Parameters
    ----------
    table
        (M, K, D, X, Q, P) D numbers at each node, for M markets and K counts of steps to come.
    which
        (B,) the market of each row.
    kept
        Which of the K.
    belief
        (B, 3) probabilities of the three models.
    last
        (B,) last returns.
    node, pair, joint
        (X,), (Q,) and (P,) the grids.
    out
        (B, D) written.
    """
    n_x, n_q, n_p = len(node), len(pair), len(joint)
    for b in range(len(which)):
        p = belief[b, 0] + belief[b, 1]
        q = belief[b, 0] / p if p > 0.0 else 0.5
        x = min(max(last[b], node[0]), node[n_x - 1])
        ix, iq, ip = _first(n_x, _below(node, x)), _first(n_q, _below(pair, q)), _first(n_p, _below(joint, p))
        wx, wq, wp = _cubic(node, ix, x), _cubic(pair, iq, q), _cubic(joint, ip, p)
        for d in range(table.shape[2]):
            total = 0.0
            for i in range(min(n_x, 4)):
                for r in range(min(n_q, 4)):
                    for k in range(min(n_p, 4)):
                        weight = wx[i] * wq[r] * wp[k]
                        total += weight * table[which[b], kept, d, ix + i, iq + r, ip + k]
            out[b, d] = total


@compiled
def learn(belief: Float, before: Float, seen: Float, which: Int, rho: Float, drift: Float, stay: Float) -> None:
    """Take a return into the beliefs, by Bayes' rule, and then a step in which the first two models may change places.

    Parameters
    ----------
    belief
        (B, 3) probabilities of the three models, changed.
    before, seen
        (B,) the last return and the new one, in units of the noise.
    which
        (B,) the market of each row.
    rho, drift
        (M, 3) autocorrelations and drifts.
    stay
        (M,) probability that the first two do not change places.
    """
    for b in range(len(belief)):
        m, nearest = which[b], math.inf
        for c in range(3):
            gap = seen[b] - drift[m, c] - rho[m, c] * before[b]
            if belief[b, c] > 0.0:
                nearest = min(nearest, gap * gap)
        total = 0.0
        for c in range(3):
            gap = seen[b] - drift[m, c] - rho[m, c] * before[b]
            belief[b, c] *= math.exp(0.5 * (nearest - gap * gap)) if belief[b, c] > 0.0 else 0.0
            total += belief[b, c]
        first, second = belief[b, 0] / total, belief[b, 1] / total
        belief[b, 0] = stay[m] * first + (1.0 - stay[m]) * second
        belief[b, 1] = stay[m] * second + (1.0 - stay[m]) * first
        belief[b, 2] /= total
