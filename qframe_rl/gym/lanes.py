"""What every batch of episodes has: a seed of each, and an exact state that can be kept and gone back to.

A kept state names the market that it is of, by a digest of all that is walked and of every setting: in another market
of as many episodes its numbers would mean something else.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from operator import index
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from qframe_rl.config import Base, UserError
from qframe_rl.types import Bool

_MARKET = "market"
_PLAIN = (bool, int, float, str, bytes, type(None))


class Lanes(ABC):
    """B episodes side by side.

    What an episode lives through follows from its seed, its number and its actions, not from how many there are.
    """

    seed: NDArray[np.uint64]
    """(B,)."""
    episode: NDArray[np.uint64]
    """(B,) how many each has begun since it was seeded."""
    _digest: bytes = b""

    def seed_with(self, seed: int | Sequence[int], mask: Bool | None = None) -> None:
        """Give lane b the seed ``seed + b``, or each its own of (B,), and count episodes anew; the masked ones alone.

        Raises
        ------
        ValueError
            For another number of seeds.
        """
        which = slice(None) if mask is None else mask
        self.seed[which], self.episode[which] = seeds_of(seed, len(self.seed))[which], 0

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The exact state of every lane, and ``market``, (B, 32) the digest of what it is a state of."""
        return {name: array.copy() for name, array in self._kept().items()} | {_MARKET: self._market_rows()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Return to a snapshot: the same actions then give the same bits.

        Raises
        ------
        ValueError
            For a snapshot of another batch; nothing has changed then.
        UserError
            For one of another market: other bars or ticks, or other settings.
        """
        self._check(state)
        for name, array in self._kept().items():
            array[...] = state[name]

    def _check(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Refuse a state that is not of here."""
        own = self._market_rows()
        check_snapshot(self._kept() | {_MARKET: own}, state)
        if not np.array_equal(state[_MARKET], own):
            raise UserError(
                "this snapshot is of another market, of other data or settings; make the environment as it was when "
                "the snapshot was taken."
            )

    @abstractmethod
    def _kept(self) -> dict[str, NDArray[Any]]:
        """All that a snapshot holds, B rows each."""

    @abstractmethod
    def _market(self) -> tuple[object, ...]:
        """All that its numbers depend on, for `content`."""

    def _market_rows(self) -> NDArray[np.uint8]:
        if not self._digest:
            self._digest = content(type(self).__name__, *self._market())
        return np.tile(np.frombuffer(self._digest, np.uint8), (len(self.seed), 1))


def seeds_of(seed: int | Sequence[int], n_envs: int) -> NDArray[np.uint64]:
    """(B,) seeds: ``seed`` and the numbers after it, or B given ones; raises ValueError for another number of them."""
    if isinstance(seed, int | np.integer):
        return np.uint64(int(seed) % (1 << 64)) + np.arange(n_envs, dtype=np.uint64)
    if len(seed) != n_envs:
        raise ValueError(f"{len(seed)} seeds for {n_envs} environments")
    return np.array([index(one) % (1 << 64) for one in seed], dtype=np.uint64)


def seed_of_snapshot(state: Mapping[str, NDArray[Any]]) -> int | None:
    """The first lane's seed in a snapshot; None where no episode has begun, so that there is none to go on with."""
    return int(state["seed"][0]) if np.any(state["episode"]) else None


def check_snapshot(kept: Mapping[str, NDArray[Any]], state: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a snapshot that is not of the same arrays, with a ValueError."""
    for name, array in kept.items():
        if name not in state or np.shape(state[name]) != array.shape:
            found = np.shape(state[name]) if name in state else "nothing"
            raise ValueError(f"a snapshot of another batch: {name} is {found}, not {array.shape}")


def content(*parts: object) -> bytes:
    """SHA-256 of numbers, texts, arrays, spaces and records of them, to the last bit; of functions by their names.

    Raises
    ------
    TypeError
        For a thing of which is not known what it consists of.
    """
    found = hashlib.sha256()
    _put(found.update, parts)
    return found.digest()


def _put(put: Callable[[Any], None], thing: object) -> None:
    if isinstance(thing, np.ndarray):
        put(f"array {thing.dtype.str} {thing.shape}\n".encode())
        put(np.ascontiguousarray(thing).reshape(-1).view(np.uint8))
    elif isinstance(thing, (np.generic, *_PLAIN)):
        put(f"{thing.item() if isinstance(thing, np.generic) else thing!r}\n".encode())
    elif isinstance(thing, Base):
        put(f"{type(thing).__name__} {thing.model_dump_json()}\n".encode())
    elif isinstance(thing, spaces.Space):
        put(f"{thing!r}\n".encode())
    elif isinstance(thing, Mapping):
        _put(put, sorted(thing.items()))
    elif isinstance(thing, tuple | list):
        put(f"{type(thing).__name__} {len(thing)}\n".encode())
        for one in thing:
            _put(put, one)
    elif is_dataclass(thing) and not isinstance(thing, type):
        _put(put, [type(thing).__name__, *((one.name, getattr(thing, one.name)) for one in fields(thing))])
    elif callable(thing) and hasattr(thing, "__qualname__"):
        put(f"{thing.__module__}.{thing.__qualname__}\n".encode())
    else:
        raise TypeError(f"a {type(thing).__name__} has no digest: {thing!r}")
