"""Stationary bootstrap: exact moments, another library, coverage and speed."""

import json
import time
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qframe_rl.evaluate.inference.bootstrap import (
    LEVEL,
    _uniform,
    block_length,
    bootstrap,
    politis_white,
    resample,
    sharpe_interval,
)
from qframe_rl.evaluate.metrics import drawdown, sharpe
from qframe_rl.types import Float


@dataclass
class Series:
    phi: float
    n: int

    def draw(self, seed: int, count: int = 1) -> Float:
        """(count, n) AR(1) numbers of variance 1."""
        noise = np.random.default_rng(seed).normal(size=(self.n + 100, count)) * np.sqrt(1.0 - self.phi**2)
        x = np.zeros_like(noise)
        for i in range(1, len(x)):
            x[i] = self.phi * x[i - 1] + noise[i]
        return np.ascontiguousarray(x[100:].T)


def test_interval_covers_the_truth() -> None:
    """ALGORITHMS 6.8: a 95 % interval holds the true Sharpe ratio of AR(.2) returns in 93-97 % of simulations."""
    rate = 0.01 * (Series(0.2, 1000).draw(seed=4, count=1000) + 0.05)
    inside = 0
    for seed, one in enumerate(rate):
        interval = bootstrap(one, 1.0, level=0.95, n_resamples=400, seed=seed).sharpe
        inside += interval.low <= 0.05 <= interval.high
    assert 0.93 <= inside / len(rate) <= 0.97


def test_default_interval_is_ninety_percent_and_covers_it() -> None:
    rate = 0.01 * Series(0.0, 500).draw(seed=1, count=600)
    intervals = [sharpe_interval(one, 1.0, seed=seed) for seed, one in enumerate(rate)]
    assert LEVEL == intervals[0].level == 0.9
    assert 0.87 <= np.mean([i.low <= 0.0 <= i.high for i in intervals]) <= 0.93


def test_resampled_means_have_the_variance_of_theory() -> None:
    """Politis and Romano (1994), lemma 1: the variance of the resampled mean in closed form."""
    rate = 0.01 * Series(0.5, 120).draw(seed=0)[0]
    n, block = len(rate), 6.0
    drawn = resample(rate, block, 200_000, seed=1)
    # Log growth is a sum over the resample: its variance is n^2 times that of the mean of log growth.
    excess = np.log1p(rate) - np.log1p(rate).mean()
    circular = np.array([excess @ np.roll(excess, -k) for k in range(n)]) / n
    stay, lag = 1.0 - 1.0 / block, np.arange(n)
    weight = 1.0 * (lag == 0) + (lag > 0) * (1.0 - lag / n) * stay**lag * 2.0
    assert drawn[:, 1].var() == pytest.approx(n * float(weight @ circular), rel=0.02)
    assert drawn[:, 1].mean() == pytest.approx(np.log1p(rate).sum(), abs=4 * drawn[:, 1].std() / 200_000**0.5)


def test_agrees_with_arch() -> None:
    arch = pytest.importorskip("arch.bootstrap")
    rate = 0.01 * (Series(0.3, 800).draw(seed=2)[0] + 0.05)
    theirs = arch.StationaryBootstrap(12, rate, seed=3).apply(lambda x: x.mean() / x.std(ddof=1), 20_000)[:, 0]
    ours = resample(rate, 12.0, 20_000, seed=3)[:, 0]
    assert ours.mean() == pytest.approx(theirs.mean(), abs=4 * theirs.std() / 100)
    assert ours.std() == pytest.approx(theirs.std(), rel=0.03)
    assert np.quantile(ours, [0.05, 0.95]) == pytest.approx(np.quantile(theirs, [0.05, 0.95]), abs=0.05 * theirs.std())


@pytest.mark.parametrize(("phi", "expected"), [(0.0, None), (0.5, 14.5), (0.8, None)])
def test_block_length_agrees_with_arch(phi: float, expected: float | None) -> None:
    """Arch counts the last lag that matters one higher than the paper does: equal on noise, close elsewhere."""
    arch = pytest.importorskip("arch.bootstrap")
    series = Series(phi, 2000).draw(seed=0, count=20)
    ours = np.array([politis_white(one) for one in series])
    theirs = np.array([arch.optimal_block_length(one).iloc[0, 0] for one in series])
    if phi == 0.0:
        assert ours == pytest.approx(np.maximum(theirs, 1.0), rel=1e-9)
    assert np.median(ours) == pytest.approx(np.median(theirs), rel=0.2)
    if expected is not None:
        assert np.mean(ours) == pytest.approx(expected, rel=0.15)


