"""Boards: studies of one market in several runs are put side by side, or refused where they cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import evaluate as evaluate_door
from experiments import report as report_door
from experiments.cli import door
from experiments.settings import read_preset
from qframe_rl.config import UserError, build
from qframe_rl.evaluate.leaderboard import board_figure, markdown, order
from qframe_rl.evaluate.report.verdict import in_short
from qframe_rl.runner.log import Silent
from qframe_rl.runner.study.board import write_boards
from qframe_rl.runner.study.coverage import pairs_of
from qframe_rl.runner.study.plan import Study
from qframe_rl.runner.study.series import BoardPlan
from qframe_rl.runner.study.study import Studied, study
from tests.evaluate.made import returns_record

DATA = {"data": "synthetic:gbm", "bars": 3000, "seed": 3}


def studied(place: Path, agents: str, **more: Any) -> Studied:
    tree = {"data": DATA, "agents": agents, "walk_forward": 2, "resamples": 100, "settings": 2, **more}
    return study(build(Study, tree, "test"), place, Silent())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Studied]]:
    place = tmp_path_factory.mktemp("runs")
    return place, [
        studied(place, "momentum,random"),
        studied(place, "mean_reversion", env={"name": "auto", "actions": {"name": "exposure"}}),
        studied(place, "momentum", data={**DATA, "seed": 4}),
    ]


def test_runs_of_one_market_become_one_table_that_counts_every_trial(runs: Any, tmp_path: Path) -> None:
    """What one run alone called few trials is ranked again with those of all; what does not change stays."""
    place, (first, second, third) = runs
    folders = [str(run.folder) for run in (first, second, third)]
    made = report_door.main([*folders, "--board", "--title", "Noise", "--out", str(tmp_path), "--json"])
    assert made is not None
    one, other = made["boards"]
    assert {row["agent"] for row in one["rows"]} == {"momentum", "random", "mean_reversion", "buy_and_hold", "flat"}
    assert {row["agent"] for row in other["rows"]} == {"momentum", "buy_and_hold", "flat"}
    assert one["luck"]["trials"] == second.facts["luck"]["trials"] > first.facts["luck"]["trials"]
    alone = {row["agent"]: row for row in first.facts["leaderboard"]}
    for row in one["rows"]:
        assert row["trials"] == one["luck"]["trials"]
        if row["agent"] in alone:
            assert row["sharpe"] == alone[row["agent"]]["sharpe"]
            assert row["dsr"] <= alone[row["agent"]]["dsr"]
            assert row["sharpe_low"] == alone[row["agent"]]["sharpe_low"]
    assert json.loads((tmp_path / "board.json").read_text())[0]["rows"] == one["rows"]
    assert (tmp_path / "board.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "board.md").read_text()
    assert text.count("SYNTHETIC DATA, no record of performance") == 2
    assert "| flat | 0, did not trade | 0, did not trade |" in text
    assert place.exists()


def test_what_cannot_be_compared_is_refused_by_name(runs: Any, tmp_path: Path) -> None:
    place, (first, *_) = runs

    def refused(other: Studied, match: str) -> None:
        with pytest.raises(UserError, match=match):
            write_boards([first.folder, other.folder], tmp_path / "out", "", Silent())

    refused(studied(place, "momentum", env={"name": "auto", "taker_fee_bps": 1.0}), r"differ in env\.taker_fee_bps")
    refused(studied(place, "momentum", walk_forward=3), "the bars that they were judged on")
    refused(studied(place, "momentum", settings=1), "another label, LABEL=momentum")
    with pytest.raises(UserError, match="not the folder of a study"):
        write_boards([tmp_path], tmp_path / "out", "", Silent())
    assert not (tmp_path / "out").exists()


def test_fewer_days_than_can_be_tested_are_said_in_a_sentence(
    runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (first, *_) = runs
    monkeypatch.setattr("qframe_rl.runner.study.board.by_day", lambda rates, _: rates[:9])
    with pytest.raises(UserError, match=r"9 days are too few to test .* take a longer period"):
        write_boards([first.folder], tmp_path / "out", "", Silent())


def test_a_row_is_judged_by_the_rules_of_a_run() -> None:
    row: Any = {
        "trades": 9, "sharpe_high": 1.5, "dsr": 0.96, "psr": 0.99, "agent": "a", "growth_low": 0.01, "trials": 2,
        "initial_equity": 100.0, "final_equity": 120.0, "cash_equity": 104.0,
    }  # fmt: skip
    assert in_short({**row, "trades": 0}) == "did not trade"
    assert in_short({**row, "final_equity": 99.0, "sharpe_high": -0.1}) == "surely lost money"
    assert in_short({**row, "final_equity": 99.0}) == "lost money"
    assert in_short({**row, "final_equity": 103.0}) == "no better than cash"
    assert in_short({**row, "growth_low": 0.0}) == "may not grow"
    assert in_short({**row, "dsr": 0.95}, 0.99) == "may be luck"
    assert in_short(row, 0.99) == "beats holding"
    assert in_short(row, 0.5) == in_short(row) == "hardly luck"


def test_strategies_are_ordered_by_their_mean_and_baselines_stand_below(runs: Any, tmp_path: Path) -> None:
    _, (first, second, third) = runs
    boards = write_boards([run.folder for run in (first, second, third)], tmp_path, "", Silent()).boards
    names = order(boards)
    assert names[-3:] == ["buy_and_hold", "random", "flat"]
    assert set(names[:2]) == {"momentum", "mean_reversion"}
    figure = board_figure(boards, "Noise")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["GBM/USDT, 1h", "GBM/USDT, 1h"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == names
    dots = [line for line in figure.axes[1].lines if line.get_marker() == "o"]
    assert len(dots) == len(boards[1].rows)
    assert markdown(boards[:1]).count("\n## ") == 1
    with pytest.raises(ValueError, match="nothing to draw"):
        board_figure([])


PLAN = """
title = "Noise against noise"
[study]
walk_forward = 2
resamples = 100
settings = 1
[agent.fast]
lookback_bars = 24
[[markets]]
name = "first"
study = {data = {data = "synthetic:gbm", bars = 3000, seed = 3}}
[[markets.parts]]
agents = ["fast=momentum", "random"]
[[markets.parts]]
agents = ["mean_reversion"]
study = {env = {actions = {name = "exposure"}}}
[[markets]]
name = "second"
study = {data = {data = "synthetic:gbm", bars = 2500, seed = 4, timeframe = "4h"}}
[[markets.parts]]
agents = ["fast=momentum"]
"""
PLACES = """# Mine

