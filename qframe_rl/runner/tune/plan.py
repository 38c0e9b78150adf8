"""What a search for parameters is made of, as configuration: where to look, how, and for how long."""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from qframe_rl.config import Base, Range, Space, UserError, build, nearest, space_of
from qframe_rl.runner.run_config import RunConfig

Sampler = Literal["tpe", "cmaes", "nsga2", "random"]
Objective = Literal["lower", "sharpe"]
AIMS: dict[Objective, str] = {"lower": "95 % lower bound of the Sharpe ratio", "sharpe": "Sharpe ratio"}
"""Figures that a search can look for, in words."""
_FARTHEST = 1e15
"""Size of the ends of a range; up to there whole numbers are exact."""
_BUDGET = re.compile(r"(\d{1,9})(m|min)?")


class Budget(NamedTuple):
    """How long to search, over all windows together."""

    trials: int | None
    seconds: float | None

    def share(self, number: int, n: int, began: float) -> tuple[int | None, float | None]:
        """Part of one of ``n`` windows: settings, or the moment at which its search ends.

        Of the time a third is kept for training and judging what is chosen, and for writing.

        Parameters
        ----------
        number
            Of the window, from 0.
        n
            Windows.
        began
            When the first of them began, seconds of a clock that never goes back.

        Returns
        -------
        tuple[int | None, float | None]
            The one that the budget does not say is None.
        """
        if self.seconds is None:
            assert self.trials is not None
            return self.trials * (number + 1) // n - self.trials * number // n, None
        return None, began + self.seconds * (number + 2 / 3) / n


def read_budget(text: str) -> Budget:
    """Read ``1000`` or ``30m``; raises ValueError for anything else."""
    found = _BUDGET.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise ValueError("give a whole number above 0, or minutes such as 30m, in at most nine digits")
    return Budget(None, 60.0 * int(found[1])) if found[2] else Budget(int(found[1]), None)


class Tune(RunConfig):
    """Everything that decides what a search does."""

    agent: str = Field(default="", min_length=1, validate_default=True)
    """Strategy of the catalogue."""
    params: dict[str, Any] = Field(default={})
    """Its parameters that differ from the defaults; one given here is not searched."""
    space: tuple[str, ...] = ()
    """Where to look, in place of what the strategy's file says: ``FIELD=LOW:HIGH``, ``FIELD=LOW:HIGH:log`` or
    ``FIELD=A|B|C``, separated by commas."""
    sampler: Sampler = "tpe"
    """tpe (tree-structured Parzen estimators), cmaes (evolution of a normal distribution; numbers only), random, or
    nsga2, which looks for the front of return, drawdown and turnover; the others look for the objective alone."""
    objective: Objective = "lower"
    """What a setting is chosen and given up by: lower = the Sharpe ratio that it exceeds with 95 %, which few bets make
    low, or sharpe = the ratio itself. Of nsga2's front, the member with the highest is taken."""
    budget: str = "256"
    """Settings tried in all windows together, or minutes: ``1000`` or ``30m``. Each window gets an equal part; of
    minutes a third is kept for judging, and the settings that are asked for at once are never broken off."""
    walk_forward: int = Field(default=5, ge=1, le=100_000)
    """Windows; in each the search begins anew on what came before, and its choice is judged on what follows."""
    anchored: bool = True
    """Whether training parts begin at the first bar; else they roll along."""
    gap: int = Field(default=24, ge=0, le=10**9)
    """Bars purged between training and test; of ticks, tenths of a second."""
    blocks: int = Field(default=4, ge=1, le=100_000)
    """Parts of a window's training bars that a setting is scored on one after the other. What learns is trained on
    those before each part."""
    prune: bool = True
    """Whether a setting is given up once its objective over the parts so far lies below the median of the settings
    before its batch; nsga2 gives none up."""
    batch: int = Field(default=0, ge=0, le=100_000)
    """Settings asked for at once, whatever the number of workers; 0 = an eighth of a window's, from 8 to 64, and 8
    where a setting must be trained. More fill the machine, fewer let each learn from more."""
    storage: Literal["journal", "sqlite"] = "journal"
    """File of the search in the run's folder, to be read with Optuna."""
    promote_anyway: bool = False
    """Deploy what was found even if it fails the test for it; the checkpoint says so."""

    @field_validator("budget", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) else value

    @field_validator("budget")
    @classmethod
    def _budget(cls, value: str) -> str:
        read_budget(value)
        return value

    @model_validator(mode="after")
    def _enough(self) -> Tune:
        trials = self.limit.trials
        if trials is not None and trials < self.walk_forward:
            raise ValueError(f"budget: {trials} settings are less than one for each of {self.walk_forward} windows")
        return self

    @property
    def limit(self) -> Budget:
        """The budget in numbers."""
        return read_budget(self.budget)

    @property
    def many(self) -> bool:
        """Whether it looks for a front of several aims."""
        return self.sampler == "nsga2"


def space(config: Tune, model: type[Base], *, needed: bool = True) -> Space:
    """Where to look: what the configuration's fields declare, unless the user says otherwise.

    Parameters
    ----------
    config
        What was asked for.
    model
        Configuration of the strategy.
    needed
        Whether it is an error that there is nothing to search.

    Raises
    ------
    UserError
        For an unknown field, a malformed range, or if there is nothing to search.
    """
    found = {name: over for name, over in space_of(model).items() if name not in config.params}
    for text in config.space:
        name, equals, over = text.partition("=")
        if not equals:
            raise UserError(f"space {text!r} is not FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or FIELD=A|B|C.")
        if name not in model.model_fields:
            raise UserError(f"space: agent {config.agent} has no field {name!r}{nearest(name, model.model_fields)}")
        if name in config.params:
            raise UserError(f"space: {name} is also given a value in params; leave one out.")
        found[name] = _over(text, over, name, model, config)
    if needed and not found:
        raise UserError(
            f"agent {config.agent} says of no field where to look; give --space FIELD=LOW:HIGH, or mark its fields "
            "with qframe_rl.config.search(low=..., high=...)."
        )
    return found


def _over(text: str, over: str, name: str, model: type[Base], config: Tune) -> Range | tuple[Any, ...]:
    """Read one range or list of values."""
    if "|" in over:
        made = [build(model, {**config.params, name: value}, "space") for value in over.split("|")]
        values = tuple(getattr(one, name) for one in made)
        if not all(isinstance(value, str | int | float) for value in values):
            raise UserError(f"space {text!r}: a tuner chooses among single values, not among lists.")
        return values
    parts = over.split(":")
    try:
        low, high = (float(part) for part in parts[:2])
    except ValueError:
        raise UserError(f"space {text!r} is not FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or FIELD=A|B|C.") from None
    log = parts[2:] == ["log"]
    if not low < high or (log and low <= 0.0) or (parts[2:] and not log):
        raise UserError(f"space {text!r}: low must be less than high{', and above zero with log' if log else ''}.")
    if max(abs(low), abs(high)) > _FARTHEST or (whole_numbers(model, name) and not (low % 1 == 0 == high % 1)):
        kind = "whole numbers" if whole_numbers(model, name) else "numbers"
        raise UserError(f"space {text!r}: {name} is looked for between {kind} of at most {_FARTHEST:g}.")
    return Range(low, high, log)


def whole_numbers(model: type[Base], name: str) -> bool:
    """Whether a field holds whole numbers."""
    return model.model_fields[name].annotation is int
