"""Random messages round a price that walks."""

from __future__ import annotations

import numpy as np

from qframe_rl.book import state as s
from qframe_rl.types import Int


def drawn(seed: int, n: int, reach: int = 12, owners: int = 6, drift: float = 0.02) -> Int:
    """(n, 6) messages: orders of every kind near a price that walks, and cancels and resizes of recent ids."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(
        [s.LIMIT, s.POST_ONLY, s.IOC, s.FOK, s.MARKET, s.CANCEL, s.RESIZE], n,
        p=[0.42, 0.06, 0.05, 0.04, 0.05, 0.3, 0.08],
    )  # fmt: skip
    made = np.zeros((n, s.N_MESSAGE), np.int64)
    middle = 10_000 + np.cumsum(rng.choice([-1, 0, 1], n, p=[drift, 1 - 2 * drift, drift]))
    made[:, s.KIND], made[:, s.SIDE] = kinds, rng.integers(2, size=n)
    made[:, s.TICK] = middle + rng.integers(-reach, reach + 1, n)
    made[:, s.LOTS], made[:, s.OWNER] = rng.integers(1, 30, n), rng.integers(owners, size=n)
    made[:, s.ID] = np.arange(n)
    named = kinds >= s.CANCEL
    back = rng.integers(1, 60, n)
    made[named, s.ID] = np.maximum(np.arange(n) - back, 0)[named]
    again = rng.random(n) < 0.01  # an id that may rest already
    made[again, s.ID] = np.maximum(np.arange(n) - back, 0)[again]
    return made
