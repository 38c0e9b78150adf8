"""Gymnasium's own checker and wrappers: single environments, and native batches in each autoreset mode."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import wrappers
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import vector

from tests.conformance.libraries.rows import STEPS, Case, Checks, walk

Single = gymnasium.Env[Any, Any]
Batch = VectorEnv[Any, Any, Any]
N_ENVS = 3


def _video(env: Single) -> Single:
    return wrappers.RecordVideo(env, tempfile.mkdtemp(), episode_trigger=lambda n: n == 0)


def _double(x: Any) -> Any:
    return np.float32(2.0) * x


def _in_torch(env: object) -> bool:
    return type(env).__name__ == "NumpyToTorch"


SINGLE: dict[str, Callable[[Single], Single]] = {
    "PassiveEnvChecker": wrappers.PassiveEnvChecker,
    "OrderEnforcing": wrappers.OrderEnforcing,
    "TimeLimit": lambda env: wrappers.TimeLimit(env, 7),
    "Autoreset": wrappers.Autoreset,
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
    "FlattenObservation": wrappers.FlattenObservation,
    "NormalizeObservation": wrappers.NormalizeObservation,
    "NormalizeReward": wrappers.NormalizeReward,
    "ClipReward": lambda env: wrappers.ClipReward(env, -1.0, 1.0),
    "TransformReward": lambda env: wrappers.TransformReward(env, lambda r: 2.0 * r),
    "TransformObservation": lambda env: wrappers.TransformObservation(env, lambda row: row, env.observation_space),
    "DtypeObservation": lambda env: wrappers.DtypeObservation(env, np.float64),
    "FrameStackObservation": lambda env: wrappers.FrameStackObservation(env, 3),
    "DelayObservation": lambda env: wrappers.DelayObservation(env, 2),
    "TimeAwareObservation": wrappers.TimeAwareObservation,
    "MaxAndSkipObservation": lambda env: wrappers.MaxAndSkipObservation(env, 2),
    "StickyAction": lambda env: wrappers.StickyAction(env, 0.3),
    "NumpyToTorch": lambda env: wrappers.NumpyToTorch(env),
}
SINGLE_BOX: dict[str, Callable[[Single], Single]] = {
    "ClipAction": wrappers.ClipAction,
    "RescaleAction": lambda env: wrappers.RescaleAction(env, np.float32(-2.0), np.float32(2.0)),
}
PICTURES: dict[str, Callable[[Single], Single]] = {
    "RecordVideo": _video,
    "RenderCollection": wrappers.RenderCollection,
    "AddRenderObservation": wrappers.AddRenderObservation,
}
BATCH: dict[str, Callable[[Batch], Batch]] = {
    "RecordEpisodeStatistics": vector.RecordEpisodeStatistics,
    "NormalizeObservation": vector.NormalizeObservation,
    "NormalizeReward": vector.NormalizeReward,
    "FlattenObservation": vector.FlattenObservation,
    "DtypeObservation": lambda env: vector.DtypeObservation(env, np.float64),
    "TransformReward": lambda env: vector.TransformReward(env, lambda r: 2.0 * r),
    "ClipReward": lambda env: vector.ClipReward(env, -1.0, 1.0),
    "DictInfoToList": vector.DictInfoToList,
    "NumpyToTorch": lambda env: vector.NumpyToTorch(env),
}
BATCH_BOX: dict[str, Callable[[Batch], Batch]] = {
    "ClipAction": vector.ClipAction,
    "RescaleAction": lambda env: vector.RescaleAction(env, np.float32(-2.0), np.float32(2.0)),
}


def checker(case: Case) -> None:
    """The environment checker, whose warnings count as failures on ours."""
    if not case.control:
        warnings.simplefilter("error", UserWarning)
    try:
        check_env(
            case.make(render_mode="rgb_array" if not case.control else None).unwrapped, skip_render_check=case.control
        )
    finally:
        warnings.resetwarnings()


def wrapped(wrap: Callable[[Single], Single], case: Case, **params: Any) -> None:
    """Walk through a wrapper."""
    env = wrap(case.make(**params))
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(STEPS + 5):
        row, _, terminated, truncated, info = env.step(env.action_space.sample())
        if not _in_torch(env):
            assert env.observation_space.contains(row), f"{row!r} is not in {env.observation_space}"
        if terminated or truncated:
            if isinstance(env, wrappers.RecordEpisodeStatistics):
                assert info["episode"]["l"] <= STEPS
            if not isinstance(env, wrappers.Autoreset):
                env.reset()
    env.close()


def made_anew(case: Case) -> None:
    """The specification makes the same environment, from JSON as well."""
    env = case.make()
    assert env.spec is not None
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    one, two = env.reset(seed=3)[0], again.reset(seed=3)[0]
    assert np.array_equal(one, two)


def native(case: Case, mode: AutoresetMode) -> Batch:
    """The native batch of a case; Gymnasium's own over single ones for the controls."""
    if case.control:
        return SyncVectorEnv([case.make] * N_ENVS, autoreset_mode=mode)
    return gymnasium.make_vec(case.id, num_envs=N_ENVS, autoreset_mode=mode, **case.params)


