"""Searches against luck: the same search on the same bars, with what followed them shuffled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from qframe_rl.alpha.ground import Ground, WhatFollowed
from qframe_rl.alpha.growing import Mode, sharpes, steady
from qframe_rl.alpha.judged import rows_of_ic
from qframe_rl.alpha.mine import Mined, MinedFormula, Mining, MiningRules, mined_formulas
from qframe_rl.alpha.net import held_book
from qframe_rl.alpha.said import said, said_together
from qframe_rl.alpha.score import newey_west
from qframe_rl.types import Float, Int

Shuffle = Literal["coins", "blocks"]
"""What is shuffled: whose return it was, or when."""
BLOCK = 8
"""Labels' lengths that are shuffled as one."""


@dataclass(frozen=True)
class MiningPlan:
    """A search as it can be made again.

    Parameters
    ----------
    search
        One of `qframe_rl.alpha.search.SEARCHES`.
    n_formulas
        Distinct formulas to look at.
    seed
        Of the search.
    rules
        How formulas are judged and paid.
    """

    search: str
    n_formulas: int
    seed: int = 0
    rules: MiningRules = field(default_factory=MiningRules)

    def mined(self, ground: Ground) -> Mined:
        """Carry it out."""
        return Mining(ground, self.search, self.seed, self.rules).until(self.n_formulas, None, None)


class PoolScore(NamedTuple):
    """How a pool does on a ground, its weights given."""

    value: float
    """J."""
    ic: float
    """Mean IC of what it says together."""
    t: float
    """Newey-West t of that, with as many lags as the label has bars."""
    sharpe: float
    """Of its net book, a year."""
    turnover: float
    """Mean traded a bar, fraction of its size."""


class NullResult(NamedTuple):
    """A search beside the same search on shuffled returns."""

    shuffle: Shuffle
    train: tuple[float, ...]
    """J of the pools mined on shuffled returns, each on the returns that it was mined on."""
    validation: tuple[float, ...]
    """J of these pools on the validation as it was; empty without one."""
    p_train: float
    """(1 + pools as good as the real one) / (1 + pools)."""
    p_validation: float
    """The same there; 1 without a validation."""
    deflated_ic: float
    """IC of the real pool less the mean of theirs, on the rows that each was mined on."""

    @property
    def p(self) -> float:
        """The worse of both."""
        return max(self.p_train, self.p_validation) if self.validation else self.p_train


def shuffled(ground: Ground, shuffle: Shuffle, seed: int) -> Ground:
    """The same bars, followed by what did not follow them.

    Parameters
    ----------
    ground
        The rows.
    shuffle
        ``coins``: what each instrument of the universe earned is given to another of it, by an order that is drawn
        anew every 8 h rows, h the bars of the label; ``blocks``: blocks of 8 h rows change places in time.
    seed
        Of the shuffle.
    """
    rng, (label, moves) = np.random.default_rng((seed, 3)), ground.followed
    size = BLOCK * ground.n_ahead
    if shuffle == "coins":
        taken = _partners(ground, size, rng)
        rows = np.arange(len(label))[:, None]
        made = WhatFollowed(label[rows, taken], moves[rows, taken])
    else:
        order = _blocks(ground.n_dates, size, len(label), rng)
        made = WhatFollowed(label[order], moves[order])
    return replace(ground, instead=made)


def _partners(ground: Ground, size: int, rng: np.random.Generator) -> Int:
    """(N, A) whose return each is given; its own outside the universe."""
    n_rows, n = ground.seen.shape
    found = np.tile(np.arange(n, dtype=np.int64), (n_rows, 1))
    for begin in range(0, n_rows, size):
        key: Float = rng.random((n,))
        for t in range(begin, min(begin + size, n_rows)):
            inside: Int = np.flatnonzero(ground.seen[t])
            order: Int = np.argsort(key[inside], kind="stable")
            found[t, inside] = inside[order]
    return found


def _blocks(n_dates: int, size: int, n_rows: int, rng: np.random.Generator) -> Int:
    """(N,) rows in their new order; those after the last date stay."""
    blocks = [np.arange(begin, min(begin + size, n_dates)) for begin in range(0, n_dates, size)]
    return np.concatenate([*(blocks[k] for k in rng.permutation(len(blocks))), np.arange(n_dates, n_rows)])


def appraise(members: Sequence[MinedFormula], ground: Ground, mode: Mode) -> PoolScore:
    """Score a pool on rows that it may not have been mined on.

    Parameters
    ----------
    members
        Formulas with their weights; none says nothing and earns nothing.
    ground
        The rows.
    mode
        What J is of.
    """
    if not members:
        return PoolScore(0.0, 0.0, 0.0, 0.0, 0.0)
    says = pool_says(members, ground)
    ics = rows_of_ic(says, ground.followed.label, ground.seen)[: ground.n_dates]
    book = held_book(says, ground.followed.moves, ground.n_ahead, ground.cost)
    there = ics[np.isfinite(ics)]
    zeroed: Float = np.nan_to_num(ics)
    parts = np.array([float(zeroed[a:b].mean()) for a, b in pairwise(ground.bounds.tolist())])
    return PoolScore(
        steady(parts if mode == "ic" else sharpes(says, ground)),
        float(there.mean()) if len(there) else 0.0, newey_west(there, ground.n_ahead),
        book.sharpe(ground.bar_ns), float(book.turnover.mean()),
    )  # fmt: skip


def pool_says(members: Sequence[MinedFormula], ground: Ground) -> Float:
    """What a pool says on a ground (N, A)."""
    evaluator, skipped = ground.evaluator(), ground.start - ground.first
    weight = np.array([one.weight for one in members])
    stands = [
        np.ascontiguousarray(said(evaluator.shown(tree), evaluator.members)[skipped:])
        for tree in mined_formulas(members, ground.columns)
    ]
    return said_together(stands, weight, ground.seen)


def against_luck(
    found: Mined, plan: MiningPlan, ground: Ground, shuffle: Shuffle, n: int = 20, validation: Ground | None = None,
    told: Callable[[int], None] | None = None,
) -> NullResult:  # fmt: skip
    """Ask how often the same search does as well where there is nothing to find.

    Parameters
    ----------
    found
        What the plan came to on the ground.
    plan
        The search.
    ground
        Its rows.
    shuffle
        See `shuffled`.
    n
        Searches on shuffled returns, each with a shuffle of its own.
    validation
        Rows after those of the ground, on which pools are compared as well; their returns are as they were.
    told
        Told how many of the searches are done.

    Returns
    -------
    NullResult
        The real pool counts as one of the pools.
    """
    train, later, ics = [], [], []
    for k in range(n):
        made = plan.mined(shuffled(ground, shuffle, k))
        train.append(made.value)
        ics.append(made.ic)
        if validation is not None:
            later.append(appraise(made.members, validation, plan.rules.mode).value)
        if told is not None:
            told(k + 1)
    real = 0.0 if validation is None else appraise(found.members, validation, plan.rules.mode).value
    return NullResult(
        shuffle, tuple(train), tuple(later), _p(found.value, train), _p(real, later) if later else 1.0,
        found.ic - float(np.mean(ics)),
    )  # fmt: skip


def _p(real: float, null: Sequence[float]) -> float:
    return (1 + sum(one >= real for one in null)) / (1 + len(null))
