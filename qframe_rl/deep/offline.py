"""What agents share that learn from recorded steps: their settings, discrete choices, minibatches, targets, training.

Nothing is explored: the steps are those of a Minari dataset, or of chance. A network of such an agent is a module whose
`follow` is called after each step of the optimiser, so that targets trail what is learned (Mnih et al., 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from qframe_rl.agent import Log, MarketSpec, Memoryless, State, Task, Transitions, View
from qframe_rl.config import Base, UserError
from qframe_rl.deep.training import Loop, Schedule, arrays, own_randomness, restored
from qframe_rl.types import Int, Orders, Single

MOST_CHOICES = 4096
"""Of one decision: the product of the choices for each instrument."""
_PASSES, _CHANCE_ENVS = 20, 16


class OfflineConfig(Base):
    """What every agent that learns from recorded steps can be told."""

    dataset: str | None = None
    """Minari dataset to learn from, by its id or its folder; python -m experiments.collect writes one. null = steps of
    chance in the training environments."""
    chance_steps: int = Field(default=50_000, ge=100, le=100_000_000)
    """Steps of chance to learn from where no dataset is named."""
    updates: int = Field(default=5000, ge=1, le=10**9)
    """Gradient steps."""
    batch_size: int = Field(default=256, ge=1, le=10_000_000)
    """Recorded steps of a minibatch, drawn with replacement."""
    learning_rate: float = Field(default=1e-3, gt=0.0, le=100.0)
    """Step size of Adam."""
    gamma: float = Field(default=0.98, gt=0.0, le=1.0)
    """Discount per step: 1 / (1 - gamma) steps are looked ahead; 1 where episodes end by themselves."""
    target_rate: float = Field(default=0.01, gt=0.0, le=1.0)
    """Part of the way that the targets go towards the learned values after each gradient step."""
    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(default=(64, 64), min_length=1, max_length=16)
    """Units of the hidden layers of each network, ReLU."""


class Batch(NamedTuple):
    """B recorded steps as tensors; `Transitions` has the meanings."""

    observations: Tensor
    """(B, n)."""
    actions: Tensor
    """(B,) indices of `DiscreteActions`."""
    rewards: Tensor
    """(B,) in standard deviations of all recorded ones."""
    following: Tensor
    """(B, n)."""
    goes_on: Tensor
    """(B,) 1 where something came after, else 0."""


class DiscreteActions:
    """Discrete actions counted by one index: those of several instruments are taken together.

    Parameters
    ----------
    space
        One choice or several.
    agent
        Who asks, for messages.

    Raises
    ------
    UserError
        For continuous actions, or more than `MOST_CHOICES` combinations.
    """

    shape: tuple[int, ...]
    """Of one action."""
    sizes: tuple[int, ...]
    """Choices of each part."""

    def __init__(self, space: Any, agent: str):
        if isinstance(space, spaces.Discrete):
            self.shape, self.sizes = (), (int(space.n),)
        elif isinstance(space, spaces.MultiDiscrete):
            self.shape, self.sizes = space.shape, tuple(int(n) for n in space.nvec.ravel())
        else:
            raise UserError(
                f"agent {agent!r} chooses one of a few actions and cannot take {space}; on a market, set "
                "env.actions=levels."
            )
        self.n = int(np.prod(self.sizes, dtype=np.float64))
        if self.n > MOST_CHOICES:
            raise UserError(
                f"agent {agent!r} weighs every combination of actions, and {len(self.sizes)} instruments have "
                f"{self.n:,}, more than {MOST_CHOICES:,}; take fewer instruments or fewer env.actions.levels."
            )

    def index(self, actions: NDArray[Any]) -> Int:
        """(N,) indices of N actions."""
        parts = np.asarray(actions, dtype=np.int64).reshape(len(actions), -1).T
        return np.asarray(np.ravel_multi_index(tuple(parts), self.sizes), dtype=np.int64)

    def actions(self, index: Int) -> Int:
        """N actions, as the space has them, of (N,) indices."""
        parts = np.stack(list(np.unravel_index(index, self.sizes)), axis=-1)
        return np.asarray(parts.reshape(len(index), *self.shape), dtype=np.int64)


def mlp(n_inputs: int, hidden: tuple[int, ...], n_outputs: int) -> nn.Sequential:
    """Layers with ReLU between them.

    Parameters
    ----------
    n_inputs, hidden, n_outputs
        Widths.
    """
    layers: list[nn.Module] = []
    for n, m in pairwise((n_inputs, *hidden)):
        layers += [nn.Linear(n, m), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear((n_inputs, *hidden)[-1], n_outputs))


class Trailing(nn.Module):
    """A network and a copy of it that trails behind.

    Parameters
    ----------
    net
        What is learned.
    rate
        Part of the way that the copy goes at each `follow`.
    """

    def __init__(self, net: nn.Module, rate: float):
        super().__init__()
        self.net, self.rate = net, rate
        self._names = [name for name, _ in net.named_parameters()]
        for name, value in net.named_parameters():  # buffers: kept with the weights, and no optimiser's business
            self.register_buffer(f"target_{name.replace('.', '_')}", value.detach().clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """What the learned network says."""
        out: Tensor = self.net(inputs)
        return out

    def target(self, inputs: Tensor) -> Tensor:
        """What the copy says; no gradient goes through it."""
        with torch.no_grad():
            weights = dict(zip(self._names, self._targets(), strict=True))
            out: Tensor = torch.func.functional_call(self.net, weights, (inputs,))
        return out

    def follow(self) -> None:
        """Let the copy go a part of the way: target + rate x (learned - target)."""
        with torch.no_grad():
            learned = [value.detach() for value in self.net.parameters()]
            torch._foreach_lerp_(self._targets(), learned, self.rate)

    def _targets(self) -> list[Tensor]:
        return [self.get_buffer(f"target_{name.replace('.', '_')}") for name in self._names]


class OfflineAgent(Memoryless):
    """The greedy policy of networks that learned from recorded steps.

    Parameters
    ----------
    name
        Of the strategy, for messages.
    config
        Its settings.
    spec
        Spaces and seed.
    networks
        Makes the networks of a method for so many inputs and choices: a module with ``loss(batch)``, what to lower,
        ``follow()``, which moves the targets, and ``preference(observations)``, (B, choices) of which the greatest is
        chosen.
    """

    def __init__(
        self, name: str, config: OfflineConfig, spec: MarketSpec, networks: Callable[[int, int], nn.Module]
    ):  # fmt: skip
        self.config, self.interface, self.seed = config, spec.interface, spec.seed
        self.window = spec.interface.window
        self.choices = DiscreteActions(spec.interface.action_space, name)
        n_inputs = int(np.prod(spec.interface.observation_space.shape or ()))
        self._make = partial(networks, n_inputs, self.choices.n)
        self._net: Any = None

    def fit(self, task: Task, log: Log) -> None:
        """Learn from the dataset, from scratch or on from where an interrupted training came to, to the same bits."""
        c = self.config
        seen = task.transitions(c.dataset) if c.dataset else by_chance(task, c.chance_steps, self.seed)
        data = self._tensors(seen)
        n_passes = min(_PASSES, c.updates)
        schedule = Schedule(n_passes, n_passes, c.learning_rate, 10.0, self.seed)
        with own_randomness(self.seed):
            self._net = self._make()
            Loop(self._net, schedule, task, log)(lambda epoch, rng: self._losses(data, epoch, n_passes, rng), None)

    def decide(self, view: View) -> Orders:
        """Act greedily."""
        return self.interface.orders(self._act(self.interface.observe(view)[None])[0], view)

    def policy(self) -> Callable[[Single], NDArray[Any]]:
        """The policy over plain observations, see `qframe_rl.agent.Solver`."""
        return self._act

    def acting(self) -> Callable[[Single], NDArray[Any]]:
        """As `policy`, see `qframe_rl.agent.Chooser`."""
        return self.policy()

    def preference(self, observations: Single) -> NDArray[np.float32]:
        """(B, choices) of which the greatest is chosen; raises RuntimeError before training."""
        if self._net is None:
            raise RuntimeError("train or restore the agent before it decides")
        with torch.inference_mode():
            out: NDArray[np.float32] = self._net.preference(torch.from_numpy(observations)).numpy()
        return out

    def state(self) -> State:
        """All weights, targets among them."""
        return arrays(self._net)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take trained weights over; raises ValueError where they are of other networks."""
        self._net = restored(self._make, state)

    def _act(self, observations: Single) -> NDArray[Any]:
        return self.choices.actions(self.preference(observations).argmax(axis=1))

    def _tensors(self, seen: Transitions) -> Batch:
        spread = float(np.std(seen.rewards))
        rewards = seen.rewards / (spread if spread > 0.0 else 1.0)
        return Batch(
            torch.from_numpy(np.asarray(seen.observations, dtype=np.float32)),
            torch.from_numpy(self.choices.index(seen.actions)),
            torch.from_numpy(rewards.astype(np.float32)),
            torch.from_numpy(np.asarray(seen.following, dtype=np.float32)),
            torch.from_numpy(1.0 - seen.terminated.astype(np.float32)),
        )

    def _losses(self, data: Batch, epoch: int, n_passes: int, rng: np.random.Generator) -> Iterator[Tensor]:
        """Loss of each minibatch of a pass; what stands after the yield is done after the optimiser's step."""
        c, n = self.config, len(data.actions)
        done, until = (c.updates * k // n_passes for k in (epoch - 1, epoch))
        for _ in range(until - done):
            rows = torch.from_numpy(rng.integers(0, n, c.batch_size))
            yield self._net.loss(Batch(*(field[rows] for field in data)))
            self._net.follow()


def by_chance(task: Task, n_steps: int, seed: int) -> Transitions:
    """Record steps of chance in a task's training environments.

    Parameters
    ----------
    task
        Has the environments.
    n_steps
        At least so many, in whole steps of a batch.
    seed
        Of episodes and actions.
    """
    envs = task.envs(_CHANCE_ENVS)
    envs.action_space.seed(seed)
    seen, _ = envs.reset(seed=seed)
    parts: list[tuple[Any, ...]] = []
    for _ in range(-(-n_steps // _CHANCE_ENVS)):
        actions = envs.action_space.sample()
        after, rewards, terminated, _, infos = envs.step(actions)
        true = after
        if "final_obs" in infos:
            over = infos["_final_obs"]
            true = np.where(over[:, None], infos["final_obs"], after)
        parts.append((seen, actions, rewards, true, terminated))
        seen = after
    return Transitions(*(np.concatenate(part) for part in zip(*parts, strict=True)))
