"""The optimum of quoting on a grid: what it says is what replaying it on a planted market earns."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.theory.grid_quoting import GridQuotingParams, grid_quotes
from tests.book.planted import DISTANCES, TERMS, GridQuoter, planted

SOLVED = grid_quotes(TERMS)


def test_one_side_alone_is_the_best_of_a_list() -> None:
    """With room for one unit, no penalty and one distance, it buys and sells in turn: half the steps of one side."""
    terms = GridQuotingParams(5.0, 0.3, 0.1, 0.0, 1, (2.0,))
    p = -np.expm1(-5.0 * 0.1 * np.exp(-0.3 * 2.0))
    # Between the limits both sides are quoted; at one of them a single one.
    states = np.array([-1, 0, 1])
    move = np.array([[1 - p, p, 0], [p * (1 - p), (1 - p) ** 2 + p * p, p * (1 - p)], [0, p, 1 - p]])
    share = np.linalg.matrix_power(move.T, 4096)[:, 1]
    quoted = np.where(states == 0, 2, 1)
    assert grid_quotes(terms).average == pytest.approx(float(share @ quoted) * p * 2.0, rel=1e-6)


def test_replayed_it_earns_what_it_says() -> None:
    """G9: within 3 standard errors of what was computed, and no more than one unit beyond the limit is ever held."""
    market, record = planted(7, 400, GridQuoter(SOLVED, TERMS))
    earned = record.rewards[:-1]
    # Errors of neighbouring steps are related: blocks of a hundred.
    blocks = earned[: len(earned) // 100 * 100].reshape(-1, 100).mean(axis=1)
    assert abs(earned.mean() - SOLVED.average) < 3.0 * blocks.std(ddof=1) / len(blocks) ** 0.5
    assert np.abs(record.held).max() <= TERMS.limit
    assert market.config.actions == "table" and tuple(market.config.distances) == DISTANCES


def test_quotes_lean_against_the_inventory() -> None:
    bid, ask = SOLVED.bid[:, 0, 0], SOLVED.ask[:, 0, 0]
    assert (np.diff(bid[:-1]) >= 0).all() and bid[-1] == 0
    assert (np.diff(ask[1:]) <= 0).all() and ask[0] == 0
    assert (bid == ask[::-1]).all()
