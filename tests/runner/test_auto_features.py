"""``env.features=auto``: found anew on each window's training rows, kept as texts, and refused where it cannot be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import View
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import Ref, UserError, build
from qframe_rl.deploy import deployed
from qframe_rl.evaluate.splits import WalkForward
from qframe_rl.evaluate.trials import Trials
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.make import make_env
from qframe_rl.gym.market import FEATURES
from qframe_rl.runner import train as training
from qframe_rl.runner.auto_features import FoldMarkets, n_asked, with_found
from qframe_rl.runner.experiment import Experiment
from qframe_rl.runner.fit import fit
from qframe_rl.runner.log import Silent
from qframe_rl.runner.train import train
from qframe_rl.types import DAY, Account, Fills, History, Segment
from tests.markets import history_of

PPO = {"total_steps": 2048, "n_envs": 8, "n_steps": 32, "batch_size": 128, "n_epochs": 2, "hidden": (16,)}


class Heard(Silent):
    """A screen that keeps what it was told."""

    def __init__(self) -> None:
        self.lines = list[str]()

    def end(self, task: str, note: str = "") -> None:
        """Keep it."""
        self.lines.append(f"{task}: {note}")

    def say(self, text: str) -> None:
        """Keep it."""
        self.lines.append(text)


@pytest.fixture(scope="module")
def bars() -> History:
    return synthetic("ar1", n_bars=6_000)


def spoiled(history: History, first: int) -> History:
    """The same bars up to a row, and nonsense after it."""
    values, rng = history.values.copy(), np.random.default_rng(1)
    values[first:] = rng.permutation(values[first:]) * (0.5 + rng.random((len(values) - first, 1, 1)))
    return replace(history, values=values)


def panel(n_bars: int = 900, n: int = 9) -> History:
    """A panel whose column drives the next return."""
    rng = np.random.default_rng(3)
    signal = rng.standard_normal((n_bars, n))
    rise = 0.01 * (0.3 * np.roll(signal, 1, axis=0) + rng.standard_normal((n_bars, n)))
    close = 100.0 * np.exp(np.cumsum(rise, axis=0))
    opening = np.concatenate([close[:1], close[:-1]])
    volume = 1e6 * np.exp(rng.standard_normal((n_bars, n)))
    channels = [opening, np.maximum(opening, close), np.minimum(opening, close), close, volume, signal]
    made = history_of(np.stack(channels, axis=-1), columns=("signal",))
    return replace(made, bar_ns=DAY, time=DAY * (18_000 + np.arange(n_bars, dtype=np.int64)))


def asked(features: object) -> Ref:
    return Ref(name="perp", params={"features": features})


@pytest.mark.parametrize(
    ("features", "n"),
    [("auto", 200), ("auto:30", 30), (("rsi:14", "auto:5"), 5), ("rsi:14,auto", 200), ("rsi:14", 0), (3, 0)],
)
def test_how_many_are_asked_for(features: object, n: int) -> None:
    assert n_asked(asked(features)) == n


@pytest.mark.parametrize("features", ["auto:0", "auto:x", "auto:1:2", "auto,auto", "auto:999999"])
def test_what_is_no_number_of_formulas_is_refused(features: str) -> None:
    with pytest.raises(UserError, match=r"^env\.features: 'auto.* is not auto or auto:N, once, with N from 1 to"):
        n_asked(asked(features))


def test_where_nothing_is_found_the_others_remain_or_the_usual_ones(bars: History) -> None:
    assert with_found(asked("rsi:14,auto"), None).params == {"features": ["rsi:14"]}
    made = FoldMarkets(asked("auto:30"), bars, None, 0, Silent())
    assert tuple(f.name for f in made.base.interface.observer.features) == (*FEATURES[:-1], "column:signal")
    assert made.window >= 200


def test_each_window_finds_its_own_and_no_later_row_matters(bars: History) -> None:
    folds = list(WalkForward(train=3_400, test=1_000, validation=500, gap=24).split(bars))
    heard, texts = Heard(), []
    for number, fold in enumerate(folds):
        for history in (bars, spoiled(bars, fold.train[-1].stop)):
            made = FoldMarkets(asked("auto:40"), history, None, 7, heard)
            market = made.fitted(fold.train)
            assert made.fitted(fold.train) is market and len(made.found) == 1
            texts.append([feature.name for feature in market.interface.observer.features])
        assert texts[2 * number] == texts[2 * number + 1]
        assert "alpha:column:signal" in texts[2 * number]
        assert not np.isnan(market.interface.observer.scaler.mean).any()
    other = FoldMarkets(asked("auto:40"), spoiled(bars, 1_000), None, 7, Silent()).fitted(folds[0].train)
    assert [feature.name for feature in other.interface.observer.features] != texts[0]
    assert heard.lines[0].startswith("find features 1: 40 formulas tried, ")
    assert heard.lines[1].startswith("features of these 2,") and "alpha:column:signal" in heard.lines[1]


def test_on_a_panel_too(bars: History) -> None:
    history = panel()
    made = FoldMarkets(asked("auto:40"), history, None, 0, Silent())
    market = made.fitted((Segment(0, 800),))
    assert all("column:signal" in feature.name for feature in market.interface.observer.features)
    (told,) = made.describe()
    assert told["tried"] == 40 and told["train"] == [[0, 800]] and len(told["tests"]) == 40
    assert json.loads(json.dumps(told)) == told


def test_too_few_training_rows_are_said(bars: History) -> None:
    with pytest.raises(UserError, match="training dates are too few to find features on"):
        FoldMarkets(asked("auto"), bars, None, 0, Silent()).fitted((Segment(0, 900),))


def test_environments_alone_refuse_it() -> None:
    for name in ("spot", "portfolio"):
        with pytest.raises(
            UserError, match=r"^the feature 'auto' stands for what qframe train, evaluate and tune find"
        ):
            make_env(name, features=("auto",))
    with pytest.raises(UserError, match=r"feature 'auto:5': features are found by themselves on bars alone; name"):
        make_env("book_making", features=("auto:5",))


def test_a_training_by_a_line_of_python_finds_them_too(bars: History) -> None:
    done = fit("ppo", bars.rows(0, 3_500), "spot", PPO, features="auto:20,log_return:1")
    names = [feature.name for feature in done.market.interface.observer.features]
    assert names[-1] == "log_return:1" and "alpha:column:signal" in names[:-1]


@pytest.mark.slow
def test_a_run_keeps_the_texts_counts_what_it_tried_and_its_checkpoint_sees_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.Run, "_draw", lambda *_: None)
    told: Mapping[str, Any] = {
        "data": {"bars": 6_000}, "agents": "ppo", "agent": {"ppo": PPO}, "resamples": 100,
        "env": {"features": "auto:40"}, "promote_anyway": "ppo",
    }  # fmt: skip
    experiment = build(Experiment, told, "test")
    outcomes = [train(experiment, tmp_path / name, tmp_path / "kept", Silent()) for name in ("one", "two")]
    assert outcomes[0].digest == outcomes[1].digest
    (found,) = json.loads((outcomes[0].folder / "features.json").read_text())
    checkpoint = load_checkpoint(outcomes[0].checkpoint)
    assert checkpoint.interface["features"] == checkpoint.env["params"]["features"] == found["features"]
    assert found["tried"] == 40 and found["found"] == len(found["features"]) > 0
    history = outcomes[0].history
    trials = Trials.opened(None, tmp_path)
    assert trials.formulas(history) == 40  # the same run counts once
    assert trials.formulas(synthetic("gbm", n_bars=500)) == 0
    market, agent = deployed(checkpoint, history.instruments, history.columns, history.bar_ns, "test")
    window = market.interface.window
    rows = slice(5_000 - window, 5_000)
    account = Account(np.array(1e4), np.zeros(1), history.values[4_999, :, 3])
    view = View(
        int(history.time[4_999]), history.time[rows], history.values[rows], account, Fills.none(1), first=True
    )  # fmt: skip
    seen = market.interface.observe(view)
    assert np.array_equal(seen[:-2], market.interface.observer.matrix(history)[4_999])
    agent.decide(view)
