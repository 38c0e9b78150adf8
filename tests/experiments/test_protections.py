"""What each protection does to a rule, from the door to the ledger."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments import protections
from experiments.cli import door
from qframe_rl.evaluate.inference.bootstrap import bootstrap
from qframe_rl.risk.guard import NAMES
from qframe_rl.runner.protections import Effect, Pair, pooled
from qframe_rl.types import HOUR
from tests.markets import START

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
    assert said["effects"][0]["symbols"] and "pooled" not in said
    assert door(protections.main, [*argv, "--each"]) == 2
    assert "takes the symbols that --symbols names" in capsys.readouterr().err
    assert door(protections.main, ["ppo", *DATA, *ledger]) == 2
    assert "take one that needs no training" in capsys.readouterr().err


def test_accounts_are_put_together_bar_by_bar() -> None:
    """One that is there for half of the time counts while it is."""
    time = START + HOUR * np.arange(1, 2001)
    rng = np.random.default_rng(0)
    ratios = [0.001 * rng.standard_normal(n) + drift for n, drift in ((2000, 1e-4), (2000, -1e-4), (1000, 1e-3))]
    own = [bootstrap(ratio, 8760.0, level=0.9).growth for ratio in ratios]
    pairs = [
        Pair(Effect("rule", "lock", "coin", growth, 0.0, 0.0, 1.0), time[-len(ratio) :], ratio)
        for growth, ratio in zip(own, ratios, strict=True)
    ]
    alone = pooled([pairs[0], pairs[0]], level=0.9)[0]
    assert (alone.growth.estimate, alone.growth.low) == pytest.approx((own[0].estimate, own[0].low), rel=1e-3)
    (all_of_them,) = pooled(pairs, level=0.9)
    mean = np.concatenate([(ratios[0] + ratios[1])[:1000] / 2.0, ((ratios[0] + ratios[1])[1000:] + ratios[2]) / 3.0])
    assert all_of_them.growth.estimate == pytest.approx(8760.0 * np.log1p(mean).mean(), rel=1e-3)
    better = sum(one.low > 0.0 for one in own)
    assert (all_of_them.n, all_of_them.better, all_of_them.worse) == (3, better, sum(one.high < 0.0 for one in own))
    assert better >= 1
