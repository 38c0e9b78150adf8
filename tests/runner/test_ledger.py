"""Every try is counted: edited code, other folders, other looks; and a checkpoint carries its count along."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import UserError, build
from qframe_rl.evaluate.trials import Trials
from qframe_rl.runner import train as runner
from qframe_rl.runner.evaluate import evaluate
from qframe_rl.runner.experiment import Experiment
from qframe_rl.runner.log import Silent
from qframe_rl.runner.report import write_report
from qframe_rl.runner.train import Outcome, train

pytestmark = pytest.mark.slow

RULE = """
import numpy as np
from qframe_rl.agent import Memoryless
from qframe_rl.config import Base
from qframe_rl.interface import rebalance
from secret_rule.constants import BARS

class Config(Base):
    pass

class Rule(Memoryless):
    window = BARS + 1

    def decide(self, view):
        rise = view.close[-1] / view.close[-1 - BARS] - 1.0
        return rebalance(view, np.sign(rise) / len(rise))

def make(config, spec):
    return Rule()
"""
Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Train in a folder of runs, with a ledger of the test's own; pictures are left out, they take longest."""
    monkeypatch.setattr(runner.Run, "_draw", lambda *_: None)

    def go(agents: str = "momentum", runs: str = "runs", **more: Any) -> Outcome:
        data = {"data": "synthetic:gbm", "bars": 1500, "seed": 8, **more.pop("data", {})}
        asked = {"data": data, "agents": agents, "resamples": 100, **more}
        experiment, places = build(Experiment, asked, "test"), (tmp_path / runs, tmp_path / "checkpoints")
        return train(experiment, *places, Silent(), ledger=tmp_path / "trials.db")

    return go


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Write a strategy by dotted path whose rule lies in a module beside it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "secret_rule"]:
            del sys.modules[name]

    def write(bars: int) -> None:
        folder = tmp_path / "secret_rule"
        folder.mkdir(exist_ok=True)
        for name, text in (("__init__", ""), ("rule", RULE), ("constants", f"BARS = {bars}\n")):
            (folder / f"{name}.py").write_text(text)
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        importlib.invalidate_caches()
        forget()

    yield write
    forget()


def test_four_edits_of_a_file_are_four_trials_and_four_runs(run: Run, edited: Callable[[int], None]) -> None:
    folders, trials = [], []
    for bars in (3, 5, 8, 13, 5):
        edited(bars)
        done = run("secret_rule.rule")
        folders.append(done.folder)
        trials.append(done.choice.luck.trials)
    assert trials == [2, 3, 4, 5, 5], "buying and holding is the first"
    assert len(set(folders)) == 4
    assert folders[1] == folders[4]


def test_another_folder_or_span_of_bars_does_not_begin_anew(run: Run, tmp_path: Path) -> None:
    assert run().choice.luck.trials == 2
    again = run(runs="elsewhere", agent={"momentum": {"lookback_bars": 50}})
    assert again.choice.luck.trials == 3
    shutil.rmtree(tmp_path / "runs")
    assert run(runs="third", agent={"momentum": {"lookback_bars": 60}}).choice.luck.trials == 4
    assert run(runs="third", data={"bars": 1400}).choice.luck.trials == 6, "the first 1,400 bars are among the 1,500"


def test_a_checkpoint_carries_its_count_and_looks_at_other_bars_count(run: Run, tmp_path: Path) -> None:
    for bars in (20, 30, 40):
        done = run(agent={"momentum": {"lookback_bars": bars}}, promote_anyway="momentum")
    card = load_checkpoint(done.checkpoint).provenance["promotion"]
    assert card["trials"] == 4

    def scored(ledger: Path, **period: str) -> int:
        since, until = period.get("since"), period.get("until")
        found = evaluate(
            [done.checkpoint], {}, since, until, ["flat", "buy_and_hold"], tmp_path / "out", Silent(),
            ledger=Trials(ledger), n_resamples=100,
        )  # fmt: skip
        assert {one.row["trials"] for one in found.scored} == {found.luck.trials}
        return found.luck.trials

    assert scored(tmp_path / "another.db") == 4, "the card knows more than a new ledger"
    own = tmp_path / "trials.db"
    assert [scored(own), scored(own)] == [4, 4], "its own test bars are the trial that it came from"
    first = str(done.history.time[700].astype("datetime64[ns]").astype("datetime64[s]"))
    assert [scored(own, since=first), scored(own, since=first)] == [5, 5]
    assert scored(own, until=first) == 6

    shutil.rmtree(done.folder)
    known = write_report([done.checkpoint], tmp_path / "runs", tmp_path / "report", Silent(), ledger=own)
    assert "6 configurations were ever scored" in known.html.read_text()


def test_checkpoints_of_one_agent_are_told_apart_though_folders_are_called_alike(run: Run, tmp_path: Path) -> None:
    done = run(promote_anyway="momentum")
    places = [shutil.copytree(done.checkpoint, tmp_path / name / "best") for name in ("old", "new", "third")]
    found = evaluate(
        places, {}, None, None, [], tmp_path / "out", Silent(), ledger=Trials(tmp_path / "own.db"), n_resamples=100
    )
    titles = ["momentum", "momentum new/best", "momentum third/best"]
    assert [(one.name, one.checkpoint) for one in found.scored] == list(zip(titles, places, strict=True))
    journals = ["momentum", "momentum-new--best", "momentum-third--best"]
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.parquet")) == journals
    with pytest.raises(UserError, match="given twice"):
        evaluate([places[0]] * 2, {}, None, None, [], tmp_path / "out", Silent())


def test_a_report_of_a_run_counts_what_came_after_it(run: Run, tmp_path: Path) -> None:
    first = run()
    for bars in (20, 30, 40):
        run(agent={"momentum": {"lookback_bars": bars}})
    for ledger, trials in ((tmp_path / "trials.db", 5), (tmp_path / "new.db", 2)):
        done = write_report([first.folder], tmp_path / "runs", tmp_path / "report", Silent(), ledger=ledger)
        assert f"{trials} configurations were ever scored" in done.html.read_text()
