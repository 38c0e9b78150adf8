"""The algorithms of RLlib (Liang et al., ICML 2018) on its new API stack, their runners stepping the native batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import Field

from qframe_rl.agent import Log, MarketSpec, Memoryless, State, Task, View
from qframe_rl.config import Base, UserError
from qframe_rl.policy.apart import own_randomness
from qframe_rl.rllib.names import ALGORITHMS, REPLAYS, Algorithm
from qframe_rl.types import Orders, Single

if TYPE_CHECKING:
    from qframe_rl.rllib.act import Actor
    from qframe_rl.rllib.build import Plan

_SIZES: dict[Algorithm, tuple[int, int, int]] = {
    "ppo": (800_000, 64, 128), "sac": (60_000, 8, 1), "dqn": (300_000, 16, 1),
}  # fmt: skip
"""Steps, environments, and steps of each between two updates."""
_TRUST = {"entropy_coeff": 0.003, "vf_loss_coeff": 0.5, "grad_clip": 0.5}
_BUFFER = {"type": "PrioritizedEpisodeReplayBuffer", "capacity": 200_000, "alpha": 0.6, "beta": 0.4}
_REPLAY = {
    "train_batch_size_per_learner": 256, "num_steps_sampled_before_learning_starts": 2000,
    "replay_buffer_config": _BUFFER,
}  # fmt: skip
_DEFAULTS: dict[Algorithm, dict[str, Any]] = {
    "ppo": {
        **_TRUST, "lambda_": 0.9, "minibatch_size": 2048, "num_epochs": 4, "clip_param": 0.2, "use_kl_loss": False,
        "vf_clip_param": math.inf,
    },
    "sac": {**_REPLAY, "target_network_update_freq": 0},
    "dqn": {**_REPLAY, "target_network_update_freq": 2000},
}  # fmt: skip
_UPDATES: dict[Algorithm, int] = {"sac": 2, "dqn": 1}
_SCALE_STEPS = 200
_REPORTS = 200


class Config(Base):
    """Hyper-parameters; what is null depends on the algorithm."""

    algorithm: Algorithm = "ppo"
    """ppo: any actions; sac: continuous ones; dqn: one discrete choice."""
    total_steps: int | None = Field(default=None, ge=1, le=10**12)
    """Environment steps to train for; null = 800,000 (dqn 300,000; sac 60,000)."""
    n_envs: int | None = Field(default=None, ge=1, le=1_000_000)
    """Environments of all runners together; null = 64 (dqn 16; sac 8)."""
    n_steps: int | None = Field(default=None, ge=1, le=1_000_000)
    """Steps of each environment between two updates; null = 128 (dqn, sac 1)."""
    n_runners: int = Field(default=0, ge=0, le=10_000)
    """Processes that step the environments, each a share of them; 0 = this one."""
    n_learners: int = Field(default=0, ge=0, le=10_000)
    """Processes that update the networks, each on a share of every batch; 0 = this one."""
    learning_rate: float = Field(default=1e-3, gt=0.0, le=100.0)
    """Step size at the start; it falls linearly to a tenth."""
    gamma: float = Field(default=0.98, gt=0.0, le=1.0)
    """Discount per step: 1 / (1 - gamma) steps are looked ahead; 1 where episodes end by themselves."""
    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(default=(64, 64), max_length=16)
    """Units of the hidden layers, tanh (dqn, sac: ReLU); actor and critic share none."""
    log_std_init: float = Field(default=-1.0, ge=-20.0, le=10.0)
    """ppo: log standard deviation of a continuous action at the start; its range is [-1, 1]."""
    scale_rewards: bool = True
    """Whether rewards are divided by the standard deviation of returns under random actions."""
    options: dict[str, Any] = Field(default={})
    """Further arguments of training() of the algorithm's configuration in RLlib, by their names there."""


QUICK = {
    "total_steps": 512, "n_envs": 8, "n_steps": 32, "hidden": (16,),
    "options": {"minibatch_size": 128, "num_epochs": 2},
}  # fmt: skip
"""Parameters of a training that takes a second: for a first try, and for tests."""


