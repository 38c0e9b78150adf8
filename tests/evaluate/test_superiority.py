"""Reality check, SPA and model confidence set: size, power, and what does not fit."""

import numpy as np
import pytest
from scipy.stats import kstest

from qframe_rl.evaluate.inference.superiority import confidence_set, superiority
from qframe_rl.types import Float


def noise(seed: int, n_bars: int = 500, n: int = 10) -> Float:
    return np.random.default_rng(seed).normal(0.0, 0.01, (n_bars, n))


def test_noise_does_not_beat_cash_and_skill_does() -> None:
    """ALGORITHMS 6.8: near 1 on noise without a winner, near .001 with one truly better strategy."""
    rates = noise(3)
    rates -= rates.mean(axis=0)
    assert superiority(rates, np.zeros(500)).spa > 0.9
    rates[:, 4] += 0.0025
    found = superiority(rates, np.zeros(500))
    assert found.spa <= 0.001
    assert found.spa_lower <= found.spa <= found.reality_check
    assert found.n_strategies == 10


def test_hopeless_strategies_dilute_the_reality_check_alone() -> None:
    rates = noise(5)
    rates[:, 0] += 0.0006
    rates[:, 1:] -= 0.01
    found = superiority(rates, np.zeros(500))
    assert found.spa < found.reality_check


@pytest.mark.long
def test_p_is_uniform_on_noise() -> None:
    """ALGORITHMS 6.8, size: of 500 runs on noise the p-values at the null's edge are uniform."""
    p = [superiority(noise(seed, 250, 4), np.zeros(250), n_resamples=400, block=1).reality_check for seed in range(500)]
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.025)


def test_those_who_never_differ_are_left_out() -> None:
    rates = np.zeros((50, 3))
    assert superiority(rates, np.zeros(50)) == (1.0, 1.0, 1.0, 1, 0)


def test_confidence_set_keeps_the_best_and_drops_the_worst() -> None:
    rates = noise(1, 1000, 5)
    rates[:, 2] += 0.001
    rates[:, 4] -= 0.01
    found = confidence_set(rates)
    assert 2 in found.included
    assert 4 not in found.included
    assert found.p_values[4] <= found.size < found.p_values[2]
    assert len(found.p_values) == 5


def test_those_who_did_the_same_are_one_in_the_confidence_set() -> None:
    """Two that never traded, or held the same, kept the library's test at eliminating neither of them for ever."""
    rates = noise(1, 100, 2)
    alone = confidence_set(rates)
    twice = confidence_set(rates[:, [0, 1, 1, 0]])
    assert np.array_equal(twice.p_values, alone.p_values[[0, 1, 1, 0]])
    assert confidence_set(np.zeros((50, 2))).included == (0, 1)


def test_the_same_seed_gives_the_same_bits() -> None:
    one, two = (superiority(noise(9), np.zeros(500), n_resamples=100, seed=7) for _ in range(2))
    assert one == two
    a, b = (confidence_set(noise(9), n_resamples=100, seed=7) for _ in range(2))
    assert np.array_equal(a.p_values, b.p_values)


@pytest.mark.parametrize("shape", [(5, 3), (50, 0)])
def test_what_does_not_fit_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"returns must be|5 days are too few"):
        superiority(np.zeros(shape), np.zeros(shape[0]))
    with pytest.raises(ValueError, match="at least"):
        confidence_set(np.zeros((50, 1)))
