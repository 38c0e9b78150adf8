"""What a setting of a quoting strategy does on a part of a window's ticks: the jobs that a search fans out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from qframe_rl import catalog
from qframe_rl.agent import Log
from qframe_rl.config import Base, UserError, build
from qframe_rl.evaluate.inference.sharpe import lower_sharpe, moments
from qframe_rl.evaluate.quoting import QuotingRecord, gains
from qframe_rl.gym.replay.market import BookMarket
from qframe_rl.gym.replay.packed import PackedTicks
from qframe_rl.runner.books.packing import made_agent
from qframe_rl.runner.books.replay import as_quoter, replay, stretches
from qframe_rl.runner.books.split import BookFold
from qframe_rl.runner.books.task import BookTask
from qframe_rl.runner.books.yardsticks import FLAT, yardstick
from qframe_rl.runner.identity import refuse_other_code
from qframe_rl.types import Float

SURE = 0.95
"""Probability with which the true Sharpe ratio is to lie above its lower bound."""


@dataclass(frozen=True)
class SearchedPart:
    """A part of a window's ticks, laid out once for all settings."""

    market: BookMarket
    """Fitted on what comes before the part."""
    fold: BookFold
    walked: list[PackedTicks]
    """The part itself."""
    idle: list[QuotingRecord]
    """What doing nothing came to on it."""


def searched_part(market: BookMarket, fold: BookFold) -> SearchedPart:
    """Lay a part out.

    Parameters
    ----------
    market
        Not fitted.
    fold
        What to fit on, and the part as its test.

    Returns
    -------
    SearchedPart
        With the market fitted.
    """
    fitted = market.fit((*fold.train, *fold.stopping))
    walked = stretches(fitted, fold.test)
    return SearchedPart(fitted, fold, walked, replay(fitted, yardstick(FLAT, fitted.spec(0)), walked))


@dataclass(frozen=True)
class TickSearchInputs:
    """What all jobs of a window share."""

    agent: str
    """Name in the catalogue."""
    code: str
    """`own_code` of it, which must be that of the machine that scores it."""
    params: Mapping[str, Any]
    """Parameters that are not searched."""
    seed: int
    """Root of a learner's randomness in this window."""
    parts: tuple[SearchedPart, ...]


class QuotingJob(NamedTuple):
    """A setting on one part."""

    part: int
    setting: Mapping[str, Any]


class QuotedPart(NamedTuple):
    """What a setting did on one part."""

    gained: Float
    """(N,) from `qframe_rl.evaluate.quoting.gains`."""
    bets: int
    """Times that a position was opened and closed: half its fills; of blocks as many as there were."""
    first: int
    """Its first moment, ns UTC."""
    last: int


def trained(name: str, config: Base, part: SearchedPart, seed: int, log: Log) -> Any:
    """An agent that learned, if it learns, from what comes before a part.

    Parameters
    ----------
    name, config
        Of the catalogue.
    part, seed, log
        The ticks, the root of its randomness, and who is told of its progress.

    Returns
    -------
    Any
        The agent.
    """
    agent = made_agent(name, config, part.market, seed)
    if hasattr(agent, "fit"):
        agent.fit(BookTask(part.market, part.fold.train, part.fold.stopping, seed), log)
    return agent


def judge_quoter(inputs: TickSearchInputs, job: QuotingJob, log: Log) -> QuotedPart | str:
    """Score a setting on a part, training it first if it learns.

    Parameters
    ----------
    inputs, job
        What all jobs share, and which one.
    log
        Told of the progress of the training.

    Returns
    -------
    QuotedPart or str
        What it did, or why it cannot be.
    """
    refuse_other_code(inputs.agent, inputs.code)
    part = inputs.parts[job.part]
    try:
        config = build(
            catalog.load("agents", inputs.agent).Config, {**inputs.params, **job.setting}, f"agent {inputs.agent}"
        )
        agent = trained(inputs.agent, config, part, inputs.seed, log)
    except UserError as error:
        return str(error)
    records = replay(part.market, as_quoter(agent, part.market.interface), part.walked)
    bets = len(records) if part.market.ends else sum(len(r.fills) for r in records) // 2
    return QuotedPart(gains(records, part.idle), bets, int(records[0].at[0]), int(records[-1].at[-1]))


def quoting_figures(parts: Sequence[QuotedPart]) -> dict[str, float]:
    """What a setting came to over its parts, laid end to end.

    Parameters
    ----------
    parts
        At least one.

    Returns
    -------
    dict[str, float]
        ``sharpe`` of its gains, five seconds or a block each, and not annual; ``lower``, which it exceeds with 95 %;
        their sum ``gained``; ``trades``, the bets.
    """
    gained, bets = np.concatenate([part.gained for part in parts]), sum(part.bets for part in parts)
    of = moments(gained)
    return {
        "sharpe": of.sharpe,
        "lower": lower_sharpe(of, bets, SURE),
        "gained": float(gained.sum()),
        "trades": float(bets),
    }
