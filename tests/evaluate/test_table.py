"""Leaderboard rows and how they look on a screen."""

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from qframe_rl.evaluate.inference.bootstrap import bootstrap
from qframe_rl.evaluate.inference.sharpe import deflated_sharpe, moments, probabilistic_sharpe
from qframe_rl.evaluate.metrics import metrics, returns
from qframe_rl.evaluate.table import ScoreRow, leaderboard, render
from qframe_rl.evaluate.trials import Luck
from qframe_rl.types import HOUR

from .made import cash_record, market, random_target, returns_record, traded

KEYS = [
    "agent",
    "split",
    "initial_equity",
    "final_equity",
    "cash_equity",
    "sharpe",
    "excess_sharpe",
    "sharpe_low",
    "sharpe_high",
    "next_low",
    "next_high",
    "growth",
    "growth_low",
    "max_drawdown",
    "turnover",
    "exposure",
    "filled",
    "costs",
    "share_of_optimal",
    "trades",
    "psr",
    "dsr",
    "trials",
    "effective_trials",
]


def screen(rows: list[ScoreRow], title: str = "") -> list[str]:
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    console.print(render(rows, title))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_rows_are_the_records_figures() -> None:
    history = market(600, 0, perpetual=True)
    records = {f"random_{k}": traded(history, random_target(k, every=5)) for k in range(3)}
    rows = leaderboard(records, "test", n_resamples=200, seed=3)
    assert [list(row) for row in rows] == [KEYS] * 3
    assert [row["sharpe"] for row in rows] == sorted((row["sharpe"] for row in rows), reverse=True)
    for row in rows:
        record = records[row["agent"]]
        figures = metrics(record)
        drawn = bootstrap(returns(record.account.equity), 8760.0, n_resamples=200, seed=3).sharpe
        assert (row["sharpe_low"], row["sharpe_high"]) == (drawn.low, drawn.high)
        assert row["sharpe"] == figures.sharpe and row["costs"] == figures.costs
        assert row["final_equity"] == figures.final_equity and row["turnover"] == figures.turnover
        assert row["max_drawdown"] == figures.max_drawdown and row["split"] == "test"
        assert row["share_of_optimal"] is None
        of = moments(returns(record.account.equity))
        assert row["trades"] == figures.trades
        assert row["psr"] == row["dsr"] == probabilistic_sharpe(of) and row["trials"] == 1
    deflated = leaderboard(records, "test", n_resamples=200, seed=3, luck=Luck(40, 80, 12.5, 2.0))
    for row, alone in zip(deflated, rows, strict=True):
        of = moments(returns(records[row["agent"]].account.equity))
        assert row["dsr"] == pytest.approx(deflated_sharpe(of, 40, 2.0 / of.n_bars)) and row["dsr"] < alone["dsr"]
        assert (row["trials"], row["effective_trials"], row["psr"]) == (40, 12.5, alone["psr"])
    json.dumps(rows, allow_nan=False)


def test_share_of_optimal_is_of_log_growth() -> None:
    records = {
        "optimal": cash_record([100.0, 110.0, 121.0], HOUR),
        "half": cash_record([100.0, 105.0, 110.0], HOUR),
        "loser": cash_record([100.0, 90.0, 50.0], HOUR),
        "ruined": cash_record([100.0, 50.0, 0.0], HOUR),
    }
    share = {row["agent"]: row["share_of_optimal"] for row in leaderboard(records, "test")}
    assert share["optimal"] == 1.0
    assert share["half"] == pytest.approx(0.5)
    assert share["loser"] == pytest.approx(math.log(0.5) / math.log(1.21))
    assert share["ruined"] is None
    records["optimal"] = cash_record([100.0, 100.0, 90.0], HOUR)
    assert all(row["share_of_optimal"] is None for row in leaderboard(records, "test"))


def test_ties_are_in_order_of_name() -> None:
    flat = cash_record([100.0] * 5)
    assert [row["agent"] for row in leaderboard({"b": flat, "a": flat}, "test")] == ["a", "b"]


def test_table_fits_a_hundred_columns_and_keeps_every_number() -> None:
    rng = np.random.default_rng(0)
    names = ["ppo", "a_rather_long_name_of_an_agent_from_elsewhere", "flat", "optimal"]
    records = {name: returns_record(rng.normal(1e-3, 0.01, 400), HOUR) for name in names[:2]}
    records |= {"flat": cash_record([1e4] * 9, HOUR), "optimal": returns_record(rng.normal(5e-3, 0.01, 400), HOUR, 1e8)}
    rows = leaderboard(records, "test") + leaderboard(records, "validation")
    rows[0]["turnover"], rows[1]["costs"], rows[2]["sharpe_low"] = 54321.9, 1234567.8, -142.4
    lines = screen(rows, "Both periods")
    text = "\n".join(lines)
    assert max(len(line) for line in lines) <= 100
    assert lines[0].startswith("Both periods")
    for number in ("54,322", "1,234,568", " -142 …", "100.0%", "10,000.00"):
        assert number in text
    assert text.count("…") == 2 * len(rows), "nothing but the intervals has an ellipsis"


def test_columns_that_say_nothing_are_left_out() -> None:
    text = "\n".join(screen(leaderboard({"flat": cash_record([1e4] * 9)}, "test")))
    assert "split" not in text and " opt." not in text
    assert "90% interval" in text
