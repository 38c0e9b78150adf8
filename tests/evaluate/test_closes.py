"""The rule of overlap: the same closes are the same data, whatever they are called and wherever they are cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qframe_rl.evaluate.closes import FEWEST_MARKS, Closes, closes_of, overlap
from qframe_rl.types import DAY, HOUR, History, Source
from tests.markets import panel

BARS = 24 * 60
LONG = {seed: panel(BARS, 3, seed=seed) for seed in range(4)}


def same(one: History, other: History) -> bool:
    found = overlap(closes_of(one), closes_of(other))
    assert found == overlap(closes_of(other), closes_of(one))
    return found


def picked(history: History, order: list[int]) -> History:
    part = {name: getattr(history, name)[:, order] for name in ("values", "funding", "final")}
    return replace(history, instruments=tuple(history.instruments[a] for a in order), **part)


def coarser(history: History, bars: int) -> History:
    """Bars of ``bars`` bars, each closing when the last of them does."""
    last = np.flatnonzero(history.time % (bars * HOUR) == 0)
    arrays = {name: getattr(history, name)[last] for name in ("time", "values", "funding", "final", "cash_rate")}
    return replace(history, bar_ns=bars * HOUR, **arrays)


@given(
    seed=st.sampled_from(list(LONG)),
    start=st.integers(0, BARS - 24 * 10),
    length=st.integers(24 * 10, BARS),
    order=st.permutations([0, 1, 2]),
    n=st.integers(1, 3),
    factor=st.floats(1e-6, 1e6),
    bars=st.sampled_from([1, 2, 4, 12, 24]),
)
def test_the_same_closes_are_the_same_data_by_any_name(
    seed: int, start: int, length: int, order: list[int], n: int, factor: float, bars: int
) -> None:
    """Cut, in another order, with fewer or more instruments, in another unit, at another bar length."""
    part = picked(LONG[seed].rows(start, start + length), [0, *order][:n])
    called = replace(part, values=part.values * factor, source=Source("elsewhere", "testnet", "renamed.csv"))
    assert same(LONG[seed], coarser(called, bars))


@given(seed=st.sampled_from(list(LONG)), start=st.integers(0, BARS - 24 * 30), share=st.floats(0.0, 0.1))
def test_bars_that_were_taken_out_or_changed_do_not_make_other_data(seed: int, start: int, share: float) -> None:
    part, rng = LONG[seed].rows(start, start + 24 * 30), np.random.default_rng(start)
    values = part.values.copy()
    values[rng.random(len(part)) < share] *= 1.01
    values[rng.random(len(part)) < share] = np.nan
    assert same(LONG[seed], replace(part, values=values))


@given(one=st.sampled_from(list(LONG)), other=st.sampled_from(list(LONG)), cut=st.integers(1, BARS))
def test_other_closes_are_other_data(one: int, other: int, cut: int) -> None:
    if one != other:
        assert not same(LONG[one], LONG[other].rows(0, cut))


@given(cut=st.integers(1, BARS - 1))
def test_spans_without_a_bar_in_common_are_other_data(cut: int) -> None:
    assert not same(LONG[0].rows(0, cut), LONG[0].rows(cut, BARS))


def test_another_exchange_that_trades_at_other_prices_is_other_data() -> None:
    noisy = LONG[0].values * np.exp(1e-4 * np.random.default_rng(0).standard_normal(LONG[0].values.shape))
    assert not same(LONG[0], replace(LONG[0], values=noisy))


@pytest.mark.parametrize(("shared", "overlaps"), [(100, True), (50, True), (49, False), (10, False)])
def test_half_of_the_moves_must_be_the_same(shared: int, overlaps: bool) -> None:
    """An instrument that went another's way for a tenth of the time is not that one."""
    rng = np.random.default_rng(0)
    mine, theirs = (np.exp(0.01 * rng.standard_normal(100)) for _ in range(2))
    theirs[:shared] = mine[:shared]
    one, other = (
        Closes(1, np.arange(101), np.cumprod(np.concatenate([[1.0], moves]))[:, None]) for moves in (mine, theirs)
    )
    assert (overlap(one, other), overlap(other, one)) == (overlaps, overlaps)


def test_prices_that_stand_still_are_nobody_in_particular() -> None:
    still = replace(LONG[0], values=np.full_like(LONG[0].values, 5.0))
    assert not same(still, still)


def test_short_data_are_kept_bar_by_bar_and_long_ones_by_the_day() -> None:
    assert closes_of(LONG[0]).grid == DAY
    assert closes_of(LONG[0].rows(0, 24 * 10)).grid == HOUR
    few = closes_of(LONG[0].rows(0, FEWEST_MARKS - 1))
    assert (few.grid, len(few.times)) == (1, FEWEST_MARKS - 1)


def test_they_are_packed_to_the_last_bit() -> None:
    one = closes_of(LONG[1])
    again = Closes.unpacked(one.packed())
    assert again.grid == one.grid
    assert np.array_equal(again.times, one.times)
    assert np.array_equal(again.values, one.values, equal_nan=True)
