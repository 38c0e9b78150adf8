"""What is learned on made markets is put onto bars as it was shown there, and finds on them what it was trained to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.meta import Config, Meta
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import UserError, build
from qframe_rl.types import Float
from tests.contracts.test_agents import bars, market_for

SHIPPED = Path("checkpoints/meta").absolute()


class Told:
    """Answers what it was told to, and keeps what it was shown."""

    def __init__(self, answers: Float):
        self.answers, self.seen = list(answers), list[Float]()

    def answer(self, observations: Any, before: Any) -> tuple[Any, tuple[()]]:
        self.seen.append(observations)
        return self.answers.pop(0), ()


def made(n: int, kind: str = "perpetual", **params: Any) -> Meta:
    history = bars(kind, n)
    market = market_for(history)
    return Meta(build(Config, {"volatility_bars": 60} | params, "agent.meta"), market.spec(history.columns, 0))


def test_bars_are_shown_as_the_made_markets_show_theirs() -> None:
    """Position, return, and the return of the position less what its change cost; all in deviations of a return."""
    agent, rng = made(3), np.random.default_rng(0)
    close = 100.0 * np.cumprod(1.0 + 0.01 * rng.standard_normal((300, 3)), axis=0)
    answers = rng.integers(0, 3, (100, 3))
    told = agent.solver = Told(answers)
    targets = agent.targets(np.repeat(close[:, :, None], 5, axis=2), np.arange(300), 200)
    assert np.allclose(targets, (answers - 1) / 3)
    moves = close[1:] / close[:-1] - 1.0
    for t in range(1, 100):
        unit = moves[200 + t - 60 : 200 + t].std(axis=0)
        last, now = answers[t - 1] - 1, answers[t - 2] - 1 if t > 1 else np.zeros(3)
        move = moves[200 + t - 1]
        earned = last * move - agent.cost_rate * np.abs(last - now)
        assert np.allclose(told.seen[t], np.stack([last, move / unit, earned / unit], axis=1), atol=1e-5)


def test_nothing_is_held_of_what_is_too_young_and_no_short_where_there_is_none() -> None:
    agent, close = made(1, "spot"), np.cumprod(1.0 + 0.01 * np.random.default_rng(1).standard_normal((300, 1)), axis=0)
    close[:100] = close[250] = np.nan
    agent.solver = Told(np.tile([[2], [0]], (120, 1)))
    targets = agent.targets(np.repeat(close[:, :, None], 5, axis=2), np.arange(300), 61)
    assert (targets[: 130 - 61] == 0.0).all()
    assert targets[130 - 61 : 250 - 61].any()
    assert targets[250 - 61] == 0.0
    assert set(np.unique(targets)) == {0.0, 1.0}


def test_markets_that_show_themselves_are_refused() -> None:
    with pytest.raises(UserError, match=r"agent.meta.market.shown: on bars no parameters are shown"):
        made(1, market={"prior": "wide", "shown": True})
    with pytest.raises(UserError, match=r"agent.meta.policy"):
        made(1, policy={"stps": 3})


def walked(rho: float, drift: float, n: int = 64, n_bars: int = 1200) -> tuple[float, float]:
    """Of shipped weights on n made coins: what a bar is expected to earn before costs, in deviations, and turnover."""
    rng = np.random.default_rng(7)
    noise, moves = rng.standard_normal((n_bars, n)), np.zeros((n_bars, n))
    for t in range(1, n_bars):
        moves[t] = drift + rho * moves[t - 1] + noise[t]
    checkpoint = load_checkpoint(SHIPPED)
    agent = made(1, "perpetual", **checkpoint.agent["params"])
    agent.restore(checkpoint.state)
    close = 100.0 * np.cumprod(1.0 + 0.005 * moves, axis=0)
    held = agent.targets(np.repeat(close[:, :, None], 5, axis=2), np.arange(n_bars), 336)
    return float((held * (drift + rho * moves[336:])).mean()), float(np.abs(np.diff(held, axis=0)).mean())


def test_what_ships_finds_either_sign_of_autocorrelation_and_of_drift_and_leaves_noise_alone() -> None:
    """Who knew a rho of 0.4 would earn 0.4 x sqrt(2 / (pi (1 - 0.16))) a bar before costs."""
    for rho, drift, best in ((0.4, 0.0, 0.348), (-0.4, 0.0, 0.348), (0.0, 0.3, 0.3), (0.0, -0.3, 0.3)):
        assert walked(rho, drift)[0] > 0.8 * best
    assert walked(0.0, 0.0)[1] < 0.2 * walked(0.4, 0.0)[1]
