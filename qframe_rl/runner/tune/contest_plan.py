"""What a search among several strategies is made of, as configuration."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from qframe_rl.config import Ref, build
from qframe_rl.runner.auto_features import n_asked
from qframe_rl.runner.tune.plan import Budget, Tune

ALL = "all"
"""Every strategy that is named in the list of a command."""


class Contest(Tune):
    """Everything that decides what a search among strategies, features and parameters does."""

    agents: tuple[str, ...] = Field(default=(), min_length=1, validate_default=True)
    """Strategies of the catalogue."""
    agent: str = ALL
    """As it was asked for: all, or names between commas."""
    features: str = "usual"
    """What learners see: ``usual``, the market's own features, or ``auto`` or ``auto:N``, with which each learner is
    tried with both."""
    survivors: int = Field(default=3, ge=1, le=100)
    """Strategies among which the last part of a window's budget is spent, and of which an ensemble is made."""
    strict: bool = False
    """Whether a strategy that these bars do not suit is a mistake; else it is left out, and said."""

    @model_validator(mode="after")
    def _one_aim(self) -> Contest:
        if self.many or self.space:
            raise ValueError("among several strategies neither nsga2 nor a space can be asked for")
        if len(set(self.agents)) < len(self.agents):
            raise ValueError("agents: one is named twice")
        for name in self.params:
            if name not in self.agents:
                raise ValueError(f"params.{name}: there are parameters for a strategy that is not tried")
        if self.features != "usual" and not n_asked(self.seen(self.features)):
            raise ValueError("features: usual, auto or auto:N")
        return self

    @property
    def choices(self) -> tuple[str, ...]:
        """What a learner is tried with."""
        return ("usual",) if self.features == "usual" else ("usual", self.features)

    def seen(self, features: str) -> Ref:
        """The market with one choice of features."""
        if features == "usual":
            return self.env
        return Ref(name=self.env.name, params={**self.env.params, "features": features})

    def of(self, agent: str, features: str, params: dict[str, Any] | None = None) -> Tune:
        """The search for one strategy's parameters.

        Parameters
        ----------
        agent
            Its name.
        features
            What it sees, of `choices`.
        params
            Its parameters that differ from the defaults; None = those that were asked for.
        """
        own = {"agent", "agents", "env", "params", "features", "survivors", "strict", "space"}
        shared = {name: value for name, value in self if name not in own}
        asked = self.params.get(agent, {}) if params is None else params
        return build(Tune, {**shared, "agent": agent, "env": self.seen(features), "params": asked}, f"agent {agent}")

    def share(self, number: int, began: float) -> tuple[int | None, float | None]:
        """Part of the budget for one window: settings, or the moment at which its search ends."""
        limit: Budget = self.limit
        return limit.share(number, self.walk_forward, began)
