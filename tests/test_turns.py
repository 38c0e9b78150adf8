"""Every long test has its turn in exactly one part, and no other has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.order import LONGEST, ByFile, rank
from tests.rays import TOGETHER
from tests.turns import PARTS, has_turn

NAMES = [f"tests/learning/test_{k}.py::test_it[{k}]" for k in range(60)]


def test_each_has_one_turn() -> None:
    for name in NAMES:
        turns = [has_turn(name, long=True, asked=str(k), places=["tests"]) for k in range(PARTS)]
        assert sum(turns) == 1
        assert has_turn(name, long=True, asked="all", places=["tests"])
    assert not any(
        has_turn(name, long=False, asked=asked, places=["tests"]) for name in NAMES for asked in ("all", "0")
    )


def test_a_run_of_folders_leaves_them_out_and_one_of_files_does_not() -> None:
    assert not has_turn(NAMES[0], long=True, asked=None, places=["tests"])
    assert has_turn(NAMES[0], long=True, asked=None, places=[__file__])
    assert has_turn(NAMES[0], long=False, asked=None, places=["tests"])


def test_another_number_is_refused() -> None:
    with pytest.raises(ValueError, match=f"neither all nor a number below {PARTS}"):
        has_turn(NAMES[0], long=True, asked=str(PARTS), places=["tests"])


def test_long_files_begin_first_and_those_on_ray_are_one_piece() -> None:
    root = Path(__file__).resolve().parent.parent
    assert [name for name in LONGEST if not (root / name).exists()] == []
    assert len(set(LONGEST)) == len(LONGEST)
    ids = ["tests/a.py::test_it", f"{LONGEST[-1]}::test_it[x]", f"{TOGETHER[1]}::test_it", f"{TOGETHER[0]}::test_it"]
    assert sorted(ids, key=rank) == [*reversed(ids[1:]), ids[0]]
    made = ByFile.__new__(ByFile)
    assert [made._split_scope(one) for one in ids] == ["tests/a.py", LONGEST[-1], TOGETHER[0], TOGETHER[0]]
