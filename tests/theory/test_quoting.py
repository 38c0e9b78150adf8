"""Market making, see docs/solvable.md."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qframe_rl.theory.quoting import (
    QuotingParams,
    avellaneda_stoikov,
    average_spread,
    continuous,
    continuous_quotes,
    discrete,
    fill_probability,
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