before
<!-- board -->
old
<!-- end -->
between

<!-- board: GBM/USDT, 1h -->
<!-- end -->

<!-- board: GBM/USDT, 4h -->

older
<!-- end -->
after
"""


def test_a_plan_is_one_command_that_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    document = tmp_path / "docs" / "mine.md"
    document.parent.mkdir()
    document.write_text(PLACES)
    command = ["--preset", str(tmp_path / "plan.toml"), "--runs", str(tmp_path / "runs"), "--json"]

    began = []

    def stopped(config: Study, *_: Any, **more: Any) -> Studied:
        began.append(config)
        if len(began) == 3:
            raise KeyboardInterrupt
        return study(config, *_, **more)

    monkeypatch.setattr("qframe_rl.runner.study.board.study", stopped)
    assert door(evaluate_door.main, [*command, "--document", str(document)]) == 130
    assert "--resume" in capsys.readouterr().err and document.read_text() == PLACES
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/study.json")}
    assert len(kept) == 2

    monkeypatch.undo()
    made = evaluate_door.main([*command, "--document", str(document), "--resume"])
    assert made is not None
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    one, other = made["boards"]
    assert {row["agent"] for row in one["rows"]} == {"fast", "random", "mean_reversion", "buy_and_hold", "flat"}
    assert {row["agent"] for row in other["rows"]} == {"fast", "buy_and_hold", "flat"}
    text = document.read_text()
    assert text.startswith("# Mine\n\nbefore\n<!-- board -->\n\n| strategy | GBM/USDT, 1h | GBM/USDT, 4h |")
    assert text.endswith("<!-- end -->\nafter\n") and "old" not in text.replace("hold", "")
    assert text.count("| buy_and_hold |") == 3
    assert (document.parent / "images" / "mine.png").read_bytes().startswith(b"\x89PNG")

    assert evaluate_door.main([*command, "--only", "second", "--resume", "--out", str(tmp_path / "one")])
    assert "GBM/USDT, 1h" not in (tmp_path / "one" / "board.md").read_text()
    document.write_text(PLACES.replace("GBM/USDT, 4h", "GBM/USDT, 8h"))
    with pytest.raises(UserError, match="no board of that market"):
        evaluate_door.main([*command, "--document", str(document), "--resume"])
    document.write_text("nothing")
    with pytest.raises(UserError, match=r"put <!-- board --> and <!-- end -->"):
        evaluate_door.main([*command, "--document", str(document), "--resume"])
    assert document.read_text() == "nothing"


def test_the_level_of_intervals_reaches_every_study(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    command = ["--preset", str(tmp_path / "plan.toml"), "--runs", str(tmp_path / "runs"), "--only", "second", "--json"]
    widths = []
    for level in ([], ["--level", "0.5"]):
        made = evaluate_door.main([*command, *level])
        assert made is not None
        row = next(row for row in made["boards"][0]["rows"] if row["agent"] == "buy_and_hold")
        widths.append(row["sharpe_high"] - row["sharpe_low"])
    assert widths[1] < 0.7 * widths[0]
    assert "(50%)" in (tmp_path / "runs" / "board" / "board.md").read_text()


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["momentum"], "leave momentum out"),
        (["--baselines", "flat"], "--baselines is for checkpoints"),
        (["--from", "2020-01-01"], "leave --from and --to out"),
        (["--only", "third"], "there is no such market"),
        (["--document", "nowhere.md"], "nowhere.md is not there"),
        (["--only", "first", "--document", "nowhere.md"], "leave --only out"),
        (["--set", "agent.unknown.x=1"], "strategy that is not studied"),
    ],
)
def test_what_a_plan_cannot_do_is_said(more: list[str], match: str, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    with pytest.raises(UserError, match=match):
        evaluate_door.main(["--preset", str(tmp_path / "plan.toml"), "--runs", str(tmp_path / "runs"), *more])


def test_the_shipped_plan_is_whole(tmp_path: Path) -> None:
    """Every study of it can be built; each market has the strategies that docs/leaderboard.md compares."""
    plan = build(BoardPlan, read_preset("board"), "board")
    asked = list(plan.studies())
    assert len(asked) == sum(len(market.parts) for market in plan.markets)
    titles = [title for title, _ in asked]
    assert len(set(titles)) == len(titles)
    for market in plan.markets:
        of = [
            name.partition("=")[0] for title, one in asked if title.startswith(f"{market.name},") for name in one.agents
        ]
        assert len(set(of)) == len(of)


def test_a_plan_needs_its_own_option(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="add --preset"):
        evaluate_door.main(["momentum", "--only", "BTC"])
    with pytest.raises(UserError, match="nothing to evaluate"):
        evaluate_door.main([])


def test_forecasts_of_all_windows_are_counted_once_each(runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _, (first, second, third) = runs
    done = report_door.main([*(str(run.folder) for run in (first, second, third)), "--coverage", "--json"])
    assert done is not None
    shares = {one["name"]: one for one in done["shares"]}
    assert list(shares)[:2] == ["all", "1 window so far"]
    assert shares["all"]["pairs"] == 4 + 2, "holding is in two studies of the same bars, and flat never trades"
    assert done["idle"] == 2 and done["pauses"] == 0
    assert 2.0 <= shares["all"]["effective"] <= 6.0
    assert shares["all"]["mean_held"] <= shares["all"]["held"] <= 1.0
    table = capsys.readouterr().err
    assert "| nominal 90% | pairs | worth | in the forecast | in the interval of the mean |" in table
    with pytest.raises(UserError, match="not the folder of a study"):
        report_door.main([str(first.folder.parent), "--coverage"])


def test_a_forecast_is_made_of_the_windows_before_alone() -> None:
    rng = np.random.default_rng(0)
    calm = 0.01 * rng.standard_normal(300)
    record = returns_record(np.concatenate([calm, np.zeros(100), np.full(100, 0.01) + 0.001 * calm[:100]]))
    spans = [(int(record.time[a]), int(record.time[b])) for a, b in ((0, 100), (100, 300), (300, 400), (400, 500))]
    pairs, left = pairs_of("m", "s", record, spans, 0.9, 0.5)
    assert [pair.windows for pair in pairs] == [1, 3] and left == 1, "a window in which nothing moved is left out"
    assert not pairs[1].held and not pairs[1].mean_held, "the last window has a Sharpe ratio that nothing promised"
    assert [pair.worth for pair in pairs] == [0.5, 0.5]
