"""AgileRL: its trainings for a moment, on its own vectors of environments and on native batches."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
from agilerl.algorithms import DDPG, DQN, PPO, TD3
from agilerl.components.replay_buffer import ReplayBuffer
from agilerl.training.train_off_policy import train_off_policy
from agilerl.training.train_on_policy import train_on_policy
from agilerl.utils.utils import make_vect_envs

from tests.conformance.libraries.rows import STEPS, Case, Checks

N_ENVS = 2
STEPS_OF_TRAINING: dict[str, Any] = {
    "max_steps": 128, "evo_steps": 64, "eval_steps": STEPS, "eval_loop": 1, "verbose": False,
}  # fmt: skip


def vectors(case: Case) -> Any:
    """Its own."""
    return make_vect_envs(case.id, num_envs=N_ENVS, should_async_vector=False, **case.params)


def batch(case: Case) -> Any:
    """A native one; Gymnasium's own over single ones for the controls."""
    mode = {"vectorization_mode": "sync"} if case.control else {}
    return gymnasium.make_vec(case.id, num_envs=N_ENVS, **mode, **case.params)


def learn(make: Any, algorithm: Any, case: Case) -> None:
    """Two generations of one agent."""
    env, name = make(case), algorithm.__name__
    common: dict[str, Any] = {"batch_size": 16, "learn_step": 32 if name == "PPO" else 4}
    many = {} if name == "DQN" else {"num_envs": N_ENVS} if name == "PPO" else {"vect_noise_dim": N_ENVS}
    agent = algorithm(env.single_observation_space, env.single_action_space, **common, **many)
    if name == "PPO":
        _, fitness = train_on_policy(env, case.id, name, [agent], **STEPS_OF_TRAINING)
    else:
        _, fitness = train_off_policy(env, case.id, name, [agent], ReplayBuffer(1000), **STEPS_OF_TRAINING)
    assert fitness
    env.close()


def main() -> None:
    """Run all."""
    check = Checks("agilerl")
    for what, make in {"`make_vect_envs`, a training": vectors, "a training on a native batch": batch}.items():
        check(what, partial(learn, make, PPO), "PPO")
        check(what, partial(learn, make, DQN), "DQN", only="discrete")
        check.each(what, ((one.__name__, partial(learn, make, one)) for one in (DDPG, TD3)), only="box")


if __name__ == "__main__":
    main()
