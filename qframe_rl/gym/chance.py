"""Random numbers that depend on a seed, an episode and a step, and on nothing else: not on the size of a batch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Bool, Float, Int

Words = NDArray[np.uint64]


@inlined
def _scrambled(z: np.uint64) -> np.uint64:
    """Finaliser of SplitMix64 (Steele, Lea & Flood, Fast splittable pseudorandom number generators, 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inlined
def normal(u: float, v: float) -> float:
    """A standard normal number from two uniform ones (Box & Muller, 1958)."""
    return math.sqrt(-2.0 * math.log(u)) * math.cos(2.0 * math.pi * v)


@compiled
def draw(active: Bool, seed: Words, episode: Words, step: Int, out: Float) -> None:
    """Write the uniform numbers in (0, 1) of the step that each active environment is at.

    An episode's key is a hash of its seed and number; its numbers are the SplitMix64 stream that starts at the key.

    Parameters
    ----------
    active
        (B,) whose numbers are wanted; rows of others are left alone.
    seed, episode
        (B,) seed of each environment and number of its episode.
    step
        (B,) number of its step in the episode.
    out
        (B, D) written.
    """
    n = out.shape[1]
    golden = np.uint64(0x9E3779B97F4A7C15)
    for b in range(len(active)):
        if active[b]:
            key = _scrambled(_scrambled(seed[b] + golden) ^ (episode[b] * np.uint64(0xD1342543DE82EF95)))
            for d in range(n):
                count = np.uint64(step[b] * n + d + 1)
                word = _scrambled(key + count * golden)
                out[b, d] = (np.float64(word >> np.uint64(11)) + 0.5) * 2.0**-53
