"""Strategies, features and parameters chosen together: on a window's own bars, judged once, with one verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import tune as tune_door
from experiments.cli import door
from experiments.told_contest import verdict
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import UserError, build
from qframe_rl.evaluate.trials import Trials
from qframe_rl.feeds.load import load
from qframe_rl.runner.auto_features import FoldMarkets
from qframe_rl.runner.executors import LocalExecutor
from qframe_rl.runner.log import Silent
from qframe_rl.runner.study.windows import WindowRunner
from qframe_rl.runner.tune import contest as contests
from qframe_rl.runner.tune.contest import Contested, contest
from qframe_rl.runner.tune.contest_plan import Contest
from qframe_rl.runner.tune.work import TuneWork
from qframe_rl.types import History
from tests.docs.test_json import keys, listed

pytest.importorskip("optuna")

SMALL: dict[str, Any] = {
    "data": {"data": "synthetic:gbm", "bars": 8_000, "seed": 3},
    "agents": ("momentum", "mean_reversion", "pairs"),
    "params": {"mean_reversion": {"regime_bars": 60, "max_age_days": 5.0}},
    "budget": 24,
    "walk_forward": 2,
    "blocks": 2,
    "resamples": 100,
}


def made(**changes: Any) -> Contest:
    return build(Contest, {**SMALL, **changes}, "test")


def done(config: Contest, folder: Path) -> Contested:
    return contest(config, folder / "runs", folder / "checkpoints", Silent(), LocalExecutor(), ledger=folder / "l.db")


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Contested, Path]:
    folder = tmp_path_factory.mktemp("noise")
    return done(made(), folder), folder


@pytest.mark.long
def test_each_window_chooses_among_all_and_noise_is_called_luck(noise: tuple[Contested, Path]) -> None:
    found, folder = noise
    facts = json.loads((found.folder / "automl.json").read_text())
    assert [one["agent"] for one in facts["windows"]] == [one.arm.agent for one in found.windows]
    for one in found.windows:
        assert {"momentum", "mean_reversion"} <= set(one.scores) and max(one.scores.values()) == one.scores[
            one.arm.title
        ]
        assert 12 <= one.settings <= 13  # an ensemble of survivors counts besides
    assert found.facts["promotion"]["agent"] == "flat" and load_checkpoint(found.checkpoint).agent["name"] == "flat"
    assert "so holding cash is the choice" in verdict(found, 0.9) and " interval " in verdict(found, 0.9)
    assert list(found.left_out) == ["pairs"]
    ledger = Trials(folder / "l.db")
    assert len(ledger.on(found.history)) == sum(one.settings for one in found.windows)
    assert found.luck.trials > 10 and {row["agent"] for row in found.rows} == {"automl", "buy_and_hold", "flat"}


@pytest.mark.long
def test_the_same_settings_give_the_same_choice(noise: tuple[Contested, Path], tmp_path: Path) -> None:
    again = done(made(), tmp_path)
    assert again.facts["windows"] == noise[0].facts["windows"]
    assert again.facts["leaderboard"] == noise[0].facts["leaderboard"]


def test_no_window_chooses_by_the_bars_that_judge_it(
    noise: tuple[Contested, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = noise[0].history
    first = noise[0].windows[-1].searched.fold.test[0].start
    values = history.values.copy()
    values[first:] = values[first:][::-1]
    later: History = replace(history, values=np.ascontiguousarray(values))
    monkeypatch.setattr(contests, "bars_of", lambda *_: later)
    spoiled = done(made(), tmp_path)
    for one, other in zip(noise[0].windows, spoiled.windows, strict=True):
        assert (one.arm.title, one.searched.best, one.scores) == (other.arm.title, other.searched.best, other.scores)
    assert spoiled.windows[-1].searched.ratio != noise[0].windows[-1].searched.ratio


def test_each_window_pays_for_its_own_features(tmp_path: Path) -> None:
    """Those of all windows were found in the first one's part of the budget."""
    config = made(data={"bars": 3_000}, agents=("direct_rl",), features="auto:2", params={}).of("direct_rl", "auto:2")
    history = load(config.data)
    markets = FoldMarkets(config.env, history, config.risk, 0, Silent(), lenient=True)
    runner = WindowRunner(markets, tmp_path, Silent(), 0, False, LocalExecutor())
    work = TuneWork(config, history, runner, "x", Trials(tmp_path / "l.db"), LocalExecutor(), alike=True)
    for number in (1, 0):
        (first,) = (one for one in work.inputs(number).markets if one)
        assert len(first) == len(work.parts[number])
        assert markets._markets.keys() == {part.train for part in work.parts[number]}
        markets._markets.clear()


