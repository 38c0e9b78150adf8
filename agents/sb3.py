"""The algorithms of Stable-Baselines3 and its contributions (Raffin et al., JMLR 22, 2021) on the native batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import Field

from qframe_rl.agent import Log, MarketSpec, Resumable, State, Task, View
from qframe_rl.config import Base, UserError, nearest
from qframe_rl.policy.apart import one_thread, own_randomness
from qframe_rl.policy.net import lean_to
from qframe_rl.types import Orders, Single

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.policies import BasePolicy

    from qframe_rl.sb3.batch import Masks

Algorithm = Literal["ppo", "a2c", "dqn", "sac", "td3", "recurrent_ppo", "qr_dqn", "tqc", "maskable_ppo"]
_CLASSES = {
    "ppo": "PPO", "a2c": "A2C", "dqn": "DQN", "sac": "SAC", "td3": "TD3",
    "recurrent_ppo": "RecurrentPPO", "qr_dqn": "QRDQN", "tqc": "TQC", "maskable_ppo": "MaskablePPO",
}  # fmt: skip
_CHOOSERS, _STEERERS = ("dqn", "qr_dqn"), ("sac", "td3", "tqc")
_CLONES = ("ppo", "a2c", "maskable_ppo")
_ROLLOUTS = {"n_steps": 128, "batch_size": 2048, "n_epochs": 4, "gae_lambda": 0.9, "ent_coef": 0.003}
_REPLAY = {"buffer_size": 200_000, "batch_size": 256, "learning_starts": 2000}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "ppo": {"total_steps": 800_000, "n_envs": 64, "learning_rate": 1e-3, **_ROLLOUTS},
    "maskable_ppo": {"total_steps": 800_000, "n_envs": 64, "learning_rate": 1e-3, **_ROLLOUTS},
    "recurrent_ppo": {"total_steps": 500_000, "n_envs": 64, "learning_rate": 1e-3, **_ROLLOUTS},
    "a2c": {"total_steps": 800_000, "n_envs": 64, "learning_rate": 1e-3, "n_steps": 16, "gae_lambda": 0.9},
    "dqn": {
        "total_steps": 300_000, "n_envs": 16, "learning_rate": 1e-3, **_REPLAY, "train_freq": 1, "gradient_steps": 1,
        "target_update_interval": 2000, "exploration_fraction": 0.3, "exploration_final_eps": 0.05,
    },
    "qr_dqn": {
        "total_steps": 300_000, "n_envs": 16, "learning_rate": 1e-3, **_REPLAY, "train_freq": 1, "gradient_steps": 1,
        "target_update_interval": 2000, "exploration_fraction": 0.3, "exploration_final_eps": 0.05,
    },
    "sac": {"total_steps": 60_000, "n_envs": 8, "learning_rate": 1e-3, **_REPLAY, "gradient_steps": 2},
    "td3": {"total_steps": 60_000, "n_envs": 8, "learning_rate": 1e-3, **_REPLAY, "gradient_steps": 2},
    "tqc": {"total_steps": 60_000, "n_envs": 8, "learning_rate": 1e-3, **_REPLAY, "gradient_steps": 2},
}  # fmt: skip
_SCALE_STEPS = 200
_SNAPSHOTS = 20
"""Times in a training that it is kept, so that it can go on after an interruption."""
_BEST = "best/"
"""What the names of the best policy so far begin with in a training that is kept."""
_QUANTILES = 50
"""Of QR-DQN: a loss over all pairs of the authors' 200 costs sixteen times as much."""


