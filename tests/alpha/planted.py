"""Panels whose returns five known formulas drive a little, among hundreds that have nothing to do with them."""

from __future__ import annotations

from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from qframe_rl.alpha.grammar import WINDOWS
from qframe_rl.alpha.panel import Evaluator
from qframe_rl.alpha.parser import parse
from qframe_rl.alpha.select import FormulaTrials, FoundFeatures, SelectionRules, found_features
from qframe_rl.alpha.tree import Formula
from qframe_rl.types import DAY, Float, Int, Segment

N_DRIVERS, N_NOISE = 6, 8
COLUMNS = (*(f"d{k}" for k in range(N_DRIVERS)), *(f"n{k}" for k in range(N_NOISE)))
PLANTED = tuple(
    parse(text, COLUMNS)
    for text in (
        "tsz(column:d0, 20)",
        "delta(column:d1, 5) / std(column:d1, 20)",
        "corr(column:d2, column:d3, 10)",
        "tsrank(column:d4, 40)",
        "skew(column:d5, 20)",
    )
)
_OPERATORS = ("mean", "std", "tmax", "tmin", "argmax", "argmin", "med", "mad", "tsrank", "tsz", "skew", "slope", "ema")
LOOKBACK = 120


class PlantedWorld(NamedTuple):
    """Bars whose columns drive returns, or do not."""

    bars: Float
    times: Int
    candidates: tuple[Formula, ...]
    """The planted ones among the others, in random order."""


def world(seed: int, n_rows: int = 1600, n: int = 32, strength: float = 0.05, n_noise: int = 500) -> PlantedWorld:
    """Days: each return from one open to the next is .02 times (``strength`` times each z-scored driver, and noise)."""
    rng = np.random.default_rng([61, seed])
    columns = np.stack([_column(rng, n_rows, n) for _ in COLUMNS], axis=-1)
    bars = np.ones((n_rows, n, 5 + len(COLUMNS)))
    bars[:, :, 5:] = columns
    times = (DAY * (18_000 + np.arange(n_rows))).astype(np.int64)
    evaluator = Evaluator(bars, times, DAY, COLUMNS, np.ones((n_rows, n), dtype=np.bool_))
    drive = sum(strength * _standard(evaluator.value(tree)) for tree in PLANTED)
    rise = 0.02 * (drive + rng.standard_t(4, (n_rows, n)) / np.sqrt(2.0))
    opening = 100.0 * np.exp(np.cumsum(np.roll(rise, 2, axis=0), axis=0))
    close = np.concatenate([opening[1:], opening[-1:]]) * np.exp(0.002 * rng.standard_normal((n_rows, n)))
    bars[:, :, :4] = np.stack([opening, np.maximum(opening, close), np.minimum(opening, close), close], axis=-1)
    bars[:, :, 4] = 1e4 * np.exp(rng.standard_normal((n_rows, n)))
    trees = np.array([*PLANTED, *_noise(rng, n_noise)], dtype=object)
    return PlantedWorld(bars, times, tuple(rng.permutation(trees)))


def _column(rng: np.random.Generator, n_rows: int, n: int) -> Float:
    """A series that remembers: white for some, slow for others."""
    stays, shocks = rng.choice([0.0, 0.7, 0.95]), rng.standard_t(5, (n_rows, n))
    out = np.empty((n_rows, n))
    out[0] = shocks[0]
    for t in range(1, n_rows):
        out[t] = stays * out[t - 1] + shocks[t]
    return out


def _standard(values: Float) -> Float:
    """Z-scores among the instruments, or of one through time; 0 where there is no value."""
    axis = 1 if values.shape[1] > 1 else 0
    there = ~np.isnan(values)
    n = np.maximum(there.sum(axis=axis, keepdims=True), 1)
    apart = np.where(there, values - np.where(there, values, 0.0).sum(axis=axis, keepdims=True) / n, 0.0)
    spread = np.sqrt((apart**2).sum(axis=axis, keepdims=True) / n)
    return np.asarray(apart / np.where(spread > 0.0, spread, 1.0))


def _noise(rng: np.random.Generator, n: int) -> list[Formula]:
    """Formulas of columns that drive nothing."""
    names = [f"column:n{k}" for k in range(N_NOISE)]
    texts = [f"{op}({name},{w})" for op, name, w in product(_OPERATORS, names, WINDOWS)]
    texts += [f"corr({one},{other},{w})" for (one, other), w in product(combinations(names, 2), WINDOWS)]
    return [parse(str(text), COLUMNS) for text in rng.choice(texts, n, replace=False)]


def found_in(made: PlantedWorld, seed: int, stop: int | None = None) -> FoundFeatures:
    """Test all candidates on the first rows of a world, all of them by default."""
    train = (Segment(0, len(made.bars) if stop is None else stop),)
    trials = FormulaTrials(made.bars, made.times, DAY, COLUMNS, train, SelectionRules(1), LOOKBACK, seed)
    return found_features(trials, made.candidates)


def judged(found: FoundFeatures) -> tuple[int, float]:
    """How many of the planted ones are among what was found, and the share of what was found that was not planted."""
    planted = {tree.text for tree in PLANTED}
    right = len(planted & set(found.texts))
    return right, (len(found.texts) - right) / max(1, len(found.texts))
