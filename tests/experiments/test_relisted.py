"""A coin that came back as another one, through every door: one symbol is asked for, and two instruments are traded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import evaluate, paper, rehearse, train
from experiments.cli import door
from qframe_rl.feeds import parquet, store
from qframe_rl.feeds.listing import listing
from qframe_rl.feeds.parquet import PRICES, Series
from qframe_rl.types import HOUR
from tests.feeds.test_relist import fallen


def run(main: Any, argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any, str]:
    code = door(main, [*argv, "--json"] if main is not rehearse.main else argv)
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]) if code == 0 else None, err


@pytest.mark.slow
def test_every_door_trades_both_or_says_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = fallen(1500)
    series = Series(whole.time - HOUR, whole.values[:, 0, :5])
    parquet.write(store.bars_path(tmp_path / "data", listing("binance", "LUNA/USDT"), "1h"), PRICES, series)
    data = ["--data", str(tmp_path / "data"), "--symbols", "LUNA/USDT"]
    code, told, err = run(train.main, [*data, "--agents", "momentum", "--promote-anyway", "momentum"], capsys)
    assert code == 0 and told["data"]["symbols"] == ["LUNA/USDT", "LUNA/USDT#2"]
    assert "LUNA/USDT#2" in err and "goes on as another" in err
    assert all(row["final_equity"] < 1e6 for row in told["leaderboard"])
    checkpoint = told["checkpoint"]
    code, scored, _ = run(evaluate.main, [checkpoint], capsys)
    assert code == 0
    code, traded, _ = run(paper.main, [checkpoint, "--feed", "replay", "--speed", "max"], capsys)
    assert code == 0 and traded["final_equity"] == scored["results"][0]["final_equity"]
    code, studied, _ = run(evaluate.main, ["momentum", *data, "--walk-forward", "2"], capsys)
    assert code == 0 and studied["data"]["symbols"] == ["LUNA/USDT", "LUNA/USDT#2"]
    code, _, err = run(paper.main, [checkpoint, "--feed", "ccxt"], capsys)
    assert code == 2 and "one of several coins that binance listed as LUNA/USDT" in err
    code, _, err = run(rehearse.main, data, capsys)
    assert code == 2 and "came back under an old ticker" in err
    code, joined, _ = run(train.main, [*data, "--relist", "LUNA/USDT:20000", "--agents", "momentum"], capsys)
    assert code == 0 and joined["data"]["symbols"] == ["LUNA/USDT"]
