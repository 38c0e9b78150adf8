"""Several choices at once, compiled: log-probabilities, entropies and slopes of a whole tile of samples.

Each option's numbers lie side by side for all samples of the tile, so that what is done to one is done to all by vector
instructions; the exponential is one of ours, for the library's takes a number at a time.
"""

from __future__ import annotations

import math

import numpy as np

from qframe_rl.jit import fused
from qframe_rl.policy.tiles import NIL, ONE, ROWS, place
from qframe_rl.types import Bool, Int, Single

LOG_P, ENTROPY, OF_LOG_P, _TOP, _TOTAL = range(5)
N_ROWS = 5
"""Rows of scratch, a number for each sample: what is found, what the loss says of it, and two of no further use."""
# exp(x) = 2^n exp(r) with |r| <= ln(2) / 2, and a polynomial for exp(r) (Cephes, expf; Moshier, 1992): within 9e-8.
_PER_LN2, _LN2, _LN2_REST = (np.float32(x) for x in (1.44269504, 0.693359375, -2.12194440e-4))
_P0, _P1, _P2, _P3, _P4, _P5 = (
    np.float32(x) for x in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 0.16666665459, 0.5)
)
# What is added and taken off again to round to whole numbers, and where an exponential is taken for 0.
_WHOLE, _LOW = np.float32(12582912.0), np.float32(-87.0)
_BIAS, _MANTISSA = np.int32(127), np.int32(23)


@fused
def raise_all(x: Single) -> None:
    """Exponentials, in place, of numbers that are not above zero."""
    for k in range(len(x)):
        t = max(x[k], _LOW)
        n = (t * _PER_LN2 + _WHOLE) - _WHOLE
        r = t - n * _LN2 - n * _LN2_REST
        p = ((((_P0 * r + _P1) * r + _P2) * r + _P3) * r + _P4) * r + _P5
        power = np.int32((np.int32(n) + _BIAS) << _MANTISSA).view(np.float32)
        x[k] = (p * r * r + r + ONE) * power if x[k] >= _LOW else NIL


@fused
def judge_several(
    v: Single, out: int, spare: int, n: int, n_options: int, samples: Single, pick: Int, column: int, n_parts: int,
    rows: Single,
) -> None:  # fmt: skip
    """Log-probabilities of a tile's actions and entropies, to ``rows``.

    Parameters
    ----------
    v, out
        The tile, and where the actor's outputs lie in it; they are replaced by probabilities, option by option.
    spare
        Where log-probabilities are written, option by option.
    n
        Samples of the tile.
    n_options, n_parts
        Of each choice, and choices.
    samples, pick, column
        Rows of which ``column`` is the first action; which of them is whose, (n,).
    rows
        (N_ROWS, ROWS) written.
    """
    n_outputs = n_options * n_parts
    for k in range(n_outputs):
        for s in range(ROWS):
            v[spare + k * ROWS + s] = v[out + place(s, k)]
    rows[:] = NIL
    for part in range(n_parts):
        _level(v, spare + part * n_options * ROWS, n_options, rows[_TOP])
    for k in range(n_outputs * ROWS):
        v[out + k] = v[spare + k]
    raise_all(v[out : out + n_outputs * ROWS])
    for part in range(n_parts):
        first = part * n_options * ROWS
        _normalise(v, out + first, spare + first, n_options, rows[_TOTAL], rows[ENTROPY])
        for s in range(n):
            option = int(samples[pick[s], column + part])
            rows[LOG_P, s] += v[spare + first + option * ROWS + s]


@fused
def _level(v: Single, at: int, n_options: int, top: Single) -> None:
    """Take the largest logit of a choice off all, so that no exponential overflows."""
    for s in range(ROWS):
        top[s] = v[at + s]
    for k in range(1, n_options):
        for s in range(ROWS):
            top[s] = max(top[s], v[at + k * ROWS + s])
    for k in range(n_options):
        for s in range(ROWS):
            v[at + k * ROWS + s] -= top[s]


@fused
def _normalise(v: Single, chances: int, logs: int, n_options: int, total: Single, entropy: Single) -> None:
    """Exponentials of a choice to probabilities, logits to their logarithms; add the entropy."""
    for s in range(ROWS):
        total[s] = v[chances + s]
    for k in range(1, n_options):
        for s in range(ROWS):
            total[s] += v[chances + k * ROWS + s]
    for k in range(n_options):
        for s in range(ROWS):
            v[chances + k * ROWS + s] /= total[s]
    for s in range(ROWS):
        total[s] = np.float32(math.log(total[s]))
    for k in range(n_options):
        for s in range(ROWS):
            v[logs + k * ROWS + s] -= total[s]
            entropy[s] -= v[chances + k * ROWS + s] * v[logs + k * ROWS + s]


@fused
def turn_several(
    v: Single, at: int, out: int, spare: int, n: int, n_options: int, samples: Single, pick: Int, column: int,
    n_parts: int, rows: Single, of_entropy: np.float32,
) -> None:  # fmt: skip
    """Write the slopes of a tile along its logits, after `judge_several`.

    Parameters
    ----------
    v, at
        The tile, and where slopes are written as outputs lie.
    out, spare, n, n_options, samples, pick, column, n_parts, rows
        As `judge_several` left them; row OF_LOG_P is the slope along each log-probability.
    of_entropy
        Slope along an entropy.
    """
    mess, of_log_p = rows[_TOP], rows[OF_LOG_P]
    for part in range(n_parts):
        chances, logs = out + part * n_options * ROWS, spare + part * n_options * ROWS
        mess[:] = NIL
        for k in range(n_options):
            for s in range(ROWS):
                mess[s] -= v[chances + k * ROWS + s] * v[logs + k * ROWS + s]
        for k in range(n_options):
            for s in range(ROWS):
                v[chances + k * ROWS + s] *= -of_log_p[s] - of_entropy * (v[logs + k * ROWS + s] + mess[s])
        for s in range(n):
            v[chances + int(samples[pick[s], column + part]) * ROWS + s] += of_log_p[s]
    for k in range(n_options * n_parts):
        for s in range(n):
            v[at + place(s, k)] = v[out + k * ROWS + s]


@fused
def bar(v: Single, out: int, n: int, barred: Bool, pick: Int, never: np.float32) -> None:
    """Take what is forbidden out of a tile's outputs.

    Parameters
    ----------
    v, out, n, pick
        As in `judge_several`.
    barred
        (N, n_outputs) choices that are forbidden; without rows none is.
    never
        The logit of such.
    """
    if len(barred) > 0:
        for s in range(n):
            for k in range(barred.shape[1]):
                if barred[pick[s], k]:
                    v[out + place(s, k)] = never
