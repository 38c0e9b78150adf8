"""Random formulas, and panels with all that real ones have: missing bars, gaps in time, infinities, flat stretches."""

from __future__ import annotations

import numpy as np

from qframe_rl.alpha.grammar import Vocabulary
from qframe_rl.alpha.tree import Formula
from qframe_rl.types import HOUR, Float, Int

COLUMNS = ("signal",)


def formula(vocabulary: Vocabulary, rng: np.random.Generator) -> Formula:
    """A formula, token by token, each of those that may come as likely as any."""
    draft = vocabulary.begin()
    while draft.formula is None:
        may = np.flatnonzero(draft.mask())
        assert len(may), f"a dead end after {draft.stack}"
        draft = draft.push(int(rng.choice(may)))
    return draft.formula


def bars(n_rows: int, n: int, seed: int, *, clean: bool = False) -> tuple[Float, Int]:
    """Channels (T, A, 6) and closes (T,): hours, some of which are not there."""
    rng = np.random.default_rng(seed)
    close = 10.0 ** rng.uniform(-5, 4, n) * np.exp(np.cumsum(0.02 * rng.standard_normal((n_rows, n)), axis=0))
    values = np.empty((n_rows, n, 6))
    values[:, :, 0] = close * np.exp(0.003 * rng.standard_normal((n_rows, n)))
    values[:, :, 3] = close
    values[:, :, 1] = values[:, :, [0, 3]].max(axis=2) * (1.0 + 0.01 * rng.random((n_rows, n)))
    values[:, :, 2] = values[:, :, [0, 3]].min(axis=2) * (1.0 - 0.01 * rng.random((n_rows, n)))
    values[:, :, 4] = 10.0 ** rng.uniform(0, 6, n) * np.exp(rng.standard_normal((n_rows, n)))
    values[:, :, 5] = np.round(rng.standard_normal((n_rows, n)), 1)
    slots = 473_000 + np.arange(n_rows)
    if not clean:
        values[rng.random((n_rows, n)) < 0.004] = np.nan
        values[rng.random((n_rows, n)) < 0.002, 5] = np.inf
        values[n_rows // 2 : n_rows // 2 + 25, 0, :4] = values[n_rows // 2, 0, 3]
        values[rng.random((n_rows, n)) < 0.01, 4] = 0.0
        if n > 2:
            values[: n_rows // 4, 1] = np.nan
            values[-n_rows // 4 :, 2] = np.nan
        slots = np.sort(rng.choice(slots[0] + np.arange(n_rows + n_rows // 50), n_rows, replace=False))
        slots[n_rows // 3 :] += 13
        slots[2 * n_rows // 3 :] += 700
    return values, (slots * HOUR).astype(np.int64)
