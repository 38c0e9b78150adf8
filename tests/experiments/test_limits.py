"""Limits of the risk engine bind alike wherever a strategy learns, is scored or trades: train, evaluate, paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import evaluate, paper, train, tune
from qframe_rl import catalog
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import Ref, UserError
from qframe_rl.deploy import make_agent, make_market, window_of
from qframe_rl.evaluate.splits import WalkForward
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.load import load
from qframe_rl.journal.record_file import read_record
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.backtest import backtest, joined

RUN = [
    "--bars", "3000", "--agents", "momentum", "--promote-anyway", "momentum", "--set", "env.features=log_return:1",
    "--resamples", "100",
]  # fmt: skip


def trained(folder: Path, *limits: str) -> dict[str, Any]:
    places = ["--runs", str(folder / "runs"), "--checkpoints", str(folder / "checkpoints")]
    out = train.main([*RUN, *places, *limits, "--json"])
    assert out is not None
    return out


def scored(checkpoint: str, folder: Path, *limits: str) -> dict[str, Any]:
    out = evaluate.main([checkpoint, "--out", str(folder), *limits, "--json"])
    assert out is not None
    found: dict[str, Any] = next(one for one in out["results"] if one["agent"] == "momentum")
    return found


def test_a_checkpoint_keeps_the_limits_that_it_was_scored_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = trained(tmp_path, "--max-leverage", "0.5", "--set", "risk.max_drawdown=0.3")
    place = done["checkpoint"]
    kept = load_checkpoint(Path(place))
    assert kept.provenance["risk"] == {"max_leverage": 0.5, "max_drawdown": 0.3}
    tested = next(row for row in done["leaderboard"] if row["split"] == "test" and row["agent"] == "momentum")
    same = scored(place, tmp_path / "same")
    assert same["final_equity"] == tested["final_equity"]
    assert "max_leverage = 0.5, max_drawdown = 0.3" in capsys.readouterr().err
    gross = np.abs(read_record(Path(same["journal"]), kept.instruments, kept.bar_ns).account.exposure).sum(axis=-1)
    assert 0.4 < np.median(gross[gross > 0.0]) < 0.55
    live = paper.main([place, "--out", str(tmp_path / "paper"), "--json"])
    assert live is not None
    assert live["final_equity"] == same["final_equity"]


def test_limits_given_to_evaluate_and_paper_go_before_the_checkpoints(tmp_path: Path) -> None:
    place = trained(tmp_path)["checkpoint"]
    free, held = scored(place, tmp_path / "free"), scored(place, tmp_path / "held", "--daily-loss", "0.01")
    assert held["final_equity"] != free["final_equity"]
    assert held["trades"] < free["trades"]
    live = paper.main([place, "--daily-loss", "0.01", "--out", str(tmp_path / "paper"), "--json"])
    assert live is not None
    assert live["final_equity"] == held["final_equity"]


def test_a_study_is_held_to_limits_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each window's record is what a backtest with the limits of the market gives."""
    asked = ["momentum", "--data", "synthetic:gbm", "--bars", "3000", "--walk-forward", "3", "--settings", "1"]
    asked += ["--resamples", "100", "--runs", str(tmp_path), "--json"]
    free, held = evaluate.main(asked), evaluate.main([*asked, "--max-leverage", "0.5", "--max-drawdown", "0.1"])
    assert free is not None
    assert held is not None
    assert "max_leverage = 0.5, max_drawdown = 0.1" in capsys.readouterr().err
    assert free["run"] != held["run"]
    config = json.loads((Path(held["run"]) / "study.json").read_text())["config"]
    assert config["risk"]["max_leverage"] == 0.5
    history = load(DataConfig(data="synthetic:gbm", bars=3000))
    limits = Limits(max_leverage=0.5, max_drawdown=0.1)
    market = make_market(Ref(name="auto"), history.instruments, history.columns, history.bar_ns, limits)
    agent = make_agent("momentum", catalog.load("agents", "momentum").Config(), market, history.columns, 0, None)
    record = read_record(Path(held["run"]) / "journals" / "momentum.parquet", history.instruments, history.bar_ns)
    window = window_of(market, agent)
    parts = [
        backtest(market, agent, history, fold.test[0], window)
        for fold in WalkForward(n_folds=3, gap=24, validation=0).split(history)
    ]
    assert np.array_equal(joined(parts).account.equity, record.account.equity)


def test_a_study_of_a_checkpoint_keeps_its_limits(tmp_path: Path) -> None:
    place = trained(tmp_path, "--max-leverage", "0.5")["checkpoint"]
    asked = [place, "--walk-forward", "2", "--settings", "1", "--resamples", "100", "--runs", str(tmp_path), "--json"]
    for more, leverage in ([], 0.5), (["--max-leverage", "0.7"], 0.7):
        done = evaluate.main([*asked, *more])
        assert done is not None
        config = json.loads((Path(done["run"]) / "study.json").read_text())["config"]
        assert config["risk"]["max_leverage"] == leverage


def test_a_search_keeps_the_limits_that_it_scored_with(tmp_path: Path) -> None:
    places = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "checkpoints"), "--json"]
    asked = [
        "--agent",
        "momentum",
        "--space",
        "lookback_bars=24:96",
        "--bars",
        "3000",
        "--budget",
        "8",
        "--promote-anyway",
    ]
    done = tune.main([*asked, "--walk-forward", "2", "--resamples", "100", "--max-leverage", "0.5", *places])
    assert done is not None
    assert load_checkpoint(Path(done["checkpoint"])).provenance["risk"] == {"max_leverage": 0.5}


def test_a_limit_that_does_not_fit_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="daily_loss"):
        trained(tmp_path, "--daily-loss", "2")
