"""Kyle's insider and maker, Glosten & Milgrom's maker, and excited arrivals: the values of their papers."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.theory.glosten_milgrom import ask, beliefs, bid, steps_of_nash
from qframe_rl.theory.hawkes import hawkes
from qframe_rl.theory.kyle import kyle


def test_kyles_single_auction() -> None:
    """G5: beta 1, lambda .5, profit .5, and half of the variance left."""
    found = kyle()
    assert [*found.beta, *found.impact, *found.variance, found.profit] == pytest.approx([1.0, 0.5, 0.5, 0.5], rel=1e-12)
    other = kyle(1, 4.0, 9.0)
    assert [*other.beta, *other.impact, *other.variance, other.profit] == pytest.approx(
        [1.5, 1 / 3, 2.0, 3.0], rel=1e-12
    )


def test_kyles_sequential_auction_tends_to_that_in_continuous_time() -> None:
    """There lambda is constant, everything becomes known, and the insider gains twice as much (theorem 3)."""
    found = kyle(2000)
    assert found.profit == pytest.approx(1.0, abs=0.005) and found.variance[-1] < 0.03
    assert found.impact[:1900] == pytest.approx(np.ones(1900), abs=0.02)
    assert np.diff(found.variance).max() < 0.0 and (kyle(4).profit, found.profit) > (kyle(2).profit, kyle(4).profit)


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_neither_has_a_better_linear_answer_in_kyles_auction(rounds: int) -> None:
    """The maker's price is the regression of the value, round by round; the insider's profit falls where he is bent."""
    found, noise = kyle(rounds), 1.0 / rounds

    def profit(beta: np.ndarray) -> float:
        # Of the gap g between value and price: its variance goes on to (1 - lambda beta)² and what noise adds.
        gap, total = 1.0, 0.0
        for b, price in zip(beta, found.impact, strict=True):
            total += b * (1.0 - price * b) * gap
            gap = (1.0 - price * b) ** 2 * gap + price * price * noise
        return total

    assert profit(found.beta) == pytest.approx(found.profit, rel=1e-12)
    for k in range(rounds):
        for bent in (0.95, 1.05):
            other = found.beta.copy()
            other[k] *= bent
            assert profit(other) < found.profit
    before = np.concatenate([[1.0], found.variance[:-1]])
    assert found.beta * before / (found.beta**2 * before + noise) == pytest.approx(found.impact, rel=1e-9)


def test_what_kyles_auction_refuses() -> None:
    for wrong in ((0, 1.0, 1.0), (1, 0.0, 1.0), (1, 1.0, float("nan"))):
        with pytest.raises(UserError, match="at least 1, and above 0"):
            kyle(*wrong)


def test_beliefs_of_glosten_and_milgrom() -> None:
    """G6, to 1e-6: buy, buy, sell, buy with three in ten informed."""
    found = beliefs(0.5, 0.3, [True, True, False, True])
    assert found == pytest.approx([0.5, 0.65, 0.775229, 0.65, 0.775229], abs=1e-6)
    assert (ask(0.5, 0.3), bid(0.5, 0.3)) == (0.65, 0.35)
    for p in (0.2, 0.5, 0.9):
        bought = 0.3 * p + 0.35
        assert ask(p, 0.3) == pytest.approx((0.3 * p + 0.35 * p) / bought, rel=1e-12)
        assert bought * ask(p, 0.3) + (1.0 - bought) * bid(p, 0.3) == pytest.approx(p, rel=1e-12)
    with pytest.raises(UserError, match="share of the informed"):
        ask(0.5, 1.0)


def test_how_far_above_no_profit_makers_may_stay() -> None:
    """G7: by trying every price of the grid."""
    for makers in (2, 3, 4, 8):
        stays = [
            all(steps / makers >= other for other in range(steps)) for steps in range(6)
        ]  # undercut to ``other`` steps, one takes all; above, one gains nothing
        assert max(k for k in range(6) if stays[k]) == steps_of_nash(makers)
    assert [steps_of_nash(m) for m in (2, 3, 4)] == [2, 1, 1]
    with pytest.raises(UserError, match="do not compete"):
        steps_of_nash(1)


def test_moments_of_excited_arrivals() -> None:
    """G3: a branching of .6 makes a rate of 2.5 and a Fano factor of 6.25; two kinds together do the same."""
    one = hawkes(np.array([1.0]), np.array([[0.6]]))
    two = hawkes(np.array([0.5, 0.5]), np.array([[0.4, 0.2], [0.2, 0.4]]))
    for found in (one, two):
        assert (found.rates.sum(), found.radius, found.fano) == pytest.approx((2.5, 0.6, 6.25), rel=1e-12)
    with pytest.raises(UserError, match="explode"):
        hawkes(np.ones(1), np.array([[1.0]]))
    with pytest.raises(UserError, match=r"\(d,\), \(d, d\), 0 or more"):
        hawkes(np.ones(2), np.ones((1, 1)))