class Rllib(Memoryless):
    """A policy trained by RLlib behind the interface of a market or a problem.

    Ray is needed to train and for nothing else: what is learned are named arrays, and acting is plain torch.

    Same seed, same bits: with ppo for any number of runners on one kind of machine, with dqn and sac where
    ``n_runners`` is 0. Another number of runners is another training: each draws its actions from a stream of its own.

    Parameters
    ----------
    config
        Hyper-parameters.
    spec
        Spaces, bars and seed.

    Raises
    ------
    UserError
        If the algorithm cannot take the actions, or environments cannot be shared among the runners.
    """

    def __init__(self, config: Config, spec: MarketSpec):
        self.config, self.interface, self.seed = config, spec.interface, spec.seed
        self.window = spec.interface.window
        total, n_envs, n_steps = _SIZES[config.algorithm]
        self.total_steps = config.total_steps or total
        self.n_envs, self.n_steps = config.n_envs or n_envs, config.n_steps or n_steps
        self._check()
        self._state: State = {}
        self._actor: Actor | None = None
        self._note = ""

    def fit(self, task: Task, log: Log) -> None:
        """Train from scratch.

        Raises
        ------
        UserError
            If Ray is not installed, an option is unknown, or the cluster has too few cores.
        Unavailable
            If a runner or learner died.
        """
        with own_randomness():
            try:
                from qframe_rl.rllib.build import training, weights
            except ImportError as error:
                raise UserError(
                    f"agent rllib trains with {error.name}, which is not installed; pip install 'qframe-rl[rllib]'."
                ) from None
            scale = self._scale(task)
            with training(self._plan(), task, scale) as algorithm:
                done = 0
                while done < self.total_steps:
                    result = algorithm.train()
                    done = int(result["env_runners"]["num_env_steps_sampled_lifetime"])
                    self._tell(result, scale, done, log)
                state = weights(algorithm)
        self.restore(state)

    def decide(self, view: View) -> Orders:
        """Act greedily."""
        return self.interface.orders(self.act(self.interface.observe(view)[None])[0], view)

    def act(self, observations: Single) -> NDArray[Any]:
        """(B, n) observations to B greedy actions.

        Raises
        ------
        RuntimeError
            Before training.
        """
        if self._actor is None:
            raise RuntimeError("train or restore the agent before it decides")
        return self._actor.act(observations)

    def policy(self) -> Callable[[Single], NDArray[Any]]:
        """`act`: it has no memory beyond the window."""
        return self.act

    def acting(self) -> Callable[[Single], NDArray[Any]]:
        """As `policy`, see `qframe_rl.agent.Chooser`."""
        return self.policy()

    def state(self) -> State:
        """All arrays of the trained module, by the names that RLlib has for them."""
        return dict(self._state)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` returned; raises ValueError where it is of another shape. Ray is not needed."""
        from qframe_rl.rllib.act import Actor, part

        shape = self.interface.observation_space.shape or ()
        actor = Actor(self.config.algorithm, math.prod(shape), self.interface.action_space, self.config.hidden)
        actor.load(part(state))
        self._actor, self._state = actor, dict(state)

    def _plan(self) -> Plan:
        from qframe_rl.rllib.build import Plan

        c = self.config
        options = _DEFAULTS[c.algorithm] | self._rates()
        if "minibatch_size" in options:
            batch = self.n_envs * self.n_steps
            options["minibatch_size"] = min(options["minibatch_size"], batch) // max(c.n_learners, 1)
        if c.algorithm == "dqn":
            options["epsilon"] = [(0, 1.0), (max(int(0.3 * self.total_steps), 1), 0.05)]
        if isinstance(self.interface.action_space, spaces.Box) and "entropy_coeff" in options:
            # A Gaussian actor would be paid for widening its own noise.
            options["entropy_coeff"] = 0.0
        return Plan(
            c.algorithm, self.n_envs, self.n_steps, c.n_runners, c.n_learners, self.seed % (1 << 31), c.gamma, c.hidden,
            c.log_std_init, max(self.total_steps // _REPORTS, 1), _UPDATES.get(c.algorithm, 1), options | c.options,
        )  # fmt: skip

    def _rates(self) -> dict[str, Any]:
        rate = self.config.learning_rate
        falling = [[0, rate], [self.total_steps, 0.1 * rate]]
        names = ("actor_lr", "critic_lr", "alpha_lr") if self.config.algorithm == "sac" else ("lr",)
        return dict.fromkeys(names, falling)

    def _scale(self, task: Task) -> float:
        from qframe_rl.deep.scale import return_scale

        if not self.config.scale_rewards:
            return 1.0
        return return_scale(task.envs(self.n_envs), self.config.gamma, _SCALE_STEPS, self.seed)

    def _tell(self, result: Mapping[str, Any], scale: float, done: int, log: Log) -> None:
        """Report the curves of one iteration; means over no episode or update are left out."""
        mean = float(result["env_runners"].get("episode_return_mean", math.nan)) / scale
        if math.isfinite(mean):
            self._note = f"return of an episode {mean:,.4g}"
            log.scalar("train/episode_return", mean, done)
        for name, value in result.get("learners", {}).get("default_policy", {}).items():
            if isinstance(value, int | float | np.number) and math.isfinite(value):
                log.scalar(f"train/{name}", float(value), done)
        log.progress(min(done, self.total_steps), self.total_steps, self._note)

    def _check(self) -> None:
        """Refuse what cannot work before anything is trained."""
        c, space = self.config, self.interface.action_space
        fits = {"dqn": isinstance(space, spaces.Discrete), "sac": isinstance(space, spaces.Box)}
        if not fits.get(c.algorithm, True):
            able = [name for name in ALGORITHMS if fits.get(name, True)]
            raise UserError(
                f"agent.rllib.algorithm {c.algorithm!r} cannot take {space}; take one of {', '.join(able)}."
            )
        if self.n_envs % max(c.n_runners, 1):
            raise UserError(
                f"agent.rllib.n_envs {self.n_envs} cannot be shared equally by n_runners {c.n_runners}; "
                "take a multiple of them."
            )
        if c.n_learners and self.n_envs * self.n_steps % c.n_learners and c.algorithm not in REPLAYS:
            raise UserError(
                f"a batch of {self.n_envs} x {self.n_steps} steps cannot be shared equally by agent.rllib.n_learners "
                f"{c.n_learners}; take a divisor."
            )


def make(config: Config, spec: MarketSpec) -> Rllib:
    """Make the agent."""
    return Rllib(config, spec)
