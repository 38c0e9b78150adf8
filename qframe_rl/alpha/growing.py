"""A pool that grows by what each formula adds to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from qframe_rl.alpha.ground import N_PERIODS, Ground
from qframe_rl.alpha.judged import OnGround
from qframe_rl.alpha.net import held_book
from qframe_rl.alpha.operators import LEAST_MEMBERS
from qframe_rl.alpha.pool import MOST_ALIKE, Weighing, ensemble_ic, weights
from qframe_rl.alpha.said import spoken
from qframe_rl.alpha.score import correlation
from qframe_rl.alpha.tree import Formula
from qframe_rl.jit import compiled
from qframe_rl.types import Float, Int

Mode = Literal["net", "ic"]
"""What a pool is judged by: the net Sharpe ratio of its book per bar, or its IC."""
MOST_MEMBERS = 10


class PoolMember(NamedTuple):
    """A formula of a pool."""

    tree: Formula
    ic: float
    """Mean IC on the ground."""
    ics: Float
    """(N_PERIODS,) of the ground's parts; 0 where a part has no date of it."""
    slot: int
    """Where what it says lies in memory."""


class GrowingPool:
    """Formulas that are judged together, J = mean - deviation / 2 over the parts of a ground.

    A formula comes in if J is higher with it: with those of the pool that it is like (a size of correlation above 0.7)
    put out for it, and, where there are too many then, without the one that J misses least.

    Parameters
    ----------
    ground
        The rows.
    mode
        ``net``: J of the net Sharpe ratios per bar of the pool's book; ``ic``: of its ICs, w'g / sqrt(w'Mw).
    weighing
        How formulas are weighed.
    most
        Most formulas.
    """

    def __init__(self, ground: Ground, mode: Mode = "net", weighing: Weighing = "ridge", most: int = MOST_MEMBERS):
        self.ground, self.mode, self.weighing, self.most = ground, mode, weighing, most
        n = most + 1
        self._said = np.empty((n, *ground.seen.shape))
        self._alike = np.zeros((n, n, N_PERIODS + 1))
        self._alike[range(n), range(n)] = 1.0
        self.members: list[PoolMember] = []
        self.value = 0.0
        """J of the pool; 0 of an empty one, which trades nothing."""

    @property
    def weights(self) -> Float:
        """(K,) of its formulas."""
        return self._weights(self.members)

    @property
    def ic(self) -> float:
        """IC of the whole, w'g / sqrt(w'Mw)."""
        if not self.members:
            return 0.0
        return ensemble_ic(self._matrix(self.members)[..., -1], _ics(self.members), self.weights)

    def alone(self, tree: Formula, found: OnGround) -> float:
        """J of one formula by itself."""
        return self._judge([self._taken(tree, found)])

    def offer(self, tree: Formula, found: OnGround) -> float | None:
        """Take a formula in if J is higher with it.

        Parameters
        ----------
        tree
            The formula.
        found
            What it is on the ground; it counts there.

        Returns
        -------
        float | None
            By how much J is higher; None where it does not come in.
        """
        new = self._taken(tree, found)
        for other in self.members:
            self._compare(new.slot, other.slot)
        alike = np.abs(self._alike[new.slot, [m.slot for m in self.members], -1]) > MOST_ALIKE
        together = [m for m, twin in zip(self.members, alike, strict=True) if not twin] + [new]
        value = self._judge(together)
        if value > self.value and len(together) > self.most:
            value, together = self._without_one(together)
        if value <= self.value or together[-1] is not new:
            return None
        gain, self.value, self.members = value - self.value, value, together
        return gain

    def include(self, tree: Formula, found: OnGround) -> None:
        """Take a formula in, whatever it adds; there is room for it."""
        new = self._taken(tree, found)
        for other in self.members:
            self._compare(new.slot, other.slot)
        self.members = [*self.members, new]
        self.value = self._judge(self.members)

    def _without_one(self, members: Sequence[PoolMember]) -> tuple[float, list[PoolMember]]:
        ways = [[*members[:k], *members[k + 1 :]] for k in range(len(members))]
        values = [self._judge(way) for way in ways]
        best = int(np.argmax(values))
        return values[best], ways[best]

    def _taken(self, tree: Formula, found: OnGround) -> PoolMember:
        """The formula in a slot that no member has."""
        slot = min(set(range(len(self._said))) - {m.slot for m in self.members})
        self._said[slot] = found.stand
        parts = [found.ics[a:b] for a, b in zip(self.ground.bounds[:-1], self.ground.bounds[1:], strict=True)]
        ics = np.array([float(np.nanmean(part)) if np.isfinite(part).any() else 0.0 for part in parts])
        return PoolMember(tree, found.ic, ics, slot)

    def _compare(self, i: int, j: int) -> None:
        out = np.empty((N_PERIODS, 2))
        compare = _alike_rows if self.ground.crosses else _alike_through_time
        compare(self._said[i], self._said[j], self.ground.bounds, out)
        total, rows = out.T
        parts = np.where(rows > 0.0, total / np.maximum(rows, 1e-300), 0.0)
        whole = float(total.sum() / rows.sum()) if rows.sum() > 0.0 else 0.0
        self._alike[i, j, :-1] = self._alike[j, i, :-1] = parts
        self._alike[i, j, -1] = self._alike[j, i, -1] = whole

    def _matrix(self, members: Sequence[PoolMember]) -> Float:
        slots = [m.slot for m in members]
        return np.asarray(self._alike[np.ix_(slots, slots)])

    def _weights(self, members: Sequence[PoolMember]) -> Float:
        return weights(self._matrix(members)[..., -1], _ics(members), weighing=self.weighing)

    def _judge(self, members: Sequence[PoolMember]) -> float:
        weight = self._weights(members)
        if self.mode == "net":
            return steady(self._sharpes(members, weight))
        alike = self._matrix(members)
        each = np.array([m.ics for m in members])
        return steady(np.array([ensemble_ic(alike[..., p], each[:, p], weight) for p in range(N_PERIODS)]))

    def _sharpes(self, members: Sequence[PoolMember], weight: Float) -> Float:
        total = np.empty(self._said.shape[1:])
        blend(self._said, np.array([m.slot for m in members], dtype=np.int64), weight, total)
        return sharpes(spoken(total, weight, self.ground.seen), self.ground)


