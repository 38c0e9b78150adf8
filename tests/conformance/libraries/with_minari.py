"""Minari: a data set is collected, found again, and its environment is made anew from the specification in it."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import gymnasium
import minari
import numpy as np

from tests.conformance.libraries.rows import STEPS, Case, Checks


def collected(case: Case, name: str, **options: Any) -> minari.MinariDataset:
    """Three episodes of chance."""
    env = minari.DataCollector(case.make(), **options)
    env.action_space.seed(0)
    for seed in range(3):
        env.reset(seed=seed)
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            over = terminated or truncated
    env.create_dataset(f"conformance/{name}-v0", algorithm_name="chance", author="qframe", eval_env=None)
    env.close()
    return minari.load_dataset(f"conformance/{name}-v0")


def collect(case: Case) -> None:
    """What was seen is what lies in the data set, with what ``info`` held."""
    data = collected(case, f"seen-{case.name[:-3].lower()}", record_infos=True)
    assert data.total_episodes == 3
    env = case.make()
    for seed, episode in enumerate(data.iterate_episodes()):
        row, _ = env.reset(seed=seed)
        assert np.array_equal(row, episode.observations[0])
        for action, reward in zip(episode.actions, episode.rewards, strict=True):
            assert env.step(action)[1] == reward
        assert len(episode.actions) <= STEPS


def recovered(case: Case) -> None:
    """The environment of a data set is the one that it came from."""
    data = collected(case, f"again-{case.name[:-3].lower()}")
    for env in (data.recover_environment(), data.recover_environment(eval_env=True)):
        assert isinstance(env, gymnasium.Env)
        for seed, episode in enumerate(data.iterate_episodes()):
            rows = [env.reset(seed=seed)[0], *(env.step(action)[0] for action in episode.actions)]
            assert np.array_equal(rows, episode.observations)


def main() -> None:
    """Run all."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["MINARI_DATASETS_PATH"] = place
        check = Checks("minari")
        check("`DataCollector(record_infos=True)`, `load_dataset`", collect)
        check("`recover_environment`, for `history=` a recipe", recovered)


if __name__ == "__main__":
    main()
