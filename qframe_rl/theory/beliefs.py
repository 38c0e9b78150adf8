"""Trading a market of which only a short list of candidates is known: exact, by dynamic programming over beliefs.

A return is ``r' = drift_c + rho_c r + z`` under the candidate c that is in force, z standard normal. What is known is
the probability of each candidate before the first return; after each return it follows from Bayes' rule. Belief and
last return are the state of a decision problem without hidden parts, whose optimum is that of the market that is not
known (Duff, Optimal learning: computational procedures for Bayes-adaptive Markov decision processes, 2002). Held for a
step, -1, 0 or 1 earns itself times the return less a charge for its risk; a unit of turnover costs c. Returns do not
depend on what is held, so nothing is to be gained by a trade that only explores.

At most three candidates: the first two may change places from step to step (two regimes), or never do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.theory.belief_steps import Table, backward, learn, lookup
from qframe_rl.types import Float, Int

_OUTSIDE = 5.0
"""Returns are followed so many standard deviations from their mean."""
_SELDOM = 1e-9
"""Probability at a node below which a next return is left out."""
_OFFSETS = (0.0, 0.5, 0.25, 0.75, 0.125, 0.625, 0.375, 0.875)
"""Where the next returns of successive steps lie between the nodes, in steps of the grid: a value has kinks in them, at
which a sum over evenly spaced points errs; over these its errors cancel."""


class Candidates(NamedTuple):
    """What M markets may be; all numbers in units of the noise of a return."""

    weight: Float
    """(M, 3) probability of each candidate before the first return; 0 = there is none."""
    rho: Float
    """(M, 3) autocorrelation, in (-1, 1)."""
    drift: Float
    """(M, 3) expected return after a return of 0."""
    stay: Float
    """(M,) probability that the first two do not change places in a step; 1 = they never do."""
    cost: Float
    """(M,) cost of one unit of turnover."""
    risk: Float
    """(M,) what holding 1 or -1 through a step is charged for its risk."""


def listed(points: Float, cost: float, risk: float = 0.0) -> Candidates | None:
    """What one market of a short list may be.

    Parameters
    ----------
    points
        (K, 4) share, autocorrelation, drift in units of the noise, and probability that the sign of the drift stays.
    cost, risk
        Of one unit of turnover, and of holding one through a step, in units of the noise.

    Returns
    -------
    Candidates | None
        None where the list is longer than three, one with a drift whose sign changes counting as two.
    """
    switching, steady = points[points[:, 3] < 1.0], points[points[:, 3] == 1.0]
    if len(switching) > 1 or not 0 < len(steady) + 2 * len(switching) <= 3:
        return None
    rows = [(0.5 * share, rho, side * drift) for share, rho, drift, _ in switching for side in (1.0, -1.0)]
    rows += [(share, rho, drift) for share, rho, drift, _ in steady]
    weight, rho, drift = np.array([*rows, *[(0.0, 0.0, 0.0)] * (3 - len(rows))]).T[:, None]
    stay = switching[:, 3] if len(switching) else np.ones(1)
    return Candidates(weight / weight.sum(), rho, drift, stay, np.array([cost]), np.array([risk]))


class Fineness(NamedTuple):
    """How closely the grids lie."""

    returns: float = 0.5
    """Step of the last return, in units of the noise, where it matters and where it only moves the belief."""
    odds: float = 0.4
    """Step of the log-odds of a belief."""
    reach: float = 9.0
    """Largest log-odds at least; beyond them lies the node of certainty."""
    tables: int = 48
    """All of the last so many decisions have a table of their own; of earlier ones, about so many in each e-fold."""


FINE = Fineness()


class Grids(NamedTuple):
    """Nodes of the state."""

    node: Float
    """(X,) last returns; a single one where it does not matter."""
    pair: Float
    """(Q,) probability of the first of the first two candidates, given that it is one of them."""
    joint: Float
    """(P,) probability of the first two together."""


class BeliefOptimum(NamedTuple):
    """The optimum of M markets over some steps, from holding nothing after a return of 0."""

    candidates: Candidates
    grids: Grids
    total: Float
    """(M,) expected sum of rewards, in units of the noise."""
    growth: Float
    """(M,) what one step more would add."""
    to_come: Int
    """(K,) numbers of steps after a decision for which there is a table, rising."""
    table: Table
    """(M, K, 2, X, Q, P) what the steps after it are worth, held 1 instead of 0, and held 0 instead of -1."""
    n_steps: int
    """Steps that were counted."""


def solve_beliefs(candidates: Candidates, n_steps: int, fineness: Fineness = FINE, settle: int = 0) -> BeliefOptimum:
    """Solve markets that are not known.

    Parameters
    ----------
    candidates
        What they may be. Grids are laid for all of them, so markets that are alike belong together.
    n_steps
        Decisions, 2 or more.
    fineness
        How closely the grids lie.
    settle
        Steps, if more than ``n_steps``, after which it is taken what one more adds.

    Returns
    -------
    BeliefOptimum
        The optimum.
    """
    grids = _grids(candidates, fineness)
    to_come = _kept(n_steps, fineness.tables)
    shape = (len(grids.node), len(grids.pair), len(grids.joint))
    table = np.zeros((len(candidates.cost), len(to_come), 2, *shape), dtype=np.float32)
    n_all = max(n_steps, settle)
    worth = np.array([_solve_one(candidates, m, grids, to_come, table[m], n_all, fineness) for m in range(len(table))])
    back = min(len(_OFFSETS), n_all - 1)
    growth = (worth[:, -1] - worth[:, -1 - back]) / back
    return BeliefOptimum(candidates, grids, worth[:, n_steps - 1].copy(), growth, to_come, table, n_steps)


def _solve_one(
    candidates: Candidates, m: int, grids: Grids, to_come: Int, table: Table, n_all: int, fineness: Fineness
) -> Float:
    """Fill the tables of a market; (n_all,) what one step, two and so on are worth."""
    moves = [_transitions(candidates, m, grids, fineness, offset) for offset in _OFFSETS]
    model = np.concatenate(
        [candidates.rho[m], candidates.drift[m], [candidates.stay[m], candidates.cost[m], candidates.risk[m]]]
    )
    inverse, middle = (_inverse(grids.pair), _inverse(grids.joint)), len(grids.node) // 2
    after, before, line = (
        np.zeros((3, *table.shape[2:])),
        np.zeros((3, *table.shape[2:])),
        np.zeros((3, table.shape[4])),
    )
    kept, ahead = {int(n): k for k, n in enumerate(to_come)}, np.zeros((n_all, *after.shape[:1], *after.shape[2:]))
    for n in range(n_all):
        ahead[n] = after[:, middle]
        if n in kept:
            table[kept[n]] = np.diff(after, axis=0)[::-1]
        returns, onward, like, span = moves[n % len(moves)]
        there = np.einsum("yx,axqp->ayqp", onward, after) if len(grids.node) > 1 else after
        backward(there, before, like, span, returns, model, grids.pair, inverse[0], grids.joint, inverse[1],
                 fineness.odds, line)  # fmt: skip
        after, before = before, after
    return _from_flat(candidates, m, grids, ahead)


def _from_flat(candidates: Candidates, m: int, grids: Grids, ahead: Float) -> Float:
    """(n,) what the first decision and those behind it are worth: (n, 3, Q, P) are the latter, after a return of 0."""
    weight, cost, n = candidates.weight[m], float(candidates.cost[m]), len(ahead)
    found = np.zeros((n, 3))
    table = ahead[:, None, :, None].astype(np.float32)
    lookup(table, np.arange(n), 0, np.tile(weight, (n, 1)), np.zeros(n), np.zeros(1), *grids[1:], found)
    expected = float(weight @ candidates.drift[m])
    gains = (
        found + np.array([-expected, 0.0, expected]) - (cost + float(candidates.risk[m])) * np.array([1.0, 0.0, 1.0])
    )
    return np.asarray(gains.max(axis=1))


def _grids(candidates: Candidates, fineness: Fineness) -> Grids:
    """Grids with as few dimensions as the candidates need."""
    there = candidates.weight > 0.0
    half = np.ceil(fineness.reach / fineness.odds)
    odds = fineness.odds * np.arange(-half, half + 1.0)  # with 0: a value may have a kink where two are as likely
    belief = np.concatenate([[0.0], 1.0 / (1.0 + np.exp(-odds)), [1.0]])
    node = _returns(candidates, fineness) if (candidates.rho * there).any() else np.zeros(1)
    pair = belief if (there[:, 0] & there[:, 1]).any() else np.array([1.0])
    joint = belief if (there[:, 2] & there[:, :2].any(axis=1)).any() else np.array([1.0])
    return Grids(node, pair, joint)


def _returns(candidates: Candidates, fineness: Fineness) -> Float:
    """(Y,) returns that may come, around 0."""
    rho, drift = np.abs(candidates.rho), np.abs(candidates.drift)
    widest = float((drift / (1.0 - rho) + _OUTSIDE / np.sqrt(1.0 - rho * rho)).max())
    half = int(np.ceil(widest / fineness.returns))
    return fineness.returns * np.arange(-half, half + 1.0)


def _transitions(
    candidates: Candidates, m: int, grids: Grids, fineness: Fineness, offset: float
) -> tuple[Float, Float, Float, Int]:
    """Next returns and how likely they are.

    Returns
    -------
    tuple
        (Y,) returns; (Y, X) what a value at each is made of, by the nodes; (3, X, Y) their probabilities; (X, 2) the
        first that matters and one behind the last.
    """
    returns = _returns(candidates, fineness) + offset * fineness.returns
    mean = candidates.drift[m][:, None] + candidates.rho[m][:, None] * grids.node
    like = np.exp(-0.5 * (returns - mean[:, :, None]) ** 2)
    like /= like.sum(axis=2, keepdims=True)
    matters = (like * (candidates.weight[m] > 0.0)[:, None, None]).max(axis=0) > _SELDOM
    first, last = matters.argmax(axis=1), matters.shape[1] - matters[:, ::-1].argmax(axis=1)
    return returns, _onward(grids.node, returns), like, np.stack([first, last], axis=1).astype(np.int64)


def _onward(node: Float, returns: Float) -> Float:
    """(Y, X) weights of the nodes at each return: the cubic polynomial through four of them."""
    found = np.zeros((len(returns), len(node)))
    if len(node) > 1:
        start = np.clip(np.searchsorted(node, returns, side="right") - 2, 0, len(node) - 4)
        for s in range(4):
            others = [k for k in range(4) if k != s]
            parts = [(returns - node[start + k]) / (node[start + s] - node[start + k]) for k in others]
            found[np.arange(len(returns)), start + s] = np.prod(parts, axis=0)
    return found


def _inverse(grid: Float) -> Float:
    """(N, 4) reciprocals of the denominators of the polynomial through four nodes, by the first of them."""
    found = np.zeros((len(grid), 4))
    for k in range(len(grid) - 3):
        apart = grid[k : k + 4, None] - grid[None, k : k + 4] + np.eye(4)
        found[k] = 1.0 / apart.prod(axis=1)
    return found


def _kept(n_steps: int, every: int) -> Int:
    """Numbers of steps to come that have a table."""
    found, n = [], 0
    while n < n_steps - 1:
        found.append(n)
        n += max(1, n // every)
    return np.array([*found, n_steps - 1], dtype=np.int64)


class BeliefPolicy:
    """The optimal policy in B episodes that begin together; it remembers the belief in each.

    Parameters
    ----------
    optimum
        What it follows.
    which
        (B,) the market among the M of the optimum that each episode has.
    """

    def __init__(self, optimum: BeliefOptimum, which: Int):
        self.optimum, self.which = optimum, which
        self.belief: Float = optimum.candidates.weight[which].copy()
        self._last, self._step = np.zeros(len(which)), 0

    def act(self, seen: Float, held: Float) -> Int:
        """(B,) positions -1, 0 or 1.

        Parameters
        ----------
        seen
            (B,) the returns since the last call, in units of the noise; the first call finds none, and 0 in their
            place.
        held
            (B,) positions.
        """
        models = self.optimum.candidates
        if self._step > 0:
            learn(self.belief, self._last, seen, self.which, models.rho, models.drift, models.stay)
        self._last, self._step = seen.copy(), self._step + 1
        expected = (self.belief * (models.drift[self.which] + models.rho[self.which] * seen[:, None])).sum(axis=1)
        ahead = self._ahead(seen)
        worth = np.stack([-expected - ahead[:, 1], np.zeros(len(seen)), expected + ahead[:, 0]], axis=1)
        worth[:, ::2] -= models.risk[self.which][:, None]
        worth -= models.cost[self.which][:, None] * np.abs(np.array([-1.0, 0.0, 1.0]) - held[:, None])
        return np.asarray(worth.argmax(axis=1), dtype=np.int64) - 1

    def _ahead(self, seen: Float) -> Float:
        """(B, 2) what the steps to come are worth, held 1 instead of 0, and 0 instead of -1."""
        best = self.optimum
        to_come = max(best.n_steps - self._step, 0)
        kept = int(np.abs(best.to_come - to_come).argmin())
        found = np.zeros((len(seen), 2))
        lookup(best.table, self.which, kept, self.belief, seen, *best.grids, found)
        return found
