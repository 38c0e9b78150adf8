"""A tear sheet: a second library, figures worked out by hand, and records of which nothing can be said."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qframe_rl.evaluate.metrics import metrics
from qframe_rl.evaluate.tearsheet import (
    Relative,
    Tail,
    beside_holding,
    by_year,
    days_of,
    relative,
    rolling,
    slope,
    tail,
    tear_sheet,
    worst_drawdowns,
)
from qframe_rl.types import DAY, HOUR, Float, Record, iso

from .made import START, cash_record, returns_record, with_cash_rate


def pair(seed: int, n: int = 1200) -> tuple[Float, Float]:
    """Daily returns that go with a benchmark, and the benchmark's."""
    rng = np.random.default_rng(seed)
    held = rng.standard_t(4, n) * 0.02 + 4e-4
    return 0.4 * held + rng.standard_t(5, n) * 0.008 + 2e-4, held


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_empyrical(seed: int) -> None:
    """Its alpha is compound, (1 + a) ** 365 - 1, and ours is 365 a: turned into its own, it is the same."""
    empyrical = pytest.importorskip("empyrical")
    rate, market = pair(seed)
    idle = 1e-4
    index = pd.date_range("2020-01-01", periods=len(rate))
    one, other = pd.Series(rate, index=index), pd.Series(market, index=index)
    cash = np.concatenate([[0.0], np.full(len(rate), idle)])
    own, held = (with_cash_rate(returns_record(x), cash) for x in (rate, market))
    found = relative(days_of(own), days_of(held))
    alpha, beta = empyrical.alpha_beta(one, other, risk_free=idle, annualization=365)
    assert found.beta == pytest.approx(beta, rel=1e-9)
    assert found.alpha is not None
    assert (1.0 + found.alpha / 365.0) ** 365 - 1.0 == pytest.approx(alpha, rel=1e-8)
    assert found.correlation == pytest.approx(one.corr(other), rel=1e-9)
    assert found.information_ratio == pytest.approx(empyrical.excess_sharpe(one, other) * math.sqrt(365), rel=1e-9)
    assert found.tracking_error == pytest.approx(empyrical.annual_volatility(one - other, annualization=365), rel=1e-9)
    worst = tail(days_of(own).rate)
    assert worst.value_at_risk == pytest.approx(empyrical.value_at_risk(one), rel=1e-9)
    assert worst.expected_shortfall == pytest.approx(empyrical.conditional_value_at_risk(one), rel=1e-9)
    years = empyrical.aggregate_returns(one, "yearly")
    assert {each.year: each.rate for each in by_year(days_of(own))} == pytest.approx(dict(years), rel=1e-9)


@pytest.mark.parametrize("n", [20, 33, 100, 1207])
def test_the_tail_is_what_the_minimisation_says(n: int) -> None:
    """Rockafellar & Uryasev: CVaR is the least of c + E[(loss - c)+] / (1 - level), over c at the losses themselves.

    Where 5 % of the days are no whole number `empyrical` rounds it up; this is the weighted mean.
    """
    rate = pair(n, n)[0]
    least = min(c + np.maximum(-rate - c, 0.0).mean() / 0.05 for c in -rate)
    found = tail(rate)
    assert found.expected_shortfall == pytest.approx(-least, rel=1e-9)
    assert found.value_at_risk is not None
    assert found.expected_shortfall is not None and found.expected_shortfall <= found.value_at_risk
    assert (rate < found.value_at_risk).mean() == pytest.approx(0.05, abs=1.0 / n)


