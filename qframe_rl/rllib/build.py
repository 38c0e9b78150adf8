"""Configurations of RLlib's algorithms on its new API stack: modules, learners and runners over native batches."""

from __future__ import annotations

import inspect
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from gymnasium import spaces

from qframe_rl.agent import State, Task
from qframe_rl.config import Unavailable, UserError, nearest
from qframe_rl.rllib.act import joined
from qframe_rl.rllib.names import ACTIVATION, POLICY, REPLAYS, Algorithm

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
import ray
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.policy import PolicySpec

from qframe_rl.rllib.runner import NativeRunner, placed

CONFIGS: dict[Algorithm, Any] = {"ppo": PPOConfig, "sac": SACConfig, "dqn": DQNConfig}
Spaces = tuple[spaces.Space[Any], spaces.Space[Any]]
"""Of observations and actions."""


class ActorCritic(DefaultPPOTorchRLModule):
    """RLlib's module for PPO, whose Gaussian actor begins as narrow as it is told."""

    def setup(self) -> None:
        """Build the networks."""
        super().setup()  # type: ignore[no-untyped-call]
        if hasattr(self.pi, "log_std"):
            self.pi.log_std.data.fill_(self.model_config["log_std_init"])  # type: ignore[index]


@dataclass(frozen=True)
class Plan:
    """How to train."""

    algorithm: Algorithm
    n_envs: int
    """Environments of all runners together."""
    n_steps: int
    """Steps of each between two updates; 1 with a buffer."""
    n_runners: int
    """Processes that step them; 0 = this one."""
    n_learners: int
    """Processes that update the networks; 0 = this one."""
    seed: int
    gamma: float
    hidden: tuple[int, ...]
    log_std_init: float
    report_every: int
    """Environment steps between two reports."""
    updates: int = 1
    """Gradient steps for each step of the batch, with a buffer."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of ``training()`` of the algorithm's configuration."""

    @property
    def per_runner(self) -> int:
        """Environments of one runner."""
        return self.n_envs // max(self.n_runners, 1)

    @property
    def actors(self) -> int:
        """Processes besides this one."""
        return self.n_runners + self.n_learners


def configured(plan: Plan, policies: Mapping[str, Spaces]) -> Any:
    """The configuration of an algorithm for some policies by name; it has no environments yet.

    Parameters
    ----------
    plan
        How to train.
    policies
        Spaces of each policy. With one called ``default_policy`` there is a single agent; otherwise an agent is decided
        for by the policy of its own name.

    Raises
    ------
    UserError
        If an option is unknown.
    """
    config, own = CONFIGS[plan.algorithm](), {"gamma": plan.gamma, **_pace(plan)}
    _check_options(config, plan.training, own)
    config = config.framework("torch").training(**own, **plan.training)
    config = config.rl_module(rl_module_spec=modules(plan, policies))
    cores = _cores_reserved()
    config = config.learners(num_learners=plan.n_learners, num_cpus_per_learner=cores, num_gpus_per_learner=0)
    config = config.env_runners(
        num_env_runners=plan.n_runners, num_envs_per_env_runner=plan.per_runner, num_cpus_per_env_runner=cores,
        rollout_fragment_length=plan.n_steps,
    )  # fmt: skip
    # A runner that is begun anew would step other environments: the training fails instead.
    config = config.fault_tolerance(restart_failed_env_runners=False)
    config = config.debugging(seed=plan.seed, log_level="ERROR")
    # Without this an iteration lasts as long as a clock says.
    config = config.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=plan.report_every)
    if set(policies) != {POLICY}:
        config = config.multi_agent(
            policies={name: PolicySpec(None, *pair) for name, pair in policies.items()},  # type: ignore[no-untyped-call]
            policy_mapping_fn=lambda agent, *_, **__: agent,
        )
    return config


def modules(plan: Plan, policies: Mapping[str, Spaces]) -> MultiRLModuleSpec:
    """Networks of some policies, all of the same kind."""
    gaussian = plan.algorithm not in REPLAYS
    specs = {}
    for name, (observations, actions) in policies.items():
        model = asdict(
            DefaultModelConfig(
                fcnet_hiddens=list(plan.hidden),
                fcnet_activation=ACTIVATION[plan.algorithm],
                vf_share_layers=False,
                free_log_std=gaussian and isinstance(actions, spaces.Box),
            )
        )
        model |= {"log_std_init": plan.log_std_init}
        specs[name] = RLModuleSpec(
            module_class=ActorCritic if plan.algorithm == "ppo" else None, observation_space=observations,
            action_space=actions, model_config=model,
        )  # fmt: skip
    return MultiRLModuleSpec(rl_module_specs=specs)


