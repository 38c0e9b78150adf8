"""A study from data to report: windows, ledger, folder, pages; and what it says of luck, skill and a bad bar."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.ensemble import Ensemble
from experiments import evaluate as evaluate_door
from experiments import report as report_door
from qframe_rl import catalog
from qframe_rl.config import Base, Ref, UserError, build, search, searched
from qframe_rl.deploy import make_agent, make_market
from qframe_rl.evaluate.report.verdict import verdict
from qframe_rl.evaluate.trials import Trials, user_ledger
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.load import load
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.runner.auto_features import FoldMarkets
from qframe_rl.runner.batch import batch, lane
from qframe_rl.runner.experiment import Experiment
from qframe_rl.runner.log import Silent
from qframe_rl.runner.report import write_report
from qframe_rl.runner.study.plan import Study
from qframe_rl.runner.study.study import study
from qframe_rl.runner.study.walks import journals, run_all, score
from qframe_rl.runner.study.windows import WindowRunner, grid
from qframe_rl.runner.train import train
from qframe_rl.types import Segment, iso

SMALL: dict[str, Any] = {
    "data": {"data": "synthetic:gbm", "bars": 4000, "seed": 3},
    "agents": ("momentum", "mean_reversion"),
    "agent": {"mean_reversion": {"regime_bars": 60, "mean_bars": 24}, "momentum": {"band": 0.1}},
    "walk_forward": 3,
    "resamples": 100,
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("study")
    config = build(Study, {**SMALL, "cpcv": "4,2", "monte_carlo": 30}, "test")
    return study(config, place, Silent()), place, config


def test_a_grid_is_every_combination_with_what_was_asked_for_first() -> None:
    model = catalog.load("agents", "momentum").Config
    assert searched(model) == {"lookback_bars": (24, 72, 168, 336, 720), "band": (0.1, 0.3)}
    settings = grid(model, {}, 100, "test")
    assert settings[0] == model()
    assert len(settings) == len(set(settings)) == 10
    assert all(one.lookback_bars == 24 for one in grid(model, {"lookback_bars": 24}, 100, "test"))
    few = grid(model, {}, 4, "test", seed=1)
    assert len(few) == 4
    assert few == grid(model, {}, 4, "test", seed=1)

    class Plain(Base):
        one: int = 1

    assert grid(Plain, {"one": 3}, 9, "test") == (Plain(one=3),)
    assert search(1, 2) == {"search": [1, 2]}
    for name in catalog.bar_agents():
        made = catalog.load("agents", name).Config
        assert grid(made, {}, 3, "test", seed=1)[0] == made()


def test_each_window_chooses_on_its_own_past_and_is_judged_on_what_follows(done: Any) -> None:
    """The chosen setting is the best on the training bars, worked out here one backtest at a time."""
    facts, config = done[0].facts, done[2]
    history = load(config.data)
    market = make_market(Ref(name="auto"), history.instruments, history.columns, history.bar_ns)
    settings = grid(catalog.load("agents", "momentum").Config, {"band": 0.1}, 48, "test")
    agents = [make_agent("momentum", one, market, history.columns, 0, None) for one in settings]
    window = max(market.interface.window, *(agent.window for agent in agents))
    size = 4000 // 4
    for fold in facts["folds"]:
        stop = 4000 - (3 - fold["fold"]) * size - 24
        results = [batch(market, [lane(agent, history, Segment(0, stop), window)]) for agent in agents]
        scores = [score(one) for one in results]
        best = int(np.argmax(scores))
        assert fold["params"] == {"lookback_bars": settings[best].lookback_bars}  # type: ignore[attr-defined]
        assert fold["in_sample"] == pytest.approx(scores[best])


def test_the_ledger_holds_every_setting_of_every_window(done: Any) -> None:
    found, place, config = done
    rows = [row for row in Trials(user_ledger()).on(load(config.data)) if row.run == found.folder.name]
    settings = {"momentum": 5, "mean_reversion": 6, "buy_and_hold": 1}
    assert len(rows) == 3 * sum(settings.values())
    assert {row.kind for row in rows} == {"tune", "train"}
    assert found.facts["luck"]["trials"] == sum(settings.values())
    again = study(config, place, Silent())
    assert again.facts["luck"] == found.facts["luck"]
    assert json.dumps(again.facts, sort_keys=True, default=str) == json.dumps(found.facts, sort_keys=True, default=str)


def test_facts_are_whole_and_noise_is_called_luck(done: Any) -> None:
    facts = json.loads((done[0].folder / "study.json").read_text())
    assert {row["agent"] for row in facts["leaderboard"]} == {"momentum", "mean_reversion", "buy_and_hold", "flat"}
    assert len(facts["cpcv"]["sharpe"]) == 3
    assert facts["cpcv"]["splits"] == 6
    assert facts["overfitting"]["splits"] == 12870
    assert set(facts["monte_carlo"]["nulls"]) == {"gbm", "garch", "sign_flip"}
    assert facts["monte_carlo"]["rebuilt"]["paths"] == 30
    names = [row["name"] for row in facts["stress"]]
    assert names[:5] == ["as it was", "no costs", "costs x 2", "costs x 3", "one bar late"]
    assert any(name.startswith("lookback_bars +") for name in names)
    ratios = {row["name"]: row["sharpe"] for row in facts["stress"]}
    assert ratios["no costs"] > ratios["as it was"] > ratios["costs x 2"] > ratios["costs x 3"]
    assert ratios["as it was"] == pytest.approx(facts["significance"]["sharpe"]["estimate"], rel=1e-6)
    found = verdict(facts)
    assert found.headline.startswith("SYNTHETIC DATA, no record of performance")
    assert not any("rests on one bar" in reason for reason in found.reasons)
    assert "hardly luck" not in found.headline


def test_a_result_that_rests_on_one_bar_is_said_to(done: Any) -> None:
    facts = json.loads((done[0].folder / "study.json").read_text())
    facts["influence"] = [{**facts["influence"][0], "decides": True, "rate": 0.95, "total_without": -0.01}]
    facts["data"] = {**facts["data"], "environment": "production"}
    facts["significance"]["sharpe"]["estimate"] = 2.254
    facts["significance"]["figures"]["final_equity"] = 15_650.0
    found = verdict(facts)
    assert "cannot be told from luck" in found.headline
    assert "rests on one bar" in found.reasons[0]
    assert "-1.0%" in found.reasons[0]


def test_a_page_and_a_pdf_are_written_from_the_folder_alone(done: Any, tmp_path: Path) -> None:
    folder = done[0].folder
    result = report_door.main([str(folder), "--out", str(tmp_path), "--json"])
    assert result is not None
    text = (tmp_path / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!#)", text)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    for title in ("Leaderboard", "Equity and drawdown", "Positions and trades", "Returns through time", "Costs",
                  "Walk-forward", "Probability of backtest overfitting", "Combinatorial purged cross-validation",
                  "Monte Carlo", "Stress", "Years, crises, regimes", "Where the data are from"):  # fmt: skip
        assert f"<h2>{title}</h2>" in text, title
    charts = json.loads(text.split("const REPORT=")[1].split(";\n")[0])["charts"]
    assert len(charts) == text.count('class="chart"') >= 14
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert result["pages"] >= 5
    assert list((tmp_path / "tensorboard" / "report").glob("events.*"))


def test_one_strategy_is_studied_under_two_labels(tmp_path: Path) -> None:
    """A label changes what a row is called and nothing else: not the figures, the seeds or the count of trials."""
    tree = {
        **SMALL,
        "agents": ("slow=momentum", "fast=momentum"),
        "agent": {name: {"lookback_bars": n, "band": 0.1} for name, n in {"slow": 336, "fast": 24}.items()},
    }
    ledger = tmp_path / "trials.db"
    found = study(build(Study, tree, "test"), tmp_path, Silent(), ledger=ledger)
    rows = {row["agent"]: row for row in found.rows}
    assert set(rows) == {"slow", "fast", "buy_and_hold", "flat"}
    assert found.facts["subject"] == "slow"
    assert (found.folder / "journals" / "fast.parquet").is_file()
    plain = {**tree, "agents": ("momentum",), "agent": {"momentum": tree["agent"]["fast"]}}  # type: ignore[index]
    alone = study(build(Study, plain, "test"), tmp_path, Silent(), ledger=ledger)
    (own,) = (row for row in alone.rows if row["agent"] == "momentum")
    assert own["sharpe"] == rows["fast"]["sharpe"]
    assert alone.facts["luck"]["trials"] == found.facts["luck"]["trials"] == 3


def test_the_first_training_part_can_be_longer_than_a_window(tmp_path: Path) -> None:
    """Every window then has a long past, and the last one still ends with the data."""
    found = study(build(Study, {**SMALL, "train": 2800, "gap": 24}, "test"), tmp_path, Silent())
    time = found.history.time
    spans = [fold["test"][0] for fold in found.facts["folds"]]
    assert [first for first, _ in spans[1:]] == [last for _, last in spans[:-1]]
    assert spans[-1][1] == iso(int(time[-1]))
    assert spans[0][0] == iso(int(time[4000 - 3 * ((4000 - 2800 - 24) // 3) - 1]))
    with pytest.raises(UserError, match="nothing is left to judge in 3 windows"):
        study(build(Study, {**SMALL, "train": 3976}, "test"), tmp_path, Silent())


@pytest.mark.parametrize("agents", ["momentum,momentum", "a=momentum,a=pairs", "flat=momentum", "a/b=momentum"])
def test_labels_that_tell_nothing_apart_are_refused(agents: str) -> None:
    with pytest.raises(UserError, match=r"agents: .*(none twice|a label is)"):
        build(Study, {"agents": agents}, "settings")


@pytest.mark.slow
def test_a_learner_is_fitted_in_every_window_and_resumed(tmp_path: Path) -> None:
    quick = dict(catalog.load("agents", "ppo").QUICK)
    config = build(
        Study,
        {"data": {"bars": 3000}, "agents": ("ppo",), "agent": {"ppo": quick}, "walk_forward": 2, "resamples": 100},
        "test",
    )
    first = study(config, tmp_path, Silent())
    weights = sorted((first.folder / "weights").glob("*.safetensors"))
    assert len(weights) == 2
    times = [path.stat().st_mtime_ns for path in weights]
    again = study(config, tmp_path, Silent(), resume=True)
    assert [path.stat().st_mtime_ns for path in weights] == times
    assert again.facts["leaderboard"] == first.facts["leaderboard"]
    assert first.facts["overfitting"] is None
    assert {"ppo", "buy_and_hold", "flat"} == set(first.facts["agents"])


def test_the_door_studies_by_name_and_refuses_what_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made = evaluate_door.main(
        ["momentum", "--data", "synthetic:gbm", "--bars", "3000", "--walk-forward", "2", "--settings", "2",
         "--set", "env.half_spread_bps=2", "--json"]
    )  # fmt: skip
    assert made is not None
    assert Path(made["run"], "study.json").is_file()
    assert "Walk-forward, 2 windows" in capsys.readouterr().err
    with pytest.raises(UserError, match="--walk-forward"):
        evaluate_door.main(["momentum"])
    with pytest.raises(UserError, match="two numbers"):
        evaluate_door.main(["momentum", "--data", "synthetic:gbm", "--cpcv", "6"])
    with pytest.raises(UserError, match="neither a run nor a checkpoint"):
        report_door.main([str(tmp_path)])


def test_a_training_run_and_a_checkpoint_without_its_run_are_reported_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = Experiment(data=DataConfig(data="synthetic:gbm", bars=3000), agents=("momentum",), resamples=100,
                            promote_anyway="momentum")  # fmt: skip
    outcome = train(experiment, Path("runs"), Path("checkpoints"), Silent())
    for place in (outcome.folder, outcome.checkpoint):
        written = write_report([place], Path("runs"), tmp_path / "out", Silent())
        assert "SYNTHETIC DATA" in written.reports[0].headline
        assert any("--promote-anyway" in reason for reason in written.reports[0].reasons)
        assert written.reports[0].sections[0].title == "Leaderboard"
    alone = write_report([outcome.checkpoint], Path("elsewhere"), None, Silent())
    assert alone.html == Path("elsewhere/evaluate") / outcome.checkpoint.name / "report.html"
    assert alone.reports[0].headline == written.reports[0].headline
    (outcome.folder / "journals" / "test-flat.parquet").unlink()
    with pytest.raises(UserError, match="did not finish"):
        write_report([outcome.folder], Path("runs"), None, Silent())


def test_agents_that_are_walked_bar_by_bar_give_the_same_as_a_batch() -> None:
    history = synthetic("gbm", 1500, seed=2)
    market = make_market(Ref(name="auto"), history.instruments, history.columns, history.bar_ns)
    agent = make_agent("momentum", catalog.load("agents", "momentum").Config(), market, history.columns, 0, None)

    class Walked:
        window = agent.window
        decide = agent.decide

    jobs = [(one, history, Segment(400, 1500)) for one in (agent, Walked())]
    for delay in (0, 1):
        fast, slow = run_all(market, jobs, 300, delay=delay)
        assert fast.trades == slow.trades
        assert np.array_equal(fast.equity, slow.equity)


def test_a_learner_is_walked_once_for_figures_and_journal(tmp_path: Path) -> None:
    """What is kept of the judged bars is what walking them again would give."""
    history = synthetic("gbm", 2500, seed=2)
    made = FoldMarkets(Ref(name="auto"), history, None, 0, Silent())
    bench = WindowRunner(made, tmp_path, Silent(), 0, resume=False)
    subject = bench.subject("direct_rl", dict(catalog.load("agents", "direct_rl").QUICK), 1)
    assert subject.learns
    folds = list(Study(walk_forward=2).walk(len(history)).split(history))
    for window in bench.windows(subject, folds, "walk-forward", kept=True):
        (again,) = journals(made.base, [(window.agent, history, window.fold.test[0])], bench.window)
        assert np.array_equal(window.records[0].account.equity, again.account.equity)
        assert np.array_equal(window.judged[0][0].equity, again.account.equity)
    assert bench.windows(subject, folds[:1], "again")[0].records == ()


def test_data_config_is_that_of_every_door() -> None:
    assert Study().data == DataConfig()


def test_a_strategy_with_nothing_to_choose_is_walked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decided: list[int] = []
    decide = Ensemble.decide
    monkeypatch.setattr(Ensemble, "decide", lambda self, view: (decided.append(view.time), decide(self, view))[1])
    asked = {**SMALL, "agents": ("ensemble",), "agent": {"ensemble": {"estimate_bars": 100}}}
    study(build(Study, asked, "test"), tmp_path, Silent())
    assert len(decided) > 1000
    assert len(decided) == len(set(decided)) + 2  # three windows, of which two begin at the last bar of another
