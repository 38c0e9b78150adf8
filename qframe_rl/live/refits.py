"""A session of a procedure: each model is an event of the journal, and lies in a folder beside it.

Who trains is not here: a `Trainer` is told when, and a replay needs none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from qframe_rl.agent import Agent
from qframe_rl.checkpoint import Checkpoint, load_checkpoint
from qframe_rl.config import UserError, build
from qframe_rl.deploy import deployed
from qframe_rl.journal.codec import Plain
from qframe_rl.journal.lock import corrupt
from qframe_rl.journal.shapes import parsed
from qframe_rl.journal.store import NAME, last_events
from qframe_rl.live.router import OrderRouter
from qframe_rl.live.spec import SessionSpec
from qframe_rl.refit import Recipe, RefittedAgent
from qframe_rl.types import iso

FOLDER = "refit"
"""Folder of a session in which its models are, by number."""
_LAST = 2**62
_LOOK_S = 0.02


class RefitOutcome(NamedTuple):
    """What came of a training."""

    state: Literal["taken", "refused", "failed"]
    digest: str = ""
    """Of the checkpoint; empty where there is none."""
    reason: str = ""
    """Why the model before goes on."""


class Trainer(Protocol):
    """Who trains beside a session."""

    waits: bool
    """Whether the session waits for a training, as a replay does; else one that is late is left out."""

    def begin(self, number: int, until: int) -> None:
        """See to it that model ``number`` is trained, on bars up to the one that closed at ``until``, ns UTC."""

    def outcome(self, number: int) -> RefitOutcome | None:
        """What came of it; None = nothing yet."""

    def end(self) -> None:
        """Stop the training under way."""


class JournalledModels:
    """Models of a session, each exchanged by an event ``refit`` of its journal.

    Parameters
    ----------
    folder
        Of the session.
    terms
        What it is.
    trainer
        Who trains; None in a replay.
    note
        Told in one line of each exchange.
    taken
        Told of each model that the session goes on with.
    """

    def __init__(
        self, folder: Path, terms: SessionSpec, trainer: Trainer | None = None,
        note: Callable[[str], None] = lambda text: None, taken: Callable[[Checkpoint], None] = lambda model: None,
    ):  # fmt: skip
        self.router: OrderRouter | None = None
        """The session's own, before its first decision."""
        self.standing: Plain = {}
        """The last exchange, as it is on record; empty before the first."""
        self._folder, self._terms, self._trainer = folder, terms, trainer
        self._note, self._taken = note, taken

    def due(self, number: int, until: int) -> None:
        """Begin to train; nothing while the record is repeated."""
        if self._trainer is not None and self._of_session().live:
            self._trainer.begin(number, until)

    def exchanged(self, number: int, until: int, time: int) -> Agent | None:
        """The model whose turn it is, by the record or, where that has ended, by the trainer.

        Parameters
        ----------
        number, until, time
            As in `qframe_rl.refit.ModelSource`.

        Raises
        ------
        UserError
            If the record has another model here, or the folder lacks it.
        """
        router = self._of_session()
        said = router.awaited("refit", lambda: self._attempt(number, until, time))
        if (said["number"], said["until"], said["time"]) != (number, until, time):
            raise corrupt(self._folder / NAME, f"it has model {said['number']} where model {number} was due")
        self.standing = said
        if router.live:
            self._note(told(said))
        return self._agent(number, said["digest"]) if said["state"] == "taken" else None

    def kept(self, number: int) -> Agent:
        """Model ``number``, as the record says that it was taken.

        Raises
        ------
        UserError
            If it does not say so, or the folder lacks it.
        """
        path = self._folder / NAME
        events = last_events(path, "refit", _LAST, 2**31)
        self.standing = parsed(path, events[-1].seq, "refit", events[-1].payload) if events else {}
        for event in reversed(events):
            said = parsed(path, event.seq, event.kind, event.payload)
            if said["number"] == number and said["state"] == "taken":
                return self._agent(number, said["digest"])
        raise corrupt(path, f"it does not say which model {number} is")

    def _attempt(self, number: int, until: int, time_ns: int) -> Plain | None:
        """What the trainer has, as an event; None = nothing yet, and the session waits for it."""
        trainer = self._trainer
        assert trainer is not None
        trainer.begin(number, until)
        found, event = trainer.outcome(number), {"number": number, "until": until, "time": time_ns}
        if found is not None:
            return event | {name: value for name, value in found._asdict().items() if value}
        if trainer.waits:
            time.sleep(_LOOK_S)
            return None
        trainer.end()
        return event | {"state": "late", "reason": "its training was under way still"}

    def _agent(self, number: int, digest: str) -> Agent:
        place, terms = self._folder / FOLDER / f"{number:04d}", self._terms
        model = load_checkpoint(place)
        if model.digest != digest:
            raise UserError(
                f"{place} is not the model that the session went on with; take it from a copy of the folder."
            )
        _, agent = deployed(model, terms.instruments, terms.columns, terms.bar_ns, str(place), terms.theory)
        self._taken(model)
        return agent

    def _of_session(self) -> OrderRouter:
        if self.router is None:
            raise RuntimeError("a procedure was not handed over to its session")
        return self.router


def told(said: Plain) -> str:
    """An exchange in words."""
    until = f"trained until {iso(said['until'])[:16]}"
    if said["state"] == "taken":
        return f"model {said['number']}, {until}, decides from now on ({said['digest'][:16]})"
    return f"model {said['number']}, {until}, is {said['state']} ({said.get('reason', '')}): the one before goes on"


def procedure(agent: Agent, terms: SessionSpec, models: JournalledModels) -> RefittedAgent:
    """The agent of a session of a procedure.

    Parameters
    ----------
    agent
        Its first model.
    terms
        What the session is; they state a procedure.
    models
        The later ones.
    """
    assert terms.refit is not None
    return RefittedAgent(agent, build(Recipe, terms.refit["recipe"], "the recipe"), models)


def hand_over(agent: Agent, router: OrderRouter) -> None:
    """Let the models of a procedure ask the session's record; nothing for any other agent."""
    if isinstance(agent, RefittedAgent) and isinstance(agent.models, JournalledModels):
        models = agent.models
        models.router, router.refit = router, lambda: models.standing


def stated(recipe: Recipe) -> Plain:
    """A procedure as the terms of a session have it."""
    return {"recipe": recipe.model_dump(mode="json"), "digest": recipe.digest}
