"""What one run is made of, as configuration, and the fingerprint that names it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field

from qframe_rl import catalog
from qframe_rl.config import Base, Ref, UserError, build, nearest
from qframe_rl.runner.run_config import RunConfig

if TYPE_CHECKING:
    from qframe_rl.types import History

BASELINES = ("flat", "buy_and_hold", "random")
"""Always scored beside the others; `flat` and `buy_and_hold` are always among the candidates."""
_ROOT = Path(__file__).resolve().parent.parent.parent


class NamesAgents(Protocol):
    """What names parameters of strategies."""

    @property
    def agent(self) -> Mapping[str, dict[str, Any]]:
        """By name or label."""


class Experiment(RunConfig):
    """Everything that decides what a run does."""

    agents: tuple[str, ...] = ()
    """Strategies of the catalogue to train and compare, beside the baselines."""
    agent: dict[str, dict[str, Any]] = Field(default={})
    """Parameters of the strategies' configurations, by name."""
    split: Ref = Ref(name="holdout")
    """How the bars are cut into training, validation and test: holdout, walk_forward, purged_kfold or cpcv."""
    seeds: int = Field(default=1, ge=1, le=100)
    """Trainings of each learning agent, with seeds of their own."""
    promote_anyway: str | None = None
    """Deploy this agent, or ``best`` for the one that ranks first, even if it fails the test for it; the checkpoint
    says so."""


def agent_config(asked: NamesAgents, name: str, label: str = "") -> Base:
    """Configuration of one strategy, with the parameters that were asked for under its name, or its label.

    Parameters
    ----------
    asked
        The configuration that was read.
    name
        In the catalogue, or a dotted path.
    label
        What it is called where one strategy is run with several parameters; empty = its name.
    """
    module, label = catalog.load("agents", name), label or name
    config: Base = build(module.Config, asked.agent.get(label, {}), f"agent {label}")
    return config


def roster(experiment: Experiment, history: History) -> tuple[str, ...]:
    """Names of all strategies to run: those asked for, the baselines, and the known optimum if there is one.

    Raises
    ------
    UserError
        For an unknown name, one given twice, or parameters of a strategy that does not run.
    """
    asked = experiment.agents
    if len(set(asked)) < len(asked):
        raise UserError(f"agents: {', '.join(asked)} names one twice.")
    extra = ("optimal",) if history.theory is not None else ()
    names = tuple(dict.fromkeys((*asked, *BASELINES, *extra)))
    for name in names:
        catalog.load("agents", name)
    for name in experiment.agent:
        if name not in names:
            raise UserError(f"agent.{name}: there are parameters for a strategy that is not run{nearest(name, names)}")
    return names
