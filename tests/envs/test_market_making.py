"""The market maker's environment against the simulation that Avellaneda and Stoikov published (2008, section 3.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qframe_rl.config import Ref
from qframe_rl.gym.make import make_problem
from qframe_rl.theory.quoting import avellaneda_stoikov, average_spread

WIDE, LIMIT, SIGMA, K = 20.0, 100, 2.0, 1.5


def simulated(aversion: float, symmetric: bool, n_paths: int) -> tuple[float, float, float]:
    """Mean and deviation of the profit, and deviation of the final inventory."""
    params: dict[str, Any] = {
        "reward_mode": "sampled", "fill_model": "linear", "running": 0.0, "terminal": 0.0, "volatility": SIGMA,
        "limit": LIMIT, "nearest": -WIDE, "farthest": WIDE, "intensity": 140.0, "decay": K,
    }  # fmt: skip
    episodes = make_problem(Ref(name="market_making", params=params)).episodes(n_paths)
    episodes.seed_with(3)
    everyone = np.ones(n_paths, dtype=np.bool_)
    episodes.reset(everyone)
    profit, over = np.zeros(n_paths), False
    while not over:
        seen = episodes.observe().astype(np.float64)
        if symmetric:
            quotes = np.full((n_paths, 2), 0.5 * average_spread(aversion, SIGMA, K, 1.0))
        else:
            held = np.rint(seen[:, 0] * LIMIT)
            quotes = np.stack(avellaneda_stoikov(held, seen[:, 1], aversion, SIGMA, K), axis=1)
        rewards, ended, _ = episodes.step(quotes / WIDE, everyone)
        profit += rewards
        over = bool(ended.all())
    return float(profit.mean()), float(profit.std()), float(episodes.state[:, 0].std())


@pytest.mark.parametrize(
    ("aversion", "symmetric", "profit", "deviation", "inventory"),
    [
        (0.1, False, 65.0, 6.6, 2.9),
        (0.1, True, 68.4, 12.7, 8.4),
        (0.01, False, 68.6, 8.7, 5.1),
        (0.01, True, 68.8, 12.8, 8.7),
        (1.0, False, 31.4, 5.0, 1.7),
        (1.0, True, 44.0, 11.0, 5.1),
    ],
)
def test_the_published_table(
    aversion: float, symmetric: bool, profit: float, deviation: float, inventory: float
) -> None:
    """Theirs are of 1,000 paths: a mean is good to its standard error, a deviation to about 2.2 % of itself."""
    found = simulated(aversion, symmetric, 5_000)
    error = deviation * (1 / 1_000 + 1 / 5_000) ** 0.5
    assert found[0] == pytest.approx(profit, abs=3.0 * error)
    assert found[1] == pytest.approx(deviation, rel=0.08)
    assert found[2] == pytest.approx(inventory, rel=0.08)
