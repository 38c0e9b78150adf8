"""The benchmark runs, says what it measured, and refuses what it does not know. No time is asserted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from experiments import benchmark
from qframe_rl.bench import cuda, frames
from qframe_rl.config import UserError
from qframe_rl.policy import Graph, Loss, training
from qframe_rl.runner.log import Silent


@pytest.mark.long
def test_every_suite_runs_small(tmp_path: Path) -> None:
    suites = [name for name in benchmark.SUITES if name not in ("startup", "cuda")]  # doors are tested on their own
    found = benchmark.main([*suites, "--small", "--repeats", "1", "--json", "--plot", str(tmp_path / "growth.png")])
    assert found is not None
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    rows = found["results"]
    assert {
        "rowcopy", "env.window", "env.index", "env.single", "portfolio.index", "memory.index", "growth.batch.index",
        "gradient.plain", "gradient.market", "gradient.products", "gradient.choices", "gradient.weights", "train.ppo",
        "train.ppo_lstm", "train.frames_to_95", "train.seconds_to_95",
        "train.offline", "train.offline_iql", "train.offline_share_iql", "train.offline_share_cql",
        "sweep", "sweep.coins", "sweep.coins_seconds", "sweep.coins_memory", "backtest",
        "fan.start", "fan.cell", "fan.cells", "fan.one", "fan.memory",
        "paper.bars", "paper.decision", "paper.decision_p99", "paper.journal", "paper.growth", "paper.resume",
        "service.decision_p99", "service.bar_to_client_p99", "service.requests", "service.kill", "service.ready",
        "book.core", "book.core_calls", "book.scan", "book.batch", "book.batch_random", "book.memory",
        "arena.batch", "arena.parallel", "arena.aec", "arena.memory", "alpha.value", "alpha.candidate", "alpha.std",
        "alpha.sample",
    } <= {row["name"] for row in rows}  # fmt: skip
    for row in rows:
        assert set(row) == {"name", "batch", "value", "unit", "ratio_to", "ratio"}
        assert math.isfinite(row["value"])
        assert row["value"] > 0.0 or row["name"] == "paper.growth"  # memory may shrink
        assert (row["ratio"] is None) == (row["ratio_to"] == "")
    peers = {"sb3-default", "sb3-tuned", "recurrent-ppo", "sb3-dqn"}
    assert {row["ratio_to"] for row in rows} >= {"rowcopy", "gemm", "alone", "unfolded", *peers}
    assert next(row["value"] for row in rows if row["name"] == "memory.index") <= 512
    assert next(row["value"] for row in rows if row["name"] == "paper.growth") < 20.0
    assert found["machine"]["cores"]


def test_mistakes_are_said_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="did you mean 'train'"):
        benchmark.main(["trian"])
    with pytest.raises(UserError, match="draws the suite growth"):
        benchmark.main(["env", "--plot", "growth.png"])
    with pytest.raises(UserError, match="is a folder"):
        benchmark.main(["growth", "--plot", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        benchmark.main(["env", "--repeats", "0"])
    assert ended.value.code == 2 and "'0' is not a whole number from 1 to" in capsys.readouterr().err
    with pytest.raises(UserError, match="make peers"):
        benchmark.main(["env", "--peers", "nowhere/python"])


def test_a_learner_is_looked_at_until_it_has_nearly_the_optimum() -> None:
    """A bet's optimum is found within a few looks; the clock stands still while a policy is measured."""
    found = frames.arrival(frames.ours, frames.LESSONS["kelly_gbm"], seed=0)
    assert found.reached and found.frames % frames.EVERY == 0 and found.seconds > 0.0
    given_up = frames.arrival(frames.ours, frames.LESSONS["ar1_signal"], seed=0, most=frames.EVERY)
    assert (given_up.reached, given_up.frames) == (False, frames.EVERY)


def test_the_suite_of_an_accelerator_runs_on_a_cpu() -> None:
    found = {(row.name, row.ratio_to): row for row in cuda.measured("cpu", True, 1, Silent())}
    assert {("cuda.ppo", "plain-torch"), ("cuda.ppo", "cpu"), ("cuda.gradient", "")} <= found.keys()
    assert all(row.value > 0.0 for row in found.values() if row.unit == "frames/s")
    assert found["cuda.gradient", ""].value == 0.0, "the same arithmetic twice"


@pytest.mark.parametrize(("bent", "least", "most"), [(0.0, 0.0, 1e-4), (0.001, 1e-2, 1.0)])
def test_what_differs_from_the_cpu_is_seen(
    monkeypatch: pytest.MonkeyPatch, bent: float, least: float, most: float
) -> None:
    """On an accelerator the network is differentiated by PyTorch; the second of the two is, here."""
    lanes, made = training.lanes, list[Any]()

    def second(plan: Any, net: Any) -> list[Any]:
        if not made:
            made.append(lanes(plan, net))
            return made[0]  # type: ignore[no-any-return]
        for weights in net.parameters():
            weights.data += bent
        return [Graph(net, Loss(plan.clip_range, plan.ent_coef.start))]

    monkeypatch.setattr(training, "lanes", second)
    assert all(least < apart < most for apart in cuda.difference("cpu"))


@pytest.mark.skipif(cuda.available(), reason="there is an accelerator")
def test_without_an_accelerator_its_suite_is_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match="torch sees no accelerator"):
        benchmark.main(["cuda", "--small"])
    said: list[str] = []

    class Told(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    assert "cuda" not in benchmark._all(Told())  # type: ignore[arg-type]
    assert said and said[0].startswith("left out: suite cuda")
