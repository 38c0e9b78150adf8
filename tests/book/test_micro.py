"""The micro-price: what a planted market's mid price really comes to, fitted to training rows alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from qframe_rl.book.arrived import arrived_quotes
from qframe_rl.book.features import book_features, sampled
from qframe_rl.book.micro import fit_micro, restored_micro
from qframe_rl.book.tape import tape_of
from qframe_rl.config import UserError
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.ticks import tick_runs
from qframe_rl.types import Float, Int
from tests.book.tapes import drawn_tape

N = 3
UP = np.array([0.02, 0.05, 0.20])
"""By bucket of the imbalance: chance that the next message moves the mid a tick up; down, the other way round."""
STAY = np.array([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [0.1, 0.2, 0.7]])
AFTER = np.array([0.5, 0.3, 0.2])
"""Buckets after a move up: what stood behind the best ask is thin no more. After one down, the other way round."""


def planted(seed: int, n: int) -> Int:
    """(n, 2, 2) best quotes of a market whose buckets are a chain."""
    rng = np.random.default_rng(seed)
    quotes = np.empty((n, 2, 2), np.int64)
    bid, bucket = 1_000, 1
    for k in range(n):
        quotes[k] = [[bid, 10 + 30 * bucket], [bid + 1, 70 - 30 * bucket]]
        u = rng.random()
        if u < UP[bucket]:
            bid, bucket = bid + 1, int(rng.choice(N, p=AFTER))
        elif u < UP[bucket] + UP[N - 1 - bucket]:
            bid, bucket = bid - 1, int(rng.choice(N, p=AFTER[::-1]))
        else:
            bucket = int(rng.choice(N, p=STAY[bucket]))
    return quotes


def exact() -> Float:
    """Expected move of the mid in the end, of the chain as it was planted."""
    moves = UP + UP[::-1]
    stays = STAY * (1 - moves)[:, None]
    onward = UP[:, None] * AFTER[None, :] + UP[::-1][:, None] * AFTER[::-1][None, :]
    inverse = np.linalg.inv(np.eye(N) - stays)
    first, onward = inverse @ (UP - UP[::-1]), inverse @ onward
    return np.asarray(sum(np.linalg.matrix_power(onward, k) @ first for k in range(200)))


def test_the_planted_market_is_found() -> None:
    micro = fit_micro(planted(0, 60_000), n_imbalances=N, n_spreads=1)
    np.testing.assert_allclose(micro.lean[0], exact(), atol=0.02)
    assert micro.lean[0, 1] == 0.0 and exact()[2] > 0.3


def test_it_is_where_the_mid_price_comes_to() -> None:
    """Out of sample: 150 messages later, when no bucket of now matters any more."""
    micro, quotes = fit_micro(planted(0, 60_000), n_imbalances=N, n_spreads=1), planted(1, 60_000)
    mid = quotes[:, :, 0].mean(axis=1)
    later = mid[150:] - mid[:-150]
    for bucket, lots in enumerate((10, 40, 70)):
        here = quotes[:-150, 0, 1] == lots
        error = later[here].std() / np.sqrt(here.sum() / 150)
        assert abs(later[here].mean() - micro.lean[0, bucket]) < 3.0 * error
    price = micro.of(quotes)
    np.testing.assert_allclose(price - mid, micro.lean[0, (quotes[:, 0, 1] - 10) // 30], atol=1e-9)


def test_exchanging_the_sides_turns_it_round_and_wide_spreads_share_a_row() -> None:
    micro = fit_micro(arrived_quotes(drawn_tape(0)).quotes[:, 0])
    assert micro.lean.shape == (3, 9) and micro.lean.any()
    np.testing.assert_array_equal(micro.lean, -micro.lean[:, ::-1])
    quotes = np.array([[[100, 9], [103, 1]], [[100, 9], [150, 1]], [[100, 0], [150, 1]]])
    price = micro.of(quotes)
    np.testing.assert_allclose(price, [101.5 + micro.lean[2, 8], 125.0 + micro.lean[2, 8], np.nan])


@pytest.mark.skipif("QFRAME_DATA" not in os.environ, reason="QFRAME_DATA names no market data")
def test_on_a_real_market_it_tells_where_the_mid_goes() -> None:
    """Ether, July 2024: fitted to the first half, it goes with the move of the next second in the other half."""
    run = tick_runs(Path(os.environ["QFRAME_DATA"]), Listing("binance", "ETH/USDT:USDT"))[0]
    tape = tape_of(run.events, run.clock_shift_ns)
    first, last = int(tape.local_ns.min()), int(tape.local_ns.max())
    micro = fit_micro(arrived_quotes(tape, 1, (first + last) // 2).quotes[:, 0])
    at = np.arange((first + last) // 2, last - 10**9, 10**8)
    lean, mid = sampled(tape, book_features(["micro", "mid"]), at, micro, run.ready_ns).T
    later = sampled(tape, book_features(["mid"]), at + 10**9, None, run.ready_ns)[:, 0]
    assert np.corrcoef(lean, later - mid)[0, 1] == pytest.approx(0.32, abs=0.01)


def test_rows_after_the_training_change_nothing() -> None:
    tape = drawn_tape(3)
    until = int(np.quantile(tape.local_ns, 0.5))
    late = tape.local_ns > until
    other = tape._replace(lots=np.where(late, 99, tape.lots), kind=np.where(late, 1, tape.kind).astype(np.int8))
    one, two = (fit_micro(arrived_quotes(of, 1, until).quotes[:, 0]) for of in (tape, other))
    np.testing.assert_array_equal(one.lean, two.lean)
    three = fit_micro(arrived_quotes(other, 1).quotes[:, 0])
    assert not np.array_equal(one.lean, three.lean)


def test_it_is_stored_as_plain_numbers() -> None:
    micro = fit_micro(planted(0, 5_000), n_imbalances=N, n_spreads=1)
    stored = json.dumps({name: array.tolist() for name, array in micro.state().items()})
    np.testing.assert_array_equal(restored_micro(json.loads(stored)).lean, micro.lean)
    for spoiled in ({}, {"lean": [[0.0, 1.0]]}, {"lean": [0.0]}, {"lean": [[float("nan")]]}):
        with pytest.raises(UserError, match="a stored micro-price has 'lean'"):
            restored_micro(spoiled)


def test_what_cannot_be_fitted_is_told() -> None:
    still = np.tile(np.array([[100, 5], [101, 5]]), (50, 1, 1))
    with pytest.raises(UserError, match="never moves"):
        fit_micro(still)
    with pytest.raises(UserError, match="odd number of imbalances, not 4"):
        fit_micro(still, n_imbalances=4)
    rising = np.array([[[100 + k, 9], [101 + k, 1]] for k in range(50)])
    with pytest.raises(UserError, match="do not come to an end"):
        fit_micro(rising)
    never = np.array([[[100, 9], [101, 1]]] * 9 + [[[0, 0], [101, 1]]] + [[[100, 5], [101, 5]], [[101, 5], [102, 5]]])
    with pytest.raises(UserError, match="do not come to an end"):
        fit_micro(never)
