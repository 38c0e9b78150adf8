"""The main job on real bars: buying and holding is worth what the file says, and every door repeats the digits."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from qframe_rl.types import iso, parse_time

DATA = os.environ.get("QFRAME_DATA")
pytestmark = [
    pytest.mark.skipif(DATA is None, reason="QFRAME_DATA names no folder of market data"), pytest.mark.long
]  # fmt: skip


def door(name: str, *argv: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"experiments.{name}", *argv, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("bitcoin")
    places = ["--runs", str(folder / "runs"), "--checkpoints", str(folder / "checkpoints")]
    agents = "ppo,mean_reversion,momentum,buy_and_hold,flat"
    quick = ["--set", "agent.ppo.total_steps=8000"]
    span = ["--timeframe", "1h", "--from", "2022-07-01"]
    result = door("train", "--symbols", "BTC/USDT", *span, "--agents", agents, *quick, *places)
    return result | {"folder": folder}


def closed_form(since: str, until: str) -> float:
    """The formula of docs/cli.md, from the Parquet file alone."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(Path(str(DATA)) / "ohlcv/binance/BTC-USDT/1h.parquet").to_pydict()
    opens = [int(t.replace(tzinfo=UTC).timestamp()) * 10**9 for t in table["timestamp"]]
    first = next(k for k, t in enumerate(opens) if t >= parse_time(since))
    last = max(k for k, t in enumerate(opens) if t < parse_time(until))
    cash, lot, fee, spread, impact = 10_000.0, 1e-5, 0.001, 1e-4, 0.006
    volume, opening = table["volume"][first], table["open"][first]

    def lots(x: float) -> float:
        return math.floor(x / lot + 1e-9) * lot

    def price(q: float) -> float:
        return float(opening * (1 + spread + impact * math.sqrt(q / volume)))

    bought = min(lots(cash / table["close"][first - 1]), 0.1 * volume)
    need = bought * price(bought) * (1 + fee)
    if need > cash * (1 - 1e-12):
        bought = math.floor(bought * (cash / need) * (1 - 1e-12) / lot) * lot
    return float(cash - bought * price(bought) * (1 + fee) + bought * table["close"][last])


def test_buying_and_holding_is_worth_what_the_file_says(trained: dict[str, Any]) -> None:
    manifest = json.loads(Path(trained["checkpoint"], "checkpoint.json").read_text())
    for part in ("validation", "test"):
        ((since, until),) = manifest["provenance"]["periods"][part]
        row = next(r for r in trained["leaderboard"] if r["agent"] == "buy_and_hold" and r["split"] == part)
        assert row["final_equity"] == pytest.approx(closed_form(since, until), rel=1e-9)
    assert until == iso(parse_time("2025-01-01"))


def test_the_roster_is_complete_and_the_periods_follow_each_other(trained: dict[str, Any]) -> None:
    assert {r["agent"] for r in trained["leaderboard"] if r["split"] == "validation"} == {
        "ppo", "mean_reversion", "momentum", "buy_and_hold", "flat", "random",
    }  # fmt: skip
    manifest = json.loads(Path(trained["checkpoint"], "checkpoint.json").read_text())
    periods = [manifest["provenance"]["periods"][part][0] for part in ("train", "validation", "test")]
    for before, after in itertools.pairwise(periods):
        assert before[1] < after[0]
    assert manifest["provenance"]["data"]["environment"] == "production"


@pytest.mark.long
def test_checkpoints_repeat_the_run_digit_for_digit(trained: dict[str, Any]) -> None:
    out = str(trained["folder"] / "out")
    agents = next((trained["folder"] / "runs").glob("*/agents"))
    test = {r["agent"]: r for r in trained["leaderboard"] if r["split"] == "test"}
    chosen = door("evaluate", trained["checkpoint"], "--out", out)["results"][0]
    counted = {"dsr", "trials", "effective_trials"}  # the run knows of more trials than one checkpoint does
    same = test[chosen["agent"]].keys() - counted - {"split"}
    assert {key: chosen[key] for key in same} == {key: test[chosen["agent"]][key] for key in same}
    for name in ("ppo-0-0", "mean_reversion-0-0"):
        scored = door("evaluate", str(agents / name), "--out", out)["results"][0]
        traded = door("paper", str(agents / name), "--feed", "replay", "--speed", "max", "--out", f"{out}-{name}")
        assert traded["final_equity"] == scored["final_equity"]
        assert traded["journal_hash"] == scored["journal_hash"]


def test_a_checkpoint_trades_another_coin_and_another_span(trained: dict[str, Any]) -> None:
    agents = next((trained["folder"] / "runs").glob("*/agents"))
    # Of before those that it was made with.
    span = ["--symbols", "ETH/USDT", "--from", "2022-05-01", "--to", "2022-06-01"]
    out = str(trained["folder"] / "ether")
    scored = door("evaluate", str(agents / "ppo-0-0"), str(agents / "momentum-0-0"), *span, "--out", out)["results"]
    assert [r["agent"] for r in scored[:2]] == ["ppo", "momentum"]
    assert {r["bars"] for r in scored} == {31 * 24}
