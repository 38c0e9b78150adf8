"""Losers with fine Sharpe ratios, through the door: flat is chosen, and a sentence says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import train
from experiments.cli import door
from qframe_rl.types import DAY, SECOND, Float
from tests.evaluate.made import START


def written(close: Float, step: int, place: Path, skip: range = range(0)) -> str:
    """A CSV of bars that open where the one before closed, but for the first after a halt."""
    opens = np.concatenate([close[:1], close[:-1]])
    lines = ["timestamp,open,high,low,close,volume"]
    for k, (first, last) in enumerate(zip(opens, close, strict=True)):
        if k not in skip:
            first = last if k == skip.stop and k else first
            low, high = min(first, last), max(first, last)
            lines.append(f"{(START + k * step) // SECOND * 1000},{first},{high},{low},{last},1e12")
    place.write_text("\n".join(lines) + "\n")
    return str(place)


def trained(argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    places = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "checkpoints"), "--json"]
    code = door(train.main, [*argv, *places])
    out, err = capsys.readouterr()
    assert code == 0, err
    told: dict[str, Any] = json.loads(out.splitlines()[-1])
    return told, err


def row_of(told: dict[str, Any], name: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = told["leaderboard"]
    return next(row for row in rows if row["agent"] == name and row["split"] == "validation")


def test_a_levered_loser_is_not_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """T1: true Sharpe ratio 2.9 from midnight to noon, held 11.3 times over."""
    rng, n = np.random.default_rng(2), 33
    month = np.where(np.arange(66) < 38, np.log(1.032), np.log(0.968))  # (38 - 28) / 66 is 2.9 / sqrt(365)
    move = np.zeros(2 * 66 * n)
    move[::2] = np.concatenate([rng.permutation(month) for _ in range(n)])
    move[1::2] = np.concatenate([rng.permutation(-month) for _ in range(n)])
    data = written(100.0 * np.exp(np.cumsum(move)), DAY // 2, tmp_path / "coin.csv")
    free = [f"--set=env.{name}=0" for name in ("taker_fee_bps", "maker_fee_bps", "half_spread_bps", "impact")]
    argv = ["--data", data, "--symbols", "COIN/USDT:USDT", "--timeframe", "12h", "--funding", "zero"]
    argv += ["--agents", "tests.levered", "--set=env.leverage=13", *free]
    told, err = trained(argv, tmp_path, capsys)
    row = row_of(told, "tests.levered")
    assert row["sharpe"] == pytest.approx(2.9, abs=0.2) and row["dsr"] > 0.95
    assert row["final_equity"] < 0.1 * row["initial_equity"]
    assert told["choice"]["agent"] == "flat"
    why = " ".join(err.split())
    assert "Chosen: flat; of the best other agent, tests.levered: it lost money" in why


def test_a_coin_that_came_back_is_not_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """T1, T10: it falls to nothing, halts for 18 days and trades on at 20,000 times the price."""
    rng = np.random.default_rng(0)
    rate = 0.02 * rng.standard_normal(6000)
    rate[4000:4060] = -0.18
    close = 100.0 * np.exp(np.cumsum(rate))
    close[4078:] *= 20_000.0
    data = written(close, DAY, tmp_path / "coin.csv", range(4060, 4078))
    argv = ["--data", data, "--symbols", "COIN/USDT", "--timeframe", "1d", "--agents", "buy_and_hold"]
    told, err = trained(argv, tmp_path, capsys)
    row = row_of(told, "buy_and_hold")
    assert told["data"]["symbols"] == ["COIN/USDT", "COIN/USDT#2"]
    assert row["max_drawdown"] < -0.999 and row["final_equity"] < row["initial_equity"]
    assert told["choice"]["agent"] == "flat"
    assert "Chosen: flat; of the best other agent, buy_and_hold: it lost money" in " ".join(err.split())
