"""Mining: a search proposes formulas, a pool takes those in that add to it, and the search is told what they added."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from qframe_rl.alpha.canonical import identity, order_hash
from qframe_rl.alpha.ground import Ground
from qframe_rl.alpha.growing import MOST_MEMBERS, GrowingPool, Mode
from qframe_rl.alpha.judged import FAULTS, OnGround, on_ground
from qframe_rl.alpha.pool import Weighing
from qframe_rl.alpha.said import rows_needed
from qframe_rl.alpha.search import search_of
from qframe_rl.alpha.tree import Formula
from qframe_rl.config import UserError, fingerprint, nearest
from qframe_rl.types import Float

BATCH = 128
"""Formulas of one proposal."""
TOKEN_PRICE = 2e-4
"""What a token must add to J."""
MOST_CALLS = 3
"""Calls a distinct formula at which a search has collapsed and ends."""
_BLOCKS = 512
Pays = Literal["gain", "own"]
"""What a formula earns by: what the pool gains by it, or its own J."""


class MinedFormula(NamedTuple):
    """A formula of a mined pool."""

    text: str
    identity: str
    """Its canonical identity, see `qframe_rl.alpha.canonical.identity`."""
    weight: float
    ic: float
    """Mean IC on the ground."""
    lookback: int
    """Rows that a value is made of."""


class MiningPoint(NamedTuple):
    """How far a search has come."""

    calls: int
    distinct: int
    """Formulas that were looked at, each once."""
    value: float
    """J of the pool."""
    ic: float
    """IC of the pool."""
    best_ic: float
    """Largest size of an IC of one valid formula."""
    minutes: float


class Mined(NamedTuple):
    """What a search has found."""

    members: tuple[MinedFormula, ...]
    value: float
    """J of the pool on the ground."""
    ic: float
    """IC of the pool on the ground, w'g / sqrt(w'Mw)."""
    best: MinedFormula | None
    """The valid formula with the largest size of IC, whether in the pool or not; its weight is its sign."""
    calls: int
    distinct: int
    admitted: int
    """Formulas that came in, those that went out later among them."""
    refused: dict[str, int]
    """Calls that earned nothing, by the reason: ``repeated`` (identity, or order of the instruments), ``too long``,
    ``missing``, ``flat``, ``few values``, ``no gain``."""
    n_effective: float
    """As how many independent ones the distinct valid formulas count: participation ratio of the correlations among
    their IC series."""
    curve: tuple[MiningPoint, ...]
    """After each batch."""
    stopped: str
    """Why it ended: ``count``, ``calls``, ``minutes`` or ``told``."""
    digest: str
    """Sixteen hexadecimal digits of the members and of all that they depend on."""


Told = Callable[[MiningPoint], bool | None]
"""Told after each batch; true ends the search."""


@dataclass(frozen=True)
class MiningRules:
    """How formulas are judged and paid.

    Parameters
    ----------
    mode
        What a pool is judged by: ``net`` or ``ic``.
    weighing
        How its formulas are weighed.
    pays
        What a formula earns by.
    most_members
        Most formulas of the pool, K.
    batch
        Formulas of one proposal.
    most_rows
        Most rows that one row of what a formula says may be made of; 0 = no limit.
    """

    mode: Mode = "net"
    weighing: Weighing = "ridge"
    pays: Pays = "gain"
    most_members: int = MOST_MEMBERS
    batch: int = BATCH
    most_rows: int = 0

    def __post_init__(self) -> None:
        for name, kind in (("mode", Mode), ("weighing", Weighing), ("pays", Pays)):
            if getattr(self, name) not in get_args(kind):
                raise UserError(f"unknown {name} {getattr(self, name)!r}{nearest(getattr(self, name), get_args(kind))}")


def mine(
    ground: Ground, search: str, n_formulas: int, seed: int, mode: Mode = "net", weighing: Weighing = "ridge",
    told: Told | None = None, minutes: float | None = None, pays: Pays = "gain", most_members: int = MOST_MEMBERS,
    most_rows: int = 0,
) -> Mined:  # fmt: skip
    """Search for formulas and pool those that add to one another.

    Parameters
    ----------
    ground
        The rows that may be seen, and what followed them.
    search
        One of `qframe_rl.alpha.search.SEARCHES`.
    n_formulas
        Distinct formulas to look at.
    seed
        Of the search; the same gives the same bits.
    mode
        What the pool is judged by: ``net``, the net Sharpe ratio per bar of its book, or ``ic``.
    weighing
        How its formulas are weighed, see `qframe_rl.alpha.pool.weights`.
    told
        Told after each batch; ends the search where it returns true.
    minutes
        After which it ends, at the end of a batch; None = no limit.
    pays
        What a formula earns by: ``gain``, what the pool gains by it, at least 0; ``own``, its J alone. Less the price
        of its tokens; 0 where it is not valid, repeated or, for ``gain``, not taken in.
    most_members
        Most formulas of the pool, K.
    most_rows
        Most rows that one row of what a formula says may be made of; 0 = no limit.

    Returns
    -------
    Mined
        The pool and how it came about. A search ends early at three calls a distinct formula.

    Raises
    ------
    UserError
        For an unknown search, mode or weighing.
    """
    mining = Mining(ground, search, seed, MiningRules(mode, weighing, pays, most_members, most_rows=most_rows))
    return mining.until(n_formulas, told, minutes)


class Mining:
    """One search on one ground, a batch at a time.

    Parameters
    ----------
    ground
        The rows.
    search
        One of `qframe_rl.alpha.search.SEARCHES`.
    seed
        Of the search.
    rules
        How formulas are judged and paid.
    """

    def __init__(self, ground: Ground, search: str, seed: int, rules: MiningRules):
        self.ground, self.rules, self.name, self.seed = ground, rules, search, seed
        self.search = search_of(search, ground.vocabulary, seed)
        self.pool = GrowingPool(ground, rules.mode, rules.weighing, rules.most_members)
        self.curve: list[MiningPoint] = []
        self._evaluator = ground.evaluator()
        self._named: set[str] = set()
        self._orders: set[str] = set()
        self._refused: Counter[str] = Counter()
        self._admitted, self._spread = 0, IcSpread(ground)
        self._best: tuple[float, Formula] | None = None

    def until(self, n_formulas: int, told: Told | None, minutes: float | None) -> Mined:
        """Go on to so many distinct formulas; see `mine`."""
        began, before = time.monotonic(), self.curve[-1].minutes if self.curve else 0.0
        stopped = ""
        while not stopped:
            self.step()
            spent = (time.monotonic() - began) / 60.0
            self.curve[-1] = self.curve[-1]._replace(minutes=before + spent)
            stopped = self._ended(n_formulas, told, None if minutes is None else minutes - spent)
        return self.found(stopped)

    def _ended(self, n_formulas: int, told: Told | None, left: float | None) -> str:
        point = self.curve[-1]
        if told is not None and told(point):
            return "told"
        if point.distinct >= n_formulas:
            return "count"
        if point.calls >= MOST_CALLS * max(point.distinct, self.rules.batch):
            return "calls"
        return "minutes" if left is not None and left <= 0.0 else ""

    def step(self) -> MiningPoint:
        """One batch."""
        proposed = self.search.propose(self.rules.batch)
        self.search.learn(np.array([self._reward(tree) for tree in proposed]))
        calls = (self.curve[-1].calls if self.curve else 0) + len(proposed)
        best = 0.0 if self._best is None else abs(self._best[0])
        self.curve.append(MiningPoint(calls, len(self._named), self.pool.value, self.pool.ic, best, 0.0))
        return self.curve[-1]

    def _reward(self, tree: Formula) -> float:
        name = identity(tree).text
        if name in self._named:
            return self._refuse("repeated")
        self._named.add(name)
        if 0 < self.rules.most_rows < rows_needed(tree, self.ground.seen.shape[1]):
            return self._refuse("too long")
        found = on_ground(tree, self.ground, self._evaluator)
        if found.fault:
            return self._refuse(found.fault)
        order = order_hash(found.stand, self.ground.seen)
        if order in self._orders:
            return self._refuse("repeated")
        self._orders.add(order)
        return self._worth(tree, found)

    def _worth(self, tree: Formula, found: OnGround) -> float:
        """What a formula earns that is valid and new."""
        self._spread.add(found.ics)
        if self._best is None or abs(found.ic) > abs(self._best[0]):
            self._best = (found.ic, tree)
        own = self.pool.alone(tree, found) if self.rules.pays == "own" else 0.0
        gain = self.pool.offer(tree, found)
        self._admitted += gain is not None
        if self.rules.pays == "own":
            return own - TOKEN_PRICE * tree.size
        return self._refuse("no gain") if gain is None else max(0.0, gain) - TOKEN_PRICE * tree.size

    def _refuse(self, reason: str) -> float:
        self._refused[reason] += 1
        return 0.0

    def found(self, stopped: str) -> Mined:
        """What there is by now."""
        weight = self.pool.weights
        members = tuple(mined_formula(m.tree, w, m.ic) for m, w in zip(self.pool.members, weight.tolist(), strict=True))
        best = (
            None if self._best is None else mined_formula(self._best[1], float(np.sign(self._best[0])), self._best[0])
        )
        told = (self.ground.digest, self.name, self.seed, vars(self.rules), self.curve[-1].calls)
        return Mined(
            members, self.pool.value, self.pool.ic, best, self.curve[-1].calls, len(self._named), self._admitted,
            dict(sorted(self._refused.items())), self._spread.ratio, tuple(self.curve), stopped,
            fingerprint([m._asdict() for m in members], *told),
        )  # fmt: skip


def mined_formula(tree: Formula, weight: float, ic: float = 0.0) -> MinedFormula:
    """A formula with its weight and its mean IC."""
    return MinedFormula(tree.text, identity(tree).text, weight, ic, tree.lookback)


class IcSpread:
    """As how many independent formulas many count, by their ICs through time.

    Parameters
    ----------
    ground
        Whose rows are taken together in at most 512 equal pieces.
    """

    def __init__(self, ground: Ground):
        self._edges = np.linspace(0, ground.n_dates, min(_BLOCKS, ground.n_dates) + 1).astype(np.int64)
        self._gram: Float = np.zeros((len(self._edges) - 1,) * 2)
        self._n = 0

    def add(self, ics: Float) -> None:
        """Count a formula by its ICs (N,)."""
        series = np.nan_to_num(ics[: self._edges[-1]])
        pieces = np.add.reduceat(series, self._edges[:-1])
        pieces = pieces - pieces.mean()
        size = float(np.sqrt(pieces @ pieces))
        if size > 0.0:
            self._gram += np.outer(pieces / size, pieces / size)
            self._n += 1

    @property
    def ratio(self) -> float:
        """Participation ratio of the eigenvalues of their correlations, (sum)² / sum of squares; 0 of none.

        The Gram matrix of the pieces has the same eigenvalues as that of the formulas, but for zeros.
        """
        return float(self._n**2 / (self._gram * self._gram).sum()) if self._n else 0.0


def mined_formulas(members: Sequence[MinedFormula], columns: Sequence[str] = ()) -> list[Formula]:
    """Trees of mined formulas.

    Parameters
    ----------
    members
        Of a `Mined`.
    columns
        Names of the feed's columns.

    Raises
    ------
    UserError
        For a text that is no formula, or a column that is not there.
    """
    from qframe_rl.alpha.parser import number

    return [number(one.text, columns) for one in members]


def that_count(ground: Ground, trees: Sequence[Formula]) -> tuple[Formula, ...]:
    """Those of some formulas that count on a ground, in their order.

    Parameters
    ----------
    ground
        The rows.
    trees
        The formulas.
    """
    evaluator = ground.evaluator()
    return tuple(tree for tree in trees if not on_ground(tree, ground, evaluator).fault)


def weighed(ground: Ground, trees: Sequence[Formula], weighing: Weighing = "ridge") -> Float:
    """Weights (K,) of formulas that somebody chose, as a search's pool has them.

    Parameters
    ----------
    ground
        The rows that may be seen, and what followed them.
    trees
        The formulas.
    weighing
        How they are weighed, see `qframe_rl.alpha.pool.weights`.

    Raises
    ------
    UserError
        For a formula that does not count on these rows.
    """
    evaluator, pool = ground.evaluator(), GrowingPool(ground, weighing=weighing, most=len(trees))
    for tree in trees:
        found = on_ground(tree, ground, evaluator)
        if found.fault:
            raise UserError(f"formula {tree.text} does not count on the training bars: {FAULTS[found.fault]}.")
        pool.include(tree, found)
    return pool.weights
