"""A Minari dataset as it is found: what environment it came from, its steps as arrays, and a digest of its content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from qframe_rl.agent import Transitions
from qframe_rl.config import UserError, nearest, shortened

_METADATA = "metadata.json"
HISTORY, KNOWN_UNTIL = "history", "known_until"
"""What a dataset of a market says beside Minari's own words: fingerprints of its bars, and the close, ns UTC, of the
last bar that anybody who walked had learned from."""


@dataclass(frozen=True)
class OfflineDataset:
    """A dataset under a name; what is in it is read when it is asked for."""

    name: str
    """Id or folder, as it was asked for."""
    data: Any
    """The `minari.MinariDataset`."""

    @property
    def spec(self) -> EnvSpec | None:
        """The environment that it came from; None where it does not say."""
        found: EnvSpec | None = self.data.env_spec
        return found

    @property
    def spaces(self) -> tuple[gymnasium.Space[Any], gymnasium.Space[Any]]:
        """Of observations and actions."""
        return self.data.observation_space, self.data.action_space

    @property
    def metadata(self) -> dict[str, Any]:
        """What stands beside the steps."""
        found: dict[str, Any] = self.data.storage.metadata
        return found

    @cached_property
    def transitions(self) -> Transitions:
        """All steps.

        Raises
        ------
        UserError
            If observations are no flat rows of numbers, an episode is torn, or a number is not finite.
        """
        parts: list[tuple[Any, ...]] = []
        for episode in self.data.iterate_episodes():
            seen = np.asarray(episode.observations)
            actions, rewards = np.asarray(episode.actions), np.asarray(episode.rewards, dtype=np.float64)
            ended = np.asarray(episode.terminations, dtype=np.bool_)
            if seen.ndim != 2 or not len(seen) - 1 == len(actions) == len(rewards) == len(ended) > 0:
                raise UserError(
                    f"dataset {self.name}: episode {episode.id} does not have one flat observation more than actions, "
                    "rewards and ends; collect it anew."
                )
            parts.append((seen[:-1], actions, rewards, seen[1:], ended))
        if not parts:
            raise UserError(f"dataset {self.name} has no episode; collect it anew.")
        found = Transitions(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        if not (np.isfinite(found.rewards).all() and np.isfinite(found.observations).all()):
            raise UserError(f"dataset {self.name} has numbers that are not finite; collect it anew.")
        return found

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the environment's specification, the spaces and every step, wherever the dataset lies."""
        found = hashlib.sha256(repr((None if self.spec is None else self.spec.to_json(), self.spaces)).encode())
        for field in self.transitions:
            found.update(f"{field.dtype.str}{field.shape}".encode())
            found.update(np.ascontiguousarray(field).tobytes())
        return found.hexdigest()


def open_dataset(name: str) -> OfflineDataset:
    """Find a dataset by its folder, or by its id among the user's (``MINARI_DATASETS_PATH``, or ``~/.minari``).

    Raises
    ------
    UserError
        If the library is missing, or there is no such dataset, or it is broken.
    """
    minari = library()
    place = Path(name).expanduser()
    folder = next((one for one in (place, place / "data") if (one / _METADATA).is_file()), None)
    try:
        return OfflineDataset(name, minari.load_dataset(name) if folder is None else minari.MinariDataset(folder))
    except FileNotFoundError:
        known = minari.list_local_datasets()
        raise UserError(
            f"dataset {name!r}: there is no folder of that name and no Minari dataset of that id"
            f"{nearest(name, known) if known else '; write one with python -m experiments.collect.'}"
        ) from None
    except (AttributeError, ValueError, KeyError, AssertionError, TypeError, OSError) as error:
        raise UserError(f"dataset {name!r} cannot be read: {shortened(str(error) or type(error).__name__)}.") from None


def library() -> Any:
    """The library Minari.

    Raises
    ------
    UserError
        If it is not installed.
    """
    try:
        import h5py  # noqa: F401
        import minari
    except ImportError:
        raise UserError("Minari datasets need the library minari: pip install 'qframe-rl[offline]'.") from None
    return minari


def dataset_digest(name: str) -> str:
    """Digest of a dataset's content, see `OfflineDataset.digest`; read anew only where its files have changed.

    Raises
    ------
    UserError
        As `open_dataset`, and as its `OfflineDataset.transitions`.
    """
    found = open_dataset(name)
    place = Path(found.data.storage.data_path)
    files = sorted(path for path in place.rglob("*") if path.is_file())
    return _digest(name, tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files))


@lru_cache(maxsize=64)
def _digest(name: str, files: tuple[tuple[str, int, int], ...]) -> str:
    return open_dataset(name).digest


def plain_kwargs(spec: EnvSpec) -> dict[str, Any]:
    """Arguments of an environment as its specification has them in a file, lists for tuples."""
    found: dict[str, Any] = json.loads(spec.to_json())["kwargs"]
    return found


def flat(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Observations as networks take them."""
    return np.ascontiguousarray(rows, dtype=np.float32)
