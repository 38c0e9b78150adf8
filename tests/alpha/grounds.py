"""Grounds for searches: hours of several instruments, in which something may be planted."""

from __future__ import annotations

import numpy as np

from qframe_rl.alpha.ground import Ground
from qframe_rl.alpha.panel import Evaluator
from qframe_rl.alpha.parser import parse
from qframe_rl.alpha.score import standing
from qframe_rl.types import CLOSE, HOUR, OPEN, Float
from tests.alpha.draws import bars


def planted(
    text: str = "", n_rows: int = 400, n: int = 10, seed: int = 0, strength: float = 0.3, stop: int | None = None,
    n_ahead: int = 1, leads: bool = False,
) -> Ground:  # fmt: skip
    """A clean panel; what the formula says moves each instrument between the next two opens."""
    values, times = bars(n_rows, n, seed, clean=True)
    values = values[:, :, :5].copy()
    members = np.ones(values.shape[:2], dtype=np.bool_)
    if text:
        says = Evaluator(values, times, HOUR, members=members).value(parse(text))
        stand = np.nan_to_num(standing(says, members) if n >= 8 else np.tanh(says))
        noise = np.random.default_rng(seed + 1).standard_normal(stand.shape)
        moved = np.exp(0.02 * (strength * stand[:-2] + noise[:-2]))
        values[2:, :, OPEN] = values[1, :, OPEN] * np.cumprod(moved, axis=0)
    return Ground(values, times, HOUR, (), members, n_ahead, 0.0005, 0, n_rows if stop is None else stop, leads=leads)


def plain_moves(ground: Ground) -> Float:
    """Returns from the next open to the one after, (N, A), from the words of the definition."""
    out = np.zeros(ground.seen.shape)
    for t in range(ground.start, ground.stop - 2):
        for a in range(out.shape[1]):
            bought, sold = ground.bars[t + 1, a, OPEN], ground.bars[t + 2, a, OPEN]
            paid = 0.0 if ground.funding is None else ground.funding[t + 2, a] * ground.bars[t + 1, a, CLOSE] / bought
            out[t - ground.start, a] = sold / bought - 1.0 - paid
    return out