def test_days_are_those_of_the_calendar_whatever_bars_are() -> None:
    rate = np.random.default_rng(2).normal(0.0, 0.01, 24 * 40)
    hours = with_cash_rate(returns_record(rate, HOUR), np.concatenate([[0.0], np.full(len(rate), 1e-5)]))
    days = days_of(hours)
    assert days.rate == pytest.approx(np.prod(1.0 + rate.reshape(40, 24), axis=1) - 1.0)
    assert days.cash == pytest.approx(np.full(40, 1.00001**24 - 1.0))
    assert days.per_year == 365.0
    assert [str(day) for day in days.date[:2].astype("datetime64[D]")] == ["2020-01-01", "2020-01-02"]
    gone = np.ones(len(hours), dtype=bool)
    gone[24 * 3 + 1 : 24 * 5 + 1] = False
    holed = replace(cash_record(hours.account.equity[gone], HOUR), time=hours.time[gone])
    assert len(days_of(holed).rate) == 38 and days_of(holed).per_year == pytest.approx(365.0 * 38 / 40)
    assert days_of(holed).rate[3] == pytest.approx(np.prod(1.0 + days.rate[3:6]) - 1.0)
    part = replace(hours, time=hours.time + 5 * HOUR)
    assert len(days_of(part).rate) == 41 and days_of(part).per_year == 365.0


def by_hand(equity: Float) -> list[tuple[int, int, int | None, float]]:
    """Peak, trough, recovery and depth of every drawdown, walked bar by bar."""
    found: list[tuple[int, int, int | None, float]] = []
    peak, trough = 0, None
    for k in range(1, len(equity)):
        if equity[k] >= equity[peak]:
            if trough is not None:
                found.append((peak, trough, k, equity[trough] / equity[peak] - 1.0))
            peak, trough = k, None
        elif trough is None or equity[k] < equity[trough]:
            trough = k
    if trough is not None:
        found.append((peak, trough, None, equity[trough] / equity[peak] - 1.0))
    return sorted(found, key=lambda one: (one[3], one[0]))


@settings(max_examples=60)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=60))
def test_drawdowns_are_those_found_bar_by_bar(values: list[int]) -> None:
    record = cash_record(np.array(values, dtype=np.float64), HOUR)
    row = {int(time): k for k, time in enumerate(record.time)}
    found = [
        (row[one.peak], row[one.trough], None if one.recovery is None else row[one.recovery], one.depth)
        for one in worst_drawdowns(record)
    ]
    expected = by_hand(record.account.equity)[:5]
    assert [one[:3] for one in found] == [one[:3] for one in expected]
    assert [one[3] for one in found] == pytest.approx([one[3] for one in expected])
    deepest = metrics(record).max_drawdown
    assert (found[0][3] if found else 0.0) == deepest


def test_the_table_of_drawdowns_says_when_and_how_long() -> None:
    sheet = tear_sheet(cash_record([100, 120, 90, 100, 121, 110, 100.0]))
    first, second = sheet["drawdowns"]
    assert (first["peak"], first["trough"], first["recovery"]) == tuple(iso(START + k * DAY) for k in (1, 2, 4))
    assert (first["depth"], first["days_down"], first["days_to_recover"]) == (pytest.approx(-0.25), 1.0, 2.0)
    assert (second["recovery"], second["days_to_recover"], second["days_down"]) == (None, None, 2.0)


def test_years_are_put_beside_holding_and_cash() -> None:
    rate, market = pair(1, 800)
    cash = np.concatenate([[0.0], np.full(800, 1e-4)])
    own, held = (with_cash_rate(returns_record(x), cash) for x in (rate, market))
    found = beside_holding("x", {"x": own, "buy_and_hold": held})["years"]
    # A bar that closes at midnight belongs to the day before: 366 days of 2020, 365 of 2021.
    edges = [(2020, 0, 366), (2021, 366, 731), (2022, 731, 800)]
    assert [one["year"] for one in found] == [year for year, _, _ in edges]
    for one, (_, a, b) in zip(found, edges, strict=True):
        assert one["rate"] == pytest.approx(np.prod(1.0 + rate[a:b]) - 1.0)
        assert one["benchmark"] == pytest.approx(np.prod(1.0 + market[a:b]) - 1.0)
        assert one["cash"] == pytest.approx(1.0001 ** (b - a) - 1.0)
    assert np.prod([1.0 + one["rate"] for one in found]) - 1.0 == pytest.approx(metrics(own).total_return)


