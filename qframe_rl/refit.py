"""A procedure that is trained anew as time passes: its recipe, and an agent whose model is exchanged at stated bars.

A study of the procedure and a session of it share both. Decisions are counted from 0. Model ``n`` decides from decision
``n x every`` on, and is trained on the bars that had closed ``lag`` decisions before: what a training takes is part of
what is judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import Field, model_validator

from qframe_rl.agent import Agent, Portable, State, View
from qframe_rl.checkpoint import Checkpoint
from qframe_rl.config import Base, Ref, UserError, build, canonical
from qframe_rl.evaluate.folds import Fold
from qframe_rl.times import delay_ns, timeframe_name
from qframe_rl.types import Orders, Segment

PROCEDURE = "procedure"
"""Under this name the provenance of a checkpoint has the recipe that made it."""
LAG = "1d"
"""Time between the last training bar of a model and its first decision, where none is said."""
RefitRule = Literal["best", "above_cash"]
_MEMORY, _COUNT = "model.", "refit"


class Recipe(Base):
    """All that decides what is trained when, without the weights that come of it."""

    agent: str
    """Name of the strategy."""
    params: dict[str, Any]
    """Of its configuration, its training budget among them."""
    env: Ref
    """The market."""
    risk: dict[str, Any] = Field(default={})
    """Limits of the risk engine while it learns, those that bind."""
    seed: int = Field(ge=0)
    """Root of all randomness."""
    code: str = ""
    """Digest of the code of strategy and market, as the checkpoint states it."""
    bar_ns: int = Field(ge=1)
    """Length of a bar, ns."""
    since: str | None = None
    """Where the data begin that were asked for, and with them every training whose bars do not roll along; None = with
    all there is."""
    train: int | None = Field(default=None, ge=1)
    """Bars of each training, the last ones; None = all."""
    every: int = Field(ge=1)
    """Decisions from one model to the next."""
    lag: int = Field(ge=1)
    """Decisions between the last training bar of a model and its own first one."""
    rule: RefitRule = "best"
    """best: of the trainings the one with the highest Sharpe ratio on the tail of its training bars; above_cash: that
    one if the ratio is above 0, else the model before goes on."""
    runs: int = Field(default=1, ge=1, le=100)
    """Trainings of each model, from seeds of their own."""

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.lag >= self.every:
            raise ValueError(f"refit_lag: {self.lag} bars are no less than the {self.every} from one refit to the next")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return hashlib.sha256(canonical(self.model_dump(mode="json")).encode()).hexdigest()

    @property
    def scored(self) -> bool:
        """Whether models have to be scored before one is taken."""
        return self.runs > 1 or self.rule != "best"

    def fold(self, stop: int) -> Fold:
        """Rows of one training.

        Parameters
        ----------
        stop
            Row after the last bar that is trained on, of a history that begins with the first bar there is.

        Raises
        ------
        UserError
            If the bars are fewer than are trained on.
        """
        if self.train is not None and stop < self.train:
            raise UserError(f"{stop} bars had closed where {self.train} are trained on: begin later, or load more.")
        start = 0 if self.train is None else stop - self.train
        first = stop + self.lag
        return Fold((Segment(start, stop),), (), (Segment(first, first + self.every),))


def recipe_of(checkpoint: Checkpoint, refit: str, asked: Mapping[str, Any], since: str | None) -> Recipe:
    """The recipe of a checkpoint: what it says of the procedure that made it, with what is asked for in its place.

    Parameters
    ----------
    checkpoint
        Its strategy with the parameters, market, limits and randomness are those of the recipe.
    refit
        Time from one model to the next, such as ``30d``.
    asked
        ``lag``, a length, and ``train``, ``rule`` and ``runs`` as in `Recipe`; None = as the procedure has it.
    since
        Where the data begin that are trained on, as it was asked for.

    Raises
    ------
    UserError
        For lengths that are not of whole bars, or what makes no recipe.
    """
    known, bar_ns = procedure_of(checkpoint), checkpoint.bar_ns
    lag = known["lag"] if asked["lag"] is None and known else bars_in("--refit-lag", asked["lag"] or LAG, bar_ns)
    own = {name: asked[name] if asked[name] is not None else known.get(name) for name in ("train", "rule", "runs")}
    provenance = checkpoint.provenance
    made = {
        "agent": checkpoint.agent["name"], "params": checkpoint.agent["params"], "env": Ref(**checkpoint.env),
        "risk": provenance.get("risk", {}), "seed": known.get("seed", checkpoint.seed),
        "code": provenance.get("code", {}).get("digest", ""), "bar_ns": bar_ns, "since": since,
        "every": bars_in("--refit", refit, bar_ns), "lag": lag,
        **{name: value for name, value in own.items() if value is not None},
    }  # fmt: skip
    return build(Recipe, made, "--refit")


def procedure_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """The recipe that made a checkpoint, as plain data; empty where none did.

    Raises
    ------
    UserError
        If what it says of it is none.
    """
    said = checkpoint.provenance.get(PROCEDURE)
    return {} if said is None else build(Recipe, said, "the checkpoint's procedure").model_dump(mode="json")


def bars_in(option: str, text: str, bar_ns: int) -> int:
    """Bars in a length such as ``30d``.

    Parameters
    ----------
    option
        What it was given for.
    text
        The length.
    bar_ns
        Of a bar, ns.

    Raises
    ------
    UserError
        If it is none, or not of whole bars.
    """
    try:
        length = delay_ns(text)
    except UserError:
        length = 0
    if length == 0 or length % bar_ns:
        raise UserError(f"{option} {text}: it is not a number of bars of {timeframe_name(bar_ns)}.")
    return length // bar_ns


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Name of the first field in which two recipes differ; empty where they are the same.

    Parameters
    ----------
    one, other
        The recipes as plain data.
    """
    return next((name for name in sorted({*one, *other}) if one.get(name) != other.get(name)), "")


