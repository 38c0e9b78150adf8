"""A policy that was never trained does next to nothing, under every action scheme.

``python -m tests.learning.test_untrained`` prints the table of docs/environments.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import MarketSpec
from qframe_rl.catalog import load
from qframe_rl.config import Ref
from qframe_rl.gym.make import make_vec
from qframe_rl.interface import SCHEMES
from tests.markets import panel

FEATURES = ("log_return:1", "log_return:24", "volatility:24", "rsi:14", "day_sin")
MOST = 5.0
"""Turnovers of equity a year that are allowed."""


def turnover(scheme: str, n_instruments: int, seed: int, *, leaning: bool = True, n_bars: int = 4_400) -> float:
    """Turnovers of equity a year of a new greedy ``ppo`` on hours whose prices walk by .8 % each.

    Parameters
    ----------
    scheme, n_instruments, seed, n_bars
        What is traded, and by which scheme.
    leaning
        Whether it begins with the lean towards the level that asks for the least.
    """
    history = panel(n_bars, n_instruments, seed=seed, volatility=0.008, kind="spot", ragged=False)
    envs: Any = make_vec(
        "spot", 1, history, features=FEATURES, actions=Ref(name=scheme), episode_bars=None,
        info=("fills", "prices", "equity"),
    )  # fmt: skip
    if not leaning:
        envs.engine.interface.idle = ()
    module = load("agents", "ppo")
    spec = MarketSpec(
        (), (), 0, leverage=1.0, shorting=False, cost_rate=0.0, interface=envs.engine.interface, seed=seed
    )
    agent = module.make(module.Config(), spec)
    agent._nets = (agent._new(0).eval(),)
    row, _ = envs.reset(seed=0)
    traded, steps = 0.0, 0
    while True:
        row, _, terminated, truncated, info = envs.step(agent.act(row))
        traded += float(np.abs(info["fills"] * info["prices"]).sum() / info["equity"][0])
        steps += 1
        if terminated[0] or truncated[0]:
            return traded / steps * 8760


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("n_instruments", [1, 10])
def test_a_new_policy_hardly_trades(scheme: str, n_instruments: int) -> None:
    assert turnover(scheme, n_instruments, 0) < MOST


if __name__ == "__main__":
    print("| scheme | one coin | ten coins |\n|---|---|---|")
    for name in SCHEMES:
        for lean in (True, False) if name == "levels" else (True,):
            found = [np.mean([turnover(name, n, seed, leaning=lean) for seed in range(3)]) for n in (1, 10)]
            said = f"`{name}`" if lean else f"`{name}` without the lean"
            print(f"| {said} | {' | '.join(f'{figure:,.1f}' for figure in found)} |", flush=True)
