"""Weights of `ppo` that must beat the untrained policy: on noise none do, where there is something to learn they do."""

from __future__ import annotations

from typing import Any

import pytest

from agents.ppo import Config
from qframe_rl.config import UserError
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.runner.fit import fit
from qframe_rl.types import History

STEPS = {"total_steps": 30_000}


def traded(bars: History, params: dict[str, Any]) -> float:
    """Money that changed hands on bars after those that it learned from."""
    return float(fit("ppo", bars.rows(0, 4_000), "spot", params, seed=2).backtest(bars).fills.traded.sum())


def test_noise_keeps_the_policy_that_hardly_trades() -> None:
    noise = synthetic("gbm", n_bars=5_000, seed=3)
    assert traded(noise, STEPS | {"margin": 2.0}) == 0.0
    assert traded(noise, STEPS) > 0.0


def test_what_can_be_learned_is_kept() -> None:
    signal = synthetic("ar1", n_bars=5_000)
    best = traded(signal, STEPS)
    assert traded(signal, STEPS | {"margin": 2.0}) == best > 0.0


def test_a_margin_needs_scores() -> None:
    with pytest.raises(ValueError, match="margin: nothing can beat"):
        Config(margin=1.0, evaluations=0)
    with pytest.raises(UserError, match="margin"):
        fit("ppo", synthetic("ar1", n_bars=2_000), params={"margin": -1.0})
