"""Kelly and Merton, see docs/solvable.md."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qframe_rl.theory.kelly import coin, coin_growth, gbm, gbm_returns, merton, merton_band, step_growth


def test_the_coin() -> None:
    best = coin(0.6)
    assert best.fraction == pytest.approx(0.2, abs=1e-12)
    assert best.growth == pytest.approx(0.6 * math.log(1.2) + 0.4 * math.log(0.8), abs=1e-15)
    assert best.growth == pytest.approx(0.0201355, abs=5e-8)
    assert coin(0.4) == (0.0, 0.0)
    uneven = coin(0.5, odds=2.0)
    assert uneven.fraction == pytest.approx(0.25)
    for other in (0.2, 0.3):
        assert coin_growth(other, 0.5, 2.0) < uneven.growth


def test_daily_geometric_brownian_motion() -> None:
    best = gbm(0.40, 0.80, 365)
    assert best.fraction == pytest.approx(0.6250513, abs=5e-8)
    assert best.growth == pytest.approx(0.1249846, abs=5e-8)
    assert merton(0.40, 0.80) == pytest.approx((0.625, 0.125))


def test_risk_aversion() -> None:
    for aversion in (0.5, 3.0):
        best = gbm(0.40, 0.80, 365, aversion)
        assert best == pytest.approx(merton(0.40, 0.80, aversion), rel=2e-3)
        r, weight = gbm_returns(0.40, 0.80, 365)
        for other in (0.9, 1.1):
            assert 365 * step_growth(other * best.fraction, r, weight, aversion) < best.growth
    near = gbm(0.40, 0.80, 365, 1.0 + 1e-6)
    assert near.growth == pytest.approx(gbm(0.40, 0.80, 365).growth, rel=1e-4)


def test_the_quadrature_is_the_expectation() -> None:
    r, weight = gbm_returns(0.40, 0.80, 365)
    assert weight.sum() == pytest.approx(1.0)
    assert (weight * r).sum() == pytest.approx(math.expm1(0.40 / 365), rel=1e-10)
    z = np.random.default_rng(0).standard_normal(1_000_000)
    drawn = np.log1p(0.6 * np.expm1((0.40 - 0.32) / 365 + 0.80 / math.sqrt(365) * z))
    assert step_growth(0.6, r, weight) == pytest.approx(drawn.mean(), abs=4 * drawn.std() / 1000)


def test_the_band_of_small_costs() -> None:
    one, eight = merton_band(0.625, 1.0, 0.001), merton_band(0.625, 1.0, 0.008)
    assert eight == pytest.approx(2.0 * one)
    assert one == pytest.approx((1.5 * 0.625**2 * 0.375**2 * 0.001) ** (1 / 3))
