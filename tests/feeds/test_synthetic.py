"""Synthetic markets: seeded, well formed, and with the facts that they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.feeds.check import checked
from qframe_rl.feeds.synthetic import GENERATORS, synthetic
from qframe_rl.types import DAY


@pytest.mark.parametrize("name", GENERATORS)
def test_bars_are_well_formed_and_follow_from_the_seed(name: str) -> None:
    history = checked(synthetic(name, 3_000, seed=7))
    assert history.source.environment == "synthetic"
    assert history.fingerprint == synthetic(name, 3_000, seed=7).fingerprint
    assert history.fingerprint != synthetic(name, 3_000, seed=8).fingerprint
    assert np.array_equal(history.values[1:, :, 0], history.values[:-1, :, 3])


def returns(name: str, n: int = 200_000) -> np.ndarray:
    return np.diff(np.log(synthetic(name, n, seed=3).values[:, :, 3]), axis=0)


def test_brownian_motion_has_its_volatility_and_no_memory() -> None:
    r = returns("gbm")[:, 0]
    assert r.std() * math.sqrt(8760) == pytest.approx(0.8, rel=0.02)
    assert abs(np.corrcoef(r[1:], r[:-1])[0, 1]) < 0.01
    scaled = synthetic("gbm,volatility=0.4", 20_000)
    assert np.diff(np.log(scaled.values[:, 0, 3])).std() * math.sqrt(8760) == pytest.approx(0.4, rel=0.03)


def test_the_pull_of_ornstein_uhlenbeck_halves_deviations_in_a_day() -> None:
    price = np.log(synthetic("ou", 200_000, seed=3).values[:, 0, 3])
    x = price - price.mean()
    assert x.std() == pytest.approx(0.02, rel=0.1)
    assert (x[24:] * x[:-24]).mean() / (x * x).mean() == pytest.approx(0.5, abs=0.05)


def test_correlated_coins_are() -> None:
    c = np.corrcoef(returns("correlated", 50_000).T)
    assert c[np.triu_indices(4, 1)] == pytest.approx(0.5, abs=0.02)


def test_regimes_have_the_stylised_facts() -> None:
    history = synthetic("regimes,n_instruments=2", 100_000, seed=3)
    r = np.diff(np.log(history.values[:, :, 3]), axis=0)
    one = r[:, 0]
    assert ((one - one.mean()) ** 4).mean() / one.var() ** 2 > 6.0  # fat tails
    size = np.abs(one)
    assert np.corrcoef(size[24:], size[:-24])[0, 1] > 0.1  # volatility clusters
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.05  # returns hardly do
    assert np.abs(one).max() > 0.08  # jumps
    assert 0.3 < np.corrcoef(r.T)[0, 1] < 0.9
    rate = history.values[:, :, 5]
    assert history.columns == ("funding_rate",)
    assert np.count_nonzero(history.funding[:, 0]) <= math.ceil(100_000 / 8)
    assert 0.0 < rate.mean() < 1e-3
    assert np.abs(rate).max() <= 3e-3
    mark = history.values[8::8, 0, 0]
    assert history.funding[8::8, 0] == pytest.approx(rate[8::8, 0] * mark)


def test_a_carry_is_paid_by_the_premium() -> None:
    history = synthetic("carry,n_coins=2", 50_000, seed=3)
    assert [i.kind for i in history.instruments] == ["spot", "perpetual"] * 2
    close = history.values[:, :, 3]
    premium = close[:, 1::2] / close[:, 0::2] - 1.0
    assert premium.std(axis=0) == pytest.approx(7e-4, rel=0.15)
    assert (history.funding[:, 0::2] == 0.0).all()
    due = np.arange(50_000) % 8 == 0
    assert (history.funding[~due] == 0.0).all()
    rate = history.values[8::8, 1::2, 5]
    assert history.funding[8::8, 1::2] == pytest.approx(rate * history.values[8::8, 1::2, 0])
    assert 0.5e-4 < rate.mean() < 2.5e-4
    assert np.corrcoef(rate[:, 0], premium[7:-1:8, 0])[0, 1] > 0.7


def test_a_usual_premium_owes_one_basis_point() -> None:
    history = synthetic("carry,premium_bps=3,deviation_bps=0.01", 100)
    assert history.values[8:, 1, 5] == pytest.approx(1e-4)
    history = synthetic("carry,premium_bps=12,deviation_bps=0.01", 100)
    assert history.values[8:, 1, 5] == pytest.approx(7e-4, rel=0.01)
    assert history.values[:8, 1, 5].tolist() == [0.0] * 8


def test_longer_bars_move_as_far_in_a_year() -> None:
    history = synthetic("correlated,n_instruments=3", 20_000, bar_ns=DAY)
    r = np.diff(np.log(history.values[:, :, 3]), axis=0)
    assert r.std(axis=0) * math.sqrt(365) == pytest.approx(0.8, rel=0.03)
    assert (np.diff(history.time) == DAY).all()
    assert history.bar_ns == DAY


def test_mistakes_are_named() -> None:
    for text, says in (("gmb", "did you mean 'gbm'"), ("gbm,vol=3", "unknown key 'vol'"), ("gbm,3", "KEY=VALUE")):
        with pytest.raises(UserError, match=says):
            synthetic(text)
