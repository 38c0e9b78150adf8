"""Probability of backtest overfitting: vectors, brute force, and planted skill."""

from itertools import combinations

import numpy as np
import pytest

from qframe_rl.evaluate.inference.overfitting import overfitting
from qframe_rl.types import Float


def noise(n_bars: int, seed: int = 42) -> Float:
    return np.random.default_rng(seed).normal(0.0, 0.01, (n_bars, 50))


def test_vectors() -> None:
    assert overfitting(noise(1000), 10).probability == pytest.approx(169 / 252, abs=1e-12)
    assert overfitting(noise(992), 16).probability == pytest.approx(0.7227661, abs=5e-8)


def test_planted_skill_lowers_it() -> None:
    some, much = noise(1000), noise(1000)
    some[:, 7] += 0.0015
    much[:, 7] += 0.003
    assert overfitting(some, 16).probability == pytest.approx(0.0956, abs=5e-5)
    assert overfitting(much, 16).probability == 0.0


def test_brute_force_agrees() -> None:
    rates = noise(205, seed=1)[:, :7]
    got = overfitting(rates, 6)
    blocks = np.split(rates[1:], 6)
    for c, chosen in enumerate(combinations(range(6), 3)):
        inside = np.concatenate([blocks[b] for b in chosen])
        outside = np.concatenate([blocks[b] for b in range(6) if b not in chosen])
        best = int(np.argmax(inside.mean(axis=0) / inside.std(axis=0, ddof=1)))
        ratio = outside.mean(axis=0) / outside.std(axis=0, ddof=1)
        share = np.sum(ratio <= ratio[best]) / 8
        assert got.logits[c] == pytest.approx(np.log(share / (1 - share)), abs=1e-12)
        assert got.out_of_sample[c] == pytest.approx(ratio[best], rel=1e-9)
        assert got.in_sample[c] == pytest.approx(inside[:, best].mean() / inside[:, best].std(ddof=1), rel=1e-9)
    assert len(got.logits) == 20
    assert got.loss == np.mean(got.out_of_sample < 0)


def test_noise_is_a_coin_on_average_only() -> None:
    drawn = [overfitting(noise(500, seed), 10).probability for seed in range(20)]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.12)
    assert np.std(drawn) > 0.08


def test_configurations_that_are_all_alike_rank_in_the_middle() -> None:
    same = np.repeat(noise(160)[:, :1], 5, axis=1)
    assert np.array_equal(overfitting(same, 4).logits, np.zeros(6))
    flat = overfitting(np.zeros((160, 3)), 4)
    assert flat.probability == 1.0 and flat.loss == 0.0


@pytest.mark.parametrize(("shape", "n_blocks"), [((100, 1), 10), ((100, 5), 7), ((10, 5), 10), ((100, 5), 0)])
def test_what_does_not_fit_is_refused(shape: tuple[int, int], n_blocks: int) -> None:
    with pytest.raises(ValueError, match="do not fill"):
        overfitting(np.zeros(shape), n_blocks)


def test_agrees_with_another_library() -> None:
    purgedcv = pytest.importorskip("purgedcv")
    rates = noise(320, seed=5)[:, :12]
    theirs = purgedcv.probability_of_backtest_overfitting(rates.T, 8)
    assert overfitting(rates, 8).probability == pytest.approx(theirs.pbo, abs=1e-12)
