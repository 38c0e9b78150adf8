"""What a setting does on a part of a window's training bars: the jobs that a search fans out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from qframe_rl import catalog
from qframe_rl.agent import Agent, Log
from qframe_rl.config import UserError, build
from qframe_rl.deploy import make_agent
from qframe_rl.evaluate.inference.sharpe import lower_sharpe, moments
from qframe_rl.evaluate.metrics import drawdown, per_year, returns, sharpe, years_between
from qframe_rl.evaluate.splits import Fold, WalkForward
from qframe_rl.gym.market import Market
from qframe_rl.runner.batch import BacktestResult
from qframe_rl.runner.identity import refuse_other_code
from qframe_rl.runner.study.walks import run_all
from qframe_rl.runner.task import MarketTask, seed_for
from qframe_rl.types import Float, History, Segment

SURE = 0.95
"""Probability with which the true Sharpe ratio is to lie above its lower bound."""


@dataclass(frozen=True)
class SearchInputs:
    """What all jobs of a search share."""

    history: History
    market: Market
    """Its scaler unfitted."""
    markets: tuple[tuple[Market, ...], ...]
    """For each window and part, the market with its scaler fitted on what is trained on before the part; as it is for
    planners, which look at bars alone. Of windows that are not searched now there are none."""
    agent: str
    """Name in the catalogue."""
    code: str
    """`own_code` of it, which must be that of the machine that scores it."""
    params: Mapping[str, Any]
    """Parameters that are not searched."""
    window: int
    """Bars shown at each decision."""
    seed: int
    parts: tuple[tuple[Fold, ...], ...]
    """For each window, the parts of its training bars: what to train on, and the one segment to score on."""

    def make(self, setting: Mapping[str, Any], market: Market, seed: int) -> Agent:
        """Make the agent of a setting, untrained.

        Parameters
        ----------
        setting
            Parameters that are searched, by name.
        market
            Its scaler fitted on what is trained on.
        seed
            Root of all its randomness.

        Raises
        ------
        UserError
            If there is no such agent, or if it looks back further than the bars allow.
        """
        where = f"agent {self.agent}"
        config = build(catalog.load("agents", self.agent).Config, {**self.params, **setting}, where)
        agent = make_agent(self.agent, config, market, self.history.columns, seed, self.history.theory)
        if agent.window > self.window:
            raise UserError(f"{where}: it looks back over {agent.window} bars, and only {self.window} are left to it.")
        return agent


class ScoringJob(NamedTuple):
    """Some settings on one part."""

    window: int
    part: int
    settings: tuple[Mapping[str, Any], ...]


class Part(NamedTuple):
    """What one setting did on one part."""

    rate: Float
    """(N,) returns per bar, net of costs."""
    cash: Float
    """(N,) what idle cash earned in each."""
    years: float
    """Time that they cover."""
    traded: float
    """Notional over mean equity before each bar."""
    trades: int


def judge(inputs: SearchInputs, job: ScoringJob, log: Log) -> list[Part | str]:
    """Score the settings of a job, training first those that learn; of one that cannot be trained, say why.

    Parameters
    ----------
    inputs
        What all jobs of the search share.
    job
        Settings, and the part to score them on.
    log
        Told of the progress of each training.

    Returns
    -------
    list
        In the order of the settings: what it did, or why it could not be trained.
    """
    refuse_other_code(inputs.agent, inputs.code)
    fold = inputs.parts[job.window][job.part]
    (segment,) = fold.test
    market, agents, reasons = inputs.markets[job.window][job.part], dict[int, Any](), dict[int, str]()
    seed = seed_for(inputs.seed, inputs.agent, job.window, 0)
    for k, setting in enumerate(job.settings):
        agents[k] = inputs.make(setting, market, seed)
        if fold.train and hasattr(agents[k], "fit"):
            try:
                agents[k].fit(MarketTask(market, inputs.history, fold, seed), log)
            except UserError as error:
                reasons[k] = str(error)
                del agents[k]
    before = segment.start - inputs.window
    bars, played = inputs.history.rows(before, segment.stop), Segment(inputs.window, segment.stop - before)
    results = run_all(market, [(agent, bars, played) for agent in agents.values()], inputs.window)
    scored = dict(zip(agents, map(_part, results), strict=True))
    return [reasons[k] if k in reasons else scored[k] for k in range(len(job.settings))]


def _part(result: BacktestResult) -> Part:
    mean = float(result.equity[:-1].mean())
    years = years_between(int(result.time[0]), int(result.time[-1]))
    traded = result.notional / mean if mean > 0.0 else 0.0
    return Part(returns(result.equity), result.cash, years, traded, result.trades)


def figures(parts: Sequence[Part]) -> dict[str, float]:
    """What a setting came to over its parts, laid end to end: plain numbers, annual and net of costs.

    Sharpe ratios are those in excess of cash: what never trades would have the best one otherwise.
    """
    rate, above, years = rate_of(parts), excess_of(parts), sum(part.years for part in parts)
    frequency = per_year(len(rate), years)
    curve = np.concatenate([[1.0], np.cumprod(1.0 + rate)])
    growth = float(np.log(curve[-1]) / years) if curve[-1] > 0.0 else -np.inf
    trades = sum(part.trades for part in parts)
    return {
        "sharpe": sharpe(above, frequency),
        "lower": lower_sharpe(moments(above), trades // 2, SURE) * math.sqrt(frequency),
        "annual_return": float(np.expm1(min(growth, np.log(1e6)))),
        "max_drawdown": float(drawdown(curve).min()),
        "turnover": sum(part.traded for part in parts) / years,
        "trades": float(trades),
        "bars": float(len(rate)),
    }


def rate_of(parts: Sequence[Part]) -> Float:
    """(N,) returns of consecutive parts."""
    return np.concatenate([part.rate for part in parts])


def excess_of(parts: Sequence[Part]) -> Float:
    """(N,) returns of consecutive parts less what idle cash earned."""
    return np.concatenate([part.rate - part.cash for part in parts])


def parts_of(history: History, fold: Fold, n: int, window: int, learns: bool, gap: int) -> tuple[Fold, ...]:
    """Cut a window's own bars, all before its test, into parts to score on.

    Parameters
    ----------
    history
        The bars.
    fold
        The window.
    n
        Number of parts, of one length.
    window
        Bars shown at each decision: no part begins before as many have passed.
    learns
        Whether each part is preceded by bars to train on.
    gap
        Bars purged between what is trained on and what is scored.

    Returns
    -------
    tuple of Fold
        ``n`` of them in order of time: what to train on (nothing without ``learns``) and the one segment to score on.

    Raises
    ------
    UserError
        If there are too few bars.
    """
    begin, end = fold.train[0].start, fold.train[-1].stop
    n_bars, early = end - begin, max(0, window - begin)
    size = (n_bars - early) // n
    if size < 2:
        raise UserError(
            f"{history.source.origin}: the first window's {n_bars} training bars are too few for {n} parts "
            f"when {window} bars are looked back over; take more data, fewer windows or fewer blocks."
        )
    if not learns:
        edges = np.linspace(begin + early, end, n + 1).astype(int).tolist()
        return tuple(Fold((), (), (Segment(a, b),)) for a, b in pairwise(edges))
    size = min(size, n_bars // (n + 1))
    walk = WalkForward(train=max(n_bars - n * size - gap, 1), test=size, gap=gap, validation=0)
    inner = walk.split(history.rows(begin, end))
    return tuple(Fold(*(tuple(_moved(s, begin) for s in part) for part in one)) for one in inner)


def _moved(segment: Segment, by: int) -> Segment:
    return Segment(segment.start + by, segment.stop + by)
