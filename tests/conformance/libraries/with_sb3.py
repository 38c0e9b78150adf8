"""Stable-Baselines3 and its contributions: vectors of environments, native batches, each algorithm for a moment."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode
from sb3_contrib import ARS, QRDQN, TQC, TRPO, CrossQ, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import SubprocVecEnv, VecCheckNan, VecEnv, VecFrameStack, VecMonitor, VecNormalize

from qframe_rl.sb3.batch import BatchVecEnv
from tests.conformance.libraries.rows import STEPS, Case, Checks

ON_POLICY: dict[str, Any] = {"PPO": PPO, "A2C": A2C}
CONTRIB: dict[str, Any] = {"TRPO": TRPO, "RecurrentPPO": RecurrentPPO, "ARS": ARS}
SHORT: dict[str, dict[str, Any]] = {
    "PPO": {"n_steps": 64, "n_epochs": 2}, "A2C": {"n_steps": 8}, "TRPO": {"n_steps": 64},
    "RecurrentPPO": {"n_steps": 32, "n_epochs": 2, "batch_size": 32}, "ARS": {"n_delta": 2},
}  # fmt: skip
REPLAY: dict[str, Any] = {"learning_starts": 32, "buffer_size": 1000, "batch_size": 16}


def vec(case: Case, **more: Any) -> VecEnv:
    """Two environments, made as its documents do."""
    return make_vec_env(case.id, n_envs=2, seed=0, env_kwargs=case.params, **more)


def learn(algorithm: Any, case: Case) -> None:
    """Some steps of an algorithm, then an evaluation."""
    name = algorithm.__name__
    policy = "MlpLstmPolicy" if name == "RecurrentPPO" else "LinearPolicy" if name == "ARS" else "MlpPolicy"
    model = algorithm(policy, vec(case), seed=0, device="cpu", **SHORT.get(name, REPLAY))
    model.learn(200)
    evaluate_policy(model, vec(case), n_eval_episodes=2)


def batch(case: Case) -> None:
    """PPO on a native batch; on the usual vector for the controls."""
    made: VecEnv = vec(case)
    if not case.control:
        mode = AutoresetMode.SAME_STEP
        made = BatchVecEnv(gymnasium.make_vec(case.id, num_envs=8, autoreset_mode=mode, **case.params))
    PPO("MlpPolicy", VecNormalize(made), n_steps=16, n_epochs=2, seed=0, device="cpu").learn(256)


def wrapped(wrap: Any, case: Case) -> None:
    """Walk through a wrapper."""
    env = wrap(vec(case))
    env.reset()
    for _ in range(STEPS + 5):
        env.step([env.action_space.sample() for _ in range(2)])
    env.close()


def apart(case: Case) -> None:
    """Environments in processes of their own."""
    env = vec(case, vec_env_cls=SubprocVecEnv)
    env.reset()
    for _ in range(STEPS + 5):
        env.step([env.action_space.sample() for _ in range(2)])
    env.close()


def main() -> None:
    """Run all."""
    check = Checks("stable-baselines3")
    check("`check_env`", lambda case: check_env(case.make()))
    check("`make_vec_env`, SubprocVecEnv", apart)
    wrappers: dict[str, Any] = {
        "VecNormalize": VecNormalize, "VecMonitor": VecMonitor, "VecFrameStack": lambda env: VecFrameStack(env, 3),
        "VecCheckNan": lambda env: VecCheckNan(env, raise_exception=True),
    }  # fmt: skip
    check.each("`make_vec_env`, its wrappers", ((name, partial(wrapped, wrap)) for name, wrap in wrappers.items()))
    learns = "`make_vec_env`, `learn`, `evaluate_policy`"
    check.each(learns, ((name, partial(learn, one)) for name, one in ON_POLICY.items()))
    check(learns, partial(learn, DQN), "DQN", only="discrete")
    check.each(learns, ((one.__name__, partial(learn, one)) for one in (SAC, TD3, DDPG)), only="box")
    check("PPO on a native batch (`BatchVecEnv`)", batch)
    check = Checks("sb3-contrib")
    check.each(learns, ((name, partial(learn, one)) for name, one in CONTRIB.items()))
    check(learns, partial(learn, QRDQN), "QRDQN", only="discrete")
    check.each(learns, ((one.__name__, partial(learn, one)) for one in (TQC, CrossQ)), only="box")


if __name__ == "__main__":
    main()
