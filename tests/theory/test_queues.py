"""Which queue is empty first: the formula, and the matching core on races that are played out."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.book import state as s
from qframe_rl.book.core import match
from qframe_rl.config import UserError
from qframe_rl.theory.queues import rise_probability
from qframe_rl.types import Int

BID, ASK = 100, 101
N_RACES, N_ROUNDS = 6_000, 1_000


@pytest.mark.parametrize(("n_bid", "n_ask", "chance"), [(1, 2, 0.3023), (3, 1, 0.7906), (5, 2, 0.7560)])
def test_the_formula(n_bid: int, n_ask: int, chance: float) -> None:
    assert rise_probability(n_bid, n_ask) == pytest.approx(chance, abs=5e-5)
    assert rise_probability(n_bid, n_ask) + rise_probability(n_ask, n_bid) == pytest.approx(1.0, abs=1e-12)


def test_long_queues_are_integrated_as_well_as_short_ones() -> None:
    """Far from empty a race is a Brownian motion in a quadrant: the direction's angle decides."""
    assert rise_probability(400, 400) == pytest.approx(0.5, abs=1e-9)
    assert rise_probability(900, 300) == pytest.approx(2.0 / np.pi * np.arctan(3.0), abs=1e-4)
    with pytest.raises(UserError, match="a queue race needs a lot in each queue, not 0 and 3"):
        rise_probability(0, 3)


def drawn(rng: np.random.Generator, round_: int) -> Int:
    """(B, 6) one message a book: a lot joins a queue, or a market order takes one from it."""
    side, joins = rng.integers(2, size=N_RACES), rng.random(N_RACES) < 0.5
    made = np.zeros((N_RACES, s.N_MESSAGE), np.int64)
    made[:, s.KIND] = np.where(joins, s.LIMIT, s.IOC)
    made[:, s.SIDE] = np.where(joins, side, 1 - side)
    made[:, s.TICK], made[:, s.LOTS] = np.where(side == s.BUY, BID, ASK), 1
    made[:, s.OWNER] = np.where(joins, 1, 2)
    made[:, s.ID] = 10_000 + round_
    return made


@pytest.mark.parametrize(("n_bid", "n_ask"), [(1, 2), (3, 1), (5, 2)])
def test_the_core_decides_races_as_the_formula_does(n_bid: int, n_ask: int) -> None:
    """G2: within three standard errors."""
    books, rng = s.empty_books(N_RACES, 64, 512), np.random.default_rng(n_bid)
    first = [(s.LIMIT, s.BUY, BID, 1, 1, k) for k in range(n_bid)]
    first += [(s.LIMIT, s.SELL, ASK, 1, 1, n_bid + k) for k in range(n_ask)]
    match(books, np.tile(np.array(first, np.int64), (N_RACES, 1)), len(first) * np.arange(N_RACES + 1))
    rose, races = np.full(N_RACES, np.nan), np.arange(N_RACES)
    for round_ in range(N_ROUNDS):
        messages = drawn(rng, round_)[races]
        starts = np.concatenate([[0], np.cumsum(np.isin(np.arange(N_RACES), races))])
        done = match(books, messages, starts)
        assert (done.status == s.ACCEPTED).all()
        no_bid, no_ask = books.best[races, s.BUY] < 0, books.best[races, s.SELL] == books.n_prices
        rose[races[no_ask]], rose[races[no_bid]] = 1.0, 0.0
        races = races[~(no_bid | no_ask)]
    assert len(races) < 0.015 * N_RACES
    bids, asks = (books.depth[races, tick - books.base[races]] for tick in (BID, ASK))
    rose[races] = 2.0 / np.pi * np.arctan(bids / asks)  # by now they are long, and decided as Brownian motions are
    expected = rise_probability(n_bid, n_ask)
    assert abs(rose.mean() - expected) < 3.0 * np.sqrt(expected * (1.0 - expected) / N_RACES)
