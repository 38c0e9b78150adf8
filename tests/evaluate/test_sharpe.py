"""Probabilistic and deflated Sharpe: the published vectors, to the printed digits."""

import math

import numpy as np
import pytest

from qframe_rl.evaluate.inference.sharpe import (
    Form,
    Moments,
    deflated_benchmark,
    deflated_sharpe,
    effective_trials,
    expected_max,
    lower_sharpe,
    min_backtest_years,
    min_track_record,
    moments,
    probabilistic_sharpe,
)


def test_probabilistic_sharpe() -> None:
    fund = Moments(1.585 / math.sqrt(12), 24, -2.448, 10.164)
    assert probabilistic_sharpe(fund) == pytest.approx(0.91323430688, abs=5e-12)
    assert probabilistic_sharpe(fund._replace(skew=0.0, kurtosis=3.0)) == pytest.approx(0.98159, abs=5e-6)


def test_probabilistic_sharpe_under_the_null() -> None:
    fund = Moments(0.036 / 0.079, 24, -2.448, 10.164)
    assert probabilistic_sharpe(fund, 0.0, "2025") == pytest.approx(0.987, abs=5e-4)
    assert probabilistic_sharpe(fund, 0.1, "2025") == pytest.approx(0.939, abs=5e-4)


def test_the_claim_of_a_thousand_hours() -> None:
    """A Sharpe ratio of 2.254 over 1,000 hours is no evidence of much (ALGORITHMS 0.6)."""
    claim = Moments(2.254 / math.sqrt(8760), 1000)
    assert probabilistic_sharpe(claim) == pytest.approx(0.777, abs=5e-4)
    assert min_track_record(claim) == pytest.approx(4667, abs=1)


def test_deflated_sharpe() -> None:
    assert expected_max(100) == pytest.approx(2.5306028932, abs=5e-11)
    best = Moments(2.5 / math.sqrt(250), 1250, -3.0, 10.0)
    assert deflated_benchmark(100, 0.5 / 250) == pytest.approx(0.113172, abs=5e-7)
    assert deflated_sharpe(best, 100, 0.5 / 250) == pytest.approx(0.90039683445, abs=5e-12)
    assert deflated_sharpe(best, 1, 0.5 / 250) == probabilistic_sharpe(best)


def test_expected_max_is_that_of_simulation() -> None:
    drawn = np.random.default_rng(0).normal(size=(4000, 100)).max(axis=1)
    assert expected_max(100) == pytest.approx(drawn.mean(), abs=0.05)
    few = [expected_max(n) for n in (1.0, 1.01, 1.1, 1.5, 2.0, 3.0)]
    assert few == sorted(few) and few[0] == 0.0, "correlated trials may be worth little more than one"
    with pytest.raises(ValueError, match="at least one"):
        expected_max(0)


@pytest.mark.parametrize(
    ("of", "benchmark", "per_year", "years"),
    [
        (Moments(2 / math.sqrt(250), 0), 1.0, 250, 2.7311878),
        (Moments(2 / math.sqrt(52), 0), 1.0, 52, 2.8288336),
        (Moments(3 / math.sqrt(12), 0, -0.72, 5.78), 2.5, 12, 27.3529202),
    ],
)
def test_min_track_record(of: Moments, benchmark: float, per_year: float, years: float) -> None:
    bars = min_track_record(of, benchmark / math.sqrt(per_year))
    assert bars / per_year == pytest.approx(years, abs=5e-8)
    reached = probabilistic_sharpe(of._replace(n_bars=bars), benchmark / math.sqrt(per_year))
    assert reached == pytest.approx(0.95, abs=1e-9)


def test_min_track_record_of_a_loser_never_ends() -> None:
    assert min_track_record(Moments(-0.1, 100)) == math.inf


def test_min_backtest_years() -> None:
    assert min_backtest_years(45, 1.0) == pytest.approx(4.9980870, abs=5e-8)
    with pytest.raises(ValueError, match="positive"):
        min_backtest_years(45, 0.0)


@pytest.mark.parametrize("form", ["2012", "2025"])
def test_degenerate_records(form: Form) -> None:
    assert probabilistic_sharpe(moments(np.zeros(100)), form=form) == 0.5
    assert probabilistic_sharpe(moments(np.zeros(0)), form=form) == 0.5
    # Two points make the error of the Sharpe ratio vanish at 1 with skew 2: then it is above or it is not.
    certain = Moments(1.0, 50, 2.0, 5.0)
    assert probabilistic_sharpe(certain, 0.5, "2012") == 1.0
    assert probabilistic_sharpe(certain, 1.5, "2012") == 0.0
    assert probabilistic_sharpe(certain, 1.0, form) == 0.5
    with pytest.raises(ValueError, match="no distribution"):
        probabilistic_sharpe(Moments(1.0, 50, 5.0, 3.0), 1.0, form)


@pytest.mark.parametrize("form", ["2012", "2025"])
def test_size_is_that_of_the_level(form: Form) -> None:
    """On noise, PSR(0) is uniform: 5 % of records reach .95."""
    noise = np.random.default_rng(1).standard_t(5, (4000, 500)) * 0.01
    reached = np.mean([probabilistic_sharpe(moments(rate), form=form) > 0.95 for rate in noise])
    assert reached == pytest.approx(0.05, abs=0.012)


def test_a_lower_bound_loses_standard_errors_by_the_number_of_bets() -> None:
    record = Moments(0.05, 401)
    error = math.sqrt((1.0 + 0.05**2 / 2.0) / 400.0)
    for bets, quantile in ((0, 6.3138), (2, 6.3138), (4, 2.3534), (11, 1.8125), (100_000, 1.6449)):
        assert lower_sharpe(record, bets) == pytest.approx(0.05 - quantile * error, abs=1e-5)
    assert lower_sharpe(Moments(0.05, 401, skew=10.0, kurtosis=102.0), 11) == pytest.approx(
        0.05 - 1.8125 / 20, abs=1e-5
    )
    assert math.isfinite(lower_sharpe(moments(np.zeros(0)), 0))


@pytest.mark.parametrize("bets", [3, 10, 300])
def test_a_lower_bound_is_above_the_truth_no_more_often_than_said(bets: int) -> None:
    rng = np.random.default_rng(bets)
    rates = np.zeros((4000, 900))
    rates[:, :bets] = 0.01 * rng.standard_normal((4000, bets))
    assert np.mean([lower_sharpe(moments(rate), bets) > 0.0 for rate in rates]) < 0.06


def test_effective_trials() -> None:
    rng = np.random.default_rng(0)
    alone = rng.normal(size=(20_000, 8))
    assert effective_trials(alone) == pytest.approx(8.0, rel=0.01)
    assert effective_trials(alone[:, :1] @ np.ones((1, 8))) == pytest.approx(1.0)
    pairs = np.repeat(alone[:, :4], 2, axis=1)
    assert effective_trials(pairs) == pytest.approx(4.0, rel=0.01)
    values = np.linalg.eigvalsh(np.corrcoef(alone[:50], rowvar=False))
    assert effective_trials(alone[:50]) == pytest.approx(values.sum() ** 2 / (values**2).sum())
    assert effective_trials(np.zeros((50, 3))) == 1.0
    # One that stayed in cash that earns: its returns less those of cash are rounding, and were a trial of its own.
    assert effective_trials(np.hstack([alone[:, :1], 1e-16 * alone[:, 1:3]])) == 1.0