def sharpes(says: Float, ground: Ground) -> Float:
    """Net Sharpe ratios per bar of the book of what is said (N, A), in each part of a ground (N_PERIODS,)."""
    returns = held_book(says, ground.followed.moves, ground.n_ahead, ground.cost).returns
    found = np.zeros(N_PERIODS)
    for p, (a, b) in enumerate(zip(ground.bounds[:-1], ground.bounds[1:], strict=True)):
        spread = float(returns[a:b].std(ddof=1))
        found[p] = float(returns[a:b].mean()) / spread if spread > 0.0 else 0.0
    return found


def steady(parts: Float) -> float:
    """J of (P,) parts: their mean less half of their deviation (n - 1)."""
    return float(parts.mean() - 0.5 * parts.std(ddof=1))


def _ics(members: Sequence[PoolMember]) -> Float:
    return np.array([m.ic for m in members])


@compiled
def blend(said: Float, slots: Int, weight: Float, out: Float) -> None:
    """Write the weighted sum of what formulas say, as `qframe_rl.alpha.pool.combined` has it.

    Parameters
    ----------
    said
        (S, N, A) what each says.
    slots
        (K,) which of them.
    weight
        (K,) theirs.
    out
        (N, A) written.
    """
    for t in range(out.shape[0]):
        for a in range(out.shape[1]):
            total, seen = 0.0, False
            for k in range(len(slots)):
                v = said[slots[k], t, a]
                total += weight[k] * v if v == v else 0.0
                seen = seen or v == v
            out[t, a] = total if seen else math.nan


@compiled
def _alike_rows(one: Float, other: Float, bounds: Int, out: Float) -> None:
    """Write of each part (P, 2) the sum over rows of the correlation among instruments, and how many rows count.

    As `qframe_rl.alpha.pool.mutual`. What is said has mean 0 and deviation 1, or is 0, over the cells that have it: so
    where both have the same cells the mean of products is the correlation.
    """
    for p in range(len(out)):
        total, rows = 0.0, 0
        for t in range(bounds[p], bounds[p + 1]):
            n, n_one, n_other, xy = 0, 0, 0, 0.0
            for a in range(one.shape[1]):
                product = one[t, a] * other[t, a]
                n += product == product
                n_one += one[t, a] == one[t, a]
                n_other += other[t, a] == other[t, a]
                xy += product if product == product else 0.0
            rows += n > 0
            if n >= LEAST_MEMBERS:
                total += xy / n if n == n_one and n == n_other else correlation(one[t], other[t], n)
        out[p, 0], out[p, 1] = total, rows


@compiled
def _alike_through_time(one: Float, other: Float, bounds: Int, out: Float) -> None:
    """Write of each part (P, 2) the sum of products over cells, and the root of the product of their squares' sums."""
    for p in range(len(out)):
        xx, yy, xy = 0.0, 0.0, 0.0
        for t in range(bounds[p], bounds[p + 1]):
            for a in range(one.shape[1]):
                both = one[t, a] == one[t, a] and other[t, a] == other[t, a]
                xx += one[t, a] * one[t, a] if both else 0.0
                yy += other[t, a] * other[t, a] if both else 0.0
                xy += one[t, a] * other[t, a] if both else 0.0
        out[p, 0], out[p, 1] = xy, math.sqrt(xx) * math.sqrt(yy)
