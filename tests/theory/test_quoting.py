"""Market making, see docs/solvable.md."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qframe_rl.theory.quoting import (
    InventoryParams,
    QuotingParams,
    asymptotic_quotes,
    avellaneda_stoikov,
    average_spread,
    continuous,
    continuous_quotes,
    discrete,
    fill_probability,
    utility_quotes,
)

FLAT, THREE = 10, 13
"""Columns of an inventory of 0 and 3."""


def test_continuous_time() -> None:
    terms = QuotingParams()
    assert continuous(terms, 1.0)[FLAT] == pytest.approx(66.27700, abs=5e-6)
    ask, bid = continuous_quotes(terms, 1.0)
    assert ask[FLAT] == pytest.approx(0.69250, abs=5e-6)
    assert bid[FLAT] == pytest.approx(0.69250, abs=5e-6)
    assert ask[THREE] == pytest.approx(0.53768, abs=5e-6)
    assert bid[THREE] == pytest.approx(0.84703, abs=5e-6)
    assert continuous(terms._replace(running=0.01), 1.0)[FLAT] == pytest.approx(67.97032, abs=5e-6)
    assert continuous(terms._replace(running=0.0, terminal=0.0), 1.0)[FLAT] == pytest.approx(68.13171, abs=5e-6)


def test_discrete_time() -> None:
    solved = discrete(QuotingParams())
    # The card's figures are of quotes on a grid of .0025; ours are on a continuum and worth 4e-5 more.
    assert solved.value[0, FLAT] == pytest.approx(59.10625, abs=5e-5)
    assert solved.ask[0, FLAT] == solved.bid[0, FLAT] == pytest.approx(0.765, abs=0.00125)
    assert solved.ask[0, THREE] == pytest.approx(0.5975, abs=0.00125)
    assert solved.bid[0, THREE] == pytest.approx(0.940, abs=0.00125)
    assert math.isinf(solved.ask[0, 0])
    assert math.isinf(solved.bid[0, -1])


def test_discrete_time_converges_to_continuous_time() -> None:
    limit = continuous(QuotingParams(), 1.0)[FLAT]
    fine = discrete(QuotingParams(n_steps=2000)).value[0, FLAT]
    finer = discrete(QuotingParams(n_steps=8000)).value[0, FLAT]
    assert fine == pytest.approx(65.469, abs=5e-4)
    assert abs(limit - finer) < 0.27 * abs(limit - fine)


@pytest.mark.parametrize("fill_model", ["poisson", "linear"])
def test_no_other_quote_does_better_in_the_last_step(fill_model: str) -> None:
    terms = QuotingParams(n_steps=200, terminal=0.05, fill_model=fill_model)
    solved = discrete(terms)
    linear = fill_model == "linear"

    def worth(q: int, ask: float, bid: float) -> float:
        pa, pb = (fill_probability(d, terms.arrivals, terms.decay, linear) for d in (ask, bid))
        end = -terms.terminal * np.array([(q - 1) ** 2, q**2, (q + 1) ** 2])
        return float(
            pa * (1 - pb) * (ask + end[0])
            + pb * (1 - pa) * (bid + end[2])
            + pa * pb * (ask + bid + end[1])
            + (1 - pa) * (1 - pb) * end[1]
            - terms.running * q**2 * terms.horizon / terms.n_steps
        )

    for q in (-9, -3, 0, 2, 9):
        i = q + terms.limit
        ask, bid = solved.ask[-1, i], solved.bid[-1, i]
        best = worth(q, ask, bid)
        assert best == pytest.approx(solved.value[-2, i], abs=1e-12)
        for da, db in ((0.05, 0.0), (-0.05, 0.0), (0.0, 0.05), (0.0, -0.05), (0.03, -0.03)):
            assert worth(q, ask + da, bid + db) < best


def test_quotes_around_the_reservation_price() -> None:
    for aversion, spread in ((0.1, 1.49), (0.01, 1.35), (1.0, 3.02)):
        assert average_spread(aversion, 2.0, 1.5, 1.0) == pytest.approx(spread, abs=0.005)
    ask, bid = avellaneda_stoikov(np.array([0.0, 4.0]), np.array([0.5, 0.5]), 0.1, 2.0, 1.5)
    assert ask[0] == bid[0] == pytest.approx(0.5 * average_spread(0.1, 2.0, 1.5, 1.0))
    assert bid[1] - ask[1] == pytest.approx(2 * 4.0 * 0.1 * 4.0 * 0.5)


def test_quotes_under_exponential_utility() -> None:
    """G8: by eigenvector far from the end, by matrix exponential at any time, and in closed form."""
    terms = InventoryParams()
    flat = terms.limit
    ask, bid = utility_quotes(terms)
    assert (bid[flat], bid[flat + 3], ask[flat + 3]) == pytest.approx((0.671628, 0.828496, 0.514383), abs=1e-6)
    assert math.isinf(ask[0]) and math.isinf(bid[-1]) and np.isfinite(ask[1:]).all() and np.isfinite(bid[:-1]).all()
    np.testing.assert_allclose(ask, bid[::-1], atol=1e-9)
    far_ask, far_bid = asymptotic_quotes(terms, np.array([0.0, 3.0]))
    assert (far_bid[0], far_bid[1], far_ask[1]) == pytest.approx((0.671244, 0.826395, 0.516092), abs=1e-6)
    np.testing.assert_allclose(utility_quotes(terms, 5.0)[1], bid, atol=1e-9)
    end_ask, end_bid = utility_quotes(terms, 0.0)
    np.testing.assert_allclose(end_ask[1:], terms.half_spread)
    np.testing.assert_allclose(end_bid[:-1], terms.half_spread)


def test_quotes_under_exponential_utility_solve_its_equation() -> None:
    """The logarithm's argument v solves v' = M v backwards; here by small steps from the end, without eigenvectors."""
    terms, left, n = InventoryParams(limit=6), 0.05, 20_000
    q = np.arange(-6, 7)
    lost = terms.intensity * (1 + terms.aversion / terms.decay) ** -(1 + terms.decay / terms.aversion)
    v = np.ones(13)
    for _ in range(n):
        beside = np.append(v[1:], 0.0) + np.append(0.0, v[:-1])
        risk = 0.5 * terms.decay * terms.aversion * terms.volatility**2 * q**2
        v = v + left / n * (lost * beside - risk * v)
    bid = terms.half_spread + np.log(v[:-1] / v[1:]) / terms.decay
    np.testing.assert_allclose(utility_quotes(terms, left)[1][:-1], bid, atol=1e-4)


@pytest.mark.parametrize("limit", [4, 60])
def test_lasting_quotes_solve_the_equation_at_every_inventory(limit: int) -> None:
    """All inventories lose value at one rate; at the outermost ones, too, where the values are least."""
    terms = InventoryParams(limit=limit)
    _, bid = utility_quotes(terms)
    step = np.exp(terms.decay * (terms.half_spread - bid[:-1]))  # v(q + 1) / v(q)
    lost = terms.intensity * (1 + terms.aversion / terms.decay) ** -(1 + terms.decay / terms.aversion)
    q = np.arange(-limit, limit + 1)
    risk = 0.5 * terms.decay * terms.aversion * terms.volatility**2 * q**2
    rate = lost * (np.append(step, 0.0) + np.append(0.0, 1.0 / step)) - risk
    np.testing.assert_allclose(rate, rate[limit], rtol=1e-9)