def batched(wrap: Callable[[Batch], Batch], mode: AutoresetMode, case: Case) -> None:
    """A wrapped batch gives what the wrapper gives round Gymnasium's own batch of the same environments."""
    ours, theirs = wrap(native(case, mode)), wrap(SyncVectorEnv([case.make] * N_ENVS, autoreset_mode=mode))
    theirs.action_space.seed(0)
    rows = [env.reset(seed=5)[0] for env in (ours, theirs)]
    episodes: list[dict[str, Any]] = [{}, {}]
    for _ in range(2 * STEPS + 5):
        np.testing.assert_array_equal(*map(np.asarray, rows))
        actions = theirs.action_space.sample()
        if _in_torch(ours):
            import torch

            actions = torch.as_tensor(actions)
        steps = [env.step(actions) for env in (ours, theirs)]
        rows = [step[0] for step in steps]
        for part in (1, 2, 3):
            np.testing.assert_allclose(*(np.asarray(step[part]) for step in steps), rtol=1e-6)
        over = np.asarray(steps[0][2]) | np.asarray(steps[0][3])
        if over.any():
            episodes = [step[4] for step in steps]
            if isinstance(ours, vector.RecordEpisodeStatistics):
                for name in ("r", "l"):
                    got = [
                        told.get("episode", told.get("final_info", {}).get("episode"))[name][over] for told in episodes
                    ]
                    np.testing.assert_allclose(*got, rtol=1e-6)
            if mode == AutoresetMode.DISABLED:
                rows = [env.reset(options={"reset_mask": over})[0] for env in (ours, theirs)]
    for env in (ours, theirs):
        env.close()


def vectorized(mode: str, case: Case) -> None:
    """Gymnasium's own batches of single environments, in this process or others."""
    env = gymnasium.make_vec(case.id, num_envs=2, vectorization_mode=mode, **case.params)
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(STEPS + 5):
        row, *_ = env.step(env.action_space.sample())
        assert env.observation_space.contains(row)
    env.close()


def main() -> None:
    """Run all."""
    check = Checks("gymnasium")
    check("`check_env`", checker)
    check("specification to JSON and back", made_anew)
    check("`make(disable_env_checker=False)`, a walk", lambda case: walk(case.make(disable_env_checker=False)))
    check.each("wrappers of one environment", ((name, partial(wrapped, wrap)) for name, wrap in SINGLE.items()))
    check.each(
        "wrappers of one environment", ((name, partial(wrapped, wrap)) for name, wrap in SINGLE_BOX.items()), only="box"
    )
    picture = partial(wrapped, render_mode="rgb_array")
    check.each("wrappers that draw", ((name, partial(picture, wrap)) for name, wrap in PICTURES.items()))
    for mode in AutoresetMode:
        what = f"wrappers of a native batch, {mode.name}"
        check.each(what, ((name, partial(batched, wrap, mode)) for name, wrap in BATCH.items()))
        check.each(what, ((name, partial(batched, wrap, mode)) for name, wrap in BATCH_BOX.items()), only="box")
    check.each("`make_vec` over single ones", ((mode, partial(vectorized, mode)) for mode in ("sync", "async")))


if __name__ == "__main__":
    main()
