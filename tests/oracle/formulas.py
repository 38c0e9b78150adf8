"""The operators of formulas a second time, from their definitions alone: window by window, in plain Python.

Nothing of `qframe_rl.alpha` is used but the shape of a formula. Sums are exact (`math.fsum`), and a mean and what
follows from it are taken in two passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

NAN = math.nan
Grid = np.ndarray[Any, Any]


def apply(op: str, operands: Sequence[Grid | float], w: int, members: Grid) -> Grid:
    """One operator on the values of its operands (T, A)."""
    x = operands[0]
    assert isinstance(x, np.ndarray)
    out = np.full(x.shape, NAN)
    for t in range(len(x)):
        if op in CROSS:
            out[t] = CROSS[op](list(x[t]), list(members[t]))
            continue
        for a in range(x.shape[1]):
            out[t, a] = finite(_cell(op, operands, w, t, a))
    return out


def finite(value: float) -> float:
    return value if math.isfinite(value) else NAN


def _cell(op: str, operands: Sequence[Grid | float], w: int, t: int, a: int) -> float:
    x = operands[0]
    assert isinstance(x, np.ndarray)
    try:
        if op in UNARY:
            return UNARY[op](float(x[t, a]))
        if op in BINARY:
            y = operands[1]
            other = float(y[t, a]) if isinstance(y, np.ndarray) else y
            row = [float(v) for v in y[t]] if isinstance(y, np.ndarray) else [y]
            return BINARY[op](float(x[t, a]), other, row)
        if op in SHIFT:
            return SHIFT[op](float(x[t, a]), float(x[t - w, a])) if t >= w else NAN
        if t < w - 1:
            return NAN
        windows = [[float(v) for v in o[t - w + 1 : t + 1, a]] for o in operands if isinstance(o, np.ndarray)]
        if any(math.isnan(v) for window in windows for v in window):
            return NAN
        return ROLLING[op](windows[0]) if op in ROLLING else PAIR[op](*windows)
    except (ZeroDivisionError, OverflowError, ValueError):
        return NAN


def mean(v: list[float]) -> float:
    return v[0] if all(x == v[0] for x in v) else math.fsum(v) / len(v)


def moment(v: list[float], power: int) -> float:
    m = mean(v)
    return math.fsum((x - m) ** power for x in v)


def var(v: list[float]) -> float:
    return moment(v, 2) / (len(v) - 1)


def flat(v: list[float]) -> bool:
    return var(v) <= 1e-20 * mean(v) ** 2


def comoment(v: list[float], u: list[float]) -> float:
    m, n = mean(v), mean(u)
    return math.fsum((x - m) * (y - n) for x, y in zip(v, u, strict=True))


def corr(v: list[float], u: list[float]) -> float:
    if flat(v) or flat(u):
        return NAN
    return max(-1.0, min(1.0, comoment(v, u) / math.sqrt(moment(v, 2)) / math.sqrt(moment(u, 2))))


def share_below(v: list[float], x: float) -> float:
    return (sum(y < x for y in v) + 0.5 * sum(y == x for y in v)) / len(v)


def median(v: list[float]) -> float:
    s, n = sorted(v), len(v)
    return s[n // 2] if n % 2 else (s[n // 2 - 1] + s[n // 2]) / 2


def divide(x: float, y: float, row: list[float]) -> float:
    sizes = [abs(v) for v in row if not math.isnan(v)]
    return NAN if math.isnan(y) or abs(y) <= 1e-12 * median(sizes) else x / y


def since(v: list[float], best: float) -> float:
    return float(next(k for k, x in enumerate(reversed(v)) if x == best))


def skew(v: list[float]) -> float:
    n = len(v)
    return NAN if moment(v, 2) / n <= 1e-20 * mean(v) ** 2 else moment(v, 3) / n / (moment(v, 2) / n) ** 1.5


def ema(v: list[float]) -> float:
    d = 1 - 2 / (1 + len(v))
    weights = [d**k for k in range(len(v))][::-1]
    return math.fsum(x * k for x, k in zip(v, weights, strict=True)) / math.fsum(weights)


def greater(x: float, y: float, row: list[float]) -> float:
    return NAN if math.isnan(x) or math.isnan(y) else max(x, y)


def rank(x: list[float], members: list[bool]) -> list[float]:
    there = [v for v, m in zip(x, members, strict=True) if m and not math.isnan(v)]
    return [
        share_below(there, v) if m and not math.isnan(v) and len(there) >= 8 else NAN
        for v, m in zip(x, members, strict=True)
    ]


def zscore(x: list[float], members: list[bool]) -> list[float]:
    there = [v for v, m in zip(x, members, strict=True) if m and not math.isnan(v)]
    if len(there) < 8:
        return [NAN] * len(x)
    m, s = mean(there), math.sqrt(moment(there, 2) / len(there))
    if s <= 1e-12 * abs(m):
        return [NAN] * len(x)
    return [(v - m) / s if one else NAN for v, one in zip(x, members, strict=True)]


UNARY: dict[str, Callable[[float], float]] = {
    "abs": abs,
    "neg": lambda x: -x,
    "sign": lambda x: NAN if math.isnan(x) else float(x > 0) - float(x < 0),
    "log": lambda x: math.log(x) if x > 0 else NAN,
}
BINARY: dict[str, Callable[[float, float, list[float]], float]] = {
    "add": lambda x, y, _: x + y,
    "sub": lambda x, y, _: x - y,
    "mul": lambda x, y, _: x * y,
    "div": divide,
    "max": greater,
    "min": lambda x, y, row: -greater(-x, -y, row),
}
SHIFT: dict[str, Callable[[float, float], float]] = {
    "ref": lambda x, before: before,
    "delta": lambda x, before: x - before,
    "ret": lambda x, before: x / before - 1,
}
ROLLING: dict[str, Callable[[list[float]], float]] = {
    "mean": mean,
    "sum": math.fsum,
    "std": lambda v: math.sqrt(var(v)),
    "var": var,
    "tmax": max,
    "tmin": min,
    "argmax": lambda v: since(v, max(v)),
    "argmin": lambda v: since(v, min(v)),
    "med": median,
    "mad": lambda v: math.fsum(abs(x - mean(v)) for x in v) / len(v),
    "tsrank": lambda v: share_below(v, v[-1]),
    "tsz": lambda v: NAN if flat(v) else (v[-1] - mean(v)) / math.sqrt(var(v)),
    "skew": skew,
    "slope": lambda v: comoment(v, [float(k) for k in range(len(v))]) / moment([float(k) for k in range(len(v))], 2),
    "wma": lambda v: math.fsum(x * (k + 1) for k, x in enumerate(v)) / (len(v) * (len(v) + 1) / 2),
    "ema": ema,
}
PAIR: dict[str, Callable[[list[float], list[float]], float]] = {
    "cov": lambda v, u: comoment(v, u) / (len(v) - 1),
    "beta": lambda v, u: NAN if flat(u) else comoment(v, u) / moment(u, 2),
    "corr": corr,
}
CROSS: dict[str, Callable[[list[float], list[bool]], list[float]]] = {"rank": rank, "zscore": zscore}


def leaf(name: str, bars: Grid, columns: Sequence[str]) -> Grid:
    """Values of a leaf over bars (T, A, C)."""
    o, h, low, c, v = (bars[:, :, k] for k in range(5))
    before = np.concatenate([np.full((1, bars.shape[1]), NAN), c[:-1]])
    with np.errstate(all="ignore"):
        named = {
            "open": o, "high": h, "low": low, "close": c, "volume": v, "typical": (h + low + c) / 3, "money": c * v,
            "ret1": c / np.where(np.isinf(before), NAN, before) - 1,
        }  # fmt: skip
        named |= {f"column:{one}": bars[:, :, 5 + k] for k, one in enumerate(columns)}
        return np.where(np.isfinite(named[name]), named[name], NAN)


def leader(x: Grid, bars: Grid, members: Grid) -> Grid:
    """What the member of the largest median turnover of 30 rows has, for every instrument."""
    out = np.full(x.shape, NAN)
    for t in range(len(x)):
        sizes = {}
        for a in np.flatnonzero(members[t]).tolist():
            money = (bars[max(0, t - 29) : t + 1, a, 3] * bars[max(0, t - 29) : t + 1, a, 4]).tolist()
            known = [m for m in money if not math.isnan(m)]
            sizes[a] = median(known) if known else 0.0
        largest = max(sizes, key=lambda one: (sizes[one], -one), default=None)
        if largest is not None and sizes[largest] > 0.0:
            out[t] = x[t, largest]
    return out


def universe(bars: Grid, n_largest: int) -> Grid:
    """Who counts at each row (T, A)."""
    n_rows, n = bars.shape[:2]
    out = np.zeros((n_rows, n), dtype=bool)
    for t in range(89, n_rows):
        sizes = {}
        for a in range(n):
            close = bars[t - 89 : t + 1, a, 3]
            if not np.isnan(close[-1]) and np.sum(~np.isnan(close)) >= 60:
                money = (bars[t - 29 : t + 1, a, 3] * bars[t - 29 : t + 1, a, 4]).tolist()
                sizes[a] = median([m for m in money if not math.isnan(m)])
        for a in sorted(sizes, key=lambda one: (-sizes[one], one))[:n_largest]:
            out[t, a] = True
    return out
