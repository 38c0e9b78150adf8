"""Trainings of a run as cells: what each is made from, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl.agent import Log, State
from qframe_rl.config import Base
from qframe_rl.evaluate.splits import Fold
from qframe_rl.gym.market import Market
from qframe_rl.runner.deploy import make_agent
from qframe_rl.runner.identity import refuse_other_code
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import History


@dataclass(frozen=True)
class Ground:
    """What all trainings of a run share."""

    history: History
    folds: tuple[Fold, ...]
    markets: tuple[Market, ...]
    """Of each fold, its scaler fitted on the fold's training rows."""


class Training(NamedTuple):
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


def learn(ground: Ground, cell: Training, log: Log) -> State:
    """Train an agent and return what it learned."""
    refuse_other_code(cell.agent, cell.code)
    market, history = ground.markets[cell.fold], ground.history
    agent: Any = make_agent(cell.agent, cell.config, market, history.columns, cell.seed, history.theory)
    task = MarketTask(market, history, ground.folds[cell.fold], cell.seed, cell.partial)
    agent.fit(task, log)
    state: State = agent.state()
    return state
