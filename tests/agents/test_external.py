"""What was decided elsewhere is followed as far as a market lets it, and is judged on what nobody knew alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import evaluate, train
from experiments.cli import door
from qframe_rl import catalog
from qframe_rl.config import UserError
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.runner.known_until import knows_until
from qframe_rl.runner.train import Run
from qframe_rl.types import iso, parse_time
from tests.contracts import checks
from tests.contracts.test_agents import bars, market_for
from tests.markets import panel

BARS = 1500


def followed(kind: str, targets: Any, **params: Any) -> Any:
    """Exposures after each bar of a session whose column of targets, (T, A), is given."""
    history = panel(60, 3, seed=4, kind=kind, volatility=0.01, ragged=False, column=False)
    values = np.concatenate([history.values[:, :, :5], np.broadcast_to(targets, (60, 3))[:, :, None]], axis=2)
    history = replace(history, values=values, columns=("target",))
    market = market_for(history)
    module = catalog.load("agents", "external")
    agent = module.make(module.Config(**params), market.spec(history.columns, 0, None))
    return checks.trade(market, agent, history).account.exposure


def test_targets_are_met_within_what_the_market_allows() -> None:
    np.testing.assert_allclose(
        followed("perpetual", [0.3, -0.2, 0.1])[2:], np.tile([0.3, -0.2, 0.1], (30, 1))[:29], atol=0.02
    )
    spot = followed("spot", [0.9, -0.5, 0.9])
    np.testing.assert_allclose(spot[2:], np.tile([0.5, 0.0, 0.5], (len(spot) - 2, 1)), atol=0.02)


def test_no_value_holds_what_there_is() -> None:
    targets = np.full((60, 3), np.nan)
    targets[40] = [0.2, 0.3, np.nan]
    held = followed("perpetual", targets)
    before, after = held[: 41 - 30], held[43 - 30 :]
    assert not before.any()
    assert (after[:, :2] > 0.1).all()
    assert not after[:, 2].any()


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="follows the column 'target', which the data do not have"):
        history = bars("spot", 1)
        module = catalog.load("agents", "external")
        module.make(module.Config(), market_for(history).spec(history.columns, 0, None))


@pytest.fixture
def column(tmp_path: Path) -> str:
    """Targets with the times at which they were published."""
    history = synthetic("gbm", n_bars=BARS, seed=0, bar_ns=3_600 * 10**9)
    path = tmp_path / "model.csv"
    rows = [f"{iso(int(t) - 60 * 10**9)},{0.1 * (n % 9):.1f}" for n, t in enumerate(history.time)]
    path.write_text("published,target\n" + "\n".join(rows) + "\n")
    return f"target={path}:target"


def test_what_a_member_may_know_its_ensemble_may(
    column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = catalog.load("agents", "ensemble").Config
    inner = {"members": ["flat", "external"], "member": {"external": {"knows_until": "2020-02-20"}}}
    for one in (inner, {"members": ["a=ensemble"], "member": {"a": inner}}):
        assert knows_until(model(**one)) == knows_until(model(**one).model_dump()) == parse_time("2020-02-20")
    assert knows_until(model(members=("flat",))) is None
    argv = ["ensemble", "--data", "synthetic:gbm", "--bars", str(BARS), "--columns", column, "--walk-forward", "2"]
    argv += ["--runs", str(tmp_path), "--set", 'agent.ensemble.members=["external"]']
    assert door(evaluate.main, [*argv, "--set", "agent.ensemble.member.external.knows_until=2020-02-28"]) == 2
    assert "may know of what was until 2020-02-28" in " ".join(capsys.readouterr().err.split())


def test_bars_that_a_model_may_know_are_in_no_verdict(
    column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Run, "_draw", lambda *given: None)
    data = ["--data", "synthetic:gbm", "--bars", str(BARS), "--columns", column]
    places = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "checkpoints")]
    argv = [*data, "--agents", "external", *places]
    assert door(train.main, [*argv, "--set", "agent.external.knows_until=2020-01-20T00:00:00.5"]) == 2
    assert "leave the fraction out" in " ".join(capsys.readouterr().err.split())
    assert door(train.main, [*argv, "--set", "agent.external.knows_until=2020-02-20"]) == 2
    assert "agent external may know of what was until 2020-02-20" in " ".join(capsys.readouterr().err.split())
    assert door(train.main, [*argv, "--set", "agent.external.knows_until=2020-01-20"]) == 0
    place = next((tmp_path / "runs").glob("*/agents/external-0-0"))
    kept = json.loads((place / "checkpoint.json").read_text())
    assert kept["agent"]["params"]["knows_until"] == "2020-01-20"
    capsys.readouterr()
    asked = [str(place), "--from", "2020-01-10", "--to", "2020-02-01", "--out", str(tmp_path / "out"), "--json"]
    assert door(evaluate.main, asked) == 0
    said = capsys.readouterr()
    assert "240 bars are left out" in " ".join(said.err.split())
    assert door(evaluate.main, [*asked[:3], "--to", "2020-01-20", "--out", str(tmp_path / "out")]) == 2
    assert "there is no bar after 2020-01-20" in " ".join(capsys.readouterr().err.split())
    study = ["external", *data, "--walk-forward", "2", "--runs", str(tmp_path / "runs")]
    assert door(evaluate.main, [*study, "--set", "agent.external.knows_until=2020-02-28"]) == 2
    assert "may know of what was until 2020-02-28" in " ".join(capsys.readouterr().err.split())
