"""Backtests that a study is made of: in batches where an agent states its targets or a policy decides, else bar by bar.

And what segments that are laid end to end come to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from qframe_rl.agent import Agent, Chooser, View
from qframe_rl.deploy import window_of
from qframe_rl.evaluate.metrics import metrics, notional, per_year, returns, sharpe, years_between
from qframe_rl.gym.market import Market
from qframe_rl.journal.slots import slots_padded
from qframe_rl.runner.backtest import OnBar, backtest
from qframe_rl.runner.batch import BacktestResult, batch, lane, planner, records
from qframe_rl.runner.policies import choices, chooser
from qframe_rl.types import Account, Fills, Float, History, Orders, Record, Segment, SlotRecord

Job = tuple[Agent, History, Segment]


def run_all(market: Market, jobs: Sequence[Job], window: int, *, delay: int = 0) -> list[BacktestResult]:
    """Backtest agents on segments of histories: in batches those that state their targets or decide by a policy alone.

    Parameters
    ----------
    market
        Rules and cash.
    jobs
        Agent, bars, and the rows in which orders settle.
    window
        Bars shown at each decision.
    delay
        Bars by which what they see of the market is late.
    """
    found: dict[int, BacktestResult] = {}
    lanes, chosen = [], dict[int, list[int]]()
    for n, (agent, history, segment) in enumerate(jobs):
        plan = planner(agent)
        if plan is None and chooser(agent) is not None and not delay:
            chosen.setdefault(id(agent), []).append(n)
        elif plan is None:
            late = Late(agent, delay) if delay else agent
            found[n] = result_of(lasting(walk(market, late, history, segment, window + delay), history, segment))
        else:
            lanes.append((n, lane(plan, history, segment, window, delay=delay)))
    for (n, _), result in zip(lanes, batch(market, [one for _, one in lanes]), strict=True):
        found[n] = result
    for group in chosen.values():
        agent = cast(Chooser, jobs[group[0]][0])
        found |= dict(zip(group, choices(market, agent, [jobs[n][1:] for n in group], window), strict=True))
    return [found[n] for n in range(len(jobs))]


def journals(market: Market, jobs: Sequence[Job], window: int, on_bar: OnBar | None = None) -> list[Record]:
    """Backtest as `run_all` does, and return the journal of each.

    Parameters
    ----------
    market, jobs, window
        As in `run_all`.
    on_bar
        Told of each bar of those that are walked one by one.
    """
    plans = [planner(agent) for agent, _, _ in jobs]
    lanes = [lane(p, history, s, window) for p, (_, history, s) in zip(plans, jobs, strict=True) if p is not None]
    batched = iter(records(market, lanes))
    return [
        backtest(market, agent, history, segment, window, on_bar) if plan is None else next(batched)
        for plan, (agent, history, segment) in zip(plans, jobs, strict=True)
    ]


def lasting(record: Record, history: History, segment: Segment) -> Record:
    """A record to the end of its period: an account that was closed before that stays as it is.

    Parameters
    ----------
    record
        Of a backtest.
    history, segment
        Its bars, and the rows in which orders settle.
    """
    left = slice(int(np.searchsorted(history.time, record.time[-1], side="right")), segment.stop)
    n, a = len(history.time[left]), len(record.instruments)
    if not n:
        return record
    none, no_price = np.zeros((n, a)), np.full((n, a), np.nan)
    slots, account = record.slots, (np.concatenate([f, np.repeat(f[-1:], n, axis=0)]) for f in record.account)
    if slots is not None:
        rest = slots_padded(None, n, a, slots.orders.shape[-1])
        slots = SlotRecord(*map(np.concatenate, zip(slots, rest, strict=True)))
    met, nothing = (record.orders.terms, record.fills.sums), ((none, no_price, no_price), Fills.none(n, a).sums)
    orders, fills = (list(map(np.concatenate, zip(*both, strict=True))) for both in zip(met, nothing, strict=True))
    return replace(
        record, time=np.concatenate([record.time, history.time[left]]), account=Account(*account),
        orders=Orders(*orders), fills=Fills.made(fills), slots=slots,
        cash_rate=np.concatenate([record.cash_rate, history.cash_rate[left]]),
    )  # fmt: skip


class Late:
    """An agent that sees the market some bars late, and its own account at once: a stress test."""

    def __init__(self, agent: Agent, delay: int):
        self.agent, self.delay, self.window = agent, delay, agent.window + delay

    def decide(self, view: View) -> Orders:
        """Decide on the bars before the last ones."""
        times, bars = view.times[: -self.delay], view.bars[: -self.delay]
        return self.agent.decide(replace(view, time=int(times[-1]), times=times, bars=bars))


def rate_of(parts: Sequence[BacktestResult]) -> Float:
    """(N,) returns of consecutive segments, laid end to end."""
    return np.concatenate([returns(part.equity) for part in parts])


def excess_of(parts: Sequence[BacktestResult]) -> Float:
    """(N,) returns less what idle cash earned, laid end to end."""
    return np.concatenate([returns(part.equity) - part.cash for part in parts])


def frequency(parts: Sequence[BacktestResult]) -> float:
    """Bars in a year at the density of the segments."""
    years = sum(years_between(int(part.time[0]), int(part.time[-1])) for part in parts)
    return per_year(sum(len(part.cash) for part in parts), years)


def score(parts: Sequence[BacktestResult]) -> float:
    """Annual Sharpe ratio in excess of cash, net of costs, over segments laid end to end."""
    return sharpe(excess_of(parts), frequency(parts))


def walk(market: Market, agent: Agent, history: History, segment: Segment, window: int) -> Record:
    """Backtest one agent bar by bar, through a session.

    Parameters
    ----------
    market
        Rules and cash.
    agent
        Who trades.
    history
        The bars.
    segment
        Rows in which its orders settle.
    window
        Bars shown at each decision, at least; more where the agent or the market looks back further.
    """
    return backtest(market, agent, history, segment, max(window, window_of(market, agent)))


def result_of(record: Record) -> BacktestResult:
    """Sum a record up."""
    figures = metrics(record)
    return BacktestResult(
        record.account.equity, figures.costs, float(notional(record).sum()), figures.trades, record.time,
        record.cash_rate[1:],
    )  # fmt: skip
