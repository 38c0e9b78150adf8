"""Tianshou: experiments of its high-level interface, each for a moment, and its vectors of environments."""

from __future__ import annotations

import tempfile
from functools import partial
from typing import Any

import tianshou.highlevel.experiment as experiments
from tianshou.env import DummyVectorEnv, SubprocVectorEnv
from tianshou.highlevel.config import OffPolicyTrainingConfig, OnPolicyTrainingConfig
from tianshou.highlevel.env import EnvFactoryRegistered, VectorEnvType
from tianshou.highlevel.experiment import ExperimentConfig
from tianshou.highlevel.logger import LoggerFactoryDefault

from tests.conformance.libraries.rows import STEPS, Case, Checks

BRIEF: dict[str, Any] = {
    "max_epochs": 1, "epoch_num_steps": 256, "num_training_envs": 2, "num_test_envs": 2, "test_step_num_episodes": 2,
}  # fmt: skip
ON = {"PPO": experiments.PPOExperimentBuilder, "A2C": experiments.A2CExperimentBuilder}
OFF_DISCRETE = {"DQN": experiments.DQNExperimentBuilder, "DiscreteSAC": experiments.DiscreteSACExperimentBuilder}
OFF_BOX = {"SAC": experiments.SACExperimentBuilder, "TD3": experiments.TD3ExperimentBuilder}


def learn(builder: Any, training: Any, case: Case) -> None:
    """An experiment of one epoch."""
    factory = EnvFactoryRegistered(task=case.id, venv_type=VectorEnvType.DUMMY, **case.params)
    with tempfile.TemporaryDirectory() as place:
        config = ExperimentConfig(watch=False, persistence_enabled=False, persistence_base_dir=place)
        made = builder(factory, config, training).with_logger_factory(LoggerFactoryDefault("tensorboard")).build()
        result = made.run().trainer_result
    assert result is not None
    assert result.timing.total_time > 0.0


def walked(kind: Any, case: Case) -> None:
    """Walk through several at once; what is over is reset by its number."""
    env = kind([case.make] * 2)
    env.seed(0)
    env.reset()
    for _ in range(STEPS + 5):
        _, _, terminated, truncated, _ = env.step([env.action_space[0].sample() for _ in range(2)])
        if (over := (terminated | truncated).nonzero()[0]).size:
            env.reset(over)
    env.close()


def main() -> None:
    """Run all."""
    check = Checks("tianshou")
    what = "`EnvFactoryRegistered`, an experiment"
    on = OnPolicyTrainingConfig(**BRIEF, collection_step_num_env_steps=128)
    off = OffPolicyTrainingConfig(**BRIEF, collection_step_num_env_steps=32, buffer_size=1000)
    check.each(what, ((name, partial(learn, builder, on)) for name, builder in ON.items()))
    check.each(what, ((n, partial(learn, builder, off)) for n, builder in OFF_DISCRETE.items()), only="discrete")
    check.each(what, ((name, partial(learn, builder, off)) for name, builder in OFF_BOX.items()), only="box")
    kinds = (DummyVectorEnv, SubprocVectorEnv)
    check.each("its vectors of environments", ((kind.__name__, partial(walked, kind)) for kind in kinds))


if __name__ == "__main__":
    main()
