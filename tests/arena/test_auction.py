"""Gate G4: what traders without intelligence realise of the possible surplus (Gode & Sunder, 1993)."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.arena.auction import zero_intelligence
from qframe_rl.arena.population import zero_tick
from qframe_rl.book.state import BUY, SELL
from qframe_rl.config import UserError


@pytest.mark.parametrize(("bound", "low", "high"), [(True, 0.93, 1.0), (False, -np.inf, 0.5)])
def test_a_budget_makes_a_market_of_12_buyers_and_12_sellers_efficient(bound: bool, low: float, high: float) -> None:
    """Within three standard errors."""
    found = zero_intelligence(1_000, bound, calls=4_000)
    efficiency = found.efficiency
    assert np.isfinite(efficiency).all()
    error = efficiency.std(ddof=1) / np.sqrt(len(efficiency))
    assert low < efficiency.mean() - 3.0 * error and efficiency.mean() + 3.0 * error < high
    bought, sold = found.traded[:, :12].sum(1), found.traded[:, 12:].sum(1)
    np.testing.assert_array_equal(bought, sold)
    assert (found.gained <= found.possible).all()
    assert (bought == 12).mean() > 0.95 if not bound else bought.mean() < 8


def test_possible_and_gained_are_what_a_plain_search_finds() -> None:
    found = zero_intelligence(20, True, n_pairs=3, calls=300, seed=9)
    for b in range(20):
        best = 0
        for buyers in range(8):
            for sellers in range(8):
                if bin(buyers).count("1") == bin(sellers).count("1"):
                    gain = sum(int(found.values[b, k]) for k in range(3) if buyers >> k & 1)
                    best = max(best, gain - sum(int(found.costs[b, k]) for k in range(3) if sellers >> k & 1))
        assert found.possible[b] == best


def test_a_session_is_the_same_alone() -> None:
    many, one = zero_intelligence(5, True, calls=200, seed=3), zero_intelligence(1, True, calls=200, seed=7)
    np.testing.assert_array_equal(many.traded[4], one.traded[0])
    with pytest.raises(UserError, match="at least 1"):
        zero_intelligence(0, True)


def test_a_budget_bounds_a_price_and_all_prices_are_drawn() -> None:
    u = (np.arange(1000) + 0.5) / 1000
    for side, bound, low, high in ((BUY, True, 1, 5), (SELL, True, 5, 10), (BUY, False, 1, 10), (SELL, False, 1, 10)):
        assert {zero_tick(side, 5, 1, 10, bound, one) for one in u} == set(range(low, high + 1))