@pytest.mark.long
def test_learners_are_tried_with_both_kinds_of_features_and_survivors_are_stacked(tmp_path: Path) -> None:
    never = {"members": ("mean_reversion",), "member": {"mean_reversion": {"entry": 99.0}}}
    config = made(
        data={"bars": 12_000}, agents=("momentum", "direct_rl", "ensemble"), features="auto:40", budget=8,
        walk_forward=1, blocks=1, params={"direct_rl": {"sequence_bars": 16, "epochs": 2}, "ensemble": never},
    )  # fmt: skip
    found = done(config, tmp_path)
    scores = {title: score for one in found.windows for title, score in one.scores.items()}
    assert scores.keys() >= {"momentum", "direct_rl", "direct_rl with auto:40 features", "ensemble"}
    assert scores["ensemble"] < 0.0 < scores["ensemble of survivors"]  # that of the user's was taken for it
    assert found.facts["features"] and found.facts["features"][0]["tried"] == 40
    assert Trials(tmp_path / "l.db").formulas(found.history) >= 40
    assert found.facts["promotion"]["promoted"]  # the signal of this market pays
    kept = load_checkpoint(found.checkpoint)
    assert kept.agent["name"] == found.windows[-1].arm.agent
    assert "auto:40" not in kept.env["params"].get("features", ())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sampler": "nsga2"}, "neither nsga2 nor a space"),
        ({"params": {"ppo": {}}}, r"params\.ppo: there are parameters for a strategy that is not tried"),
        ({"agents": ("momentum", "momentum")}, "one is named twice"),
        ({"features": "rsi:14"}, "features: usual, auto or auto:N"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told) as refused:
        made(**changes)
    assert "got {" not in str(refused.value)  # all that was asked for, where a sentence says what is wrong with it


def test_named_strategies_must_suit_the_bars(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pairs"):
        done(made(strict=True), tmp_path)
    with pytest.raises(UserError, match="none of the strategies can be tried on these bars: pairs: "):
        done(made(agents=("pairs",), params={}), tmp_path)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("--minutes", "3", "--budget", "4"), "--minutes and --budget say the same"),
        (("--survivors", "3"), "--survivors is for several strategies"),
        (("--agent", "all", "--env", "book_making"), "strategies are chosen among on bars alone"),
        (("--agent", "all", "--minutes", "x"), "budget: give a whole number above 0, or minutes such as 30m"),
        (("--agent", "momentum,momentom"), "did you mean 'momentum'"),
    ],
)
def test_mistakes_at_the_door_are_one_sentence(
    argv: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert door(tune_door.main, list(argv)) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_the_door_prints_the_verdict_and_what_is_documented(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = ("--data", "synthetic:gbm", "--bars", "6000", "--walk-forward", "1", "--blocks", "2")
    assert door(tune_door.main, ["--agent", "momentum,mean_reversion", "--budget", "6", *data, "--json"]) == 0
    out, err = capsys.readouterr()
    shown = json.loads(out.splitlines()[-1])
    assert set(shown) == keys("`tune --agent all`, or several names")
    assert set(shown["windows"][0]) == listed("`tune --agent all`, or several names", "windows")
    assert "Verdict: what 6 settings chose" in err or "Verdict: what 7 settings chose" in err
