"""What may be deployed: growth and money decide beside the Sharpe ratio, and all of it is counted above cash."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qframe_rl.evaluate.inference.sharpe import moments, probabilistic_sharpe
from qframe_rl.evaluate.metrics import metrics
from qframe_rl.evaluate.promotion import PROMOTED, Standing
from qframe_rl.evaluate.report.verdict import in_short, verdict
from qframe_rl.evaluate.significance import significance
from qframe_rl.evaluate.table import ScoreRow, leaderboard
from qframe_rl.evaluate.trials import Luck
from qframe_rl.runner.choose import choose, validation_rows
from qframe_rl.types import DAY, YEAR, Float, Record
from tests.evaluate.made import cash_record, returns_record, with_cash_rate

GOOD = Standing(100.0, 120.0, 104.0, 0.01, 0.96)
FACTS: dict[str, Any] = {
    "subject": "it",
    "data": {"environment": "production", "quarantine": "on"},
    "luck": Luck()._asdict(),
}


def levered_loser(years: float = 1.2) -> Record:
    """A coin of true Sharpe ratio 2.9, held 11.3 times over in every second bar of twelve hours."""
    rng = np.random.default_rng(2)
    move = np.where(rng.random(int(365 * years)) < 0.5 + 2.9 / 2.0 / np.sqrt(365.0), 0.032, -0.032)
    rate = np.zeros(2 * len(move))
    rate[::2] = 11.3 * move
    return returns_record(rate, DAY // 2)


def relisted() -> Record:
    """A coin that falls to nothing, halts for 18 days and trades on at 20,000 times the price, held throughout."""
    rng = np.random.default_rng(0)
    before, after = 0.03 * rng.standard_normal(900), 0.03 * rng.standard_normal(300) + 0.004
    fall = np.full(30, 0.37**0.5 - 1.0)
    return returns_record(np.concatenate([before, fall, [20_000.0], after]))


def facts(record: Record) -> dict[str, Any]:
    return {**FACTS, "significance": {**significance(record, Luck()), "figures": {**figures(record), "trades": 9}}}


def figures(record: Record) -> dict[str, float]:
    return {name: getattr(metrics(record), name) for name in metrics(record).__slots__}


def row_of(record: Record) -> ScoreRow:
    return {**leaderboard({"it": record}, "test")[0], "trades": 9}


@pytest.mark.parametrize("record", [levered_loser(), relisted()], ids=["levered", "relisted"])
def test_a_loser_with_a_fine_sharpe_ratio_is_not_promoted(record: Record) -> None:
    """T1: the deflated Sharpe ratio of both is above .95, and both lost."""
    records = {"it": [record], "flat": [cash_record(np.full(len(record), 1e4), record.bar_ns)]}
    rows = validation_rows(records, 0.9, 200, 0)
    row = next(one for one in rows if one["agent"] == "it")
    assert row["dsr"] > PROMOTED and row["sharpe"] > 0.0
    assert row["final_equity"] < row["initial_equity"]
    choice = choose(rows, records)
    assert choice.agent == "flat"
    assert "it lost money" in choice.reason and "holding cash is the choice" in choice.reason
    forced = choose(rows, records, promote="it")
    assert (forced.promoted, forced.forced) == (False, True) and "it lost money" in forced.reason
    assert verdict(facts(record)).headline.startswith("it lost money after costs")
    assert verdict(facts(record)).colour == "bad"
    assert in_short(row_of(record)) == "lost money"


def test_one_that_passes_is_chosen_although_a_loser_ranks_higher() -> None:
    loser = levered_loser(2.0)
    steady = returns_record(0.01 * np.random.default_rng(1).standard_normal(len(loser) - 1) + 0.0012, DAY // 2)
    records = {"loser": [loser], "steady": [steady], "flat": [cash_record(np.full(len(loser), 1e4), DAY // 2)]}
    rows = validation_rows(records, 0.9, 200, 0)
    assert rows[0]["agent"] == "loser"
    choice = choose(rows, records)
    assert choice.agent == "steady" and choice.promoted
    assert "loser ranks higher, but it lost money" in choice.reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"final": 99.0, "cash": 90.0}, "lost money: 99.00 of 100 is left"),
        ({"final": 100.0, "cash": 100.0}, "made no money"),
        ({"final": 103.0}, "ended with 103, and cash alone would have given 104"),
        ({"growth_low": 0.0}, "that it grows is not shown"),
        ({"dsr": 0.95}, "cannot be told from luck: DSR 0.950"),
    ],
)
def test_every_condition_is_asked_for(change: dict[str, float], words: str) -> None:
    assert GOOD.passed and GOOD.failures() == ()
    failed = GOOD._replace(**change)
    assert not failed.passed
    (why,) = failed.failures()
    assert words in why


def test_negative_rates_do_not_lower_the_bar_below_what_there_was() -> None:
    assert not GOOD._replace(final=99.0, cash=95.0).passed


def uneven(rate: float) -> tuple[Record, Float]:
    """A record that gains 4 % a year by and large, and what cash earned beside it."""
    rng = np.random.default_rng(5)
    record = returns_record(0.04 / 365.0 + 0.0004 * rng.standard_normal(1460))
    earned = np.full(len(record), rate * DAY / YEAR)
    return with_cash_rate(record, earned), earned


def test_excess_is_of_what_cash_earned() -> None:
    """T7: what made 4 % a year is skill over nothing, and no skill over bills at 5 %."""
    plain, _ = uneven(0.0)
    record, earned = uneven(0.05)
    row, alone = row_of(record), row_of(plain)
    rate = np.diff(record.account.equity) / record.account.equity[:-1] - earned[1:]
    assert row["sharpe"] == alone["sharpe"] == alone["excess_sharpe"]
    assert row["excess_sharpe"] == pytest.approx(rate.mean() / rate.std(ddof=1) * np.sqrt(365.0), rel=1e-12)
    assert row["psr"] == pytest.approx(probabilistic_sharpe(moments(rate)), rel=1e-12)
    assert row["cash_equity"] == pytest.approx(10_000.0 * (1.0 + 0.05 / 365.0) ** 1460, rel=1e-12)
    grown = np.log(record.account.equity[-1] / row["cash_equity"]) / 4.0
    assert row["growth"] == pytest.approx(grown, rel=1e-9) and row["growth_low"] < row["growth"] < 0.0
    assert metrics(record).cash_rate == pytest.approx((1.0 + 0.05 / 365.0) ** 365 - 1.0)
    assert Standing.of(alone).passed and not Standing.of(row).passed
    assert in_short(row) == "no better than cash" and in_short(alone) == "hardly luck"
    said = verdict(facts(record))
    assert "no more than cash" in said.headline and "cash alone would have given" in said.headline
    assert any("Idle cash earned 5.13% a year" in reason for reason in said.reasons)
    assert any("Idle cash earned nothing (rate 0)" in reason for reason in verdict(facts(plain)).reasons)


def test_flat_that_earns_the_rate_has_no_excess_and_is_not_first() -> None:
    """Its own Sharpe ratio is as large as its equity is even: no reason to stand above a strategy that earns more."""
    rng = np.random.default_rng(6)
    earned = np.full(731, 0.05 / 365.0) * rng.uniform(0.9, 1.1, 731)
    flat = with_cash_rate(returns_record(earned[1:]), earned)
    better = with_cash_rate(returns_record(earned[1:] + 0.002 + 0.01 * rng.standard_normal(730)), earned)
    first, second = leaderboard({"flat": flat, "better": better}, "test")
    assert (first["agent"], second["agent"]) == ("better", "flat")
    assert second["sharpe"] > 100.0 and abs(second["growth"]) < 1e-9
    records = {"flat": [flat], "better": [better]}
    assert choose(validation_rows(records, 0.9, 200, 0), records).agent == "better"
