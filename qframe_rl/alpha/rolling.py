"""Rolling operators as joins of two blocks.

Rows fall into blocks that begin at absolute times. A window is the end of one block and the beginning of the next, and
its value the join of two states that were carried along: a constant number of operations a cell, and none of them a
subtraction, so that nothing is lost to cancellation and a missing number leaves with its window. Since blocks do not
depend on where the rows begin, a live window and a whole history give the same bits. Across a gap in time a window lies
in three blocks or more; whole ones in the middle are joined as they stand.

States: a sum; mean and sum of squared distances (Chan, Golub and LeVeque 1983), and of cubed ones (Pébay 2008); means
and co-moments of two; mean and co-moment with the row; the extreme and its row; sum and weighted sum; decayed sum.
"""

from __future__ import annotations

import math

from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Float, Int

SUM, SPREAD, CUBES, PAIRED, LINE, HIGHEST, LOWEST, WEIGHTED, DECAYED = range(9)
N_STATES = (1, 2, 3, 5, 2, 2, 2, 2, 1)
"""Numbers that the state of each kind has."""
MEAN, TOTAL, STD, VAR, TSZ, SKEW, COV, BETA, CORR, SLOPE, TMAX, TMIN, ARGMAX, ARGMIN, WMA, EMA = range(16)
CODES = {
    "mean": (MEAN, SUM), "sum": (TOTAL, SUM), "std": (STD, SPREAD), "var": (VAR, SPREAD), "tsz": (TSZ, SPREAD),
    "skew": (SKEW, CUBES), "cov": (COV, PAIRED), "beta": (BETA, PAIRED), "corr": (CORR, PAIRED), "slope": (SLOPE, LINE),
    "tmax": (TMAX, HIGHEST), "tmin": (TMIN, LOWEST), "argmax": (ARGMAX, HIGHEST), "argmin": (ARGMIN, LOWEST),
    "wma": (WMA, WEIGHTED), "ema": (EMA, DECAYED),
}  # fmt: skip
"""What each operator finishes with, and the state that it carries."""
FLAT = 1e-20
"""A variance of at most this times the squared mean counts as none."""


@compiled
def _lift(kind: int, x: Float, y: Float, t: int, out: Float) -> None:
    """State of the one row ``t``."""
    for a in range(len(x)):
        out[0, a] = x[a]
    if kind == PAIRED:
        for a in range(len(x)):
            out[1, a] = y[a]
        for k in range(2, 5):
            for a in range(len(x)):
                out[k, a] = 0.0
    elif kind == WEIGHTED:
        for a in range(len(x)):
            out[1, a] = x[a]
    elif kind in (HIGHEST, LOWEST):
        for a in range(len(x)):
            out[1, a] = t
    elif kind != SUM and kind != DECAYED:
        for k in range(1, N_STATES[kind]):
            for a in range(len(x)):
                out[k, a] = 0.0


@inlined
def _comoment(mx: Float, nx: Float, my: Float, ny: Float, c: Float, d: Float, share: float, out: Float) -> None:
    """Co-moment of two stretches together: theirs, and the product of the distances of their means."""
    for a in range(len(out)):
        out[a] = c[a] + d[a] + (nx[a] - mx[a]) * (ny[a] - my[a]) * share


@inlined
def _mean(m: Float, n: Float, part: float, out: Float) -> None:
    for a in range(len(out)):
        out[a] = m[a] + (n[a] - m[a]) * part


@inlined
def _cube(old: Float, new: Float, n_old: float, n_new: float, out: Float) -> None:
    """Third moment of two stretches together (Pébay 2008, 2.7); the second ones are still theirs."""
    n = n_old + n_new
    third = n_old * n_new * (n_old - n_new) / (n * n)
    for a in range(out.shape[1]):
        d = new[0, a] - old[0, a]
        inner = 3.0 * d * (n_old * new[1, a] - n_new * old[1, a]) / n
        out[2, a] = old[2, a] + new[2, a] + d * d * d * third + inner


