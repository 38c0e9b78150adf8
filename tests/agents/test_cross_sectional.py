"""Cross-section: ranks, neutrality, and drifts that are there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qframe_rl.config import UserError
from qframe_rl.evaluate.metrics import metrics
from qframe_rl.types import History
from tests.agents.planted import bars_of
from tests.agents.runs import FREE, made, market_of, trade


def drifting(seed: int = 0, n: int = 6) -> History:
    rng = np.random.default_rng(seed)
    drift = np.repeat(rng.permuted(np.tile(np.linspace(-1, 1, n), (12, 1)), axis=1), 250, axis=0)
    return bars_of(100.0 * np.exp(np.cumsum(0.01 * (0.08 * drift + rng.standard_normal(drift.shape)), axis=0)))


def test_planted_drifts_are_earned_and_the_market_is_not() -> None:
    history = drifting()
    market = market_of(history, **FREE)
    record = trade(market, made("cross_sectional", market, history, lookback_bars=72), history, 200)
    assert metrics(record).sharpe > 2.0
    exposure = record.account.exposure[2::24]
    assert np.abs(exposure.sum(axis=1)).max() < 0.1
    assert np.abs(exposure).sum(axis=1).mean() == pytest.approx(1.0, abs=0.05)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12), st.randoms(use_true_random=False))
def test_weights_are_neutral_whole_and_follow_their_coins(scores: list[float], random) -> None:  # type: ignore[no-untyped-def]
    history = drifting(n=2)
    agent = made("cross_sectional", market_of(history), history, gross=1.5)
    score = np.array([*scores, np.nan])
    weight = agent.weights(score)  # type: ignore[attr-defined]
    assert weight[-1] == 0.0
    assert weight.sum() == pytest.approx(0.0, abs=1e-12)
    assert np.abs(weight).sum() == pytest.approx(1.5 if len(set(scores)) > 1 else 0.0, abs=1e-12)
    order = list(range(len(score)))
    random.shuffle(order)
    assert agent.weights(score[order]) == pytest.approx(weight[order])  # type: ignore[attr-defined]
    assert (np.diff(weight[np.argsort(scores, kind="stable")]) >= -1e-12).all()


def test_without_shorts_the_better_half_is_held() -> None:
    history = drifting()
    market = market_of(history, env="spot", **FREE)
    weight = made("cross_sectional", market, history).weights(np.array([3.0, 1.0, 2.0, 4.0, np.nan, 0.0]))  # type: ignore[attr-defined]
    assert weight == pytest.approx([1 / 3, 0, 0, 2 / 3, 0, 0])


def test_carry_holds_what_pays_least_funding() -> None:
    close = np.full((400, 3), 100.0)
    history = bars_of(close, columns={"funding_rate": np.full(400, 1e-4)})
    values = history.values.copy()
    values[:, :, 5] = (3e-4, -1e-4, 1e-4)
    history = History(**{**vars(history), "values": values})
    market = market_of(history, **FREE)
    record = trade(market, made("cross_sectional", market, history, score="carry"), history, 200)
    assert np.sign(record.account.position[-1]).tolist() == [-1.0, 1.0, 0.0]


def test_one_coin_or_no_rates_is_refused() -> None:
    history = drifting(n=2)
    with pytest.raises(UserError, match="have none"):
        made("cross_sectional", market_of(history), history, score="carry")
    one = bars_of(np.full((300, 1), 5.0))
    with pytest.raises(UserError, match="two symbols"):
        made("cross_sectional", market_of(one), one)


@pytest.mark.parametrize("score", ["momentum", "carry"])
def test_who_is_outside_the_universe_takes_no_rank(score: str) -> None:
    """The coin that would be the best is outside: the others are held against each other, as much as ever."""
    close = 100.0 * np.exp(np.arange(400)[:, None] * 1e-3 * np.array([3.0, 2.0, 1.0, 0.0]))
    close *= np.exp(1e-4 * np.random.default_rng(0).standard_normal(close.shape))
    history = bars_of(close, columns={"funding_rate": np.zeros(400), "in_universe": np.ones(400)})
    values = history.values.copy()
    values[:, :, 5], values[:, 0, 6] = (-3e-4, -2e-4, -1e-4, 0.0), 0.0
    history = History(**{**vars(history), "values": values})
    market = market_of(history, **FREE)
    record = trade(market, made("cross_sectional", market, history, score=score, scaled=False), history, 200)
    assert record.account.exposure[1] == pytest.approx([0.0, 0.5, 0.0, -0.5], abs=0.02)
