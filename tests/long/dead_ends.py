"""Draw random formulas token by token and count beginnings that cannot be finished: ``python -m tests.long.dead_ends``.

Each formula must end within its tokens, come to a number, and return from its text and from its tokens as the same.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from qframe_rl.alpha.grammar import MOST_TOKENS, Vocabulary
from qframe_rl.alpha.parser import parse


def main() -> None:
    """Draw and count."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--formulas", type=int, default=70_000)
    made.add_argument("--seed", type=int, default=0)
    options = made.parse_args()
    rng, begun = np.random.default_rng(options.seed), time.perf_counter()
    dead, seen = 0, set()
    vocabularies = (Vocabulary(("signal",), leads=True), Vocabulary(crosses=False))
    for k in range(options.formulas):
        vocabulary = vocabularies[k % 2]
        draft = vocabulary.begin()
        while draft.formula is None:
            may = np.flatnonzero(draft.mask())
            if not len(may):
                dead += 1
                break
            draft = draft.push(int(rng.choice(may)))
        else:
            tree = draft.formula
            seen.add(tree.text)
            assert tree.unit == "number" and tree.size <= MOST_TOKENS and parse(tree.text) == tree, tree
            assert vocabulary.decode(vocabulary.encode(tree)) == tree, tree
    print(
        f"{options.formulas:,} formulas, {len(seen):,} distinct, {dead} dead ends, {time.perf_counter() - begun:.0f} s"
    )


if __name__ == "__main__":
    main()
