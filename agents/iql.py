"""Implicit Q-learning: learn from recorded steps without ever asking what an unseen action is worth.

Kostrikov, Nair & Levine, "Offline reinforcement learning with implicit Q-learning" (2021). A value is learned that is
an upper expectile of what the recorded actions were worth, so that it leans to the best of them (their equation 5);
action values are learned towards reward plus that value (6); the policy is the recorded one, weighted by the
exponential of how much better than the value each action was (7). Two action values are learned and the lower one is
believed.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from qframe_rl.agent import MarketSpec
from qframe_rl.deep.offline import Batch, OfflineAgent, OfflineConfig, Trailing, mlp


class Config(OfflineConfig):
    """Hyper-parameters."""

    expectile: float = Field(default=0.9, gt=0.0, lt=1.0)
    """Which expectile of the recorded actions' worth the value is: 0.5 = their mean, near 1 = the best of them."""
    inverse_temperature: float = Field(default=10.0, ge=0.0, le=1e6)
    """How much more an action that was worth more weighs in the policy; 0 = all alike, which is behaviour cloning."""
    weight_cap: float = Field(default=100.0, gt=0.0, le=1e9)
    """Largest weight of a recorded action in the policy."""


QUICK = {"chance_steps": 800, "updates": 60, "batch_size": 64, "hidden": (16,)}
"""Parameters of a training that takes a second: for a first try, and for tests."""


def expectile_loss(difference: Tensor, expectile: float) -> Tensor:
    """Mean of ``|expectile - 1(difference < 0)| difference²``: least where the expectile of what differs is 0."""
    weight = torch.where(difference < 0.0, 1.0 - expectile, expectile)
    return (weight * difference.square()).mean()


class IqlNetworks(nn.Module):
    """Two action values, a value and a policy."""

    def __init__(self, config: Config, n_inputs: int, n_choices: int):
        super().__init__()
        self.config = config
        self.first, self.second = (
            Trailing(mlp(n_inputs, config.hidden, n_choices), config.target_rate) for _ in range(2)
        )
        self.value = mlp(n_inputs, config.hidden, 1)
        self.actor = mlp(n_inputs, config.hidden, n_choices)

    def loss(self, batch: Batch) -> Tensor:
        """Sum of the three losses: no gradient of one reaches the networks of another."""
        c, chosen = self.config, batch.actions[:, None]
        lower = torch.minimum(self.first.target(batch.observations), self.second.target(batch.observations))
        worth = lower.gather(1, chosen)[:, 0]
        value = self.value(batch.observations)[:, 0]
        loss = expectile_loss(worth - value, c.expectile)
        with torch.no_grad():
            aim = batch.rewards + c.gamma * batch.goes_on * self.value(batch.following)[:, 0]
            weight = torch.exp(c.inverse_temperature * (worth - value)).clamp(max=c.weight_cap)
        for critic in (self.first, self.second):
            loss = loss + (critic(batch.observations).gather(1, chosen)[:, 0] - aim).square().mean()
        likelihood = torch.log_softmax(self.actor(batch.observations), 1).gather(1, chosen)[:, 0]
        return loss - (weight * likelihood).mean()

    def follow(self) -> None:
        """Move the targets of both action values."""
        self.first.follow()
        self.second.follow()

    def preference(self, observations: Tensor) -> Tensor:
        """(B, choices) logits of the policy."""
        out: Tensor = self.actor(observations)
        return out


def datasets(config: Config) -> tuple[str, ...]:
    """What it learns from: its content counts as its code does."""
    return (config.dataset,) if config.dataset else ()


def make(config: Config, spec: MarketSpec) -> OfflineAgent:
    """Make the agent."""
    return OfflineAgent("iql", config, spec, lambda n_inputs, n_choices: IqlNetworks(config, n_inputs, n_choices))
