"""The search for parameters of quoting strategies: honest windows of ticks, kept answers, and refusals."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import tune as door
from qframe_rl import catalog
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import UserError, build
from qframe_rl.evaluate.inference.sharpe import lower_sharpe, moments
from qframe_rl.evaluate.quoting import gains
from qframe_rl.evaluate.trials import Trials
from qframe_rl.feeds.tick_load import load_ticks
from qframe_rl.gym.make import make_book
from qframe_rl.runner.books import tune as runner
from qframe_rl.runner.books.packing import deployed_book, made_agent
from qframe_rl.runner.books.replay import replay, stretches
from qframe_rl.runner.books.split import search_windows
from qframe_rl.runner.books.tune import TunedBook, tune_books
from qframe_rl.runner.books.yardsticks import yardstick
from qframe_rl.runner.executors import LocalExecutor
from qframe_rl.runner.log import Silent
from qframe_rl.runner.tune.plan import Tune
from qframe_rl.runner.tune.tune import AS_ASKED, TUNED

pytest.importorskip("optuna")
pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {
    "data": {"data": "synthetic:ticks", "seed": 2}, "env": {"name": "book_making", "params": {"every": "1s"}},
    "agent": "imbalance", "space": ("threshold=0:0.9",), "budget": 32, "walk_forward": 2, "blocks": 2, "gap": 5,
    "resamples": 100,
}  # fmt: skip


def made(**changes: Any) -> Tune:
    return build(Tune, {**SMALL, **changes}, "test")


class Dies(LocalExecutor):
    """A place that dies after some jobs."""

    def __init__(self, after: int):
        self.left = after

    def run(self, *what: Any) -> Any:
        for found in super().run(*what):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            yield found


def searched(place: Path, executor: LocalExecutor | None = None, *, resume: bool = False, **changes: Any) -> TunedBook:
    return tune_books(
        made(**changes), place, place / "checkpoints", Silent(), executor or LocalExecutor(), resume=resume,
        ledger=place / "trials.db",
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[TunedBook, Path]:
    place = tmp_path_factory.mktemp("tune")
    return searched(place), place


def test_windows_walk_through_the_recorded_time_and_nothing_is_scored_that_was_fitted_on() -> None:
    runs = load_ticks(made().data).runs
    for anchored in (True, False):
        windows = search_windows(runs, 3, 2, anchored=anchored, gap=5, step_ns=10**9)
        assert len(windows) == 3
        order = {run.name: k for k, run in enumerate(runs)}
        lasting = {"anchored": 1, "rolling": 3}["anchored" if anchored else "rolling"]

        def ends(spans: Any, order: dict[str, int] = order) -> tuple[tuple[int, int], tuple[int, int]]:
            at = [((order[s.run.name], s.start), (order[s.run.name], s.stop)) for s in spans]
            return min(a for a, _ in at), max(b for _, b in at)

        for window in windows:
            judged = ends(window.fold.test)[0]
            for fold in (*window.parts, window.fold):
                assert ends(fold.train)[1] < ends(fold.test)[0]
                assert all(ends(fold.train)[1] <= (order[s.run.name], s.start) for s in fold.stopping)
                assert all((order[s.run.name], s.stop) < ends(fold.test)[0] for s in fold.stopping)
            assert all(ends(fold.test)[1] <= judged for fold in window.parts)
            scored = [ends(fold.test) for fold in window.parts]
            assert all(a[1] <= b[0] for a, b in pairwise(scored))
        tests = [ends(window.fold.test) for window in windows]
        assert all(a[1] <= b[0] for a, b in pairwise(tests))
        firsts = {ends(window.fold.train)[0] for window in windows}
        assert len(firsts) == lasting
    with pytest.raises(UserError, match="too short to search on"):
        search_windows(runs, 3, 2, anchored=True, gap=10_000, step_ns=0)


def test_each_window_chooses_the_best_of_its_own_past(done: tuple[TunedBook, Path]) -> None:
    """Scores of the choice worked out here, by one replay of each part."""
    tuned, _ = done
    history = load_ticks(made().data)
    plain = make_book(made().env, history.instrument)
    windows = search_windows(history.runs, 2, 2, anchored=True, gap=5, step_ns=10**9)
    for one, window in zip(tuned.windows, windows, strict=True):
        assert one.best.figures["lower"] == max(tried.figures["lower"] for tried in one.tried)
        config = build(catalog.load("agents", "imbalance").Config, one.best.params, "test")
        gained, fills = [], 0
        for fold in window.parts:
            market = plain.fit([*fold.train, *fold.stopping])
            laid = stretches(market, fold.test)
            own, idle = (
                replay(market, agent, laid)
                for agent in (made_agent("imbalance", config, market, 0), yardstick("flat", market.spec(0)))
            )
            gained.append(gains(own, idle))
            fills += sum(len(r.fills) for r in own) // 2
        of = moments(np.concatenate(gained))
        assert of.sharpe == pytest.approx(one.best.figures["sharpe"])
        assert lower_sharpe(of, fills) == pytest.approx(one.best.figures["lower"])
        assert len(one.tried) + one.given_up + one.refused == 16
    assert sum(one.given_up for one in tuned.windows) > 0


def test_what_is_left_behind(done: tuple[TunedBook, Path]) -> None:
    tuned, place = done
    facts = json.loads((tuned.folder / "tune.json").read_text())
    assert {row["agent"] for row in facts["leaderboard"]} == {TUNED, AS_ASKED, "flat", "joining"}
    assert {p.stem for p in tuned.folder.glob("*.png")} >= {"history", "slice", "quoting", "leaderboard"}
    rows = Trials(place / "trials.db").every()
    assert len(rows) == 32 and {row.kind for row in rows} == {"tune"} and {row.fold for row in rows} == {0, 1}
    assert tuned.luck.trainings == 32 and facts["promotion"]["trials"] == tuned.luck.trials
    found = load_checkpoint(tuned.checkpoint)
    assert found.agent["name"] == tuned.deployed == "flat" and "so nothing is quoted" in tuned.reason
    kept = load_checkpoint(tuned.folder / "agents" / "imbalance")
    assert kept.agent["params"]["threshold"] == tuned.windows[-1].best.params["threshold"]
    again = deployed_book(kept)
    window = search_windows(tuned.history.runs, 2, 2, anchored=True, gap=5, step_ns=10**9)[-1]
    judged = replay(again.market, again.quoter, stretches(again.market, window.fold.test))
    assert [r.fills.tobytes() for r in judged] == [r.fills.tobytes() for r in tuned.windows[-1].records[TUNED]]


def plain(tuned: TunedBook) -> Any:
    return [(one.best, one.tried, one.given_up) for one in tuned.windows], [dict(row) for row in tuned.rows]


def test_an_interrupted_search_finds_what_it_would_have_found(
    done: tuple[TunedBook, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "search_pictures", lambda *_: {})
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, Dies(after=37))
    counted = Dies(after=10_000)
    again = searched(tmp_path, counted, resume=True)
    assert plain(again) == plain(done[0]) and again.luck == done[0].luck
    assert 10_000 - counted.left < 64 - 20


def test_what_learns_is_trained_before_each_part_and_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "search_pictures", lambda *_: {})
    learner: dict[str, Any] = {
        "agent": "ppo", "params": {"total_steps": 512, "n_envs": 8, "n_epochs": 1}, "walk_forward": 1, "blocks": 1,
        "budget": 2, "space": ("gamma=0.9:0.99",),
    }  # fmt: skip
    one = searched(tmp_path, **learner)
    weights = {p.parent.name: p.read_bytes() for p in one.folder.glob("agents/window-*/weights.safetensors")}
    assert set(weights) == {"window-0-tuned", "window-0-asked"}
    times = {p: p.stat().st_mtime_ns for p in one.folder.glob("agents/window-*/weights.safetensors")}
    two = searched(tmp_path, resume=True, **learner)
    assert plain(one) == plain(two)
    assert times == {p: p.stat().st_mtime_ns for p in one.folder.glob("agents/window-*/weights.safetensors")}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--sampler", "nsga2"], "on no equity"),
        (["--max-leverage", "1"], "limits of an order book"),
        (["--agent", "flat"], "yardstick"),
        (["--agent", "momentum"], "cannot quote in an order book"),
        (["--gap", "100000"], "too short to search on"),
        (["--data", "synthetic:gbm"], "synthetic:ticks"),
    ],
)
def test_the_door_refuses_in_one_sentence(args: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        door.main(["--env", "book_making", "--runs", str(tmp_path), *args])


def test_the_door(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--runs", str(tmp_path), "--checkpoints", str(tmp_path / "checkpoints"), "--json"]
    small = ["--budget", "4", "--walk-forward", "1", "--blocks", "2", "--gap", "5", "--resamples", "100"]
    told = door.main(["--env", "book_execution", "--agent", "twap", "--space", "patience=0.1:0.9", *small, *places])
    assert told is not None and len(told["windows"]) == 1
    assert "what each window chose" in capsys.readouterr().err