@compiled
def _join(kind: int, old: Float, n_old: int, new: Float, n_new: int, decay: float, out: Float) -> None:
    """State of ``n_old`` rows and the ``n_new`` rows after them; ``out`` may be one of the two."""
    n = float(n_old + n_new)
    share = float(n_old) * float(n_new) / n
    if kind == SUM:
        for a in range(out.shape[1]):
            out[0, a] = old[0, a] + new[0, a]
    elif kind in (SPREAD, CUBES):
        if kind == CUBES:
            _cube(old, new, float(n_old), float(n_new), out)
        _comoment(old[0], new[0], old[0], new[0], old[1], new[1], share, out[1])
        _mean(old[0], new[0], n_new / n, out[0])
    elif kind == PAIRED:
        _comoment(old[0], new[0], old[0], new[0], old[2], new[2], share, out[2])
        _comoment(old[1], new[1], old[1], new[1], old[3], new[3], share, out[3])
        _comoment(old[0], new[0], old[1], new[1], old[4], new[4], share, out[4])
        _mean(old[0], new[0], n_new / n, out[0])
        _mean(old[1], new[1], n_new / n, out[1])
    elif kind == LINE:
        for a in range(out.shape[1]):  # the rows' means are half of all apart
            out[1, a] = old[1, a] + new[1, a] + (new[0, a] - old[0, a]) * (0.5 * n * share)
        _mean(old[0], new[0], n_new / n, out[0])
    elif kind in (HIGHEST, LOWEST):
        sign = 1.0 if kind == HIGHEST else -1.0
        for a in range(out.shape[1]):
            later = sign * new[0, a] >= sign * old[0, a] or new[0, a] != new[0, a]
            out[1, a] = new[1, a] if later else old[1, a]
            out[0, a] = new[0, a] if later else old[0, a]
    elif kind == WEIGHTED:
        for a in range(out.shape[1]):
            out[1, a] = old[1, a] + (new[1, a] + n_old * new[0, a])
        for a in range(out.shape[1]):
            out[0, a] = old[0, a] + new[0, a]
    else:
        faded = decay**n_new
        for a in range(out.shape[1]):
            out[0, a] = old[0, a] * faded + new[0, a]


@inlined
def _only(value: float) -> float:
    """The value, NaN where it is infinite."""
    return value if value - value == 0.0 else math.nan


@compiled
def _finish(code: int, s: Float, x: Float, t: int, w: int, weight: float, out: Float) -> None:
    """From the state of a window to the operator's value."""
    if code in (MEAN, TOTAL, EMA):
        for a in range(len(out)):
            out[a] = _only(s[0, a] / weight)
    elif code == WMA:
        for a in range(len(out)):
            out[a] = _only(s[1, a] / weight)
    elif code == VAR:
        for a in range(len(out)):
            out[a] = _only(s[1, a] / (w - 1.0))
    elif code == STD:
        for a in range(len(out)):
            out[a] = _only(math.sqrt(s[1, a] / (w - 1.0)))
    elif code == TSZ:
        for a in range(len(out)):
            v = s[1, a] / (w - 1.0)
            z = _only((x[a] - s[0, a]) / math.sqrt(v))
            out[a] = z if v > FLAT * s[0, a] * s[0, a] else math.nan
    elif code == SKEW:
        for a in range(len(out)):
            v = s[1, a] / w
            g = _only(s[2, a] / w / (v * math.sqrt(v)))
            out[a] = g if v > FLAT * s[0, a] * s[0, a] else math.nan
    elif code == SLOPE:
        for a in range(len(out)):
            out[a] = _only(s[1, a] / weight)
    elif code in (TMAX, TMIN):
        for a in range(len(out)):
            out[a] = s[0, a]
    elif code in (ARGMAX, ARGMIN):
        for a in range(len(out)):
            out[a] = t - s[1, a] if s[0, a] == s[0, a] else math.nan
    else:
        _finish_pair(code, s, w, out)


@inlined
def _finish_pair(code: int, s: Float, w: int, out: Float) -> None:
    if code == COV:
        for a in range(len(out)):
            out[a] = _only(s[4, a] / (w - 1.0))
    elif code == BETA:
        for a in range(len(out)):
            steady = s[3, a] / (w - 1.0) > FLAT * s[1, a] * s[1, a]
            out[a] = _only(s[4, a] / s[3, a]) if steady else math.nan
    else:
        for a in range(len(out)):
            both = s[2, a] / (w - 1.0) > FLAT * s[0, a] * s[0, a] and s[3, a] / (w - 1.0) > FLAT * s[1, a] * s[1, a]
            r = s[4, a] / (math.sqrt(s[2, a]) * math.sqrt(s[3, a]))
            r = r if r < 1.0 or r != r else 1.0
            r = r if r > -1.0 or r != r else -1.0
            out[a] = _only(r) if both else math.nan


