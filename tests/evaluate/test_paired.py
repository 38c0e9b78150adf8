"""Whether one of a pair earns more: chance is seldom taken for a gap, and a gap is told when the formula says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.evaluate.inference.paired import AGAINST, FEWEST, PairedTest, bars_until
from qframe_rl.types import HOUR, Float

LOOKS, PAIRS = 10_000, 1_000


def noise(kind: str, bars: int, pairs: int, seed: int = 1) -> Float:
    """(bars, pairs) differences of mean 0: fat tails, with autocorrelation of either sign, or clustered."""
    rng = np.random.default_rng(seed)
    out = rng.standard_t(3, (bars, pairs))
    if kind == "clustered":
        out *= np.exp(np.repeat(rng.standard_normal((bars // 50 + 1, pairs)), 50, axis=0)[:bars])
    for t in range(1, bars):
        out[t] += {"persistent": 0.3, "reverting": -0.3}.get(kind, 0.0) * out[t - 1]
    return out


@pytest.mark.parametrize("kind", ["persistent", "reverting", "clustered"])
def test_of_a_thousand_pairs_without_a_gap_at_most_sixty_are_ever_called_ahead(kind: str) -> None:
    test, ever, missed = PairedTest(HOUR, PAIRS), np.zeros(PAIRS, dtype=np.bool_), np.zeros(PAIRS, dtype=np.bool_)
    for t, row in enumerate(noise(kind, LOOKS, PAIRS)):
        test.add(1e-4 * row)
        ever |= test.is_ahead
        if t % 10 == 0:
            missed |= np.abs(test.mean) > test.reach
    assert ever.sum() <= 60
    assert missed.sum() <= 120  # each of its two ends may leave the truth outside in one of twenty
    assert np.isfinite(test.reach).all()


@pytest.mark.parametrize(("gap", "kind"), [(0.04, "independent"), (0.08, "persistent"), (0.12, "independent")])
def test_a_gap_is_told_about_when_the_formula_says(gap: float, kind: str) -> None:
    expected = bars_until(gap, 1.0, HOUR)
    values = noise(kind, 3 * expected, 200, seed=2)
    values *= math.sqrt(0.7 / 1.3) / values.std() if kind == "persistent" else 1.0 / values.std()
    test, first = PairedTest(HOUR, 200), np.full(200, 10**9)
    for row in values:
        test.add(1e-4 * (row + gap))
        first[(first == 10**9) & test.is_ahead] = test.n
    assert np.median(first) == pytest.approx(expected, rel=0.2)
    assert not test.is_behind.any()


def test_more_pairs_at_once_need_more_evidence() -> None:
    assert bars_until(0.05, 1.0, HOUR, at_once=8) > bars_until(0.05, 1.0, HOUR)
    values = noise("independent", 4000, 20, seed=3) + 0.1
    alone, among = PairedTest(HOUR, 20), PairedTest(HOUR, 20, at_once=8)
    for row in values:
        alone.add(row)
        among.add(row)
    assert (among.reach > alone.reach).all()
    assert (alone.is_ahead >= among.is_ahead).all()


def test_ends_of_the_interval_are_where_the_evidence_is() -> None:
    values = noise("independent", 500, 1, seed=4)[:, 0]
    test = PairedTest(HOUR)
    for value in values:
        test.add(np.array([value]))
    low = float(test.mean[0] - test.reach[0])
    off = PairedTest(HOUR)
    for value in values:
        off.add(np.array([value - low]))
    assert math.exp(off.ahead[0]) == pytest.approx(AGAINST, rel=1e-6)


def test_nothing_is_said_of_few_bars_nor_of_equal_ones() -> None:
    test = PairedTest(HOUR, 2)
    for t in range(2 * FEWEST):
        test.add(np.array([0.0, 1.0 if t < FEWEST - 1 else 0.0]))
        assert t >= FEWEST - 1 or (test.answer(1), test.plain(1)["low"]) == ("open", None)
    assert test.plain(0)["low"] is None
    assert test.answer(0) == "open"


def test_a_gap_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="above 0"):
        bars_until(0.0, 1.0, HOUR)
