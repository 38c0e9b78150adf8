"""Worlds in which a known formula, and nothing else, tells the next return: what a search for formulas must find.

The next return of instrument a is sigma_a (0.05 zscore(f) + noise), where f is the planted formula of the bars so far,
so that its IC is about 0.05 and nobody's can be higher but by luck.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.alpha.cross import universe
from qframe_rl.alpha.ground import Ground
from qframe_rl.alpha.operators import CROSS_ROWS
from qframe_rl.alpha.panel import Evaluator
from qframe_rl.alpha.parser import parse
from qframe_rl.alpha.score import standing
from qframe_rl.alpha.tree import Formula
from qframe_rl.types import CLOSE, DAY, HIGH, LOW, OPEN, VOLUME, Float, Int

PLANTED = {
    "p1": "rank(corr(close,volume,10))",
    "p2": "delta(close,5)/std(close,20)",
    "p3": "rank(std(ret1,20)) * (tsrank(volume,10) - rank(delta(close,10)))",
    "nothing": "",
}
"""What is planted, by the name of the world."""
STRENGTH, N_INSTRUMENTS, N_TRAIN, N_TEST = 0.05, 32, 1600, 800


class PlantedWorld(NamedTuple):
    """Bars in which a formula is planted."""

    truth: Formula | None
    """None where nothing is."""
    train: Ground
    test: Ground


def planted_world(
    name: str, seed: int, strength: float = STRENGTH, n: int = N_INSTRUMENTS, rows: tuple[int, int] = (N_TRAIN, N_TEST)
) -> PlantedWorld:
    """Make a world.

    Parameters
    ----------
    name
        Of `PLANTED`.
    seed
        Of its random numbers.
    strength
        Part of the next return, in deviations, that a deviation of the formula among the instruments tells.
    n
        Instruments.
    rows
        Days of training and of test, after 100 that belong to neither.

    Returns
    -------
    PlantedWorld
        Grounds whose label is the next return; the one of the test begins where that of the training ends.
    """
    before, rng = CROSS_ROWS + 10, np.random.default_rng((seed, 17))
    n_rows = before + sum(rows)
    times: Int = (18_000 + np.arange(n_rows, dtype=np.int64)) * DAY
    truth = parse(PLANTED[name]) if PLANTED[name] else None
    bars = _blank(n_rows, n, rng)
    noise, sigma = rng.standard_normal((n_rows, n)), rng.uniform(0.01, 0.04, n)
    members = np.ones((n_rows, n), dtype=np.bool_)
    for t in range(n_rows):
        told = np.zeros(n)
        if truth is not None and t > truth.lookback:
            told = _told(truth, bars[t - truth.lookback : t], times[t - truth.lookback : t])
        _move(bars, t, sigma * (strength * told + noise[t]))
    members = universe(bars)
    ends = (before, before + rows[0], n_rows)
    train, test = (Ground(bars, times, DAY, (), members, 1, 0.0, ends[k], ends[k + 1]) for k in (0, 1))
    return PlantedWorld(truth, train, test)


def _blank(n_rows: int, n: int, rng: np.random.Generator) -> Float:
    """Bars of which only volumes are known, and the shape of each beside its return, as deviations."""
    bars = np.empty((n_rows, n, 5))
    level = np.empty((n_rows, n))
    level[0] = rng.standard_normal(n)
    for t in range(1, n_rows):
        level[t] = 0.7 * level[t - 1] + np.sqrt(1.0 - 0.7**2) * rng.standard_normal(n)
    bars[..., VOLUME] = np.exp(rng.uniform(5.0, 12.0, n) + 0.5 * level)
    bars[..., HIGH] = 0.01 * np.abs(rng.standard_normal((n_rows, n)))
    bars[..., LOW] = 0.01 * np.abs(rng.standard_normal((n_rows, n)))
    bars[..., CLOSE] = np.exp(rng.uniform(0.0, 6.0, n))
    return bars


def _told(truth: Formula, bars: Float, times: Int) -> Float:
    """What the formula says after the last of these bars, z-scored."""
    members = np.ones(bars.shape[:2], dtype=np.bool_)
    value = Evaluator(bars, times, DAY, members=members).shown(truth)[-1:].copy()
    return _z(value[0]) if np.isfinite(value).all() else np.nan_to_num(standing(value, members[-1:])[0])


def _z(x: Float) -> Float:
    spread = float(x.std())
    return np.asarray((x - x.mean()) / spread if spread > 0.0 else np.zeros(len(x)))


def _move(bars: Float, t: int, log_return: Float) -> None:
    """Write the bar of row ``t``: it opens at the close before."""
    start = bars[t - 1, :, CLOSE] if t else bars[t, :, CLOSE].copy()
    close = start * np.exp(log_return)
    bars[t, :, OPEN], bars[t, :, CLOSE] = start, close
    bars[t, :, HIGH] = np.maximum(start, close) * (1.0 + bars[t, :, HIGH])
    bars[t, :, LOW] = np.minimum(start, close) * (1.0 - bars[t, :, LOW])