class Config(Base):
    """Hyper-parameters; what is null depends on the algorithm."""

    algorithm: Algorithm = "ppo"
    """ppo, a2c, recurrent_ppo: any actions; maskable_ppo: discrete ones, some of them forbidden; dqn, qr_dqn: one
    discrete choice; sac, td3, tqc: continuous actions."""
    total_steps: int | None = Field(default=None, ge=1, le=10**12)
    """Environment steps to train for; null = 800,000 (recurrent_ppo 500,000; dqn, qr_dqn 300,000; sac, td3, tqc
    60,000)."""
    n_envs: int | None = Field(default=None, ge=1, le=1_000_000)
    """Environments stepped as one batch; null = 64 (dqn, qr_dqn 16; sac, td3, tqc 8)."""
    learning_rate: float | None = Field(default=None, gt=0.0, le=100.0)
    """Step size at the start; it falls linearly to a tenth. null = 0.001."""
    gamma: float = Field(default=0.98, gt=0.0, le=1.0)
    """Discount per step: 1 / (1 - gamma) steps are looked ahead; 1 where episodes end by themselves."""
    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(default=(64, 64), max_length=16)
    """Units of the hidden layers of actor and critic, tanh."""
    extractor: Literal["mlp", "cnn", "lstm"] = "mlp"
    """What reads the window of bars before the hidden layers; cnn and lstm need env.n_rows of 2 or more."""
    lstm_units: int = Field(default=32, ge=1, le=4096)
    """recurrent_ppo: units of the memory that lasts an episode."""
    log_std_init: float = Field(default=-1.0, ge=-20.0, le=10.0)
    """ppo, a2c, recurrent_ppo: log standard deviation of a continuous action at the start; its range is [-1, 1]."""
    action_noise: float = Field(default=0.1, ge=0.0, le=1e6)
    """td3: standard deviation of the noise on actions in training, on their range of [-1, 1]; it has no other way to
    explore (0.1 in Fujimoto et al., 2018)."""
    scale_rewards: bool = True
    """Whether rewards are divided by the standard deviation of returns under random actions."""
    evaluations: int = Field(default=0, ge=0, le=1_000_000)
    """Times that the tail of the training part is scored during training; the best policy is kept. 0 = never."""
    patience: int = Field(default=0, ge=0, le=1_000_000)
    """Evaluations in a row that are no better than the best, after which training stops; 0 = never."""
    clone_epochs: int = Field(default=0, ge=0, le=1_000_000)
    """ppo, a2c, maskable_ppo: passes over the training bars in which the actor first learns to do what hindsight would
    have done; 0 = begin untaught."""
    options: dict[str, Any] = Field(default={})
    """Further arguments of the algorithm's constructor in Stable-Baselines3, by their names there."""


QUICK = {
    "total_steps": 2048, "n_envs": 8, "hidden": (16,), "options": {"n_steps": 32, "batch_size": 128, "n_epochs": 2},
}  # fmt: skip
"""Parameters of a training that takes a second: for a first try, and for tests."""


