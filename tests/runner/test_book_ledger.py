"""Every try on order books is counted, whatever folder it was made in, and verdicts are deflated by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.book.features import book_features
from qframe_rl.book.moments import Latency, every
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import Ref, build
from qframe_rl.evaluate.closes import closes_of, overlap
from qframe_rl.evaluate.luck import Luck
from qframe_rl.evaluate.quoting import failing, gains, scores, surely_above
from qframe_rl.evaluate.trials import Trials
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.tick_load import TickHistory, load_ticks
from qframe_rl.gym.make import make_book
from qframe_rl.gym.replay.packed import span_moments, whole_run
from qframe_rl.runner.books import train as runner
from qframe_rl.runner.books.evaluate import evaluate_books
from qframe_rl.runner.books.replay import replay, stretches
from qframe_rl.runner.books.train import BookOutcome, train_books
from qframe_rl.runner.books.yardsticks import yardstick
from qframe_rl.runner.experiment import Experiment
from qframe_rl.runner.log import Silent

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Train in a folder of runs, with a ledger of the test's own; pictures are left out, they take longest."""
    monkeypatch.setattr(runner.BookRun, "_draw", lambda *_: None)

    def go(runs: str = "runs", env: str = "book_making", **agent: Any) -> BookOutcome:
        asked = {
            "data": {"data": "synthetic:ticks", "seed": 2}, "agents": list(agent), "agent": agent, "resamples": 100,
            "env": {"name": env, "params": {"every": "1s"}},
        }  # fmt: skip
        experiment, places = build(Experiment, asked, "test"), (tmp_path / runs, tmp_path / "checkpoints")
        return train_books(experiment, *places, Silent(), ledger=tmp_path / "trials.db")

    return go


def test_each_setting_is_one_trial_and_another_folder_does_not_begin_anew(run: Any, tmp_path: Path) -> None:
    counted = [
        run(imbalance={}).luck.trials,
        run(imbalance={}).luck.trials,
        run("elsewhere", imbalance={"threshold": 0.35}).luck.trials,
        run("third", imbalance={"threshold": 0.45}, twap={}, env="book_execution").luck.trials,
    ]
    assert counted == [2, 2, 3, 6], "joining is the first; a block is another task, and joining it another trial"
    rows = Trials(tmp_path / "trials.db").every()
    assert {row.kind for row in rows} == {"train"} and {row.fold for row in rows} == {0}
    assert {row.agent for row in rows} == {"joining", "imbalance", "twap"}
    assert all((row.code == "") == (row.agent == "joining") for row in rows)


def test_a_checkpoint_is_the_trial_that_it_came_from_and_on_other_ticks_another(run: Any, tmp_path: Path) -> None:
    done = run(imbalance={})
    place, ledger = next((tmp_path / "runs").glob("*/agents/imbalance-0-0")), Trials(tmp_path / "trials.db")
    chosen = load_checkpoint(done.checkpoint).provenance["promotion"]
    assert chosen["trials"] == 2 and chosen["threshold"] == 0.95 and 0.0 <= chosen["dsr"] <= chosen["psr"] <= 1.0

    def scored(**data: Any) -> int:
        found = evaluate_books([place], data, tmp_path / "out", Silent(), 0.9, ledger, 100)
        assert {row["trials"] for row in found.rows} == {found.luck.trials}
        return found.luck.trials

    assert scored() == 2
    assert scored(data="synthetic:ticks", seed=3) == 1, "made-up ticks of another seed are another market"
    assert scored(data="synthetic:ticks", seed=3) == 1
    assert scored() == 2


def ticks(seed: int) -> TickHistory:
    return load_ticks(DataConfig(data="synthetic:ticks", seed=seed))


def test_ticks_overlap_where_their_mid_prices_moved_alike() -> None:
    whole, other = ticks(2), ticks(3)
    run = whole.runs[0]
    half = run.events.where(np.arange(len(run.events.tick)) < len(run.events.tick) // 2)
    part = whole._replace(runs=(run._replace(events=half),))
    assert part.fingerprint != whole.fingerprint
    assert overlap(closes_of(whole), closes_of(part))
    assert not overlap(closes_of(whole), closes_of(other))
    assert overlap(closes_of(whole), closes_of(whole)._replace(values=2.0 * closes_of(whole).values))


def test_closes_are_the_mid_prices_of_the_book_at_whole_seconds() -> None:
    whole = ticks(2)
    found, span = closes_of(whole._replace(runs=whole.runs[:1])), whole_run(whole.runs[0])
    laid = span_moments(span, every("1s"), Latency(0, 0), book_features(["spread"]), None)
    _, rows, others = np.intersect1d(found.times, laid.at, return_indices=True)
    assert len(rows) > 30
    assert np.array_equal(found.values[rows, 0], 0.5 * laid.mid2[others] * whole.runs[0].tick)


def test_what_was_tried_often_must_show_more() -> None:
    history = ticks(2)
    spans = [whole_run(run) for run in history.runs]
    market = make_book(Ref(name="book_making", params={"every": "500ms"}), history.instrument).fit(spans)
    laid = stretches(market, spans)
    idle = replay(market, yardstick("flat", market.spec(0)), laid)
    rng = np.random.default_rng(0)
    good = [r._replace(worth=np.cumsum(rng.normal(0.3, 1.0, len(r.worth)))) for r in idle]
    row = scores(good, good, "good", "validation", idle, resamples=100)
    sure = surely_above(good, idle, 0.9, 100, 0)
    zero = scores(idle, idle, "flat", "validation", idle, resamples=100)
    assert sure and failing(row, zero, sure=sure) == () and row["trials"] == 1
    often = scores(good, good, "good", "validation", idle, resamples=100, luck=Luck(trials=10**6))
    assert often["psr"] == row["psr"] and often["dsr"] < row["dsr"]
    (why,) = failing(often, zero, sure=sure)
    assert "cannot be told from luck" in why and "1000000 trials" in why
    assert len(gains(good, idle)) == sum(-((r.at[0] - r.at[-1]) // 5_000_000_000) for r in idle)
    worse = failing(zero, row, sure=False)
    assert len(worse) == 3 and "never ahead" in worse[1]
