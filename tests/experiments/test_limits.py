"""Limits of the risk engine bind alike wherever a strategy is scored or trades: train, evaluate, paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import evaluate, paper, train
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import UserError
from qframe_rl.listeners import read_record

RUN = ["--bars", "3000", "--agents", "momentum", "--promote-anyway", "momentum", "--set", "env.features=log_return:1"]


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


def test_a_study_has_no_limits_and_says_so() -> None:
    with pytest.raises(UserError, match="a study has none"):
        evaluate.main(["momentum", "--walk-forward", "3", "--max-leverage", "1"])


def test_a_limit_that_does_not_fit_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="daily_loss"):
        trained(tmp_path, "--daily-loss", "2")