@contextmanager
def training(plan: Plan, task: Task, scale: float) -> Iterator[Any]:
    """RLlib's algorithm over the native batches of a task, ready to be trained; at the end all is given back.

    Parameters
    ----------
    plan
        How to train.
    task
        Makes the environments.
    scale
        What rewards are multiplied by for the learner.

    Raises
    ------
    UserError
        If an option is unknown, or the cluster has too few cores.
    Unavailable
        If a runner or learner died.
    """
    interface = task.spec.interface
    config = configured(plan, {POLICY: (interface.observation_space, interface.action_space)})
    with _cluster(plan), _quiet():
        config = config.environment(env_config={"task": placed(task), "scale": scale})
        config = config.env_runners(env_runner_cls=NativeRunner)
        _check(config)
        algorithm = None
        try:
            algorithm = config.build_algo()
            _seed_buffer(algorithm, plan.seed)
            yield algorithm
        except ray.exceptions.RayError as error:
            text = str(error).strip().splitlines() or [type(error).__name__]
            raise Unavailable(f"agent rllib: a runner or learner was lost: {text[0]}") from None
        finally:
            if algorithm is not None:
                algorithm.stop()
                # RLlib makes a folder for results of its own, which stays empty.
                shutil.rmtree(algorithm.logdir, ignore_errors=True)


def weights(algorithm: Any) -> State:
    """All arrays of the modules of an algorithm, by policy."""
    state = algorithm.learner_group.get_state(components="learner/rl_module")["learner"]["rl_module"]
    return joined({name: module for name, module in state.items() if isinstance(module, Mapping)})


def _pace(plan: Plan) -> dict[str, Any]:
    """How much is learned from how much."""
    if plan.algorithm not in REPLAYS:
        return {"train_batch_size_per_learner": plan.n_envs * plan.n_steps // max(plan.n_learners, 1)}
    # RLlib counts one runner more than there are, wherever any are.
    counted = plan.per_runner * (plan.n_runners + 1)
    batch = plan.training["train_batch_size_per_learner"] * max(plan.n_learners, 1)
    return {"training_intensity": plan.updates * batch / counted}


def _check_options(config: Any, options: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    known = {
        name
        for kind in type(config).__mro__
        if "training" in vars(kind)
        for name, one in inspect.signature(vars(kind)["training"]).parameters.items()
        if one.kind is inspect.Parameter.KEYWORD_ONLY
    } - own.keys()
    for name in options:
        if name not in known:
            raise UserError(f"agent.rllib.options: unknown key {name!r}{nearest(name, known)}")


def _check(config: Any) -> None:
    """Ask RLlib whether the numbers go together."""
    try:
        config.validate()
    except ValueError as error:
        raise UserError(f"agent rllib: {str(error).strip().splitlines()[0]}") from None


def _cores_reserved() -> int:
    """Cores that a runner or learner waits for: none inside a task, since the cells of a run may hold them all."""
    return 0 if ray.is_initialized() and ray.get_runtime_context().worker.mode == ray.WORKER_MODE else 1


@contextmanager
def _cluster(plan: Plan) -> Iterator[None]:
    """The cluster that this process is part of, or one on this machine for as long as is needed."""
    begun = not ray.is_initialized()
    if begun:
        ray.init(
            address="local", num_cpus=plan.actors + 1, include_dashboard=False, _node_ip_address="127.0.0.1",
            log_to_driver=False, logging_level=logging.ERROR,
        )  # fmt: skip
    try:
        cores = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        if plan.actors * _cores_reserved() > cores:
            raise UserError(
                f"agent rllib asks for {plan.n_runners} runners and {plan.n_learners} learners, and the cluster has "
                f"{cores} cores; set agent.rllib.n_runners and n_learners to fewer."
            )
        yield
    finally:
        if begun:
            ray.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """RLlib tells of its API at every start."""
    logger = logging.getLogger("ray.rllib")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _seed_buffer(algorithm: Any, seed: int) -> None:
    """RLlib draws from its buffer by the clock."""
    if algorithm.local_replay_buffer is not None:
        algorithm.local_replay_buffer.rng = np.random.default_rng(seed)
