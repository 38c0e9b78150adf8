"""Deep agents find planted trends: how near they come to the Bayes filter is known."""

from __future__ import annotations

import pytest

from agents import dmn
from qframe_rl.evaluate.splits import Fold
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import Segment
from tests.contracts.checks import Quiet
from tests.planted import Filter, macd, market_of, planted, score, trend

FOLD = Fold((Segment(0, 3000),), (Segment(3000, 3500),), (Segment(3500, 5500),))


@pytest.mark.slow
def test_dmn_comes_near_the_filter_and_beats_every_classical_rule_and_its_forecasting_twin() -> None:
    history = planted(5500, 40, seed=1)
    market, test = market_of(history, FOLD), FOLD.test[0]
    best = score(market, Filter(), history, test)
    rules = {f"sign of {n} bars": score(market, trend(n), history, test) for n in (21, 63, 252)}
    rules["macd"] = score(market, macd(), history, test)
    found = {}
    for loss in ("sharpe", "mse"):
        task = MarketTask(market, history, FOLD, 1)
        agent = dmn.Dmn(dmn.Config(epochs=6, loss=loss, band=0.0), task.brief)
        agent.fit(task, Quiet())
        found[loss] = score(market, agent, history, test)
    print(f"filter {best:.2f}, rules {rules}, networks {found}")  # shown by pytest -s
    assert found["sharpe"] > 0.93 * best
    assert found["sharpe"] > max(rules.values())
    assert found["sharpe"] > 1.03 * found["mse"]