def test_rolling_figures_are_those_of_each_window() -> None:
    rate, market = pair(5, 300)
    own, held = days_of(returns_record(rate)), days_of(returns_record(market))
    found = rolling(own, held, 90)
    assert len(found.date) == 300 - 89 and found.date[0] == own.date[89]
    for k in (0, 57, 210):
        part = slice(k, k + 90)
        assert found.volatility[k] == pytest.approx(np.std(rate[part], ddof=1) * math.sqrt(365))
        assert found.beta[k] == pytest.approx(np.polyfit(market[part], rate[part], 1)[0])
    assert len(rolling(own, held, 19).date) == 0
    assert np.isnan(rolling(own, None, 90).beta).all()


FLAT = cash_record([100.0] * 60)
RECORDS = {
    "no bar": cash_record([100.0]),
    "one bar": cash_record([100.0, 101.0]),
    "one hour": cash_record([100.0, 101.0], HOUR),
    "no trades": FLAT,
    "constant growth": returns_record(np.full(60, 0.001)),
    "never recovers": returns_record(np.full(60, -0.01)),
    "nearly gone": cash_record(100.0 * np.concatenate([np.linspace(1.0, 2.0, 30), np.full(30, 1e-12)])),
    "gone": cash_record(np.concatenate([np.full(30, 100.0), np.zeros(30)])),
    "nothing at all": cash_record([0.0] * 60),
    "wild": cash_record([1e-50, 1e50, 1e-50] * 20),
}


@pytest.mark.parametrize("held", ["no bar", "one bar", "no trades", "nearly gone", "gone", "wild"])
@pytest.mark.parametrize("name", list(RECORDS))
def test_what_cannot_be_said_is_none_and_never_a_number(name: str, held: str) -> None:
    sheet = tear_sheet(RECORDS[name], RECORDS[held])
    assert json.loads(json.dumps(sheet, allow_nan=False)) == sheet
    if len(RECORDS[name]) != len(RECORDS[held]):
        assert sheet["relative"] is None and sheet["benchmark_tail"] is None
    if sheet["days"] < 20:
        assert sheet["tail"] == Tail()._asdict()


def test_records_of_which_little_can_be_said() -> None:
    rate, _ = pair(0, 59)
    record = returns_record(rate)
    still = tear_sheet(record, FLAT)["relative"]
    assert (still["alpha"], still["beta"], still["correlation"]) == (None, None, None)
    assert still["tracking_error"] == pytest.approx(rate.std(ddof=1) * math.sqrt(365))
    idle = tear_sheet(FLAT, record)
    assert idle["drawdowns"] == [] and idle["tail"] == {"value_at_risk": 0.0, "expected_shortfall": 0.0}
    assert (idle["relative"]["alpha"], idle["relative"]["beta"], idle["relative"]["correlation"]) == (0.0, 0.0, None)
    same = tear_sheet(record, record)["relative"]
    assert (same["beta"], same["correlation"]) == (pytest.approx(1.0), pytest.approx(1.0))
    assert (same["tracking_error"], same["information_ratio"]) == (0.0, None)
    (only,) = tear_sheet(RECORDS["never recovers"])["drawdowns"]
    assert only["recovery"] is None and only["depth"] == pytest.approx(0.99**60 - 1.0) and only["days_down"] == 60.0
    assert tear_sheet(RECORDS["nearly gone"])["drawdowns"][0]["depth"] == pytest.approx(-1.0)
    assert relative(days_of(cash_record([1.0, 2.0])), days_of(cash_record([1.0, 3.0]))) == Relative()
    assert slope(rate, np.zeros(59)) is None


def test_holding_is_not_put_beside_itself() -> None:
    record = returns_record(pair(0, 60)[0])
    assert beside_holding("buy_and_hold", {"buy_and_hold": record})["relative"] is None
    assert beside_holding("x", {"x": record})["relative"] is None
    shifted: Record = replace(record, time=record.time + DAY)
    assert beside_holding("x", {"x": record, "buy_and_hold": shifted})["relative"] is None
