"""Causal indicators.

A feature is a pure function of exactly ``lookback`` bars: an exponential mean is cut at its window, never carried on.
So the matrix computed once over a history and the last row computed from a live window are the same bits. A feature
whose bars are not all there is NaN.

Features are named by short texts: ``log_return:24`` is the log return over 24 bars, ``column:signal`` the feed's column
of that name, ``alpha:TEXT`` a formula of `qframe_rl.alpha`. `known` lists them. Each can be asked for of coarser bars:
``4h:rsi:14``, see `qframe_rl.coarser`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from qframe_rl.alpha.panel import FormulaRows
from qframe_rl.alpha.parser import number
from qframe_rl.coarser import Coarser, apart, ratio, rows_of
from qframe_rl.config import UserError, nearest, shortened
from qframe_rl.custom import handed_over, is_custom
from qframe_rl.jit import compiled, inlined
from qframe_rl.times import DAY, WEEK
from qframe_rl.types import CLOSE, HIGH, LOW, VOLUME, Float, Int

FORMULA, AUTO = "alpha:", "auto"
"""How the name of a formula begins, and what stands for those that are found on training rows."""
N_BARS = 1_000_000
"""Most bars that a feature counts in."""
Own = Callable[[Float, Int], Float]
"""A user's own feature, see `feature`."""
D = TypeVar("D", bound=np.generic)
R = TypeVar("R")
Kernel = Callable[[Float, Int, int, int, Float, Float], None]
"""``kernel(bars (T, A, C), times (T,), first, lookback, params, out (T - first, A))`` writes rows ``first``.. of T."""


class Feature(NamedTuple):
    """One named indicator of each instrument."""

    name: str
    lookback: int
    """Bars that one value is computed from, its own included."""
    kernel: Kernel
    params: Float
    least: int = 1
    """Fewest instruments that it can be computed of."""

    def rows(self, bars: Float, times: Int, first: int = 0, out: Float | None = None) -> Float:
        """Values for rows ``first`` to the end.

        Parameters
        ----------
        bars, times
            (T, A, C) channels and (T,) closes, ns UTC.
        first
            Row to begin with.
        out
            Where to write them, contiguous and full of NaN; None = memory of their own.

        Returns
        -------
        Float
            (T - first, A); NaN where fewer than ``lookback`` bars precede, or one of them is missing.
        """
        found = np.full((len(bars) - first, bars.shape[1]), np.nan) if out is None else out
        begin = max(first, self.lookback - 1)
        self.kernel(frozen(bars), frozen(times), begin, self.lookback, self.params, found[begin - first :])
        return found


def frozen(array: NDArray[D]) -> NDArray[D]:
    """Return a contiguous read-only view: the one kind of array that the kernels are compiled for."""
    if array.flags.c_contiguous and not array.flags.writeable:
        return array
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


class Remembered:
    """The last results of a costly function, for settings in a row that share its arguments.

    Parameters
    ----------
    most
        Results that are kept; the one that was not asked for longest is forgotten first.
    """

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._kept: list[tuple[object, Sequence[NDArray[Any]], Any]] = []

    def __call__(self, key: object, arrays: Sequence[NDArray[Any]], compute: Callable[[], R]) -> R:
        """Result for ``key`` and ``arrays``, computed unless both are those of one that is kept.

        An array counts as the same only if it is a view of the same numbers of the same memory, and that can no longer
        be written to: bars of a `History` are such, the window of a live session is not.
        """
        for k, (old, before, result) in enumerate(self._kept):
            same = old == key and len(before) == len(arrays)
            if same and all(_same_for_good(one, two) for one, two in zip(before, arrays, strict=True)):
                self._kept.append(self._kept.pop(k))
                return cast(R, result)
        result = compute()
        if all(not _root(array).flags.writeable for array in arrays):
            self._kept = [*self._kept, (key, arrays, result)][-self._most :]
        return result


def _same_for_good(one: NDArray[Any], two: NDArray[Any]) -> bool:
    """Whether two arrays are views of the same read-only numbers."""
    same = one.__array_interface__["data"] == two.__array_interface__["data"]
    return bool(same and one.shape == two.shape and one.strides == two.strides and not _root(two).flags.writeable)


def _root(array: NDArray[Any]) -> Any:
    """The array whose memory a view shows."""
    root: Any = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    return root


