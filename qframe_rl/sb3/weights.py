"""Everything that a training left, as named arrays: weights, the state of optimisers, numbers. Nothing is pickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from qframe_rl.agent import State

POLICY = "policy."
_OPTIMISER = "optimiser."


def taken(model: BaseAlgorithm) -> State:
    """Copy what a model has learned out of it."""
    parts, loose = model._get_torch_save_params()
    state: State = {POLICY + k: _array(v) for k, v in model.policy.state_dict().items()}
    for name in parts:
        if name != "policy":
            for key, entries in _reach(model, name).state_dict()["state"].items():
                state |= {f"{_OPTIMISER}{name}.{key}.{k}": _array(v) for k, v in entries.items()}
    return state | {name: _array(_reach(model, name)) for name in loose}


def given(model: BaseAlgorithm, state: Mapping[str, NDArray[Any]]) -> None:
    """Put into a model what `taken` took out of one of the same configuration."""
    parts, loose = model._get_torch_save_params()
    model.policy.load_state_dict(policy_weights(state))
    for name in parts:
        if name != "policy":
            optimiser = _reach(model, name)
            optimiser.load_state_dict(optimiser.state_dict() | {"state": _entries(state, f"{_OPTIMISER}{name}.")})
    for name in loose:
        _reach(model, name).data.copy_(torch.from_numpy(state[name]))


def policy_weights(state: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    """The weights of the policy alone, as torch names them."""
    return {
        name.removeprefix(POLICY): torch.from_numpy(np.array(value))
        for name, value in state.items()
        if name.startswith(POLICY)
    }


def check_shapes(policy: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Raise ValueError where weights are not those of a policy of this shape."""
    shapes = {name: tuple(value.shape) for name, value in policy.state_dict().items()}
    for name in sorted(shapes.keys() | weights.keys()):
        if name not in shapes or name not in weights or shapes[name] != tuple(weights[name].shape):
            raise ValueError(f"{POLICY}{name} is not of this policy, or has another shape")


def _entries(state: Mapping[str, NDArray[Any]], prefix: str) -> dict[int, dict[str, torch.Tensor]]:
    """State of an optimiser by the number of its parameter."""
    found: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in state.items():
        if name.startswith(prefix):
            key, entry = name.removeprefix(prefix).split(".", 1)
            # A file knows no array without axes, torch no count of steps with one.
            shape = () if entry == "step" else value.shape
            found.setdefault(int(key), {})[entry] = torch.from_numpy(np.array(value).reshape(shape))
    return found


def _reach(model: Any, path: str) -> Any:
    for name in path.split("."):
        model = getattr(model, name)
    return model


def _array(value: torch.Tensor) -> NDArray[Any]:
    return np.atleast_1d(value.detach().cpu().numpy().copy())
