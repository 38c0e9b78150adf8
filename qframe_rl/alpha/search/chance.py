"""Formulas by chance: every kind of token that may come next is as likely as any other, and so is each of a kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from qframe_rl.alpha.grammar import MOST_TOKENS, Draft, Vocabulary
from qframe_rl.alpha.tree import Formula
from qframe_rl.types import Bool, Float, Int


class Prior:
    """How likely tokens are before anything is learned: uniform over kinds, and within each.

    Uniform over tokens, a formula would be made mostly of constants and of what there is most of.

    Parameters
    ----------
    vocabulary
        The tokens.
    """

    def __init__(self, vocabulary: Vocabulary):
        self.kinds = vocabulary.kinds
        self._known: dict[bytes, Float] = {}

    def probabilities(self, mask: Bool) -> Float:
        """(V,) of tokens, of (V,) those that may come."""
        key = mask.tobytes()
        found = self._known.get(key)
        if found is None:
            n = np.bincount(self.kinds[mask], minlength=int(self.kinds.max()) + 1)
            found = np.where(mask, 1.0 / (np.maximum(n, 1)[self.kinds] * np.count_nonzero(n)), 0.0)
            found.flags.writeable = False
            self._known[key] = found
        return found


Choose = Callable[[Sequence[int], list[Bool]], Int]
"""Of the numbers of unfinished formulas and their masks (V,), the next token of each."""


def in_lockstep(vocabulary: Vocabulary, n: int, choose: Choose) -> tuple[list[Formula], list[list[int]]]:
    """Write ``n`` formulas side by side, a token of each at a time.

    Parameters
    ----------
    vocabulary
        What may be written.
    n
        How many.
    choose
        Asked for the next tokens of those that are not finished.

    Returns
    -------
    tuple
        The formulas, and their tokens with `qframe_rl.alpha.grammar.SEP` at the end.
    """
    drafts: list[Draft] = [vocabulary.begin()] * n
    written: list[list[int]] = [[] for _ in range(n)]
    open_ones = list(range(n))
    for _ in range(MOST_TOKENS + 1):
        if not open_ones:
            break
        tokens = choose(open_ones, [drafts[k].mask() for k in open_ones])
        for k, token in zip(open_ones, tokens.tolist(), strict=True):
            drafts[k] = drafts[k].push(token)
            written[k].append(token)
        open_ones = [k for k in open_ones if drafts[k].formula is None]
    return [draft.formula for draft in drafts if draft.formula is not None], written


class ChanceSearch:
    """Draws formulas from the `Prior` and learns nothing: what any search must beat.

    Parameters
    ----------
    vocabulary
        What it may write.
    seed
        Of its generator.
    """

    def __init__(self, vocabulary: Vocabulary, seed: int):
        self.vocabulary, self._rng, self._prior = vocabulary, np.random.default_rng(seed), Prior(vocabulary)

    def propose(self, n: int) -> Sequence[Formula]:
        """``n`` formulas."""
        return self.drawn(n)[0]

    def drawn(self, n: int) -> tuple[list[Formula], list[list[int]]]:
        """``n`` formulas and their tokens."""
        return in_lockstep(self.vocabulary, n, self._choose)

    def learn(self, rewards: Float) -> None:
        """Nothing is learned."""

    def _choose(self, numbers: Sequence[int], masks: list[Bool]) -> Int:
        likely = np.cumsum([self._prior.probabilities(mask) for mask in masks], axis=1)
        at = self._rng.random((len(numbers), 1)) * likely[:, -1:]
        return np.asarray((likely <= at).sum(axis=1), dtype=np.int64)
