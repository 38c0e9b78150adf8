"""What each protection does to a rule, from the door to the ledger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments import protections
from experiments.cli import door
from qframe_rl.risk.guard import NAMES

DATA = ["--data", "synthetic:regimes", "--bars", "3000"]


def test_every_protection_is_a_pair_and_a_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = ["--runs", str(tmp_path), "--ledger", str(tmp_path / "trials.db")]
    argv = ["momentum", *DATA, *ledger, "--volatility-halt", "900", "--cooldown-bars", "200"]
    for _ in range(2):
        assert door(protections.main, [*argv, "--json"]) == 0
        said = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert said["trials"] == len(NAMES) + 1, "the same settings are the same trials"
    found = {one["protection"]: one for one in said["effects"]}
    assert set(found) == set(NAMES)
    never = found["volatility_halt"]
    assert never["growth"] == never["growth_low"] == never["growth_high"] == 0.0 and never["turnover"] == 1.0
    assert found["cooldown_bars"]["turnover"] < 0.9
    assert found["cooldown_bars"]["growth_low"] < found["cooldown_bars"]["growth_high"]
    assert door(protections.main, ["ppo", *DATA, *ledger]) == 2
    assert "take one that needs no training" in capsys.readouterr().err