@compiled
def roll(
    code: int,
    kind: int,
    x: Float,
    y: Float,
    begins: Int,
    w: int,
    weight: float,
    decay: float,
    scratch: Float,
    out: Float,
) -> None:
    """Write a rolling operator over windows of ``w`` rows.

    Parameters
    ----------
    code, kind
        As `CODES` has them.
    x, y
        (T, A) operands; ``y`` counts for pairs alone.
    begins
        (P + 1,) rows at which blocks begin, and T; no block has more than ``w`` rows.
    w
        Rows of a window.
    weight
        What the state is divided by: see `weight_of`.
    decay
        Of ``ema``, a bar.
    scratch
        (w + 4, at least N_STATES[kind], A) memory to work in.
    out
        (T, A) written; NaN where fewer than ``w`` rows precede.
    """
    ends, state, one, other = scratch[:w], scratch[w], scratch[w + 1], scratch[w + 2]
    middle = scratch[w + 3]
    n, before = x.shape[1], 0
    for p in range(len(begins) - 1):
        begin, end = begins[p], begins[p + 1]
        for t in range(begin, end):
            if t == begin:
                _lift(kind, x[t], y[t], t, state)
            else:
                _lift(kind, x[t], y[t], t, one)
                _join(kind, state, t - begin, one, 1, decay, state)
            s = t - w + 1
            if s < 0:
                for a in range(n):
                    out[t, a] = math.nan
            elif s == begin:
                _finish(code, state, x[t], t, w, weight, out[t])
            elif s >= before:
                _join(kind, ends[s - before], begin - s, state, t - begin + 1, decay, other)
                _finish(code, other, x[t], t, w, weight, out[t])
            else:
                q = _first_of(kind, x, y, begins, p, s, decay, one, other)
                length = begins[q] - s
                while q < p:
                    _whole(kind, x, y, begins[q], begins[q + 1], decay, one, middle)
                    _join(kind, other, length, middle, begins[q + 1] - begins[q], decay, other)
                    length += begins[q + 1] - begins[q]
                    q += 1
                _join(kind, other, length, state, t - begin + 1, decay, other)
                _finish(code, other, x[t], t, w, weight, out[t])
        for t in range(end - 1, begin - 1, -1):
            if t == end - 1:
                _lift(kind, x[t], y[t], t, ends[t - begin])
            else:
                _lift(kind, x[t], y[t], t, one)
                _join(kind, one, 1, ends[t - begin + 1], end - t - 1, decay, ends[t - begin])
        before = begin


@inlined
def _first_of(kind: int, x: Float, y: Float, begins: Int, p: int, s: int, decay: float, one: Float, out: Float) -> int:
    """Write the state of the rows from ``s`` to the end of their block; give the block after it."""
    q = p
    while begins[q] > s:
        q -= 1
    end = begins[q + 1]
    _lift(kind, x[end - 1], y[end - 1], end - 1, out)
    for t in range(end - 2, s - 1, -1):
        _lift(kind, x[t], y[t], t, one)
        _join(kind, one, 1, out, end - t - 1, decay, out)
    return q + 1


@inlined
def _whole(kind: int, x: Float, y: Float, begin: int, end: int, decay: float, one: Float, out: Float) -> None:
    """Write the state of a whole block."""
    _lift(kind, x[begin], y[begin], begin, out)
    for t in range(begin + 1, end):
        _lift(kind, x[t], y[t], t, one)
        _join(kind, out, t - begin, one, 1, decay, out)


def weight_of(op: str, w: int) -> float:
    """What the state of a window is divided by to be the operator's value."""
    if op == "mean":
        return float(w)
    if op == "wma":
        return w * (w + 1) / 2.0
    if op == "slope":
        return w * (w * w - 1) / 12.0
    return math.fsum(decay_of(w) ** k for k in range(w)) if op == "ema" else 1.0


def decay_of(w: int) -> float:
    """Share that an exponential mean of span ``w`` keeps of a bar's weight a bar later."""
    return 1.0 - 2.0 / (1.0 + w)
