"""Everything that decides how a training goes on, beside what `weights` keeps: as named arrays, nothing pickled.

Taken where a rollout begins, so that no rollout is half collected: a training that is resumed there gives the bits of
one that was never interrupted. Of what Stable-Baselines3 holds only the window of recent episodes is left out, which is
shown and not learned from.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer

from qframe_rl.agent import State

_COUNTS = ("_n_updates", "_n_calls", "_episode_num", "exploration_rate", "_current_progress_remaining")
_EXPERIENCE = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
_EPISODES, _BUFFER, _MEMORY = "episodes.", "experience.", "memory."


def paused(model: BaseAlgorithm) -> State:
    """Copy counts, random numbers, running episodes and stored experience out of a model at the start of a rollout.

    Parameters
    ----------
    model
        On a `BatchVecEnv` whose environments have ``snapshot``.
    """
    held: Any = model
    counts = {name: getattr(model, name) for name in _COUNTS if hasattr(model, name)}
    state: State = {
        "counts": _text(counts),
        "randomness": _text(_randomness(model)),
        "torch_randomness": torch.get_rng_state().numpy().copy(),
        "last_observation": np.array(held._last_obs),
        "last_starts": np.array(held._last_episode_starts),
    }
    state |= {_EPISODES + name: np.atleast_1d(value) for name, value in held.env.snapshot().items()}
    for k, part in enumerate(_memory(model)):
        state[f"{_MEMORY}{k}"] = part.numpy().copy()
    buffer = getattr(model, "replay_buffer", None)
    if isinstance(buffer, ReplayBuffer):
        filled = buffer.buffer_size if buffer.full else buffer.pos
        state[_BUFFER + "place"] = np.array([buffer.pos, buffer.full], dtype=np.int64)
        state |= {_BUFFER + name: getattr(buffer, name)[:filled].copy() for name in _EXPERIENCE}
    return state


def resumed(model: BaseAlgorithm, state: Mapping[str, NDArray[Any]]) -> None:
    """Put into a model, last of all, what `paused` took out of one of the same configuration."""
    held: Any = model
    for name, value in _told(state["counts"]).items():
        setattr(model, name, value)
    held._last_obs, held._last_episode_starts = np.array(state["last_observation"]), np.array(state["last_starts"])
    held.env.restore({k.removeprefix(_EPISODES): v for k, v in state.items() if k.startswith(_EPISODES)})
    for k, part in enumerate(_memory(model)):
        part.copy_(torch.from_numpy(np.array(state[f"{_MEMORY}{k}"])))
    buffer = getattr(model, "replay_buffer", None)
    if isinstance(buffer, ReplayBuffer):
        buffer.pos, buffer.full = int(state[_BUFFER + "place"][0]), bool(state[_BUFFER + "place"][1])
        for name in _EXPERIENCE:
            stored = state[_BUFFER + name]
            getattr(buffer, name)[: len(stored)] = stored
    _randomize(model, _told(state["randomness"]))
    torch.set_rng_state(torch.from_numpy(np.array(state["torch_randomness"])))


def _memory(model: Any) -> list[torch.Tensor]:
    """What a recurrent policy remembers of the running episodes: of the actor, then of the critic."""
    states = getattr(model, "_last_lstm_states", None)
    return [] if states is None else [*states.pi, *states.vf]


def _randomness(model: BaseAlgorithm) -> dict[str, Any]:
    """Where the generators stand that Stable-Baselines3 draws from, torch's apart."""
    name, words, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": [name, np.asarray(words).tolist(), *rest],
        "actions": model.action_space.np_random.bit_generator.state,
    }


def _randomize(model: BaseAlgorithm, told: dict[str, Any]) -> None:
    version, words, left = told["python"]
    random.setstate((version, tuple(words), left))
    np.random.set_state(tuple(told["numpy"]))  # noqa: NPY002
    model.action_space.np_random.bit_generator.state = told["actions"]


def _text(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8).copy()


def _told(array: NDArray[Any]) -> Any:
    return json.loads(np.asarray(array, dtype=np.uint8).tobytes())