def test_block_length_is_never_below_the_cube_root() -> None:
    assert block_length(Series(0.0, 8000).draw(seed=0)[0]) == pytest.approx(20.0)
    assert block_length(Series(0.9, 1000).draw(seed=0)[0]) > 20.0
    assert block_length(np.zeros(1000)) == pytest.approx(10.0)
    assert block_length(np.zeros(0)) == 1.0


def test_same_seed_same_bits_and_streams_do_not_depend_on_their_number() -> None:
    rate = 0.01 * Series(0.1, 300).draw(seed=0)[0]
    assert bootstrap(rate, 365.0, seed=5) == bootstrap(rate, 365.0, seed=5)
    assert bootstrap(rate, 365.0, seed=5) != bootstrap(rate, 365.0, seed=6)
    assert np.array_equal(resample(rate, 5.0, 50, seed=1), resample(rate, 5.0, 500, seed=1)[:50])
    drawn = resample(rate, 5.0, 5000, seed=1)[:, 1]
    assert len(np.unique(drawn)) == 5000
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.05


def test_random_numbers_are_those_of_splitmix64() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    drawn = [_uniform(np.uint64(1234567), np.uint64(k)) for k in range(4)]
    assert drawn == pytest.approx([number / 2**64 for number in published], abs=2**-52)


def test_figures_of_a_resample_are_those_of_its_path() -> None:
    """Blocks longer than the record only rotate it: each resample is one rotation, whose figures are known."""
    rate = 0.05 * Series(0.0, 12).draw(seed=3)[0]
    paths = [np.roll(rate, -k) for k in range(12)]
    falls = [drawdown(np.cumprod(np.concatenate([[1.0], 1.0 + path]))).min() for path in paths]
    for ratio, growth, fall in resample(rate, 1e9, 200, seed=0):
        assert ratio == pytest.approx(sharpe(rate, 1.0))
        assert growth == pytest.approx(np.log1p(rate).sum())
        assert min(abs(fall - known) for known in falls) < 1e-12


@settings(max_examples=60)
@given(rate=st.lists(st.sampled_from([0.0, 0.0, 0.01, -0.02, -1.0, 0.5]), max_size=12), seed=st.integers(0, 99))
def test_every_end_is_finite_and_in_order(rate: list[float], seed: int) -> None:
    drawn = bootstrap(np.array(rate), 8760.0, n_resamples=50, seed=seed)
    json.dumps(drawn, allow_nan=False)
    for interval in (drawn.sharpe, drawn.annual_return, drawn.max_drawdown):
        assert interval.low <= interval.high
    assert -1.0 <= drawn.max_drawdown.low <= drawn.max_drawdown.high <= 0.0
    assert drawn.annual_return.low >= -1.0


def test_flat_returns_have_no_spread() -> None:
    assert sharpe_interval(np.zeros(500), 8760.0)[:3] == (0.0, 0.0, 0.0)
    assert sharpe_interval(np.zeros(0), 8760.0)[:3] == (0.0, 0.0, 0.0)


def test_resamples_that_miss_the_one_odd_bar_count_as_constant() -> None:
    drawn = sharpe_interval(np.append(np.full(100, 0.01), 0.2), 365.0)
    assert drawn.low == pytest.approx(0.0, abs=5.0)
    assert drawn.high < 200.0


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"level": 0.0}, {"n_resamples": 0}, {"block": 0.5}])
def test_wrong_arguments_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        bootstrap(np.zeros(5), 365.0, **wrong)  # type: ignore[arg-type]


def test_a_thousand_resamples_of_sixty_thousand_bars_take_well_under_a_second() -> None:
    rate = np.random.default_rng(0).normal(1e-5, 0.005, 60_000)
    sharpe_interval(rate[:100], 8760.0)
    best = np.inf
    for _ in range(3):
        start = time.thread_time()
        sharpe_interval(rate, 8760.0)
        best = min(best, time.thread_time() - start)
    assert best < 0.8