class ModelSource(Protocol):
    """Where the models of a procedure come from."""

    def due(self, number: int, until: int) -> None:
        """The last bar that model ``number`` is trained on closed at ``until``, ns UTC; told at each decision since."""

    def exchanged(self, number: int, until: int, time: int) -> Agent | None:
        """The model whose turn it is; None = the one before goes on.

        Parameters
        ----------
        number
            Which it is.
        until
            Close of the last bar that it is trained on, ns UTC.
        time
            Close of the bar at which it is to decide first, ns UTC.
        """

    def kept(self, number: int) -> Agent:
        """Model ``number``, which was exchanged before in this session."""


class RefittedAgent:
    """An agent that becomes another one at stated decisions.

    A model begins as in a new session (its first view says ``first``), with the account as it is.

    Parameters
    ----------
    first
        Model 0.
    recipe
        When models are due.
    models
        The later ones.
    """

    def __init__(self, first: Agent, recipe: Recipe, models: ModelSource):
        self.window, self.models = first.window, models
        self.every, self.lag = recipe.every, recipe.lag
        self._first = self._agent = first
        self._index = self._number = 0
        self._until = 0

    def decide(self, view: View) -> Orders:
        """Let the model decide whose turn it is."""
        if view.first:
            self._agent, self._index, self._number, self._until = self._first, 0, 0, 0
        index, self._index = self._index, self._index + 1
        number, passed = divmod(index, self.every)
        fresh = self._exchange(number, view.time) if number and not passed else False
        if (index + self.lag) % self.every == 0:
            self._until = view.time
        if passed >= self.every - self.lag:
            self.models.due(number + 1, self._until)
        return self._agent.decide(replace(view, first=True) if fresh else view)

    def carried(self) -> State | None:
        """Which model decides, how far it is, and what the model remembers."""
        memory = self._agent.carried() if isinstance(self._agent, Portable) else None
        if memory is None:
            return None
        count = np.array([self._index, self._number, self._until], dtype=np.int64)
        return {_COUNT: count} | {_MEMORY + name: value for name, value in memory.items()}

    def carry(self, memory: State) -> None:
        """Take over what `carried` returned."""
        self._index, self._number, self._until = (int(value) for value in memory[_COUNT])
        self._agent = self.models.kept(self._number) if self._number else self._first
        if isinstance(self._agent, Portable):
            own = {name.removeprefix(_MEMORY): value for name, value in memory.items() if name.startswith(_MEMORY)}
            self._agent.carry(own)

    def _exchange(self, number: int, time: int) -> bool:
        """Take the model whose turn it is; False where the one before goes on."""
        agent = self.models.exchanged(number, self._until, time)
        if agent is None:
            return False
        if agent.window > self.window:
            raise UserError(
                f"model {number} looks back over {agent.window} bars, and the session shows {self.window}: a strategy "
                "whose window depends on its training cannot be refitted."
            )
        self._agent, self._number = agent, number
        return True
