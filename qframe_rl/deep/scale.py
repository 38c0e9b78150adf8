"""The unit that a learner measures rewards in."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv


def return_scale(envs: VectorEnv[Any, Any, Any], gamma: float, n_steps: int, seed: int) -> float:
    """One over the standard deviation of discounted returns under random actions.

    Rewards of a problem may be millions of a currency or hundredths of a per cent; a value function learns what is
    of the order of one.

    Parameters
    ----------
    envs
        A batch in SAME_STEP mode; its episodes move on.
    gamma
        Discount a step.
    n_steps
        Steps to watch.
    seed
        Of the actions.
    """
    envs.action_space.seed(seed)
    value, seen = np.zeros(envs.num_envs), []
    for _ in range(n_steps):
        _, rewards, terminated, truncated, _ = envs.step(envs.action_space.sample())
        value = gamma * value + rewards
        seen.append(value)
        value = np.where(terminated | truncated, 0.0, value)
    spread = float(np.std(seen))
    return 1.0 / spread if spread > 0.0 else 1.0
