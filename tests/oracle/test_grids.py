"""Steps and grids, by hand."""

from __future__ import annotations

import pytest

from tests.oracle.cases import d
from tests.oracle.grids import counted, down, meaning, meaning_or_none, settled, up

TENTH = d("0.1")


@pytest.mark.parametrize(
    ("value", "step", "expected"),
    [
        # 0.30000000000000004 is what doubles make of 3 x 0.1; it misses 3 steps by 4e-16 of a step.
        ("0.30000000000000004", "0.1", "0.3"),
        # And what lies as close below counts as well.
        ("0.29999999999999998", "0.1", "0.3"),
        # 0.29999 misses 3 steps by 1e-4 of a step: two whole steps.
        ("0.29999", "0.1", "0.2"),
        # 2.999999999 misses 3 by 1e-9, allowed are 1e-9 + 3e-14.
        ("2.999999999", "1", "3"),
        # 2.9999999989 misses 3 by 1.1e-9.
        ("2.9999999989", "1", "2"),
        # At 1e8 steps 1e-9 + 1e-14 x 1e8 = 1.001e-6 of a step may be missing: 1e-6 counts, 1.1e-6 does not.
        ("99999999.999999", "1", "100000000"),
        ("99999999.9999989", "1", "99999999"),
        # Without a grid a number is itself.
        ("0.123456789", "0", "0.123456789"),
    ],
)
def test_rounding_down(value: str, step: str, expected: str) -> None:
    assert down(d(value), d(step)) == d(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    # 100.01 is two steps of 0.005 above 100; 100.0100000000001 counts as 100.01; 100.011 is on the way to 100.015.
    [("100.01", "100.01"), ("100.0100000000001", "100.01"), ("100.011", "100.015"), ("100.0051", "100.01")],
)
def test_rounding_up(value: str, expected: str) -> None:
    assert up(d(value), d("0.005")) == d(expected)


def test_numbers_are_compared_in_steps_where_there_are_any() -> None:
    assert counted(d("0.30000000000000004"), TENTH) == counted(d("0.3"), TENTH) == 3
    # Without a grid the two differ.
    assert counted(d("0.30000000000000004"), d(0)) > counted(d("0.3"), d(0))
    # What is not whole is compared as it is: 2.5 steps.
    assert counted(d("0.25"), TENTH) == d("2.5")


def test_a_position_that_counts_as_whole_lots_is_exactly_these() -> None:
    # 0.1 + 0.2 in doubles.
    assert settled(meaning(0.1 + 0.2), TENTH) == d("0.3")
    # A quarter of a unit is no whole number of tenths and stays.
    assert settled(d("0.25"), TENTH) == d("0.25")


def test_a_double_means_the_number_that_it_is_written_as() -> None:
    assert meaning(0.1) == TENTH
    assert meaning(1e-8) == d("0.00000001")
    assert meaning_or_none(float("nan")) is None
