"""The list of broken rules follows the code: a rule that moved is broken where it is now."""

from __future__ import annotations

import pytest

from tests.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{one.file}-{n}" for n, one in enumerate(MUTANTS)])
def test_what_a_mutant_breaks_is_there_once(mutant: Mutant) -> None:
    assert (ROOT / "qframe_rl" / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1
    assert all((ROOT / place).exists() for place in mutant.tests.split())