@inlined
def _deviation(total: float, squares: float, n: int) -> float:
    """Standard deviation from a sum and a sum of squares; NaN stays NaN."""
    variance = squares / n - (total / n) * (total / n)
    return 0.0 if variance < 0.0 else math.sqrt(variance)


@compiled
def _log_return(bars: Float, times: Int, first: int, lookback: int, params: Float, out: Float) -> None:
    for t in range(first, bars.shape[0]):
        for a in range(bars.shape[1]):
            out[t - first, a] = math.log(bars[t, a, CLOSE] / bars[t - lookback + 1, a, CLOSE])


@compiled
def _volatility(bars: Float, times: Int, first: int, lookback: int, params: Float, out: Float) -> None:
    n = lookback - 1
    for t in range(first, bars.shape[0]):
        for a in range(bars.shape[1]):
            total = 0.0
            squares = 0.0
            for k in range(t - n + 1, t + 1):
                r = math.log(bars[k, a, CLOSE] / bars[k - 1, a, CLOSE])
                total += r
                squares += r * r
            out[t - first, a] = math.log(_deviation(total, squares, n) + 1e-6)


@compiled
def _range(bars: Float, times: Int, first: int, lookback: int, params: Float, out: Float) -> None:
    for t in range(first, bars.shape[0]):
        for a in range(bars.shape[1]):
            total = 0.0
            for k in range(t - lookback + 1, t + 1):
                total += math.log(bars[k, a, HIGH] / bars[k, a, LOW])
            out[t - first, a] = math.log(total / lookback + 1e-6)


@compiled
def _volume_z(bars: Float, times: Int, first: int, lookback: int, params: Float, out: Float) -> None:
    for t in range(first, bars.shape[0]):
        for a in range(bars.shape[1]):
            total = 0.0
            squares = 0.0
            for k in range(t - lookback + 1, t + 1):
                v = math.log1p(bars[k, a, VOLUME])
                total += v
                squares += v * v
            spread = _deviation(total, squares, lookback)
            out[t - first, a] = (math.log1p(bars[t, a, VOLUME]) - total / lookback) / (spread + 1e-9)


@compiled
def _rsi(bars: Float, times: Int, first: int, lookback: int, params: Float, out: Float) -> None:
    decay = 1.0 - 1.0 / params[0]
    for t in range(first, bars.shape[0]):
        for a in range(bars.shape[1]):
            up = 0.0
            down = 0.0
            for k in range(t - lookback + 2, t + 1):
                change = bars[k, a, CLOSE] - bars[k - 1, a, CLOSE]
                up = up * decay + 0.5 * (abs(change) + change)
                down = down * decay + 0.5 * (abs(change) - change)
            moved = up + down
            out[t - first, a] = 0.0 if moved == 0.0 else (up - down) / moved


@compiled
def _macd(bars: Float, times: Int, first: int, lookback: int, params: Float, out: Float) -> None:
    fast, slow, n = 1.0 - 1.0 / params[0], 1.0 - 1.0 / params[1], lookback - 1
    for t in range(first, bars.shape[0]):
        for a in range(bars.shape[1]):
            last = bars[t, a, CLOSE]
            quick = weight_quick = long = weight_long = squares = 0.0
            for k in range(t - n + 1, t + 1):
                x = math.log(bars[k, a, CLOSE] / last)
                r = math.log(bars[k, a, CLOSE] / bars[k - 1, a, CLOSE])
                quick, weight_quick = quick * fast + x, weight_quick * fast + 1.0
                long, weight_long = long * slow + x, weight_long * slow + 1.0
                squares += r * r
            scale = math.sqrt(squares / n * params[1]) + 1e-9
            out[t - first, a] = (quick / weight_quick - long / weight_long) / scale


@compiled
def _ma_distance(bars: Float, times: Int, first: int, lookback: int, params: Float, out: Float) -> None:
    for t in range(first, bars.shape[0]):
        for a in range(bars.shape[1]):
            total = 0.0
            for k in range(t - lookback + 1, t + 1):
                total += bars[k, a, CLOSE]
            out[t - first, a] = math.log(bars[t, a, CLOSE] * lookback / total)


