"""What a learner is judged on it has not seen: on noise its judged Sharpe ratio is nothing but noise.

``python -m tests.learning.test_learners_on_noise 20`` prints the figures of docs/evaluation.md; names of learners may
follow.
"""

from __future__ import annotations

import math
import sys
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from qframe_rl import catalog
from qframe_rl.config import Ref
from qframe_rl.deploy import make_market, window_of
from qframe_rl.evaluate.metrics import bars_per_year, returns, sharpe
from qframe_rl.evaluate.splits import split
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import Float
from tests.contracts.checks import Quiet
from tests.rays import one_ray

FREE = {"taker_fee_bps": 0.0, "maker_fee_bps": 0.0, "half_spread_bps": 0.0, "impact": 0.0, "volume_share": 1.0}
BARS = 6000
SETS = 5
"""Of the suite; `make long` takes 20."""
LEARNERS: dict[str, dict[str, Any]] = {
    "direct_rl": {"epochs": 40},
    "dmn": {"epochs": 20},
    "eiie": {"epochs": 12, "batches": 12},
    "fitted_q": {"steps": 600, "passes": 10},
    "ppo": {"total_steps": 16_384},
    "sb3": {"total_steps": 4096, "evaluations": 8},
    "rllib": {},
}
"""Parameters besides QUICK: enough passes for those that stop by a score to choose by it."""


def judged(name: str, seed: int) -> float:
    """Annual Sharpe ratio on the validation bars of a holdout of driftless noise, without costs."""
    history = synthetic("gbm", BARS, seed=seed, drift=-0.5 * 0.8**2)
    params = {**FREE, "features": ("log_return:1", "log_return:4", "volatility:12"), "episode_bars": 200}
    market = make_market(Ref(name="perp", params=params), history.instruments, history.columns, history.bar_ns)
    (fold,) = split("holdout").split(history)
    market = market.fit([(history, fold.train)])
    module, task = catalog.load("agents", name), MarketTask(market, history, fold, seed)
    agent = module.make(module.Config(**(module.QUICK | LEARNERS[name])), task.spec)
    agent.fit(task, Quiet())
    record = backtest(market, agent, history, fold.validation[0], window_of(market, agent))
    return sharpe(returns(record.account.equity), bars_per_year(record))


def ratios(name: str, n: int) -> Float:
    """(n,) of as many markets."""
    return np.array([judged(name, 100 + seed) for seed in range(n)])


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", LEARNERS)
def test_on_noise_it_is_judged_as_noise(name: str) -> None:
    found = ratios(name, SETS)
    assert abs(found.mean()) < 3.0 * found.std(ddof=1) / math.sqrt(SETS)


if __name__ == "__main__":
    n, *names = sys.argv[1:]
    for each in names or LEARNERS:
        with one_ray() if each == "rllib" else nullcontext():
            found = ratios(each, int(n))
        error = found.std(ddof=1) / math.sqrt(len(found))
        print(f"{each}: judged Sharpe ratio {found.mean():+.2f} ± {error:.2f} on {n} noise sets", flush=True)
