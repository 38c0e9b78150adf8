"""Pairs: the test of cointegration, the process, and thresholds that earn most where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.estimate.cointegration import dickey_fuller, discoveries, engle_granger, ornstein_uhlenbeck, p_value
from qframe_rl.evaluate.metrics import metrics
from qframe_rl.types import Float, History
from tests.agents.planted import bars_of
from tests.agents.runs import made, market_of, trade, trained


def reverting(n: int, keep: float, shock: float, rng: np.random.Generator) -> Float:
    x = np.zeros(n)
    for t in range(1, n):
        x[t] = keep * x[t - 1] + shock * rng.standard_normal()
    return x


def planted(n: int, seed: int, keep: float = 0.9, shock: float = 0.004) -> History:
    """Five coins: 0 and 1 belong together with ratio 0.8, 2 and 3 with ratio 1.5, and 4 with none."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(0.01 * rng.standard_normal((n, 3)), axis=0)
    legs = [
        0.8 * walk[:, 0] + reverting(n, keep, shock, rng), walk[:, 0],
        1.5 * walk[:, 1] + reverting(n, keep, shock, rng), walk[:, 1], walk[:, 2],
    ]  # fmt: skip
    return bars_of(100.0 * np.exp(np.stack(legs, axis=1)), taker_fee=4e-4)


@pytest.mark.parametrize(
    ("statistic", "p"),
    [(-5.0, 1.6464262671930666e-4), (-3.34, 0.04946535878), (-2.5, 0.27906902344), (-1.0, 0.902847226)],
)
def test_p_values_are_mackinnons(statistic: float, p: float) -> None:
    assert p_value(statistic) == pytest.approx(p, rel=1e-9)  # statsmodels 0.15.0, mackinnonp(statistic, "c", 2)


def test_the_statistic_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(5)
    y = np.cumsum(rng.standard_normal(1500))
    x = np.zeros(1500)
    for t in range(1, 1500):
        x[t] = 0.9 * x[t - 1] + rng.standard_normal()
    z = 0.7 * y + 3.0 + x
    fit = engle_granger(z, y)
    residual = z - fit.level - fit.ratio * y
    # statsmodels.tsa.stattools.coint(z, y, maxlag=1, autolag=None)
    assert dickey_fuller(residual, 1) == pytest.approx(-8.131535617590886, rel=1e-4)
    assert fit.p_value == pytest.approx(1.41e-11, rel=0.01)


@pytest.mark.long
def test_the_test_has_its_size_on_random_walks() -> None:
    rng = np.random.default_rng(0)
    walks = np.cumsum(rng.standard_normal((2_000, 2, 500)), axis=2)
    rejected = np.mean([engle_granger(one, other).p_value < 0.05 for one, other in walks])
    assert rejected == pytest.approx(0.05, abs=0.01)


def test_reversion_and_volatility_are_found() -> None:
    rng = np.random.default_rng(1)
    kappa, sigma = 0.1, 0.01
    keep = np.exp(-kappa)
    shock = sigma * np.sqrt((1 - keep**2) / (2 * kappa))
    found = np.array([ornstein_uhlenbeck(reverting(5_000, keep, shock, rng)) for _ in range(20)])
    assert found.mean(axis=0) == pytest.approx([kappa, sigma], rel=0.05)
    assert np.median(np.abs(found[:, 0] / kappa - 1.0)) < 0.1
    assert ornstein_uhlenbeck(np.zeros(50)) == (0.0, 0.0)


def test_what_never_moved_hedges_nothing() -> None:
    walk = np.cumsum(np.random.default_rng(7).standard_normal(300))
    assert engle_granger(walk, np.full(300, 4.6)).p_value == 1.0
    assert engle_granger(np.full(300, 4.6), np.full(300, 4.6)).p_value == 1.0
    # Two prices that move as one leave no spread to earn from.
    assert engle_granger(walk, walk).reversion == 0.0


def test_false_discoveries_are_few() -> None:
    rng = np.random.default_rng(2)
    rates = []
    for _ in range(200):
        p = np.concatenate([rng.random(90), 1e-5 * rng.random(10)])
        found = discoveries(p, 0.1)
        rates.append(found[:90].sum() / max(1, found.sum()))
    assert np.mean(rates) == pytest.approx(0.09, abs=0.02)
    assert not discoveries(np.array([0.2, 0.9]), 0.05).any()


def test_planted_pairs_are_found_with_their_ratios_and_no_others() -> None:
    history = planted(5_000, 3)
    market = market_of(history, half_spread_bps=1.0, impact=0.0)
    state = trained(made("pairs", market, history), market, history, 5_000).state()  # type: ignore[attr-defined]
    assert {tuple(sorted(pair)) for pair in state["legs"].tolist()} == {(0, 1), (2, 3)}
    ratios = {tuple(pair): ratio for pair, ratio in zip(state["legs"].tolist(), state["spreads"][:, 0], strict=True)}
    for pair, ratio in ratios.items():
        truth = {(0, 1): 0.8, (1, 0): 1 / 0.8, (2, 3): 1.5, (3, 2): 1 / 1.5}[pair]
        assert ratio == pytest.approx(truth, rel=0.03)


def test_random_walks_are_left_alone() -> None:
    rng = np.random.default_rng(4)
    history = bars_of(100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal((3_000, 4)), axis=0)))
    market = market_of(history)
    agent = trained(made("pairs", market, history), market, history, 2_500)
    assert metrics(trade(market, agent, history, 2_500)).trades == 0


@pytest.mark.long
def test_bertrams_thresholds_earn_most_after_costs() -> None:
    growth = {}
    for scale in (0.4, 1.0, 2.0):
        total = 0.0
        for seed in range(3):
            history = planted(14_000, seed)
            market = market_of(history, half_spread_bps=1.0, impact=0.0)
            best = trained(made("pairs", market, history), market, history, 6_000).state()["spreads"]  # type: ignore[attr-defined]
            deviation = 0.004 / np.sqrt(1 - 0.81)
            given = {} if scale == 1.0 else {"threshold": scale * float(best[:, 2].mean()) / deviation}
            agent = trained(made("pairs", market, history, **given), market, history, 6_000)
            total += np.log1p(metrics(trade(market, agent, history, 6_000)).total_return)
        growth[scale] = total
    assert growth[1.0] > growth[0.4]
    assert growth[1.0] > growth[2.0]
    assert growth[1.0] > 0.0


def test_a_broken_pair_is_closed_until_it_is_back() -> None:
    history = planted(6_000, 6)
    values = history.values.copy()
    values[5_500:5_600, 0, :4] *= 1.4
    broken = bars_of(values[:, :, 3], taker_fee=4e-4)
    market = market_of(broken, half_spread_bps=1.0, impact=0.0)
    agent = trained(made("pairs", market, broken), market, broken, 5_000)
    record = trade(market, agent, broken, 5_400)
    assert (record.account.position[105:199, :2] == 0.0).all()
    assert (record.account.position[250:, :2] != 0.0).any()


def test_one_coin_or_no_shorts_is_refused() -> None:
    history = planted(300, 0)
    with pytest.raises(UserError, match="two or more symbols"):
        made("pairs", market_of(history, env="spot"), history)
    with pytest.raises(UserError, match="two or more symbols"):
        one = bars_of(np.full((300, 1), 5.0))
        made("pairs", market_of(one), one)
