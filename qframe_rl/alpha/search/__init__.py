"""Searches for formulas: what one is, and which there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from qframe_rl.alpha.grammar import Vocabulary
from qframe_rl.alpha.tree import Formula
from qframe_rl.config import UserError, nearest
from qframe_rl.types import Float

SearchName = Literal["random", "genetic", "policy", "risk"]
SEARCHES: tuple[SearchName, ...] = ("random", "genetic", "policy", "risk")
"""By chance; by evolution; by a recurrent policy that learns by PPO, or from the best tenth of each batch."""


class FormulaSearch(Protocol):
    """Proposes formulas, and is told what each was worth."""

    def propose(self, n: int) -> Sequence[Formula]:
        """``n`` formulas, which may repeat."""

    def learn(self, rewards: Float) -> None:
        """Be told the rewards (n,) of the last proposal, in its order."""


def search_of(name: str, vocabulary: Vocabulary, seed: int) -> FormulaSearch:
    """A search.

    Parameters
    ----------
    name
        One of `SEARCHES`.
    vocabulary
        What it may write.
    seed
        Of its own generator; no other is read or moved.

    Raises
    ------
    UserError
        For an unknown name.
    """
    if name == "random":
        from qframe_rl.alpha.search.chance import ChanceSearch

        return ChanceSearch(vocabulary, seed)
    if name == "genetic":
        from qframe_rl.alpha.search.genetic import GeneticSearch

        return GeneticSearch(vocabulary, seed)
    if name in SEARCHES:
        from qframe_rl.alpha.search.neural import NeuralSearch

        return NeuralSearch(vocabulary, seed, risk_seeking=name == "risk")
    raise UserError(f"unknown search {name!r}{nearest(name, SEARCHES)}")
