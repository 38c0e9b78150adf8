"""Changepoint inputs: against the dense definition, on planted breaks, and blind to what comes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from qframe_rl.deep.changepoint import LEAST, NOISE, SCALE, SIGNAL, Changepoints, kalman, likelihoods
from qframe_rl.deep.momentum import MomentumInputs
from tests.markets import history_of, panel

SMALL = MomentumInputs((1, 5, 20), ((4, 12),), 20, 40, 20, 60, 1e9)


def standardised(returns: np.ndarray) -> np.ndarray:
    y: np.ndarray = (returns - returns.mean()) / returns.std()
    return y


def found(y: np.ndarray) -> tuple[float, float, int]:
    n = len(y)
    return likelihoods(y, n, *kalman(n), np.empty(n + 1), np.empty(n + 1))


def severity(alone: float, changing: float) -> float:
    return float(1.0 - 1.0 / (1.0 + np.exp(-(changing - alone))))


def matern(times: np.ndarray, variance: float, scale: float) -> np.ndarray:
    distance = np.sqrt(3.0) * np.abs(times[:, None] - times[None]) / scale
    kernel: np.ndarray = variance * (1.0 + distance) * np.exp(-distance)
    return kernel


def cost(y: np.ndarray, kernel: np.ndarray, noise: float) -> float:
    """Minus the log density of a normal with this covariance."""
    root = np.linalg.cholesky(kernel + noise * np.eye(len(y)))
    white = solve_triangular(root, y, lower=True, check_finite=False)
    return float(0.5 * white @ white + np.log(np.diag(root)).sum() + 0.5 * len(y) * np.log(2.0 * np.pi))


def changed(times: np.ndarray, one: np.ndarray, other: np.ndarray, at: float, steepness: float) -> np.ndarray:
    """The kernel of Wood et al. (2021, equation 9)."""
    share = 1.0 / (1.0 + np.exp(np.clip(steepness * (times - at), -500.0, 500.0)))
    kernel: np.ndarray = one * np.outer(share, share) + other * np.outer(1.0 - share, 1.0 - share)
    return kernel


def test_likelihoods_are_those_of_the_dense_definition() -> None:
    """The grid searched with whole kernels and normal densities, for a window that is short enough for it."""
    y = standardised(np.random.default_rng(4).standard_normal(9) + np.array([1.0] * 5 + [-1.0] * 4))
    times = np.arange(9.0)
    kernels = [matern(times, 0.0, 1.0)] + [matern(times, v, s) for v, s in product(SIGNAL, SCALE)]
    alone = min(cost(y, kernel, noise) for kernel, noise in product(kernels, NOISE))
    changing = {}
    for at in range(LEAST, 9 - LEAST + 1):
        parts = product(NOISE, [(y[:at], slice(0, at)), (y[at:], slice(at, 9))])
        costs = np.array([min(cost(part, k[rows, rows], noise) for k in kernels) for noise, (part, rows) in parts])
        changing[at] = costs.reshape(-1, 2).sum(axis=1).min()
    at = min(changing, key=lambda k: changing[k])
    assert found(y) == (pytest.approx(alone, abs=1e-9), pytest.approx(changing[at], abs=1e-9), at)


def test_a_step_is_the_limit_of_the_sigmoid() -> None:
    times, y = np.arange(21.0), np.random.default_rng(2).standard_normal(21)
    one, other = matern(times, 0.8, 6.0), matern(times, 0.1, 20.0)
    whole = cost(y, changed(times, one, other, 11.5, 200.0), 0.4)
    parts = cost(y[:12], one[:12, :12], 0.4) + cost(y[12:], other[12:, 12:], 0.4)
    assert whole == pytest.approx(parts, abs=1e-9)


GOLDEN = (25.293054063650, 20.678442151101, 13)
"""By the dense definition, as in the test above."""


def test_the_golden_vector() -> None:
    y = standardised(np.sin(np.arange(21.0) ** 2) + np.repeat([1.0, -1.0], [13, 8]))
    alone, changing, at = found(y)
    assert (alone, changing, at) == (pytest.approx(GOLDEN[0], abs=1e-9), pytest.approx(GOLDEN[1], abs=1e-9), GOLDEN[2])


def test_the_grid_is_near_the_best_of_all_parameters() -> None:
    rng, times, short = np.random.default_rng(0), np.arange(63.0), []
    for trend in (0.0, 1.0) * 6:
        y = standardised(rng.standard_normal(63) + trend * np.repeat([1.0, -1.0], [40, 23]))
        best = min(
            minimize(
                lambda p, y=y: cost(y, matern(times, *np.exp(p[:2])), np.exp(p[2])), start, bounds=[(-7, 4)] * 3
            ).fun
            for start in ([-1.0, 1.0, -0.5], [0.0, 0.0, -2.0], [-2.0, 2.0, 0.0])
        )
        short.append(found(y)[0] - best)
    print(f"grid above the continuous optimum: {np.mean(short):.3f} nats, at most {max(short):.3f}")
    assert np.mean(short) < 0.2
    assert max(short) < 0.6


@pytest.mark.parametrize("look", [21, 63, 252])
def test_a_planted_break_is_found_where_it_is(look: int) -> None:
    rng, sign = np.random.default_rng(1), np.repeat([1.0, -1.0], [look // 2, look - look // 2])
    still, broken = [], []
    for _ in range(100):
        noise = rng.standard_normal(look)
        still.append(found(standardised(noise)))
        broken.append(found(standardised(noise + 1.5 * sign)))
    low, high = (np.median([severity(*one[:2]) for one in many]) for many in (still, broken))
    off = np.abs([at - look // 2 for _, _, at in broken])
    print(f"{look} bars: severity {low:.3f} without and {high:.3f} with a break; {np.quantile(off, 0.9):.0f} bars off")
    assert high > 0.95 > 0.9 > low
    assert np.median(off) <= 1
    assert np.quantile(off, 0.9) <= 4


def test_inputs_follow_a_break_through_the_window() -> None:
    """After a fall begins, severity rises, and the location wanders from the window's end to its beginning."""
    rng = np.random.default_rng(3)
    drift = np.repeat([0.01, -0.01], [400, 100])
    close = 100.0 * np.exp(np.cumsum(drift + 0.003 * rng.standard_normal(500)))
    history = history_of(np.stack([close, close, close, close, np.full(500, 1e6)], axis=-1)[:, None])
    inputs = Changepoints(SMALL, (21,)).rows(history.values)[0]
    assert inputs.shape[2] == SMALL.n_inputs + 2
    assert np.array_equal(inputs[:, :, :-2], SMALL.rows(history.values)[0])
    after = inputs[404:416, 0]
    assert (after[:, -2] > 0.95).all()
    where = 21 - (np.arange(404, 416) - 399)
    assert np.abs(21 * after[:, -1] - where).max() <= 2


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), cut=st.integers(150, 249))
def test_a_live_window_gives_the_bits_of_the_matrix(seed: int, cut: int) -> None:
    """And bars after a row change nothing in it."""
    bars = panel(250, 3, seed=seed).values
    made = Changepoints(SMALL, (10, 21))
    whole, cut_off = made.rows(bars), made.rows(bars[: cut + 1])
    live = made.rows(bars[cut + 1 - made.lookback : cut + 1], made.lookback - 1)
    for one, two, three in zip(whole, live, cut_off, strict=True):
        assert np.array_equal(one[cut], two[0])
        assert np.array_equal(one[: cut + 1], three)


def test_the_young_and_the_still_show_nothing() -> None:
    history = panel(200, 1, seed=1, ragged=False)
    values = history.values.copy()
    values[:, 0, :4] = 100.0
    values[-40:-25, 0, :4] = 101.0
    inputs, _, valid = Changepoints(SMALL, (10,)).rows(values)
    assert valid[-1, 0]
    assert not inputs[-1, 0, -2:].any()
    inputs, _, valid = Changepoints(SMALL, (63,)).rows(history.values)
    assert valid[40, 0]
    assert not inputs[40, 0, -2:].any()
    assert inputs[80, 0, -2:].all()
