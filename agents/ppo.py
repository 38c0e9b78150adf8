"""Proximal policy optimisation (Schulman et al., 2017), trained by Stable-Baselines3 on the native batch.

Acting needs torch alone: the trained actor is rebuilt from its weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import Field

from qframe_rl.agent import Brief, Log, State, Task, View
from qframe_rl.config import Base
from qframe_rl.types import Orders

if TYPE_CHECKING:
    import torch
    from gymnasium.vector import VectorEnv


class Config(Base):
    """Hyper-parameters; the defaults learn the default market and are mild on real data."""

    total_steps: int = Field(default=800_000, ge=1)
    """Environment steps to train for. A bar of history is seen total_steps / (bars of training) times."""
    n_envs: int = Field(default=64, ge=1)
    """Environments stepped as one batch."""
    n_steps: int = Field(default=128, ge=2)
    """Steps of each environment between two updates."""
    batch_size: int = Field(default=2048, ge=2)
    """Samples of a minibatch."""
    n_epochs: int = Field(default=4, ge=1)
    """Passes over the samples of an update."""
    learning_rate: float = Field(default=1e-3, gt=0.0)
    """Step size of Adam at the start; it falls linearly to a tenth."""
    gamma: float = Field(default=0.98, gt=0.0, le=1.0)
    """Discount per bar: 1 / (1 - gamma) bars are looked ahead."""
    gae_lambda: float = Field(default=0.9, ge=0.0, le=1.0)
    """Weight of longer returns in the advantage."""
    clip_range: float = Field(default=0.2, gt=0.0)
    """Largest change of an action's probability ratio that is rewarded."""
    ent_coef: float = Field(default=0.003, ge=0.0)
    """Weight of the entropy bonus."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of the hidden layers of actor and critic, tanh."""


QUICK = {"total_steps": 2048, "n_envs": 8, "n_steps": 32, "batch_size": 128, "n_epochs": 2, "hidden": (16,)}
"""Parameters of a training that takes a second: for a first try, and for tests."""


class Ppo:
    """A policy behind the market's interface."""

    def __init__(self, config: Config, brief: Brief):
        self.config = config
        self.seed = brief.seed
        self.interface = brief.interface
        self.window = brief.interface.window
        self._state: State = {}
        self._actor: torch.nn.Sequential | None = None

    def fit(self, task: Task, log: Log) -> None:
        """Train from scratch."""
        from stable_baselines3 import PPO

        config = self.config
        with _own_randomness():
            batch = _batch(task.envs(config.n_envs))
            model = PPO(
                "MlpPolicy",
                batch,
                learning_rate=lambda left: config.learning_rate * (0.1 + 0.9 * left),
                n_steps=config.n_steps,
                batch_size=config.batch_size,
                n_epochs=config.n_epochs,
                gamma=config.gamma,
                gae_lambda=config.gae_lambda,
                clip_range=config.clip_range,
                ent_coef=config.ent_coef,
                policy_kwargs={"net_arch": list(config.hidden)},
                seed=self.seed,
                device="cpu",
            )
            model.learn(config.total_steps, callback=_reporter(config.total_steps, log))
        self.restore({name: value.numpy().copy() for name, value in model.policy.state_dict().items()})

    def decide(self, view: View) -> Orders:
        """Act greedily."""
        return self.interface.orders(self._act(self.interface.observe(view)), view)

    def state(self) -> State:
        """Weights of actor and critic."""
        return dict(self._state)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take trained weights over."""
        import torch

        layers: list[torch.nn.Module] = []
        names = [f"mlp_extractor.policy_net.{2 * k}" for k in range(len(self.config.hidden))] + ["action_net"]
        for name in names:
            weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
            layer.weight.data, layer.bias.data = torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy())
            layers += [layer, torch.nn.Tanh()]
        self._actor = torch.nn.Sequential(*layers[:-1])
        self._state = dict(state)

    def _act(self, observation: NDArray[np.float32]) -> NDArray[Any]:
        import torch

        if self._actor is None:
            raise RuntimeError("train or restore the agent before it decides")
        with torch.inference_mode():
            out: NDArray[np.float32] = self._actor(torch.from_numpy(observation)).numpy()
        space = self.interface.action_space
        if isinstance(space, spaces.Discrete):
            return np.asarray(out.argmax())
        if isinstance(space, spaces.MultiDiscrete):
            parts = np.split(out, np.cumsum(space.nvec)[:-1])
            return np.array([part.argmax() for part in parts])
        assert isinstance(space, spaces.Box)
        return np.clip(out, space.low, space.high)


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Stable-Baselines3 seeds the global generators; give them back as they were, and use one thread."""
    import random

    import torch

    python, numpy, threads = random.getstate(), np.random.get_state(), torch.get_num_threads()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            torch.set_num_threads(threads)


def _batch(envs: VectorEnv[Any, Any, Any]) -> Any:
    """Stable-Baselines3's view of a batch of environments in SAME_STEP mode.

    The last observation of a truncated episode is handed over, so that its value is bootstrapped, and rewards are
    copied, because Stable-Baselines3 adds that value to them in place.
    """
    from stable_baselines3.common.vec_env import VecEnv

    class Batch(VecEnv):
        render_mode = None

        def __init__(self) -> None:
            self.envs = envs
            super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)
            self._actions: NDArray[Any] = np.empty(0)
            self._returns = np.zeros(envs.num_envs)
            self._lengths = np.zeros(envs.num_envs, dtype=np.int64)

        def reset(self) -> NDArray[np.float32]:
            observation: NDArray[np.float32] = envs.reset()[0]
            return observation

        def step_async(self, actions: NDArray[Any]) -> None:
            self._actions = actions

        def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
            observation, rewards, terminated, truncated, more = envs.step(self._actions)
            over = terminated | truncated
            self._returns += rewards
            self._lengths += 1
            infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
            for b in np.flatnonzero(over):
                infos[b] = {
                    "terminal_observation": more["final_obs"][b],
                    "TimeLimit.truncated": bool(truncated[b]),
                    "episode": {"r": float(self._returns[b]), "l": int(self._lengths[b])},
                }
            self._returns[over] = 0.0
            self._lengths[over] = 0
            return observation, rewards.astype(np.float32), over, infos

        def close(self) -> None:
            envs.close()

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            return [getattr(self, attr_name)] * self.num_envs

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise AttributeError(f"{attr_name} of a batch cannot be set")

        def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
            raise AttributeError(f"a batch has no environments to call {method_name} on")

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False] * self.num_envs

    return Batch()


def _reporter(total: int, log: Log) -> Any:
    """Tell ``log`` of each update."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    class Reporter(BaseCallback):
        def _on_rollout_end(self) -> None:
            model = self.model
            assert isinstance(model, PPO)
            episodes = list(model.ep_info_buffer or ())
            note = ""
            if episodes:
                mean = float(np.mean([e["r"] for e in episodes]))
                note = f"return of an episode {mean:.2f}"
                log.scalar("train/episode_return", mean, self.num_timesteps)
            for name, value in model.logger.name_to_value.items():
                if name.startswith("train/"):
                    log.scalar(name, float(value), self.num_timesteps)
            log.progress(min(self.num_timesteps, total), total, note)

        def _on_step(self) -> bool:
            return True

    return Reporter()


def make(config: Config, brief: Brief) -> Ppo:
    """Make the agent."""
    return Ppo(config, brief)
