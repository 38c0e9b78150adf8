"""Operators on cells alone, and shifts: what is infinite is NaN at once."""

from __future__ import annotations

import math

from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Float

UNARY = {name: code for code, name in enumerate(("abs", "sign", "neg", "log"))}
BINARY = {name: code for code, name in enumerate(("add", "sub", "mul", "div", "max", "min"))}
SHIFT = {name: code for code, name in enumerate(("ref", "delta", "ret"))}
ABS, SIGN, NEG, LOG = UNARY.values()
ADD, SUB, MUL, DIV, MAX, MIN = BINARY.values()
REF, DELTA, RET = SHIFT.values()
NOTHING = 1e-12
"""A divisor of at most this times the row's median counts as zero."""


@inlined
def only(value: float) -> float:
    """The value, NaN where it is infinite."""
    return value if value - value == 0.0 else math.nan


@compiled
def channel(bars: Float, c: int, out: Float) -> None:
    """Copy channel ``c`` of bars (T, A, C)."""
    for t in range(len(out)):
        for a in range(out.shape[1]):
            out[t, a] = only(bars[t, a, c])


@compiled
def unary(code: int, x: Float, out: Float) -> None:
    """Write an operator of one operand; ``out`` may be the operand."""
    for t in range(len(out)):
        if code == ABS:
            for a in range(out.shape[1]):
                out[t, a] = abs(x[t, a])
        elif code == NEG:
            for a in range(out.shape[1]):
                out[t, a] = -x[t, a]
        elif code == SIGN:
            for a in range(out.shape[1]):
                v = x[t, a]
                out[t, a] = 1.0 if v > 0.0 else -1.0 if v < 0.0 else v - v
        else:
            for a in range(out.shape[1]):
                out[t, a] = math.log(x[t, a]) if x[t, a] > 0.0 else math.nan


@compiled
def binary(code: int, x: Float, y: Float, scratch: Float, out: Float) -> None:
    """Write an operator of two operands.

    Parameters
    ----------
    code
        As `BINARY` has them.
    x, y
        (T, A).
    scratch
        (1, A) memory to work in.
    out
        (T, A) written; NaN where an operand is, or where a divisor is nothing beside its row.
    """
    for t in range(len(out)):
        if code == DIV:
            _divide(x[t], y[t], _least(y[t], scratch[0]), out[t])
        else:
            _both(code, x[t], y[t], out[t])


@inlined
def _both(code: int, x: Float, y: Float, out: Float) -> None:
    if code == ADD:
        for a in range(len(out)):
            out[a] = only(x[a] + y[a])
    elif code == SUB:
        for a in range(len(out)):
            out[a] = only(x[a] - y[a])
    elif code == MUL:
        for a in range(len(out)):
            out[a] = only(x[a] * y[a])
    elif code == MAX:
        for a in range(len(out)):
            out[a] = x[a] if x[a] >= y[a] or x[a] != x[a] else y[a]
    else:
        for a in range(len(out)):
            out[a] = x[a] if x[a] <= y[a] or x[a] != x[a] else y[a]


@inlined
def _divide(x: Float, y: Float, least: float, out: Float) -> None:
    for a in range(len(out)):
        out[a] = only(x[a] / y[a]) if abs(y[a]) > least else math.nan


@inlined
def _least(y: Float, sorted_: Float) -> float:
    """Size of a row's numbers at which they count as zero: a part of their median size."""
    smallest, largest = math.inf, 0.0
    for a in range(len(y)):
        size = abs(y[a])
        smallest = size if size < smallest else smallest
        largest = size if size > largest else largest
    if smallest > NOTHING * largest:
        return 0.0  # none is that small beside the largest, nor beside the median
    n = 0
    for a in range(len(y)):
        if y[a] == y[a]:
            size, k = abs(y[a]), n
            while k > 0 and sorted_[k - 1] > size:
                sorted_[k] = sorted_[k - 1]
                k -= 1
            sorted_[k] = size
            n += 1
    middle = 0.0 if n == 0 else 0.5 * (sorted_[(n - 1) // 2] + sorted_[n // 2])
    return NOTHING * middle


@compiled
def with_constant(code: int, x: Float, c: float, out: Float) -> None:
    """Write an operator whose right operand is a constant.

    Parameters
    ----------
    code
        As `BINARY` has them.
    x
        (T, A).
    c
        The constant; a quotient by zero is NaN.
    out
        (T, A) written.
    """
    for t in range(len(out)):
        for a in range(out.shape[1]):
            v = x[t, a]
            if code == ADD:
                v = v + c
            elif code == SUB:
                v = v - c
            elif code == MUL:
                v = v * c
            elif code == DIV:
                v = v / c
            elif code == MAX:
                v = v if v >= c or v != v else c
            else:
                v = v if v <= c or v != v else c
            out[t, a] = only(v)


@compiled
def shift(code: int, x: Float, w: int, out: Float) -> None:
    """Write what was ``w`` rows ago, the change since, or the relative change.

    Parameters
    ----------
    code
        As `SHIFT` has them.
    x
        (T, A).
    w
        Rows, at least 1.
    out
        (T, A) written; NaN in the first ``w`` rows.
    """
    for t in range(len(out)):
        if t < w:
            for a in range(out.shape[1]):
                out[t, a] = math.nan
        elif code == REF:
            for a in range(out.shape[1]):
                out[t, a] = x[t - w, a]
        elif code == DELTA:
            for a in range(out.shape[1]):
                out[t, a] = only(x[t, a] - x[t - w, a])
        else:
            for a in range(out.shape[1]):
                out[t, a] = only(x[t, a] / x[t - w, a] - 1.0)
