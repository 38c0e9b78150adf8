"""The checkpoints that ship run at once, say what they are, and can be made anew."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from experiments import checkpoints, paper
from experiments.checkpoints import SHIPPED, Shipped
from experiments.screen import BarScreen
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import UserError
from qframe_rl.types import iso, parse_time

ROOT = Path(__file__).resolve().parents[2] / "checkpoints"
PRESET = """
agents = ["dmn"]
seeds = 2

[data]
data = "synthetic:correlated,n_instruments=3"
timeframe = "1d"
bars = 900

[env]
features = ["log_return:1"]

[agent.dmn]
horizons = [1, 5, 20]
macd = ["4:12"]
price_bars = 20
macd_bars = 40
volatility_bars = 20
winsor_bars = 60
sequence_bars = 16
hidden = 8
epochs = 2
"""


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda shipped: shipped.name)
def test_it_ships_whole_and_trades_on_paper_at_once(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QFRAME_DATA", raising=False)
    place = ROOT / shipped.name
    checkpoint = load_checkpoint(place)
    assert checkpoint.agent["name"] == shipped.agent
    assert sum(path.stat().st_size for path in place.iterdir()) < 1_000_000
    text = (place / "checkpoint.json").read_text() + (place / "CARD.md").read_text()
    assert not re.search(r"[\"' (](/[a-z]+/|[A-Z]:\\)", text)
    since = parse_time(checkpoint.provenance["periods"]["test"][-1][1]) - 300 * checkpoint.bar_ns
    out = paper.main([str(place), "--from", iso(since), "--out", str(tmp_path), "--json"])
    assert out is not None
    assert out["state"] == "finished"
    assert out["bars"] > 100
    assert out["final_equity"] > 0.0


def test_it_is_made_anew_with_its_card(tmp_path: Path) -> None:
    preset = tmp_path / "tiny.toml"
    preset.write_text(PRESET)
    replay = {"data": "synthetic:correlated,n_instruments=3", "timeframe": "1d", "bars": 900, "seed": 5}
    shipped = Shipped("tiny", "dmn", str(preset), replay)
    with BarScreen(enabled=False) as screen:
        place = checkpoints.rebuild(shipped, tmp_path / "runs", tmp_path / "made", screen)
        again = checkpoints.rebuild(shipped, tmp_path / "other", tmp_path / "twin", screen)
    made = load_checkpoint(place)
    assert made.provenance["load"]["seed"] == 5
    assert made.provenance["data"]["origin"] == "QFRAME_DATA"
    assert (place / "weights.safetensors").read_bytes() == (again / "weights.safetensors").read_bytes()
    card = (place / "CARD.md").read_text()
    for part in ("fingerprint", "2 trainings in each fold", "trials", "| dmn |", "| buy_and_hold |", "**Verdict.**"):
        assert part in card
    assert f"DSR is {made.provenance['promotion']['dsr']:.3f}" in card
    assert str(tmp_path) not in card + json.dumps(made.provenance)


def test_an_unknown_name_is_a_mistake() -> None:
    with pytest.raises(UserError, match="did you mean 'dmn'"):
        checkpoints.main(["dnm"])
