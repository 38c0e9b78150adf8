"""RLlib: environments by id, by class and by registration, here and in processes of its own, an iteration each."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import ray
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.tune.registry import register_env

from tests.conformance.libraries.rows import Case, Checks
from tests.rays import one_ray

REPLAY = {"train_batch_size_per_learner": 32, "num_steps_sampled_before_learning_starts": 64}


class ByClass(gymnasium.Wrapper[Any, Any, Any, Any]):
    """What is handed over as a class is made with a configuration alone."""

    def __init__(self, config: dict[str, Any]):
        import qframe_rl

        assert qframe_rl
        rest = dict(config)
        super().__init__(gymnasium.make(rest.pop("id"), **rest))


def learn(case: Case, base: Any, env: Any, config: dict[str, Any], runners: int = 0, **training: Any) -> None:
    """An iteration."""
    made = (
        base()
        .environment(env, env_config=config)
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=2)
        .training(**training)
        .debugging(log_level="ERROR", seed=0)
    )
    algorithm = made.build_algo()
    try:
        result = algorithm.train()
        assert result["env_runners"]["num_env_steps_sampled_lifetime"] > 0
    finally:
        algorithm.stop()


def ppo(how: str, case: Case) -> None:
    """PPO on an environment that is handed over in one of the ways."""
    brief: dict[str, Any] = {"train_batch_size_per_learner": 128, "minibatch_size": 64, "num_epochs": 1}
    env: Any = case.id
    config = dict(case.params)
    if how == "class":
        env, config = ByClass, {"id": case.id, **config}
    elif how == "registered":
        env = f"registered-{case.name}"
        register_env(env, lambda config: gymnasium.make(case.id, **config))
    elif how == "apart" and not case.control:
        env = f"qframe_rl:{case.id}"
    learn(case, PPOConfig, env, config, runners=int(how == "apart"), **brief)


def replayed(base: Any, case: Case) -> None:
    """An algorithm with a replay buffer, by id."""
    learn(case, base, case.id, dict(case.params), **REPLAY)


def main() -> None:
    """Run all."""
    check = Checks("rllib", "ray")
    with one_ray():
        check("by id, PPO", partial(ppo, "id"))
        check("by class, PPO", partial(ppo, "class"))
        check("`register_env`, PPO", partial(ppo, "registered"))
        check("by id with its module, PPO in processes of its own", partial(ppo, "apart"))
        check("by id, DQN", partial(replayed, DQNConfig), only="discrete")
        check("by id, SAC", partial(replayed, SACConfig))
    assert not ray.is_initialized()


if __name__ == "__main__":
    main()
