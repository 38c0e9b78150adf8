"""``qframe features find``: what it finds becomes a preset, what is not there is said, Ctrl-C keeps what was tried."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import features
from experiments.cli import door
from experiments.settings import locate_data, settings
from qframe_rl.alpha.select import FormulaTrials
from qframe_rl.alpha.tree import Formula
from qframe_rl.config import build
from qframe_rl.evaluate.trials import Trials
from qframe_rl.features import features as looked_up
from qframe_rl.feeds.load import load
from qframe_rl.runner.experiment import Experiment
from qframe_rl.types import HOUR
from tests.docs.test_json import keys, listed

AR1 = ("--bars", "5000", "--budget", "60")


def said(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, dict[str, Any], str]:
    code = door(features.main, ["find", *map(str, argv), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]) if out else {}, err


def test_what_is_found_is_written_as_a_preset_that_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places = ("--out", tmp_path / "deep" / "found.toml", "--ledger", tmp_path / "trials.db")
    code, shown, _ = said(capsys, *AR1, *places)
    assert code == 0 and set(shown) == keys("`features find`")
    assert set(shown["counts"]) == listed("`features find`", "counts")
    assert set(shown["tests"][0]) == listed("`features find`", "tests")
    assert "alpha:column:signal" in shown["features"] and shown["counts"]["tried"] == shown["ever_tried"] == 60
    assert Path(shown["picture"]).read_bytes().startswith(b"\x89PNG")
    assert json.loads(Path(shown["all"]).read_text())["features"] == shown["features"]
    tree = settings(Experiment, shown["preset"], [], {})
    locate_data(tree)
    experiment = build(Experiment, tree, "preset")
    assert experiment.env.params["features"] == shown["features"] and experiment.data.bars == 5_000
    assert experiment.split.params == {"train": 0.6, "validation": 0.2, "test": 0.2}
    assert len(looked_up(shown["features"], ("signal",), HOUR)) == len(shown["features"])
    again = said(capsys, *AR1, "--ledger", tmp_path / "trials.db", "--out", tmp_path / "again.toml")[1]
    assert again["tests"] == shown["tests"] and again["ever_tried"] == 60  # the same search counts once
    left = sorted(path.name for path in (tmp_path / "deep").iterdir())
    assert left == ["found.json", "found.png", "found.toml"]


def test_where_nothing_is_there_nothing_is_written_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    walk = ("--data", "synthetic:gbm", "--bars", "5000", "--budget", "40", "--ledger", str(tmp_path / "trials.db"))
    assert door(features.main, ["find", *walk]) == 0
    out = capsys.readouterr().out
    assert "Nothing was found: of " in out and "No preset is written" in out and "The nearest of the others" in out
    assert not list(tmp_path.rglob("*.toml")) and len(list(tmp_path.glob("runs/features/*.json"))) == 1
    code, shown, _ = said(capsys, *walk)
    assert code == 0 and shown["preset"] is None and shown["features"] == []


def test_after_ctrl_c_what_was_tried_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    test = FormulaTrials.test

    def stopped(self: FormulaTrials, tree: Formula) -> None:
        if len(self.tried) == 30:
            raise KeyboardInterrupt
        test(self, tree)

    ledger = tmp_path / "trials.db"
    whole = said(capsys, "--bars", "5000", "--budget", "30", "--ledger", ledger, "--out", "whole.toml")[1]
    monkeypatch.setattr(FormulaTrials, "test", stopped)
    code, shown, err = said(capsys, *AR1, "--ledger", ledger, "--out", "broken.toml")
    assert code == 130 and err.endswith("stopped.\n")
    assert shown["interrupted"] and shown["tests"] == whole["tests"] and shown["counts"]["tried"] == 30
    written = [(tmp_path / name).read_text() for name in ("whole.toml", "broken.toml")]
    assert written[0] == written[1]
    assert Trials(ledger).formulas(load(build(Experiment, {"data": {"bars": 5_000}}, "test").data)) == 60

    monkeypatch.setattr(FormulaTrials, "test", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert door(features.main, ["find", *AR1, "--ledger", str(ledger), "--out", "none.toml"]) == 130
    assert not (tmp_path / "none.toml").exists()


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("find", "ret1"), "features find takes no formula, and 'ret1' was given"),
        (("find", "--budget", "soon"), "options: budget: give a whole number above 0, or minutes such as 30m"),
        (("find", "--train", "1.5"), "options: train"),
        (("find", "--out", "found.txt"), "--out found.txt: a preset is a file that ends in .toml."),
        (("find", "--bars", "1000"), "training dates are too few to find features on"),
        (("explain", "ret1", "--picture", "a.foo"), "--picture a.foo: a picture is a file that ends in .png."),
        (("explain",), "features explain: which formula?"),
        (("explain", "ret1", "--budget", "3"), "--budget is for features find."),
    ],
)
def test_mistakes_are_one_sentence(argv: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert door(features.main, list(argv)) == 2
    err = capsys.readouterr().err
    assert told in err and err.splitlines()[-1].startswith("error: ")
