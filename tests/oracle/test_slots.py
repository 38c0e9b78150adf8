"""The kernel against the oracle on random markets with several orders per instrument, and what these try."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.oracle.slot_walks import slots_compared
from tests.oracle.walks import Walk

N_SEQUENCES, N_BLOCKS = 2000, 4
A_FEW = 24
"""Sequences of every run of the suite."""
EDGES = 5e-4
"""Largest share of bars in which the kernel may decide differently on a knife's edge."""
TRIED = (
    "slot filled at the open",
    "slot filled in the bar",
    "taken off a sibling",
    "post-only cancelled",
    "scaled at the open",
    "scaled in the bar",
    "exempt close",
)


def agree(walks: list[Walk]) -> Counter[str]:
    """What was tried, if all of them agree."""
    wrong = [walk for walk in walks if walk.found]
    first = "\n".join(walk.found for walk in wrong[:3])
    assert not wrong, f"{len(wrong)} of {len(walks)} sequences differ; the first:\n{first}"
    return sum((walk.notes for walk in walks), Counter())


def test_a_few_sequences_agree() -> None:
    notes = agree([slots_compared(seed) for seed in range(A_FEW)])
    assert all(notes[what] for what in TRIED), notes


@pytest.mark.long
@pytest.mark.parametrize("block", range(N_BLOCKS))
def test_kernel_and_oracle_agree(block: int) -> None:
    walks = [slots_compared(seed) for seed in range(block, N_SEQUENCES, N_BLOCKS)]
    notes = agree(walks)
    assert sum(walk.flipped for walk in walks) <= EDGES * sum(walk.bars for walk in walks)
    for what in (*TRIED, "a stop that was passed", "cancelled by liquidation on the way", "liquidated"):
        assert notes[what] >= 30, (what, notes[what])
