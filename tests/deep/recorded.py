"""Recorded steps whose best answer is known in closed form: a bandit, and places in a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from qframe_rl import catalog
from qframe_rl.agent import MarketSpec, Transitions
from qframe_rl.deep.offline import Batch, OfflineAgent
from qframe_rl.gym.problem import Numbers
from qframe_rl.types import Float
from tests.contracts.checks import Quiet

PROBABILITY = np.array([0.5, 0.3, 0.2])
"""Of the actions of a bandit that were recorded; a fourth one never was."""
PAID = np.array([1.0, 0.0, 3.0])


class Recorded:
    """A task whose dataset is at hand."""

    def __init__(self, seen: Transitions, n_actions: int):
        space = spaces.Box(-10.0, 10.0, seen.observations.shape[1:], np.float32)
        numbers = Numbers(space, spaces.Discrete(n_actions))
        self.seen = seen
        self.spec = MarketSpec((), (), 0, 1.0, True, 0.0, numbers, seed=5)

    def transitions(self, dataset: str) -> Transitions:
        assert dataset == "mine"
        return self.seen


def bandit(n: int = 20_000) -> Transitions:
    """One state, episodes of one step."""
    actions = np.random.default_rng(0).choice(3, n, p=PROBABILITY)
    seen = np.ones((n, 1), dtype=np.float32)
    return Transitions(seen, actions, PAID[actions], seen, np.ones(n, dtype=np.bool_))


def learned(name: str, seen: Transitions, n_actions: int, **params: Any) -> OfflineAgent:
    module = catalog.load("agents", name)
    task = Recorded(seen, n_actions)
    given = {"dataset": "mine", "hidden": (16,), "batch_size": 1024, "updates": 800, "learning_rate": 3e-3} | params
    agent: OfflineAgent = module.make(module.Config(**given), task.spec)
    agent.fit(task, Quiet())  # type: ignore[arg-type]
    return agent


def told(agent: OfflineAgent, part: str) -> Float:
    """What a network says of the bandit's only state."""
    with torch.inference_mode():
        return np.asarray(getattr(agent._net, part)(torch.ones(1, 1)), dtype=np.float64)[0]


def chain(n: int = 8000) -> tuple[Transitions, Float]:
    """Five places in a row; right pays 1 at the last one, which ends the episode, left pays 0.2 and stays.

    Q*(place, right) = 0.9^(4 - place), Q*(place, left) = 0.2 + 0.9 max Q*(place).
    """
    rng = np.random.default_rng(1)
    place, right = rng.integers(0, 5, n), rng.integers(0, 2, n)
    at_end = (place == 4) & (right == 1)
    after = np.minimum(place + right, 4)
    eye = np.eye(5, dtype=np.float32)
    paid = np.where(at_end, 10.0, np.where(right == 1, 0.0, 0.05))
    best = 10.0 * 0.9 ** (4 - np.arange(5))
    return Transitions(eye[place], right, paid, eye[after], at_end), np.stack([0.05 + 0.9 * best, best], axis=1)


def standing(net: Any, worth: list[float]) -> None:
    """Let the copy of a network say the same of everything."""
    with torch.no_grad():
        for target in net._targets():
            target.zero_()
        net._targets()[-1].copy_(torch.tensor(worth))


def settled(net: torch.nn.Module, batch: Batch) -> None:
    adam = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(400):
        adam.zero_grad()
        net.loss(batch).backward()  # type: ignore[operator]
        adam.step()
