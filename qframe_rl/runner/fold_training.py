"""Trainings of a run as jobs: what each is made from, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl.agent import Log, State
from qframe_rl.config import Base
from qframe_rl.deploy import make_agent
from qframe_rl.evaluate.splits import Fold
from qframe_rl.gym.market import Market
from qframe_rl.runner.identity import refuse_other_code
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import History


@dataclass(frozen=True)
class TrainingInputs:
    """What all trainings of a run share."""

    history: History
    folds: tuple[Fold, ...]
    markets: tuple[Market, ...]
    """Of each fold, its scaler fitted on the fold's training rows."""


class FoldTraining(NamedTuple):
    """One training."""

    agent: str
    """Name in the catalogue."""
    config: Base
    fold: int
    seed: int
    code: str
    """`own_code` of the agent, which must be that of the machine that trains it."""
    partial: Path | None = None
    """Where it is kept while it is unfinished, on the machine that does it; None = nowhere."""


def learn(inputs: TrainingInputs, job: FoldTraining, log: Log) -> State:
    """Train an agent and return what it learned.

    Parameters
    ----------
    inputs
        What all trainings of the run share.
    job
        Which agent, on which fold, from which seed.
    log
        Told of its progress.

    Returns
    -------
    State
        As the agent's ``state()``.
    """
    refuse_other_code(job.agent, job.code)
    market, history = inputs.markets[job.fold], inputs.history
    agent: Any = make_agent(job.agent, job.config, market, history.columns, job.seed, history.theory)
    task = MarketTask(market, history, inputs.folds[job.fold], job.seed, job.partial)
    agent.fit(task, log)
    state: State = agent.state()
    return state