class Sb3:
    """A policy of Stable-Baselines3 behind the interface of a market or a problem.

    Parameters
    ----------
    config
        Hyper-parameters.
    spec
        Spaces, bars and seed.

    Raises
    ------
    UserError
        If the algorithm cannot take the actions, the extractor the observations, or an option is unknown.
    """

    def __init__(self, config: Config, spec: MarketSpec):
        self.config, self.interface, self.seed = config, spec.interface, spec.seed
        self.window = spec.interface.window
        self.defaults = dict(_DEFAULTS[config.algorithm])
        given = {name: getattr(config, name) for name in ("total_steps", "n_envs", "learning_rate")}
        self.defaults |= {name: value for name, value in given.items() if value is not None}
        self.total_steps, self.n_envs = self.defaults.pop("total_steps"), self.defaults.pop("n_envs")
        self._check()
        self._state: State = {}
        self._policy: BasePolicy | None = None
        self._memory: Any = None

    def fit(self, task: Task, log: Log) -> None:
        """Train: from scratch, or on from where an interrupted training was last kept, to the same bits."""
        from qframe_rl.sb3.resume import paused, resumed
        from qframe_rl.sb3.watch import Every, Reporter
        from qframe_rl.sb3.weights import given

        keeper = task if isinstance(task, Resumable) else None
        self._state = {} if keeper is None else dict(keeper.recall())
        done = int(self._state["steps"][0]) if self._state else 0
        with own_randomness():
            scale = self._scale(task)
            model = self._model(task, scale, done)
            best = {k.removeprefix(_BEST): v for k, v in self._state.items() if k.startswith(_BEST)}
            judge = self._validation(model, task, log, lambda: best.update(self._taken(model, scale)))

            def keep() -> None:
                if keeper is not None:
                    kept = {_BEST + name: value for name, value in best.items()}
                    judged = {"judged": np.array([judge.best, judge.worse])}
                    keeper.remember({**self._taken(model, scale), **paused(model), **kept, **judged})

            if self._state:
                given(model, self._state)
                resumed(model, self._state)
                judge.best, judge.worse = float(self._state["judged"][0]), int(self._state["judged"][1])
            elif self.config.clone_epochs:
                self._clone(model, task, log)
            watched = [Reporter(log, self.total_steps), Every(self.total_steps // _SNAPSHOTS, keep)]
            watched += [judge] if self.config.evaluations else []
            self._learn(model, max(self.total_steps - done, 0), watched)
        self.restore(best or self._taken(model, scale))

    def decide(self, view: View) -> Orders:
        """Act greedily."""
        if view.first:
            self._memory = None
        rows = self.interface.observe(view)[None]
        action, self._memory = self._predict(self._acting(), rows, self._memory)
        return self.interface.orders(action[0], view)

    def carried(self) -> State:
        """What a recurrent policy remembers."""
        return {} if self._memory is None else {str(k): np.array(part) for k, part in enumerate(self._memory)}

    def carry(self, memory: State) -> None:
        """Take the policy's memory over."""
        self._memory = tuple(np.array(memory[str(k)]) for k in range(len(memory))) or None

    def policy(self) -> Callable[[Single], NDArray[Any]]:
        """The policy over plain observations, see `qframe_rl.agent.Solver`."""
        acting, memory = self._acting(), None

        def act(observations: Single) -> NDArray[Any]:
            nonlocal memory
            actions, memory = self._predict(acting, observations, memory)
            return actions

        return act

    def acting(self) -> Callable[[Single], NDArray[Any]]:
        """As `policy`, see `qframe_rl.agent.Chooser`."""
        return self.policy()

    def state(self) -> State:
        """Weights, optimisers, steps done and the scale of rewards."""
        return dict(self._state)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` returned; raises ValueError where it is of another shape."""
        from qframe_rl.sb3.weights import check_shapes, policy_weights

        weights = policy_weights(state)
        if self._n_weights() > sum(value.numel() for value in weights.values()):  # before it takes memory
            raise ValueError(f"hidden {self.config.hidden} wants more numbers than there are")
        with own_randomness():
            policy = self._new_policy()
        check_shapes(policy, weights)
        policy.load_state_dict(weights)
        policy.set_training_mode(False)
        self._policy, self._state = policy, dict(state)

    def _n_weights(self) -> int:
        """Numbers that the hidden layers have at least, whatever the algorithm adds."""
        c = self.config
        seen = math.prod(self.interface.observation_space.shape or ()) if c.extractor == "mlp" else 1
        memory = c.lstm_units * (4 * (seen + c.lstm_units)) if c.algorithm == "recurrent_ppo" else 0
        sizes = (c.lstm_units if memory else seen, *c.hidden)
        return memory + sum(n * m for n, m in pairwise(sizes))

    def _new_policy(self) -> BasePolicy:
        made = self._class().policy_aliases[self._policy_name()]
        policy: BasePolicy = made(
            self.interface.observation_space, self.interface.action_space, lambda _: 0.0, **self._policy_options()
        )
        return policy

    def _class(self) -> Any:
        import sb3_contrib
        import stable_baselines3

        name = _CLASSES[self.config.algorithm]
        return getattr(stable_baselines3, name, None) or getattr(sb3_contrib, name)

    def _model(self, task: Task, scale: float, done: int) -> BaseAlgorithm:
        from stable_baselines3.common.policies import ActorCriticPolicy

        from qframe_rl.sb3.batch import BatchVecEnv

        options = self.defaults | self._exploration() | self.config.options
        rate = options.pop("learning_rate")
        batch = BatchVecEnv(task.envs(self.n_envs), scale, self._masks)
        model: BaseAlgorithm = self._class()(
            self._policy_name(),
            batch,
            learning_rate=lambda left: rate * (0.1 + 0.9 * left),
            gamma=self.config.gamma,
            policy_kwargs=self._policy_options(),
            seed=self.seed % (1 << 32),
            **{"device": "cpu", **options},
        )
        batch._reset_seeds()  # the task has seeded it
        model.num_timesteps = done
        if self.interface.idle and isinstance(model.policy, ActorCriticPolicy):
            lean_to(self.interface.idle, model.policy.action_net)  # a new policy chooses nothing by noise
        return model

    def _learn(self, model: Any, n_steps: int, watched: list[Any]) -> None:
        more = {"use_masking": self._masks is not None} if self.config.algorithm == "maskable_ppo" else {}
        model.learn(n_steps, watched, log_interval=None, reset_num_timesteps=False, **more)

    def _exploration(self) -> dict[str, Any]:
        """TD3 does not explore by itself."""
        if self.config.algorithm != "td3":
            return {}
        from stable_baselines3.common.noise import NormalActionNoise

        shape = self.interface.action_space.shape
        assert shape is not None
        return {"action_noise": NormalActionNoise(np.zeros(shape), np.full(shape, self.config.action_noise))}

    @property
    def _masks(self) -> Masks | None:
        return getattr(self.interface, "masks", None) if self.config.algorithm == "maskable_ppo" else None

    def _policy_name(self) -> str:
        return "MlpLstmPolicy" if self.config.algorithm == "recurrent_ppo" else "MlpPolicy"

    def _policy_options(self) -> dict[str, Any]:
        import torch

        from qframe_rl.sb3.extract import EXTRACTORS

        c = self.config
        options: dict[str, Any] = {"net_arch": list(c.hidden), "activation_fn": torch.nn.Tanh}
        if isinstance(self.interface.action_space, spaces.Box) and c.algorithm not in _STEERERS:
            options["log_std_init"] = c.log_std_init
        if c.algorithm in _STEERERS:
            options["activation_fn"] = torch.nn.ReLU
        if c.algorithm == "qr_dqn":
            options["n_quantiles"] = _QUANTILES
        if c.algorithm == "recurrent_ppo":
            options["lstm_hidden_size"] = c.lstm_units
        if c.extractor != "mlp":
            rows, width = self.interface.market_shape
            options["features_extractor_class"] = EXTRACTORS[c.extractor]
            options["features_extractor_kwargs"] = {"rows": rows, "width": width}
        return options

    def _scale(self, task: Task) -> float:
        from qframe_rl.deep.scale import return_scale

        if self._state:
            return float(self._state["reward_scale"][0])
        if not self.config.scale_rewards:
            return 1.0
        return return_scale(task.envs(self.n_envs), self.config.gamma, _SCALE_STEPS, self.seed)

    def _clone(self, model: BaseAlgorithm, task: Task, log: Log) -> None:
        from stable_baselines3.common.policies import ActorCriticPolicy

        from qframe_rl.sb3.clone import clone, lessons

        assert isinstance(model.policy, ActorCriticPolicy)
        clone(model.policy, lessons(task), self.config.clone_epochs, self.seed, log)

    def _validation(self, model: BaseAlgorithm, task: Task, log: Log, take: Callable[[], None]) -> Any:
        from qframe_rl.sb3.watch import Validation

        every = self.total_steps // max(self.config.evaluations, 1)
        return Validation(lambda: self._score(model, task), take, log, every, self.config.patience)

    def _score(self, model: BaseAlgorithm, task: Task) -> float:
        """Validate the policy as it is now."""
        before, self._policy = self._policy, model.policy
        try:
            return task.validate(self)
        finally:
            self._policy = before

    def _taken(self, model: BaseAlgorithm, scale: float) -> State:
        from qframe_rl.sb3.weights import taken

        steps = np.array([model.num_timesteps], dtype=np.int64)
        return {**taken(model), "steps": steps, "reward_scale": np.array([scale])}

    def _acting(self) -> BasePolicy:
        if self._policy is None:
            raise RuntimeError("train or restore the agent before it decides")
        return self._policy

    def _predict(self, policy: BasePolicy, rows: Single, memory: Any) -> tuple[NDArray[Any], Any]:
        more = {} if self._masks is None else {"action_masks": self._masks(rows)}
        first = np.full(len(rows), memory is None)
        with one_thread():
            return policy.predict(rows, state=memory, episode_start=first, deterministic=True, **more)

    def _check(self) -> None:
        """Refuse what cannot work before anything is trained."""
        c, space = self.config, self.interface.action_space
        discrete = isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
        fits = {
            **dict.fromkeys(_CHOOSERS, isinstance(space, spaces.Discrete)),
            **dict.fromkeys(_STEERERS, isinstance(space, spaces.Box)),
            "maskable_ppo": discrete,
        }
        if not fits.get(c.algorithm, True):
            able = [name for name in get_args(Algorithm) if fits.get(name, True)]
            other = ", or on a market --set env.actions=exposure" if c.algorithm in _STEERERS else ""
            raise UserError(
                f"agent.sb3.algorithm {c.algorithm!r} cannot take {space}; take one of {', '.join(able)}{other}."
            )
        if c.extractor != "mlp" and self.interface.market_shape[0] < 2:
            raise UserError(f"agent.sb3.extractor {c.extractor!r} reads a window of bars; set env.n_rows to 2 or more.")
        if c.clone_epochs and c.algorithm not in _CLONES:
            raise UserError(f"agent.sb3.clone_epochs is for {', '.join(_CLONES)}; set it to 0 for {c.algorithm}.")
        if isinstance(space, spaces.Box) and "ent_coef" in self.defaults:
            # A Gaussian actor would be paid for widening its own noise.
            self.defaults["ent_coef"] = 0.0
        if c.options:
            self._check_options()

    def _check_options(self) -> None:
        import inspect

        own = {"self", "policy", "env", "learning_rate", "gamma", "policy_kwargs", "seed", "_init_setup_model"}
        known = [name for name in inspect.signature(self._class().__init__).parameters if name not in own]
        for name in self.config.options:
            if name not in known:
                raise UserError(f"agent.sb3.options: unknown key {name!r}{nearest(name, known)}")


def make(config: Config, spec: MarketSpec) -> Sb3:
    """Make the agent."""
    return Sb3(config, spec)
