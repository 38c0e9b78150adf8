"""Sessions of a procedure: models exchanged by events, through crashes, and trainings that are late or fail."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qframe_rl.checkpoint import Checkpoint, load_checkpoint
from qframe_rl.config import UserError, build
from qframe_rl.journal.store import NAME, last_events
from qframe_rl.live.expiry import ModelAges
from qframe_rl.live.open import Opened, opened_replay, reopened
from qframe_rl.live.paper import SessionResult, paper, replay
from qframe_rl.live.permit import check_period
from qframe_rl.live.refits import FOLDER, JournalledModels, RefitOutcome, procedure, stated
from qframe_rl.refit import recipe_of
from qframe_rl.runner.log import Silent
from qframe_rl.runner.refit_beside import keep_past, train_beside
from qframe_rl.runner.study.plan import Study
from qframe_rl.runner.study.study import Studied, study
from qframe_rl.types import DAY, HOUR

EVERY, LAG, BARS = 240, 24, 1500
NONE = {"lag": None, "train": None, "rule": None, "runs": None}


class Crash(Exception):
    """Where a process would be killed."""


class InlineTrainer:
    """Trains when it is asked for the outcome, in this process; crashes, is late or fails where it is told to."""

    def __init__(self, session: Path, crash: str = "", late: tuple[int, ...] = (), failed: tuple[int, ...] = ()):
        self.session, self.crash, self.late, self.failed = session, crash, late, failed
        self.waits, self.until = not late, dict[int, int]()
        self.ended = 0

    def begin(self, number: int, until: int) -> None:
        self.until[number] = until
        if self.crash == f"begin {number}":
            raise Crash

    def outcome(self, number: int) -> RefitOutcome | None:
        if number in self.late:
            return None
        if number in self.failed:
            return RefitOutcome("failed", reason="no bars")
        if self.crash == f"before {number}":
            raise Crash
        model = load_checkpoint(train_beside(self.session, number, self.until[number], lambda: True))
        if self.crash == f"after {number}":
            raise Crash
        refused = model.provenance["promotion"].get("refused", "")
        return RefitOutcome("refused" if refused else "taken", model.digest, refused)

    def end(self) -> None:
        self.ended += 1


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Studied:
    asked: dict[str, Any] = {
        "data": {"data": "synthetic:ar1", "bars": BARS, "seed": 3},
        "agents": ("mean_reversion",),
        "agent": {"mean_reversion": {"entry": "fitted", "mean_bars": 24, "regime_bars": 60}},
        "refit": "10d",
        "train": 700,
        "resamples": 100,
    }
    return study(build(Study, asked, "test"), tmp_path_factory.mktemp("study"), Silent())


def first_model(done: Studied) -> Path:
    return done.folder / "models" / "mean_reversion" / "0000"


def opened(done: Studied, folder: Path, refit: str = "10d", **asked: Any) -> tuple[Opened, Checkpoint]:
    place = first_model(done)
    checkpoint = load_checkpoint(place)
    terms = stated(recipe_of(checkpoint, refit, NONE | asked, None))
    begin = done.facts["procedure"]["from"]
    found = opened_replay(place, checkpoint, {}, begin, None, folder, float("inf"), refit=terms)
    return found, checkpoint


def session(
    done: Studied, folder: Path, trainer: InlineTrainer | None = None, every: int = 100, said: list[str] | None = None,
    **more: Any,
) -> SessionResult:  # fmt: skip
    made, checkpoint = opened(done, folder, more.pop("refit", "10d"), **more.pop("asked", {}))
    keep_past(folder, made.feed.history.rows(0, made.feed.start), build_load(checkpoint))  # type: ignore[attr-defined]
    models = JournalledModels(
        folder, made.terms, trainer or InlineTrainer(folder), (said if said is not None else []).append,
        more.pop("taken", lambda model: None),
    )  # fmt: skip
    agent, process = procedure(made.agent, made.terms, models), {"checkpoint": str(first_model(done).absolute())}
    return paper(
        made.market, agent, made.feed, made.terms, folder, durable=False, snapshot_bars=every, process=process, **more
    )


def build_load(checkpoint: Checkpoint) -> Any:
    from qframe_rl.deploy import data_for

    return data_for(checkpoint, {})


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(event.payload) for event in last_events(folder / NAME, "refit", 2**62, 100)]


def test_a_session_is_the_study_of_its_procedure(done: Studied, tmp_path: Path) -> None:
    said: list[str] = []
    result = session(done, tmp_path, said=said)
    assert result.digest == done.facts["procedure"]["hashes"]["mean_reversion"]
    assert result.bars == 3 * EVERY
    models = [load_checkpoint(place) for place in sorted(first_model(done).parent.iterdir())]
    begun = int(done.history.time[BARS - 3 * EVERY - 1])
    for number, event in enumerate(events(tmp_path)[:2], start=1):
        decides = begun + number * EVERY * HOUR
        assert (event["number"], event["state"], event["time"]) == (number, "taken", decides)
        assert event["until"] == decides - LAG * HOUR
        own = load_checkpoint(tmp_path / FOLDER / f"{number:04d}")
        assert own.digest == event["digest"]
        assert own.state_digest == models[number].state_digest != models[0].state_digest
    assert said[0].startswith("model 1, trained until ")
    market, agent, terms = reopened(tmp_path / NAME, None)
    assert replay(market, agent, terms, tmp_path / NAME).digest == result.digest


@pytest.mark.parametrize("every", [7, 1000])
def test_a_session_that_dies_at_a_hand_over_goes_on_to_the_same_hash(done: Studied, tmp_path: Path, every: int) -> None:
    for crash in ("begin 1", "before 1", "after 1", "begin 2", "before 2", "after 2"):
        with pytest.raises(Crash):
            session(done, tmp_path, InlineTrainer(tmp_path, crash), every)
    result = session(done, tmp_path, every=every)
    assert result.digest == done.facts["procedure"]["hashes"]["mean_reversion"]
    assert result.repeated > 2 * EVERY - 10
    assert [event["number"] for event in events(tmp_path)] == [1, 2, 3]


@pytest.mark.long
def test_a_training_that_is_late_or_fails_leaves_the_model_before(done: Studied, tmp_path: Path) -> None:
    late, failed = InlineTrainer(tmp_path / "a", late=(1,)), InlineTrainer(tmp_path / "b", failed=(1,))
    late.waits = False
    said: list[str] = []
    one = session(done, tmp_path / "a", late, said=said)
    two = session(done, tmp_path / "b", failed)
    assert [event["state"] for event in events(tmp_path / "a")] == ["late", "taken", "taken"]
    assert [event["state"] for event in events(tmp_path / "b")] == ["failed", "taken", "taken"]
    assert late.ended == 1
    assert "model 1" in said[0] and "is late" in said[0] and "the one before goes on" in said[0]
    assert one.digest == two.digest != done.facts["procedure"]["hashes"]["mean_reversion"]
    market, agent, terms = reopened(tmp_path / "a" / NAME, None)
    assert replay(market, agent, terms, tmp_path / "a" / NAME).digest == one.digest
    pulse = json.loads(last_events(tmp_path / "a" / NAME, "refit", 2**62, 1)[0].payload)
    assert pulse["number"] == 3


@pytest.mark.long
def test_a_model_that_is_gone_or_another_is_said(done: Studied, tmp_path: Path) -> None:
    session(done, tmp_path)
    place = tmp_path / FOLDER / "0002"
    shutil.rmtree(place)
    shutil.copytree(tmp_path / FOLDER / "0001", place)
    market, agent, terms = reopened(tmp_path / NAME, None)
    with pytest.raises(UserError, match=r"0002 is not the model that the session went on with"):
        replay(market, agent, terms, tmp_path / NAME)
    shutil.rmtree(place)
    market, agent, terms = reopened(tmp_path / NAME, None)
    with pytest.raises(UserError, match=r"0002 is not a checkpoint"):
        replay(market, agent, terms, tmp_path / NAME)


def test_another_procedure_is_another_session(done: Studied, tmp_path: Path) -> None:
    with pytest.raises(Crash):
        session(done, tmp_path, InlineTrainer(tmp_path, "begin 1"))
    with pytest.raises(UserError, match="belongs to another session"):
        session(done, tmp_path, refit="20d")
    folders = {opened(done, None, text)[0].folder for text in ("10d", "20d")}  # type: ignore[arg-type]
    assert len(folders) == 2


def test_each_model_has_an_age_of_its_own(done: Studied, tmp_path: Path) -> None:
    """The moment from which a session only reduces moves on with each model that is taken."""
    first = load_checkpoint(first_model(done))
    ages = ModelAges("40d", first, lambda text: None)
    seen: list[int] = []

    class Told:
        expires: int | None = None

    told: Any = Told()
    ages.begin(told)
    seen.append(told.expires)

    def taken(model: Checkpoint) -> None:
        ages.taken(model)
        seen.append(told.expires)

    session(done, tmp_path, taken=taken)
    assert [later - seen[0] for later in seen] == [10 * k * DAY for k in range(4)]


def test_real_orders_ask_for_a_paper_period_of_the_recipe(done: Studied, tmp_path: Path) -> None:
    made, checkpoint = opened(done, tmp_path)
    session(done, tmp_path)
    record, terms = tmp_path / NAME, made.terms
    alone = replace(terms, refit=None)
    other = replace(terms, refit=stated(recipe_of(checkpoint, "10d", NONE | {"lag": "2d"}, None)))
    later = load_checkpoint(sorted(first_model(done).parent.iterdir())[2])
    same = replace(terms, model=later.digest, refit=stated(recipe_of(later, "10d", NONE, None)))
    with pytest.raises(UserError, match="is a paper period of a procedure whose models are trained anew"):
        check_period(record, alone)
    with pytest.raises(UserError, match="another procedure: its recipe has lag = 24, and this session's 48"):
        check_period(record, other)
    with pytest.raises(UserError, match="not paper trading on an exchange's own bars"):
        check_period(record, same)  # of other weights: the recipe is what counts, and the next condition is asked
    single = tmp_path / "single"
    market, feed = made.market, opened(done, single)[0].feed
    paper(market, opened(done, single)[0].agent, feed, alone, single, durable=False)
    with pytest.raises(UserError, match="is a paper period of one checkpoint, and --refit trades a procedure"):
        check_period(single / NAME, terms)
