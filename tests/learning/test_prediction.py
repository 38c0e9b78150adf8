"""How often the forecast of the next window's Sharpe ratio holds it, where the truth is known.

``python -m tests.learning.test_prediction 2000`` prints the table of docs/evaluation.md.
"""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import numpy as np
import pytest

from qframe_rl.evaluate.inference.prediction import forecast
from qframe_rl.evaluate.metrics import sharpe
from qframe_rl.types import Float

WINDOWS = (1, 2, 4, 8)
"""Windows so far."""
_BEGIN = 200


class Design(NamedTuple):
    """Returns per bar: Student's t, an autocorrelation, volatility in clusters or not, windows that differ or not."""

    name: str
    tail: float
    """Degrees of freedom."""
    carry: float
    """First autocorrelation."""
    clustered: bool = False
    """GARCH(1, 1) with 0.08 and 0.9."""
    changing: float = 0.0
    """Standard deviation of the windows' true ratios, in sampling errors of a window's ratio."""


DESIGNS = (
    Design("t(4)", 4.0, 0.0),
    Design("t(4), autocorrelation 0.2", 4.0, 0.2),
    Design("t(4), autocorrelation -0.2", 4.0, -0.2),
    Design("t(4), autocorrelation 0.5", 4.0, 0.5),
    Design("t(5), clustered, autocorrelation 0.1", 5.0, 0.1, True),
)
CHANGING = Design("t(4), and windows differ", 4.0, 0.0, changing=1.0)


def drawn(design: Design, n_series: int, k: int, size: int, seed: int) -> Float:
    """(S, k + 1, size) returns."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_t(design.tail, (_BEGIN + (k + 1) * size, n_series)) / math.sqrt(
        design.tail / (design.tail - 2)
    )
    variance, last, out = np.ones(n_series), np.zeros(n_series), np.empty_like(noise)
    for t, z in enumerate(noise):
        shock = np.sqrt(variance) * z
        if design.clustered:
            variance = 0.02 + 0.08 * shock**2 + 0.9 * variance
        last = design.carry * last + shock
        out[t] = last
    rate = out[_BEGIN:].T.reshape(n_series, k + 1, size) * 0.01
    mean = 0.05 + design.changing / math.sqrt(size) * rng.standard_normal((n_series, k + 1, 1))
    return rate + 0.01 * mean


def covered(design: Design, n_series: int, k: int, size: int = 500, seed: int = 0, level: float = 0.9) -> float:
    """Share of series whose last window lies in the forecast made from the others."""
    hits = []
    for one in drawn(design, n_series, k, size, seed):
        found = forecast(list(one[:-1]), size).interval(1.0, level)
        hits.append(found.low <= sharpe(one[-1], 1.0) <= found.high)
    return float(np.mean(hits))


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)
def test_a_forecast_of_ninety_in_a_hundred_holds_ninety(design: Design) -> None:
    assert np.mean([covered(design, 500, k) for k in WINDOWS]) == pytest.approx(0.9, abs=0.025)


def test_the_past_alone_would_promise_too_much() -> None:
    """What the interval of the mean holds of later figures, and the forecast beside it."""
    series = drawn(DESIGNS[0], 300, 4, 250, 1)
    found = [forecast(list(one[:-1]), 250) for one in series]
    later = np.array([sharpe(one[-1], 1.0) for one in series])
    centre, variance = np.array([f.centre for f in found]), np.array([f.variance for f in found])
    mean_error = np.sqrt(1.0 / 1000.0)
    assert np.mean(np.abs(later - centre) <= 1.645 * mean_error) < 0.65
    assert np.mean(np.abs(later - centre) <= 1.645 * np.sqrt(variance)) > 0.86


def test_windows_that_differ_widen_the_forecast() -> None:
    assert covered(CHANGING, 300, 8, 250) > 0.85
    one = drawn(CHANGING, 1, 8, 250, 3)[0]
    same = [np.concatenate(one[:-1])[k::8] for k in range(8)]
    assert forecast(list(one[:-1]), 250).variance > 1.2 * forecast(same, 250).variance


def test_what_never_moved_is_forecast_to_stay() -> None:
    found = forecast([np.zeros(10), np.zeros(10)], 10).interval(365.0)
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)
    short = forecast([np.array([0.01, -0.02])], 2).interval(365.0)
    assert np.isfinite(short).all() and short.low < short.high
    with pytest.raises(ValueError, match="must be a window"):
        forecast([], 10)


if __name__ == "__main__":
    n = int(sys.argv[1])
    print(f"| {n} series each, windows of 500 bars | {' | '.join(f'{k} so far' for k in WINDOWS)} | all |")
    print("|---" * (len(WINDOWS) + 2) + "|")
    for design in (*DESIGNS, CHANGING):
        shares = [covered(design, n, k) for k in WINDOWS]
        cells = [f"{share:.1%}" for share in (*shares, float(np.mean(shares)))]
        print(f"| {design.name} | {' | '.join(cells)} |", flush=True)
