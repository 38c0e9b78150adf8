"""Proximal policy optimisation as one writes it in plain PyTorch: what `ppo` is measured beside on an accelerator.

The same batch of environments, handing out places on a feature matrix that lies on the device, and the same networks,
passes, minibatches and precision. But each sample's window is gathered and seen whole by both networks, and automatic
differentiation goes back through all of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

_GAMMA, _LAMBDA, _CLIP, _ENTROPY, _RATE, _LONGEST = 0.98, 0.9, 0.2, 0.003, 1e-3, 0.5


class PlainSizes(NamedTuple):
    """Samples between two updates, and how they are learned from."""

    n_envs: int
    n_steps: int
    batch_size: int
    n_epochs: int


class PlainPpo:
    """A training.

    Parameters
    ----------
    envs
        A batch in SAME_STEP mode that hands out places, with a Discrete action space.
    n_rows
        Bars of a window.
    sizes
        How much at a time.
    device
        Where the networks and the feature matrix are.
    dtype
        Of the products.
    """

    def __init__(self, envs: Any, n_rows: int, sizes: PlainSizes, device: str, dtype: torch.dtype):
        self.envs, self.sizes, self.device, self.dtype = envs, sizes, torch.device(device), dtype
        self.features = torch.from_numpy(envs.features.copy()).to(self.device)
        self.back = torch.arange(1 - n_rows, 1, device=self.device)
        self.seen = self._look(envs.reset(seed=0)[0])
        width = n_rows * self.features.shape[1] + self.seen[1].shape[1]
        torch.manual_seed(0)
        self.actor = _network(width, int(envs.single_action_space.n)).to(self.device)
        self.critic = _network(width, 1).to(self.device)
        self.weights = [*self.actor.parameters(), *self.critic.parameters()]
        self.adam = torch.optim.Adam(self.weights, lr=_RATE, eps=1e-5)

    def update(self) -> None:
        """Collect, and learn from it."""
        steps, values, rewards, over = [], [], [], []
        with torch.no_grad():
            for _ in range(self.sizes.n_steps):
                out, value = self._through(*self.seen)
                chance: Any = Categorical(logits=out)
                action = chance.sample()
                values.append(value)
                steps.append((*self.seen, action, chance.log_prob(action)))
                seen, reward, terminated, truncated, _ = self.envs.step(action.cpu().numpy())
                rewards.append(torch.from_numpy(reward.astype(np.float32)))
                over.append(torch.from_numpy(terminated | truncated))
                self.seen = self._look(seen)
            values.append(self._through(*self.seen)[1])
        value = torch.stack(values)
        gain = self._advantages(torch.stack(rewards).to(self.device), torch.stack(over).to(self.device), value)
        columns = [torch.cat(column) for column in zip(*steps, strict=True)]
        self._learn([*columns, gain.flatten(), (gain + value[:-1]).flatten()])

    def _advantages(self, rewards: Tensor, over: Tensor, values: Tensor) -> Tensor:
        """(T, B) generalised advantages (Schulman et al., 2016, eq. 16); an end is an end for either reason."""
        rewards = rewards / (rewards.std() + 1e-8)
        alive, gain, after = (~over).float(), torch.zeros_like(rewards), torch.zeros_like(values[0])
        for t in reversed(range(len(rewards))):
            surprise = rewards[t] + _GAMMA * values[t + 1] * alive[t] - values[t]
            after = gain[t] = surprise + _GAMMA * _LAMBDA * alive[t] * after
        return gain

    def _learn(self, columns: list[Tensor]) -> None:
        n = len(columns[0])
        for _ in range(self.sizes.n_epochs):
            for pick in torch.split(torch.randperm(n, device=self.device), self.sizes.batch_size):
                cursor, account, action, old, gain, target = (column[pick] for column in columns)
                out, value = self._through(cursor, account)
                chance: Any = Categorical(logits=out)
                ratio = (chance.log_prob(action) - old).exp()
                gain = (gain - gain.mean()) / (gain.std() + 1e-8)
                surrogate = torch.minimum(gain * ratio, gain * ratio.clamp(1.0 - _CLIP, 1.0 + _CLIP)).mean()
                loss = 0.5 * (value - target).square().mean() - surrogate - _ENTROPY * chance.entropy().mean()
                self.adam.zero_grad()
                torch.autograd.backward(loss)
                nn.utils.clip_grad_norm_(self.weights, _LONGEST)
                self.adam.step()

    def _look(self, seen: Any) -> tuple[Tensor, Tensor]:
        cursor, account = torch.from_numpy(seen["cursor"].astype(np.int64)), torch.from_numpy(seen["account"].copy())
        return cursor.to(self.device), account.to(self.device)

    def _through(self, cursor: Tensor, account: Tensor) -> tuple[Tensor, Tensor]:
        windows = self.features[cursor[:, None] + self.back].flatten(1)
        with torch.autocast(self.device.type, self.dtype, self.dtype is not torch.float32):
            row = torch.cat([windows, account], dim=1)
            out, value = self.actor(row), self.critic(row)
        return out.float(), value.float().squeeze(1)


def _network(width: int, n_outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, n_outputs)
    )  # fmt: skip
