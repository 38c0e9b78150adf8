"""What a market is worth to one who knows its parameters: a bound for one who does not.

A return is ``s m v + rho r + v z``: r the return before it, s = ±1 a regime that stays with a given probability and is
hidden even here (always 1 where it always stays), z standard normal, v the volatility. With parameters drawn from any
prior, the mean of what each market is worth by itself is more than any policy can earn that must find them out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.theory.beliefs import BeliefOptimum, BeliefPolicy, Candidates, Fineness, solve_beliefs
from qframe_rl.types import Float, Int

_FINENESS = Fineness(odds=0.6, tables=12)


class _Alike(NamedTuple):
    """Markets that are solved on the same grids."""

    rows: Int
    optimum: BeliefOptimum


class KnownMarkets:
    """The optimum of each of some markets.

    Parameters
    ----------
    markets
        (M, 5) autocorrelation, drift in volatilities, probability that the regime stays, volatility and cost of one
        unit of turnover. Rows may be equal; none is solved twice.
    risk
        What holding 1 or -1 through a step is charged for its risk, in volatilities.
    n_steps
        Decisions, 2 or more.
    settle
        Steps, if more, after which it is taken what one more adds.
    """

    def __init__(self, markets: Float, risk: float, n_steps: int, settle: int = 0):
        found, self._row = np.unique(markets, axis=0, return_inverse=True)
        self._row = self._row.reshape(-1)
        self._volatility = found[:, 3]
        kinds = np.stack([found[:, 0] != 0.0, found[:, 2] < 1.0], axis=1)
        self._alike = [
            _Alike(rows, solve_beliefs(_candidates(found[rows], risk), n_steps, _FINENESS, settle))
            for kind in np.unique(kinds, axis=0)
            for rows in [np.flatnonzero((kinds == kind).all(axis=1))]
        ]

    @property
    def total(self) -> Float:
        """(M,) expected sum of rewards over the steps, from holding nothing after a return of 0."""
        return self._of_each([one.optimum.total for one in self._alike])

    @property
    def growth(self) -> Float:
        """(M,) what one step more would add."""
        return self._of_each([one.optimum.growth for one in self._alike])

    def _of_each(self, parts: list[Float]) -> Float:
        values = np.zeros(len(self._volatility))
        for one, part in zip(self._alike, parts, strict=True):
            values[one.rows] = part
        return np.asarray((values * self._volatility)[self._row])

    def policy(self) -> KnownPolicy:
        """The optimal policy of M episodes that begin together, one in each market."""
        place = np.zeros((len(self._volatility), 2), dtype=np.int64)
        for k, one in enumerate(self._alike):
            place[one.rows] = np.stack([np.full(len(one.rows), k), np.arange(len(one.rows))], axis=1)
        kind, which = place[self._row].T
        parts = [np.flatnonzero(kind == k) for k in range(len(self._alike))]
        made = [BeliefPolicy(a.optimum, which[rows].copy()) for a, rows in zip(self._alike, parts, strict=True)]
        return KnownPolicy(parts, made)


class KnownPolicy:
    """The optimal policies of episodes in different known markets.

    Parameters
    ----------
    rows
        For each policy the episodes that it acts in.
    policies
        The policies.
    """

    def __init__(self, rows: list[Int], policies: list[BeliefPolicy]):
        self._parts = list(zip(rows, policies, strict=True))

    def act(self, seen: Float, held: Float) -> Int:
        """(B,) positions, see `BeliefPolicy.act`."""
        found = np.zeros(len(seen), dtype=np.int64)
        for rows, policy in self._parts:
            found[rows] = policy.act(seen[rows], held[rows])
        return found


def _candidates(markets: Float, risk: float) -> Candidates:
    """Each market as the only thing that it may be: one model, or two that change places."""
    rho, drift, stay, volatility, cost = markets.T
    switches = (stay < 1.0)[:, None]
    weight = np.where(switches, [0.5, 0.5, 0.0], [1.0, 0.0, 0.0])
    both = np.stack([drift, -drift, 0.0 * drift], axis=1)
    return Candidates(
        weight, np.repeat(rho[:, None], 3, axis=1), both, stay, cost / volatility, np.full(len(markets), risk)
    )
