"""The kernel against the oracle on finer bars: the one looks where something is near, the other always."""

from __future__ import annotations

import pytest

from tests.oracle.finer_bars import plain_compared
from tests.oracle.slot_walks import slots_compared
from tests.oracle.test_slots import A_FEW, EDGES, N_BLOCKS, N_SEQUENCES, TRIED, agree

INSIDE = ("a gap inside", "followed inside", "liquidated inside")


def test_a_few_sequences_agree() -> None:
    notes = agree([slots_compared(seed, inside=True) for seed in range(A_FEW)])
    assert all(notes[what] for what in (*TRIED, *INSIDE)), notes


def test_a_few_sequences_of_one_order_agree() -> None:
    notes = agree([plain_compared(seed) for seed in range(A_FEW)])
    assert notes["slot filled in the bar"] > 50 and notes["liquidated inside"] > 3, notes


@pytest.mark.long
@pytest.mark.parametrize("block", range(N_BLOCKS))
def test_kernel_and_oracle_agree(block: int) -> None:
    walks = [slots_compared(seed, inside=True) for seed in range(block, N_SEQUENCES, N_BLOCKS)]
    walks += [plain_compared(seed) for seed in range(block, N_SEQUENCES, N_BLOCKS)]
    notes = agree(walks)
    assert sum(walk.flipped for walk in walks) <= EDGES * sum(walk.bars for walk in walks)
    for what in (*TRIED, *INSIDE, "cancelled by liquidation on the way"):
        assert notes[what] >= 30, (what, notes[what])
