"""The model of a session that runs: trained in a process of its own, on the bars of its folder and its journal."""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from qframe_rl.agent import State
from qframe_rl.config import Base, UserError, build
from qframe_rl.feeds.data import DataConfig
from qframe_rl.journal.codec import bar_in
from qframe_rl.journal.lock import corrupt
from qframe_rl.journal.shapes import check_bar
from qframe_rl.journal.store import NAME, read
from qframe_rl.live.refits import FOLDER
from qframe_rl.live.spec import SessionSpec, terms_of
from qframe_rl.refit import Recipe
from qframe_rl.runner.auto_features import FoldMarkets
from qframe_rl.runner.executors import LocalExecutor, Mute
from qframe_rl.runner.files import read_json, write_json
from qframe_rl.runner.fold_training import FoldTraining, TrainingInputs, learn
from qframe_rl.runner.identity import code_of
from qframe_rl.runner.interrupted import read_state, write_state
from qframe_rl.runner.log import Silent
from qframe_rl.runner.refit import judged, model_checkpoint, trainings
from qframe_rl.runner.run_config import RunConfig
from qframe_rl.types import Bar, History, Source, iso

PAST, ASKED = "past.safetensors", "past.json"
"""The bars before a session's first one, as they were when it began, and where they came from."""
_FIELDS = ("time", "values", "funding", "final", "cash_rate")
_LOOK_S = 0.2


class PastFacts(Base):
    """Where the bars before a session came from."""

    load: DataConfig
    source: dict[str, str]


def keep_past(session: Path, past: History, load: DataConfig) -> None:
    """Keep the bars before a session's first one; later models learn from them and from what the journal has.

    Parameters
    ----------
    session
        Folder of the session.
    past
        The bars; those that the journal has as well are left out when a model is trained.
    load
        How they were loaded.
    """
    place = session / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / ASKED, {"load": load.model_dump(mode="json"), "source": asdict(past.source)})
    fields = {name: getattr(past, name) for name in _FIELDS}
    write_state(fields | {"final": past.final.astype(np.uint8)}, place / PAST)


def has_past(session: Path) -> bool:
    """Whether `keep_past` was done."""
    return (session / FOLDER / PAST).exists()


def train_beside(session: Path, number: int, until: int, alive: Callable[[], bool]) -> Path:
    """Train one model of a session's procedure, judge it by the recipe's rule, and write it beside the journal.

    One process does it at a time; another waits, and finds it done. What was finished before a kill is taken over.

    Parameters
    ----------
    session
        Folder of the session.
    number
        Of the model.
    until
        Close of the last bar that it is trained on, ns UTC; the journal may not have it yet.
    alive
        Whether the session still waits for it.

    Returns
    -------
    Path
        Folder of the checkpoint.

    Raises
    ------
    UserError
        If the bars are too few, or what lies in the folder is not what a session put there.
    """
    place = session / FOLDER / f"{number:04d}"
    with _alone(session / FOLDER / "lock"):
        if place.exists():
            return place
        _sweep(session / FOLDER)
        terms = terms_of(session / NAME)
        if terms is None or terms.refit is None:
            raise UserError(f"{session} is not a session of a procedure.")
        recipe = build(Recipe, terms.refit["recipe"], "the recipe")
        facts = build(PastFacts, read_json(session / FOLDER / ASKED), ASKED)
        known = _known(session, terms, facts, until, alive)
        _write_model(place, recipe, known, until, facts.load)
    return place


def _sweep(folder: Path) -> None:
    """Take away what a process left that was killed while it wrote: such files and folders begin with a dot."""
    for left in folder.glob(".*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def _write_model(place: Path, recipe: Recipe, known: History, until: int, load: DataConfig) -> None:
    """Train on what is known, and write the checkpoint in one stroke."""
    fold = recipe.fold(len(known))
    terms = build(
        RunConfig, {"data": load, "env": recipe.env, "risk": recipe.risk, "seed": recipe.seed}, "the recipe"
    )  # fmt: skip
    config = _config(recipe)
    markets = FoldMarkets(recipe.env, known, terms.risk, recipe.seed, Silent())
    market = markets.fitted(fold.train)
    halves = [place.with_name(f"{place.name}-{run}.partial") for run in range(recipe.runs)]
    jobs = trainings(recipe, config, 0, until, halves)
    inputs = TrainingInputs(known, (fold,), (market,))
    whole = [place.with_name(f"{place.name}-{run}.safetensors") for run in range(recipe.runs)]
    states = [_trained(inputs, job, kept) for job, kept in zip(jobs, whole, strict=True)]
    model = judged(recipe, market, known, fold, jobs, states)
    code = code_of(recipe.agent, config, recipe.env, market.name)
    shown = fold._replace(test=())
    model_checkpoint(recipe, model, market, known, shown, terms, recipe.digest[:16], code).save(place)
    for left in (*halves, *whole):
        left.unlink(missing_ok=True)


def _trained(inputs: TrainingInputs, job: FoldTraining, kept: Path) -> State:
    """What a training came to, now or before a kill."""
    if not kept.exists():
        ((_, state),) = LocalExecutor().run(learn, inputs, [job], lambda k: Mute())
        write_state(state, kept)
    return read_state(kept)


def _config(recipe: Recipe) -> Base:
    from qframe_rl import catalog

    model: type[Base] = catalog.load("agents", recipe.agent).Config
    return build(model, recipe.params, f"the recipe's agent {recipe.agent}")


def _known(session: Path, terms: SessionSpec, facts: PastFacts, until: int, alive: Callable[[], bool]) -> History:
    """All bars that had closed by ``until``: those before the session, and those of its journal.

    Raises
    ------
    UserError
        If bars lack between the two.
    """
    past, bars = read_state(session / FOLDER / PAST), list(_bars(session / NAME, terms, until, alive))
    n = int(np.searchsorted(past["time"], bars[0].time))
    if n and bars[0].time - past["time"][n - 1] > terms.bar_ns and n == len(past["time"]):
        raise UserError(
            f"the bars on disk end at {iso(int(past['time'][n - 1]))}, and the session's first one closed at "
            f"{iso(bars[0].time)}: what lies between is not known; begin anew with another --out after a download."
        )
    own = {name: np.array([getattr(bar, name) for bar in bars]) for name in _FIELDS}
    joined = {name: np.concatenate([past[name][:n].astype(own[name].dtype), own[name]]) for name in _FIELDS}
    source = Source(**facts.source)  # type: ignore[arg-type]
    return History(
        terms.instruments, terms.bar_ns, joined["time"], joined["values"], joined["funding"], joined["final"], source,
        terms.columns, terms.theory, cash_rate=joined["cash_rate"],
    )  # fmt: skip


def _bars(path: Path, terms: SessionSpec, until: int, alive: Callable[[], bool]) -> Iterator[Bar]:
    """Bars of a journal up to the one that closed at ``until``, waiting for it to be committed."""
    seq = 0
    while True:
        for event in read(path, seq):
            seq = event.seq
            if event.kind != "bar":
                continue
            plain = json.loads(event.payload)
            check_bar(path, plain, len(terms.instruments), 5 + len(terms.columns))
            bar = bar_in(plain)
            yield bar
            if bar.time == until:
                return
            if bar.time > until:
                raise corrupt(path, f"it has no bar of {iso(until)}")
        if not alive():
            raise UserError(f"{path} ends before the bar of {iso(until)}, and nobody writes it.")
        time.sleep(_LOOK_S)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a file for this process alone; the kernel lets go of it however the process ends."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
