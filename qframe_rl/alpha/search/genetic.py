"""Formulas by evolution (Koza 1992): the better of some are crossed and changed.

Work is done on tokens in reverse Polish order, in which every part of a formula is a run of them; a change that the
grammar does not allow is drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qframe_rl.alpha.canonical import identity
from qframe_rl.alpha.grammar import Vocabulary
from qframe_rl.alpha.operators import Unit
from qframe_rl.alpha.search.chance import ChanceSearch
from qframe_rl.alpha.tree import Formula
from qframe_rl.types import Float

POPULATION, TOURNAMENT = 300, 12
SHARES = {"cross": 0.5, "subtree": 0.2, "point": 0.2, "hoist": 0.1}
"""How often a child is made by which change."""
FEWEST_NEW, TRIES = 5, 20
"""New formulas of a proposal below which all begins anew, and draws of one change before another parent is taken."""


class _Part(NamedTuple):
    """A run of tokens that is a formula of its own."""

    begin: int
    end: int
    unit: Unit


class _One(NamedTuple):
    """One of a population."""

    tokens: tuple[int, ...]
    fitness: float


class GeneticSearch:
    """Keeps the best distinct formulas, and makes new ones of the winners of tournaments among them.

    Parameters
    ----------
    vocabulary
        What it may write.
    seed
        Of its generators.
    """

    def __init__(self, vocabulary: Vocabulary, seed: int):
        self.vocabulary, self._rng = vocabulary, np.random.default_rng((seed, 1))
        self._chance = ChanceSearch(vocabulary, seed)
        self._population: list[_One] = []
        self._seen: set[str] = set()
        self._last: list[tuple[int, ...]] = []

    def propose(self, n: int) -> Sequence[Formula]:
        """``n`` formulas: by chance until there is a population, then children of it."""
        if len(self._population) < POPULATION:
            formulas, tokens = self._chance.drawn(n)
            self._last = [tuple(one) for one in tokens]
        else:
            self._last = [self._child() for _ in range(n)]
            formulas = [self.vocabulary.decode(tokens) for tokens in self._last]
        names = {identity(tree).text for tree in formulas} - self._seen
        self._seen |= names
        if len(names) < FEWEST_NEW and self._population:
            self._population = []
            return self.propose(n)
        return formulas

    def learn(self, rewards: Float) -> None:
        """Keep the best `POPULATION` of those that are there and those that come."""
        best = {one.tokens: one for one in self._population}
        for tokens, reward in zip(self._last, rewards.tolist(), strict=True):
            if tokens not in best or best[tokens].fitness < reward:
                best[tokens] = _One(tokens, reward)
        self._population = sorted(best.values(), key=lambda one: -one.fitness)[:POPULATION]

    def _parent(self) -> tuple[int, ...]:
        """The best of a tournament, without its end."""
        drawn = self._rng.integers(len(self._population), size=TOURNAMENT)
        return self._population[int(drawn.min())].tokens[:-1]  # sorted, the best first

    def _child(self) -> tuple[int, ...]:
        while True:
            change = str(self._rng.choice(list(SHARES), p=list(SHARES.values())))
            parent = self._parent()
            for _ in range(TRIES):
                child = (*self._changed(change, parent), 0)
                if child[:-1] != parent and self.vocabulary.writes(child):
                    return child

    def _changed(self, change: str, parent: tuple[int, ...]) -> tuple[int, ...]:
        if change == "point":
            return self._point(parent)
        if change == "hoist":
            return self._hoisted(parent)
        other = self._parent() if change == "cross" else tuple(self._chance.drawn(1)[1][0][:-1])
        return self._crossed(parent, other)

    def _crossed(self, parent: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
        """A part of one replaced by a part of the other that is measured in the same."""
        out = self._drawn(parts(self.vocabulary, parent))
        fitting = [part for part in parts(self.vocabulary, other) if part.unit == out.unit]
        if not fitting:
            return parent
        new = self._drawn(fitting)
        return parent[: out.begin] + other[new.begin : new.end] + parent[out.end :]

    def _point(self, parent: tuple[int, ...]) -> tuple[int, ...]:
        """One token replaced by another of its kind."""
        at = int(self._rng.integers(len(parent)))
        kinds = self.vocabulary.kinds
        alike = np.flatnonzero(kinds == kinds[parent[at]])
        return (*parent[:at], int(self._rng.choice(alike)), *parent[at + 1 :])

    def _hoisted(self, parent: tuple[int, ...]) -> tuple[int, ...]:
        """A part replaced by a part of itself."""
        all_parts = parts(self.vocabulary, parent)
        out = self._drawn(all_parts)
        inner = [p for p in all_parts if out.begin <= p.begin and p.end <= out.end and p.unit == out.unit and p != out]
        if not inner:
            return parent
        kept = self._drawn(inner)
        return parent[: out.begin] + parent[kept.begin : kept.end] + parent[out.end :]

    def _drawn(self, found: Sequence[_Part]) -> _Part:
        return found[int(self._rng.integers(len(found)))]


def parts(vocabulary: Vocabulary, tokens: Sequence[int]) -> list[_Part]:
    """The parts of a formula without its end: every operand, and the whole.

    Parameters
    ----------
    vocabulary
        Theirs.
    tokens
        In reverse Polish order.
    """
    draft, found = vocabulary.begin(), list[_Part]()
    begins: list[int] = []
    for at, token in enumerate(tokens):
        before, draft = draft, draft.push(token)
        if draft.top:
            continue
        gone = len(before.stack) - len(draft.stack) + 1
        begin = begins[-gone] if gone else at
        begins = [*begins[: len(begins) - gone], begin]
        found.append(_Part(begin, at + 1, draft.stack[-1].unit))
    return found