@compiled
def _zscore(bars: Float, times: Int, first: int, lookback: int, params: Float, out: Float) -> None:
    for t in range(first, bars.shape[0]):
        for a in range(bars.shape[1]):
            last = bars[t, a, CLOSE]
            total = 0.0
            squares = 0.0
            for k in range(t - lookback + 1, t + 1):
                x = bars[k, a, CLOSE] / last - 1.0
                total += x
                squares += x * x
            out[t - first, a] = -total / lookback / (_deviation(total, squares, lookback) + 1e-9)


@compiled
def _cycle(bars: Float, times: Int, first: int, lookback: int, params: Float, out: Float) -> None:
    period = int(params[0])
    for t in range(first, bars.shape[0]):
        angle = 2.0 * math.pi * ((times[t] % period) / params[0] + params[1])
        for a in range(bars.shape[1]):
            out[t - first, a] = math.sin(angle)


@compiled
def _column(bars: Float, times: Int, first: int, lookback: int, params: Float, out: Float) -> None:
    c = int(params[0])
    for t in range(first, bars.shape[0]):
        for a in range(bars.shape[1]):
            out[t - first, a] = bars[t, a, c]


class _Kind(NamedTuple):
    kernel: Kernel
    lookback: Callable[..., int]
    minimum: tuple[int, ...]
    """Least value of each whole-number argument."""
    text: str


_KINDS = {
    "log_return": _Kind(_log_return, lambda n: n + 1, (1,), "log return over n bars"),
    "volatility": _Kind(_volatility, lambda n: n + 1, (2,), "log of the standard deviation of n one-bar log returns"),
    "range": _Kind(_range, lambda n: n, (1,), "log of the mean log(high / low) of n bars"),
    "volume_z": _Kind(_volume_z, lambda n: n, (2,), "z-score of log(1 + volume) among the last n bars"),
    "rsi": _Kind(_rsi, lambda n: 8 * n + 1, (2,), "RSI with Wilder's smoothing over n bars, cut at 8 n, on [-1, 1]"),
    "macd": _Kind(_macd, lambda s, n: 4 * n + 1, (1, 2), "mean of s bars less mean of n, in volatilities over n bars"),
    "ma_distance": _Kind(_ma_distance, lambda n: n, (2,), "log distance of the close from its n-bar mean"),
    "zscore": _Kind(_zscore, lambda n: n, (2,), "distance of the close from its n-bar mean, in standard deviations"),
}
_CYCLES = {
    "day_sin": (DAY, 0.0),
    "day_cos": (DAY, 0.25),
    "week_sin": (WEEK, 0.0),
    "week_cos": (WEEK, 0.25),
}


def known() -> dict[str, str]:
    """Names of the features with their arguments, and what each is."""
    table = {f"{name}:{':'.join('sn'[-len(k.minimum) :])}": k.text for name, k in _KINDS.items()}
    table |= dict.fromkeys(_CYCLES, "time of day or week at the bar's close, on a circle")
    table |= {"column:NAME": "the feed's column NAME", "columns": "every column of the feed"}
    return table | {f"{FORMULA}FORMULA": "a formula such as corr(close, volume, 10), see `docs/alphas.md`"}


def features(specs: Sequence[str], columns: Sequence[str], bar_ns: int = 0) -> tuple[Feature, ...]:
    """Look the named features up.

    Parameters
    ----------
    specs
        Names such as ``log_return:24``, or ``4h:log_return:24`` of coarser bars; ``columns`` stands for one feature per
        column.
    columns
        Names of the feed's columns.
    bar_ns
        Length of a bar, ns: formulas and names of coarser bars need it.

    Returns
    -------
    tuple[Feature, ...]
        In the order of their names, each once.

    Raises
    ------
    UserError
        For an unknown name, a wrong number of arguments or one out of range.
    """
    named = [name for spec in specs for name in ([f"column:{c}" for c in columns] if spec == "columns" else [spec])]
    return tuple(_feature(spec, tuple(columns), bar_ns) for spec in dict.fromkeys(named))


def feature(lookback: int) -> Callable[[Own], Own]:
    """Say of a function how many bars it looks back, its own included: ``@feature(lookback=24)``.

    The function is ``f(bars (lookback, A, C), times (lookback,)) -> (A,)``: from the last bars, as
    `qframe_rl.types.Bar` has them, and their closes (ns UTC) to a number for each instrument. It is asked bar by bar,
    so it cannot see what comes after, and gives the same bits live as in training.
    """
    if not 1 <= lookback <= N_BARS:
        raise UserError(f"a feature looks back 1 to {N_BARS:,} bars, not {lookback}.")

    def marked(function: Own) -> Own:
        function.lookback = lookback  # type: ignore[attr-defined]
        return function

    return marked


