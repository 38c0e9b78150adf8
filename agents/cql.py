"""Conservative Q-learning over discrete actions: learn from recorded steps, and believe little of what was not tried.

Kumar, Zhou, Tucker & Levine, "Conservative Q-learning for offline reinforcement learning" (2020). Action values are
learned as by double Q-learning (van Hasselt, Guez & Silver, 2016), and beside that the soft maximum over all actions is
pushed down and the recorded action's value up (their equation 4, CQL(H)), so that what was never done is not thought
better than what was.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from qframe_rl.agent import MarketSpec
from qframe_rl.deep.offline import Batch, OfflineAgent, OfflineConfig, Trailing, mlp


class Config(OfflineConfig):
    """Hyper-parameters."""

    conservatism: float = Field(default=0.1, ge=0.0, le=1e6)
    """Weight of the conservative term beside the squared error; 0 = plain double Q-learning."""


QUICK = {"chance_steps": 800, "updates": 60, "batch_size": 64, "hidden": (16,)}
"""Parameters of a training that takes a second: for a first try, and for tests."""


class CqlNetworks(nn.Module):
    """The action values."""

    def __init__(self, config: Config, n_inputs: int, n_choices: int):
        super().__init__()
        self.config = config
        self.critic = Trailing(mlp(n_inputs, config.hidden, n_choices), config.target_rate)

    def loss(self, batch: Batch) -> Tensor:
        """Half the squared error, and the conservative term."""
        c = self.config
        with torch.no_grad():
            best = self.critic(batch.following).argmax(1, keepdim=True)
            after = self.critic.target(batch.following).gather(1, best)[:, 0]
            aim = batch.rewards + c.gamma * batch.goes_on * after
        worth = self.critic(batch.observations)
        done = worth.gather(1, batch.actions[:, None])[:, 0]
        gap = torch.logsumexp(worth, 1) - done
        loss: Tensor = 0.5 * (done - aim).square().mean() + c.conservatism * gap.mean()
        return loss

    def follow(self) -> None:
        """Move the target."""
        self.critic.follow()

    def preference(self, observations: Tensor) -> Tensor:
        """(B, choices) action values."""
        out: Tensor = self.critic(observations)
        return out


def datasets(config: Config) -> tuple[str, ...]:
    """What it learns from: its content counts as its code does."""
    return (config.dataset,) if config.dataset else ()


def make(config: Config, spec: MarketSpec) -> OfflineAgent:
    """Make the agent."""
    return OfflineAgent("cql", config, spec, lambda n_inputs, n_choices: CqlNetworks(config, n_inputs, n_choices))
