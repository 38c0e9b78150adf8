"""The kernel against the oracle on random markets, and what these markets try."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.oracle.coverage import tried
from tests.oracle.floors import FLOORS
from tests.oracle.walks import compared

N_SEQUENCES, N_BLOCKS = 2000, 8
FREE = 10
"""One sequence of so many runs free."""
EDGES = 5e-4
"""Largest share of bars in which the kernel may decide differently on a knife's edge."""


@pytest.mark.slow
@pytest.mark.parametrize("block", range(N_BLOCKS))
def test_kernel_and_oracle_agree(block: int) -> None:
    walks = [compared(seed, free=seed % FREE == 0) for seed in range(block, N_SEQUENCES, N_BLOCKS)]
    wrong = [walk for walk in walks if walk.found]
    first = "\n".join(walk.found for walk in wrong[:3])
    assert not wrong, f"{len(wrong)} of {len(walks)} sequences differ; the first:\n{first}"
    assert sum(walk.flipped for walk in walks) <= EDGES * sum(walk.bars for walk in walks)


@pytest.mark.slow
def test_the_sequences_try_every_rule() -> None:
    counts: Counter[str] = sum((tried(seed) for seed in range(N_SEQUENCES)), Counter())
    few = {what: (counts[what], floor) for what, floor in FLOORS.items() if counts[what] < floor}
    assert not few, f"(found, floor): {few}"