def _own(spec: str, function: Callable[..., Any]) -> Feature:
    """A user's own feature; NaN where a bar of its window is missing."""
    if not hasattr(function, "lookback"):
        raise UserError(f"feature {spec}: say how many bars it looks back by @qframe_rl.features.feature(lookback=24).")
    n = int(function.lookback)

    def rows(bars: Float, times: Int, first: int, lookback: int, params: Float, out: Float) -> None:
        for t in range(first, len(bars)):
            window = bars[t - n + 1 : t + 1]
            found = np.asarray(function(window, times[t - n + 1 : t + 1]), dtype=np.float64)
            if found.shape != out.shape[1:]:
                raise ValueError(f"feature {spec} gave an array of shape {found.shape} for {out.shape[1]} instruments")
            out[t - first] = np.where(np.isnan(window[:, :, CLOSE]).any(axis=0), np.nan, found)

    return Feature(spec, n, rows, np.zeros(0))


def _coarse(spec: str, coarser: Coarser, columns: tuple[str, ...], bar_ns: int) -> Feature:
    """A feature of coarser bars: the last one that has closed may be all but one bar old."""
    own_length = coarser.length_ns if coarser.inner.startswith(FORMULA) else 0
    n, inner = ratio(spec, coarser.length_ns, bar_ns), _feature(coarser.inner, columns, own_length)
    lookback = inner.lookback * n + n - 1
    if lookback > N_BARS:
        raise UserError(f"feature {shortened(spec)} looks back {lookback:,} bars, more than {N_BARS:,}.")

    def rows(bars: Float, times: Int, first: int, lookback: int, params: Float, out: Float) -> None:
        rows_of(inner.rows, bars, times, coarser.length_ns, first, out)

    return Feature(spec, lookback, rows, np.zeros(0), inner.least)


def _formula(spec: str, columns: tuple[str, ...], bar_ns: int) -> Feature:
    if bar_ns <= 0:
        raise UserError(f"feature {shortened(spec)} needs the length of a bar, which is not known here.")
    tree = number(spec.removeprefix(FORMULA), columns)
    rows = FormulaRows(tree, bar_ns, columns)
    return Feature(spec, tree.lookback, rows, np.zeros(0), tree.least)


def _feature(spec: str, columns: tuple[str, ...], bar_ns: int = 0) -> Feature:
    if (coarser := apart(spec)) is not None:
        return _coarse(spec, coarser, columns, bar_ns)
    if spec.startswith(FORMULA):
        return _formula(spec, columns, bar_ns)
    if is_custom(spec):
        return _own(spec, handed_over(spec, "feature"))
    name, *arguments = spec.split(":")
    if name == "column" and arguments:
        wanted = ":".join(arguments)
        if wanted not in columns:
            raise UserError(f"feature {spec!r}: the data have no column {wanted!r}{nearest(wanted, columns)}")
        return Feature(spec, 1, _column, np.array([5.0 + columns.index(wanted)]))
    if name in _CYCLES and not arguments:
        return Feature(spec, 1, _cycle, np.array(_CYCLES[name], dtype=np.float64))
    if name not in _KINDS:
        others = ["column", "columns", FORMULA.rstrip(":"), *([AUTO] if name != AUTO else [])]
        raise UserError(f"unknown feature {shortened(spec)}{nearest(name, [*_KINDS, *_CYCLES, *others])}")
    kind = _KINDS[name]
    if len(arguments) != len(kind.minimum) or not all(a.isascii() and a.isdigit() for a in arguments):
        raise UserError(
            f"feature {spec!r} needs {len(kind.minimum)} whole number(s) after its name, such as {name}:24."
        )
    if any(len(a.lstrip("0")) > len(str(N_BARS)) or int(a) > N_BARS for a in arguments):
        raise UserError(f"feature {shortened(spec)}: no number may be above {N_BARS:,}.")
    values = [int(a) for a in arguments]
    if any(v < least for v, least in zip(values, kind.minimum, strict=True)):
        raise UserError(f"feature {spec!r}: the least numbers are {kind.minimum}.")
    return Feature(spec, kind.lookback(*values), kind.kernel, np.array(values, dtype=np.float64))
