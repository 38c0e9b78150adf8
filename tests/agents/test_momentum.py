"""Momentum: the crossover of the papers, and trends that are there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from agents.momentum import crossover
from qframe_rl.config import UserError
from qframe_rl.evaluate.metrics import metrics
from qframe_rl.features import frozen
from tests.agents.planted import bars_of
from tests.agents.runs import FREE, made, market_of, trade


@pytest.mark.parametrize(("fast", "slow"), [(8, 24), (16, 48), (32, 96)])
def test_the_crossover_is_the_one_of_the_papers(fast: int, slow: int) -> None:
    """Half-life ln .5 / ln(1 - 1/S), over 63 bars of the price's deviation, over 252 bars of its own, by pandas."""
    rng = np.random.default_rng(3)
    price = pd.Series(100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(2_000))))

    def mean(scale: int) -> pd.Series:
        return price.ewm(halflife=np.log(0.5) / np.log(1.0 - 1.0 / scale)).mean()

    q = (mean(fast) - mean(slow)) / price.rolling(63).std()
    expected = (q / q.rolling(252).std()).iloc[-1]
    out, scratch = np.empty(1), np.empty((2, 252))
    crossover(frozen(price.to_numpy()[-1000:, None]), fast, slow, 63, scratch, out)
    assert out[0] == pytest.approx(expected, rel=5e-3)  # the exponential mean is cut


def drifting(seed: int = 0) -> np.ndarray:
    """A drift of a tenth of volatility a bar that turns round every 300 bars."""
    rng = np.random.default_rng(seed)
    side = np.where(np.arange(4_000) // 300 % 2 == 0, 1.0, -1.0)
    return 100.0 * np.exp(np.cumsum(0.01 * (0.1 * side + rng.standard_normal(4_000))))[:, None]


@pytest.mark.parametrize("params", [{}, {"fast_weight": 0.5, "fast_bars": 40}, {"rule": "macd"}])
def test_every_rule_earns_from_a_trend_before_costs(params: dict[str, object]) -> None:
    history = bars_of(drifting())
    market = market_of(history, **FREE)
    agent = made("momentum", market, history, **{"lookback_bars": 80, **params})
    assert metrics(trade(market, agent, history, 1_000)).sharpe > 2.0


def test_a_missing_bar_counts_as_the_last_price_and_an_unlisted_coin_as_nothing() -> None:
    close = drifting()[:1000]
    gap = close.copy()
    gap[500] = np.nan
    out, again, scratch = np.empty(1), np.empty(1), np.empty((2, 252))
    crossover(frozen(gap), 8, 24, 63, scratch, out)
    filled = close.copy()
    filled[500] = filled[499]
    crossover(frozen(filled), 8, 24, 63, scratch, again)
    assert out[0] == again[0]
    gap[:100] = np.nan
    crossover(frozen(gap), 8, 24, 63, scratch, out)
    assert np.isnan(out[0])


def test_speeds_that_are_no_pairs_are_refused() -> None:
    history = bars_of(drifting()[:200])
    with pytest.raises(UserError, match="must be pairs FAST < SLOW"):
        made("momentum", market_of(history), history, rule="macd", speeds=((24, 8),))
