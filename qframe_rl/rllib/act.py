"""What a trained RLModule does, rebuilt from named arrays in plain torch: to act, Ray need not be installed.

Arrays are named ``POLICY.NAME``, the name being RLlib's own inside the module of that policy. All of the module is
kept, critics and target networks too; acting needs the layers of the actor alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from qframe_rl.agent import State
from qframe_rl.rllib.names import ACTIVATION, POLICY, Algorithm
from qframe_rl.types import Single

_LAYERS: dict[Algorithm, tuple[str, str]] = {
    "ppo": ("encoder.actor_encoder.net.mlp", "pi.net.mlp"),
    "sac": ("pi_encoder.net.mlp", "pi.net.mlp"),
    "dqn": ("encoder.net.mlp", "af.net.mlp"),
}
"""Where RLlib's modules have the hidden layers of the actor, and its last one."""


class Actor:
    """The deterministic policy of one RLModule.

    Parameters
    ----------
    algorithm
        What trained it.
    n_inputs
        Numbers of an observation.
    space
        Of the actions.
    hidden
        Units of the hidden layers.

    Notes
    -----
    A duelling Q-network is the value of the state and the advantage of each action; the value moves no maximum, so
    the advantages alone choose. SAC's greedy action is the mean of its Gaussian squashed as its samples are.
    """

    def __init__(self, algorithm: Algorithm, n_inputs: int, space: spaces.Space[Any], hidden: tuple[int, ...]):
        self.algorithm, self.space = algorithm, space
        sizes = [n_inputs, *hidden, n_outputs(algorithm, space)]
        self.sizes = list(pairwise(sizes))
        self.layers: list[nn.Linear] = []
        self.bend = torch.tanh if ACTIVATION[algorithm] == "tanh" else torch.relu

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, n) observations to what RLlib calls the inputs of the distribution of actions."""
        for layer in self.layers[:-1]:
            rows = self.bend(layer(rows))
        out: Tensor = self.layers[-1](rows)
        return out

    def act(self, rows: Single) -> NDArray[Any]:
        """(B, n) observations to B actions as the space has them."""
        with torch.inference_mode():
            out = self(torch.from_numpy(rows))
        space = self.space
        if isinstance(space, spaces.Box):
            mean = out[:, : math.prod(space.shape)]
            return within((torch.tanh(mean) if self.algorithm == "sac" else mean).numpy(), space)
        if isinstance(space, spaces.MultiDiscrete):
            parts = torch.split(out, [int(n) for n in space.nvec], dim=1)
            choices: NDArray[Any] = torch.stack([part.argmax(dim=1) for part in parts], dim=1).numpy()
            return choices
        best: NDArray[Any] = out.argmax(dim=1).numpy()
        return best

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the actor's layers out of the arrays of one policy.

        Raises
        ------
        ValueError
            If a layer is missing, or has another shape.
        """
        names = self._names(state)
        for (n, m), name in zip(self.sizes, names, strict=True):  # before a layer takes memory
            for kind, shape in (("weight", (m, n)), ("bias", (m,))):
                value = state.get(f"{name}.{kind}")
                if value is None or value.shape != shape:
                    raise ValueError(f"{name}.{kind} is not of this network, or has another shape")
        self.layers = [nn.Linear(*pair) for pair in self.sizes]
        for layer, name in zip(self.layers, names, strict=True):
            for kind, into in (("weight", layer.weight), ("bias", layer.bias)):
                into.data.copy_(torch.from_numpy(np.array(state[f"{name}.{kind}"])))

    def _names(self, state: Mapping[str, NDArray[Any]]) -> list[str]:
        """Names of the layers in their order; torch counts activations too."""
        body, head = _LAYERS[self.algorithm]
        found = {prefix: sorted(int(name.removeprefix(f"{prefix}.").split(".")[0]) for name in state
                                if name.startswith(f"{prefix}.") and name.endswith(".weight"))
                 for prefix in (body, head)}  # fmt: skip
        names = [f"{prefix}.{k}" for prefix in (body, head) for k in found[prefix]]
        if len(names) != len(self.sizes):
            raise ValueError(f"the arrays have {len(names)} layers under {body} and {head}, not {len(self.sizes)}")
        return names


def n_outputs(algorithm: Algorithm, space: spaces.Space[Any]) -> int:
    """Width of an actor's last layer: means and, where the network gives them, log deviations; or one a choice."""
    if isinstance(space, spaces.Box):
        return math.prod(space.shape) * (2 if algorithm == "sac" else 1)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    assert isinstance(space, spaces.Discrete)
    return int(space.n)


def within(actions: NDArray[Any], space: spaces.Box) -> NDArray[Any]:
    """(B, n) actions of [-1, 1] in the bounds of a space; what lies outside is cut."""
    rows = space.low + (actions.reshape(-1, *space.shape) + 1.0) * (space.high - space.low) / 2.0
    legal: NDArray[Any] = np.clip(rows, space.low, space.high)
    return legal


def joined(modules: Mapping[str, Mapping[str, Any]]) -> State:
    """Arrays of the modules of several policies under one roof: ``POLICY.NAME``."""
    return {
        f"{policy}.{name}": np.atleast_1d(np.array(value))
        for policy, module in modules.items()
        for name, value in module.items()
    }


def part(state: Mapping[str, NDArray[Any]], policy: str = POLICY) -> State:
    """The arrays of one policy, as `joined` was given them."""
    return {k.removeprefix(f"{policy}."): v for k, v in state.items() if k.startswith(f"{policy}.")}
