"""One model of a procedure: trained on the bars that are known, judged by the recipe's rule, packed as a checkpoint.

A study does it for all its windows, and the process beside a session for one at a time; the weights are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.agent import State
from qframe_rl.checkpoint import Checkpoint
from qframe_rl.config import Base
from qframe_rl.deploy import make_agent
from qframe_rl.evaluate.splits import Fold
from qframe_rl.gym.market import Market
from qframe_rl.refit import PROCEDURE, Recipe
from qframe_rl.runner.fold_training import FoldTraining
from qframe_rl.runner.identity import Code, own_code
from qframe_rl.runner.packing import packed
from qframe_rl.runner.run_config import RunConfig
from qframe_rl.runner.task import MarketTask, seed_for
from qframe_rl.types import History


@dataclass(frozen=True)
class RefitModel:
    """What came of the trainings of one model."""

    agent: Any
    """The best of them, as it was trained."""
    seed: int
    score: float | None
    """Annual Sharpe ratio in excess of cash on the tail of its training bars; None where nothing is judged by it."""
    refused: str
    """Why the model before goes on; empty where this one is taken."""


def trainings(
    recipe: Recipe, config: Base, fold: int, until: int, partials: Sequence[Path | None]
) -> list[FoldTraining]:
    """Trainings of one model; seeds depend on what is trained on, not on when a session began.

    Parameters
    ----------
    recipe
        Of the procedure.
    config
        Its strategy's configuration.
    fold
        Number of the fold among those that the trainings are done with.
    until
        Close of the last training bar, ns UTC.
    partials
        Where each is kept while it is unfinished; None = nowhere.
    """
    own = own_code(recipe.agent)
    return [
        FoldTraining(
            recipe.agent, config, fold, seed_for(recipe.seed, recipe.agent, until // recipe.bar_ns, run), own, at
        )
        for run, at in enumerate(partials)
    ]


def judged(
    recipe: Recipe, market: Market, history: History, fold: Fold, jobs: Sequence[FoldTraining], states: Sequence[State]
) -> RefitModel:
    """Choose among the trainings of one model by the recipe's rule.

    Parameters
    ----------
    recipe
        Of the procedure.
    market
        Its scaler fitted on the fold's training rows.
    history, fold
        The bars, and which of them were trained on.
    jobs, states
        The trainings, and what came of each.
    """
    agents: list[Any] = []
    for job, state in zip(jobs, states, strict=True):
        agent: Any = make_agent(job.agent, job.config, market, history.columns, job.seed, history.theory)
        agent.restore(state)
        agents.append(agent)
    if not recipe.scored:
        return RefitModel(agents[0], jobs[0].seed, None, "")
    scores = [
        MarketTask(market, history, fold, job.seed).validate(agent) for job, agent in zip(jobs, agents, strict=True)
    ]
    best = int(np.argmax(scores))
    failed = recipe.rule == "above_cash" and not scores[best] > 0.0
    refused = f"its Sharpe ratio on the tail of training is {scores[best]:.3f}, not above cash" if failed else ""
    return RefitModel(agents[best], jobs[best].seed, scores[best], refused)


def model_checkpoint(
    recipe: Recipe, model: RefitModel, market: Market, history: History, fold: Fold, terms: RunConfig, identity: str,
    code: Code, scores: Sequence[Mapping[str, Any]] = (),
) -> Checkpoint:  # fmt: skip
    """Pack a model; what it says of itself follows from recipe, bars and code.

    Parameters
    ----------
    recipe, model
        Of the procedure, and what came of its trainings.
    market
        Its scaler fitted on the fold's training rows.
    history, fold
        The bars, and which of them were trained on (and judged on, where that is known).
    terms
        Data, market and limits that it was trained with.
    identity
        Fingerprint of what it was trained for.
    code
        That the strategy consists of.
    scores
        Rows of a leaderboard on which the procedure stands.
    """
    chosen: dict[str, Any] = {
        "promoted": False,
        "forced": False,
        "reason": f"trained by a procedure, rule {recipe.rule}",
    }
    if model.score is not None:
        chosen["score"] = model.score
    if model.refused:
        chosen["refused"] = model.refused
    named = {"name": recipe.agent, "params": recipe.params}
    made = packed(
        model.agent, named, model.seed, market, history, fold, terms, identity, chosen, [dict(row) for row in scores],
        code,
    )  # fmt: skip
    return replace(made, provenance=made.provenance | {PROCEDURE: recipe.model_dump(mode="json")})
