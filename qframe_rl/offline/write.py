"""A Minari dataset as it is written: beside its place first, and there in one stroke when it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from qframe_rl.config import UserError
from qframe_rl.offline.dataset import library
from qframe_rl.types import Bool, Float

_TOGETHER = 64
"""Episodes that are written at once."""


class Episode(NamedTuple):
    """One episode of T steps, as Minari has it."""

    seed: int
    options: dict[str, Any] | None
    """``env.reset(seed=seed, options=options)`` begins it again."""
    observations: NDArray[Any]
    """(T + 1, n)."""
    actions: NDArray[Any]
    """(T, ...)."""
    rewards: Float
    """(T,)."""
    terminations: Bool
    """(T,)."""
    truncations: Bool
    """(T,); the last episode of a dataset may be cut off where enough was collected."""

    def until(self, n_steps: int) -> Episode:
        """The first steps of it, cut off; the whole where it is not longer."""
        if n_steps >= len(self.rewards):
            return self
        cut = self.truncations[:n_steps].copy()
        cut[-1] = True
        return self._replace(
            observations=self.observations[: n_steps + 1], actions=self.actions[:n_steps],
            rewards=self.rewards[:n_steps], terminations=self.terminations[:n_steps], truncations=cut,
        )  # fmt: skip


def place_of(dataset_id: str) -> Path:
    """Folder of a dataset among the user's (``MINARI_DATASETS_PATH``, or ``~/.minari/datasets``).

    Raises
    ------
    UserError
        If the library is missing, or the id is none.
    """
    library()
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage.datasets_root_dir import get_dataset_path

    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError):
        raise UserError(
            f"--id {dataset_id!r} is no id of a Minari dataset: letters, digits, - and _, with folders before it and "
            "a version at its end, such as qframe/ar1_signal/medium-v0."
        ) from None
    return Path(get_dataset_path(dataset_id))


def write_dataset(
    dataset_id: str,
    env: gymnasium.Env[Any, Any],
    episodes: Iterable[Episode],
    described: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write a dataset, whole or not at all.

    Parameters
    ----------
    dataset_id
        Minari's id of it.
    env
        The environment, whose specification and spaces are kept.
    episodes
        As they are lived; each is written when it comes.
    described
        What stands beside the steps, in Minari's words where it has some.
    overwrite
        Put it in the place of one of that id.

    Returns
    -------
    Path
        Its folder.

    Raises
    ------
    UserError
        If there is one of that id, the id is none, or the environment cannot be made again from its specification.
    """
    place = place_of(dataset_id)
    from minari.data_collector.episode_buffer import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    if place.exists() and not overwrite:
        raise UserError(f"there is a dataset {dataset_id} in {place}; give another --id, or --overwrite.")
    spec = _portable(env.spec, dataset_id)
    root = _namespaced(dataset_id)
    fresh = root / f".{dataset_id.replace('/', '-')}.{os.getpid()}"
    old = fresh.with_name(f"{fresh.name}.old")
    shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "data").mkdir(parents=True)
    try:
        storage = MinariStorage.new(fresh / "data", env.observation_space, env.action_space, spec)
        waiting: list[Any] = []
        for episode in episodes:
            waiting.append(EpisodeBuffer(**{k: v for k, v in episode._asdict().items() if v is not None}))
            if len(waiting) == _TOGETHER:
                storage.update_episodes(waiting)
                waiting = []
        storage.update_episodes(waiting)
        storage.update_metadata({"dataset_id": dataset_id, "minari_version": version("minari"), **described})
        if place.exists():
            place.rename(old)
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(place)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return place


def _portable(spec: EnvSpec | None, dataset_id: str) -> EnvSpec:
    try:
        assert spec is not None
        spec.to_json()
    except (AssertionError, TypeError, ValueError):
        raise UserError(
            f"dataset {dataset_id}: the environment cannot be made again from its specification; hand bars over as a "
            "recipe, see docs/environments.md."
        ) from None
    return spec


def _namespaced(dataset_id: str) -> Path:
    """The root of all datasets, the folders of this one's names known to Minari."""
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.namespace import create_namespace, list_local_namespaces
    from minari.storage.datasets_root_dir import get_dataset_path

    root = Path(get_dataset_path())
    root.mkdir(parents=True, exist_ok=True)
    space = parse_dataset_id(dataset_id)[0]
    if space is not None and space not in list_local_namespaces():
        create_namespace(space)
    return root
