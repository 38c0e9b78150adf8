"""How familiar what is seen now is: its density under what was seen in training, ranked among rows kept out of it.

A mixture of diagonal Gaussians is fitted to training rows by expectation and maximisation (Dempster, Laird & Rubin,
1977). A row alone says little, so log densities are averaged over the last rows, the newest weighing most, before they
are ranked; the average of ranks would almost never be low.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from qframe_rl.types import Float

COMPONENTS, ROWS, DECAY, LEVEL = 8, 100, 0.95, 0.05
"""Gaussians; rows of an average, and the factor from one row's weight to the next older one's; share of usual rows that
are called strange. Fixed: what is tuned on alarms is no guard."""
_STEPS, _MOST, _LEAST = 40, 20_000, 1e-3
"""Iterations, rows that are fitted, and least variance as a part of the whole's."""


class Mixture(NamedTuple):
    """K diagonal Gaussians."""

    weight: Float
    """(K,)."""
    mean: Float
    """(K, F)."""
    variance: Float
    """(K, F)."""

    def log_density(self, rows: Float) -> Float:
        """(...) log densities of (..., F) rows."""
        joint = self._joint(rows)
        top = joint.max(axis=-1)
        return np.asarray(top + np.log(np.exp(joint - top[..., None]).sum(axis=-1)))

    def _joint(self, rows: Float) -> Float:
        """(..., K) log of each component's part of the density."""
        exact = 1.0 / self.variance
        # (x - m)² / v, summed, without an array of (..., K, F).
        far = rows**2 @ exact.T - 2.0 * rows @ (self.mean * exact).T + (self.mean**2 * exact).sum(axis=1)
        base = np.log(self.weight) - 0.5 * np.log(2.0 * np.pi * self.variance).sum(axis=1)
        return np.asarray(base - 0.5 * far)


def mixture(rows: Float, seed: int, n: int = COMPONENTS) -> Mixture:
    """Fit a mixture.

    Parameters
    ----------
    rows
        (N, F); evenly spaced ones of them where there are very many.
    seed
        Of the rows that means begin at.
    n
        K, at most N.
    """
    rows = rows[:: -(-len(rows) // _MOST)]
    n = min(n, len(rows))
    spread = rows.var(axis=0)
    floor = _LEAST * np.where(spread > 0.0, spread, 1.0)
    begin = np.random.default_rng(seed).choice(len(rows), n, replace=False)
    found = Mixture(np.full(n, 1.0 / n), rows[begin], np.tile(spread + floor, (n, 1)))
    for _ in range(_STEPS):
        joint = found._joint(rows)
        part = np.exp(joint - joint.max(axis=1, keepdims=True))
        part /= part.sum(axis=1, keepdims=True)
        mass = part.sum(axis=0) + 1e-9
        mean = part.T @ rows / mass[:, None]
        variance = part.T @ rows**2 / mass[:, None] - mean**2
        found = Mixture(mass / mass.sum(), mean, np.maximum(variance, floor))
    return found


def averaged(values: Float) -> Float:
    """(T - ROWS + 1, A) averages of (T, A) values over the last `ROWS` rows, the newest weighing most."""
    weight = DECAY ** np.arange(ROWS)
    weight /= weight.sum()
    n = len(values) - ROWS + 1
    out = np.zeros((n, values.shape[1]))
    for k in range(ROWS):
        out += weight[k] * values[ROWS - 1 - k : ROWS - 1 - k + n]
    return out


class Familiar:
    """Tells strange states from usual ones.

    Parameters
    ----------
    usual
        Density of training rows.
    least
        Average log density below which a state is strange.
    """

    def __init__(self, usual: Mixture, least: float):
        self.usual, self.least = usual, least

    @classmethod
    def fit(cls, learned: Float, kept: list[Float], seed: int) -> Familiar:
        """Fit the density to some rows and the rank to others.

        Parameters
        ----------
        learned
            (N, F) rows of training.
        kept
            Stretches (T, A, F) of rows in a row that were kept out; those shorter than `ROWS` do not count.
        seed
            As in `mixture`.

        Raises
        ------
        ValueError
            If no stretch is long enough.
        """
        usual = mixture(learned, seed)
        means = [averaged(usual.log_density(rows)).ravel() for rows in kept if len(rows) >= ROWS]
        if not means:
            raise ValueError(f"no stretch of {ROWS} rows was kept out of training")
        return cls(usual, float(np.quantile(np.concatenate(means), LEVEL)))

    def strange(self, rows: Float) -> Float:
        """(T - ROWS + 1, A) whether each average over (T, A, F) rows is lower than all but `LEVEL` of usual ones."""
        return np.asarray(averaged(self.usual.log_density(rows)) < self.least)

    def state(self) -> dict[str, Float]:
        """Arrays that `restored` makes it from."""
        return {**self.usual._asdict(), "least": np.array([self.least])}

    @classmethod
    def restored(cls, state: Mapping[str, Float]) -> Familiar:
        """Make it from its arrays."""
        return cls(Mixture(*(np.array(state[name]) for name in Mixture._fields)), float(state["least"][0]))
