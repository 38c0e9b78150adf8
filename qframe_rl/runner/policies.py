"""Backtests of an agent that decides by its policy on an observation: many accounts side by side.

Price paths, periods and folds are accounts of one `BatchEngine`, which is what the agent learned in; each step asks the
policy once for all of them. Money is settled by the one kernel, so the same actions give the bits of a session
(`tests/test_parity.py`). The policy's products of matrices add in another order for many rows than for one: outputs
differ by rounding, some 1e-7 of their size. A choice among levels is the same unless two of them are that near;
exposures differ by as much, and so do equities (`tests/runner/test_policies.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qframe_rl.agent import Agent, Chooser
from qframe_rl.config import UserError
from qframe_rl.deploy import window_of
from qframe_rl.evaluate.metrics import per_year, returns, sharpe, years_between
from qframe_rl.gym.engine import BatchEngine
from qframe_rl.gym.market import Market
from qframe_rl.gym.packed import PackedHistory, joined
from qframe_rl.interface import MarketInterface, Observer, SlotScheme
from qframe_rl.kernel.columns import EQUITY, MARK, N_SUMS, RUINED, bars_of
from qframe_rl.risk.rows import begin_rows
from qframe_rl.runner.batch import BacktestResult, last_closes, summed
from qframe_rl.runner.noted import count_rows
from qframe_rl.types import NO_FINER, Bool, History, Int, Segment

AT_ONCE = 256
"""Accounts that are walked side by side: enough for the products of matrices, few enough for the second cache."""


class _Account(NamedTuple):
    """One backtest: the bars it walks along, the row of its first decision, and that of its last bar."""

    history: History
    first: int
    last: int
    window: int


def chooser(agent: Agent) -> Chooser | None:
    """Return the agent if its policy alone decides, on what the interface of a market observes.

    Orders that rest in slots are walked one account after another: a record counts each of them by itself.
    """
    if not isinstance(agent, Chooser) or not isinstance(agent.interface, MarketInterface):
        return None
    return None if isinstance(agent.interface.scheme, SlotScheme) else agent


def choices(
    market: Market, agent: Chooser, jobs: Sequence[tuple[History, Segment]], window: int
) -> list[BacktestResult]:
    """Backtest one agent on segments of histories.

    Parameters
    ----------
    market
        Rules, limits and cash.
    agent
        Who decides.
    jobs
        Bars, and the rows in which orders settle.
    window
        Bars shown at each decision, at least; more where the agent or the market looks back further.

    Raises
    ------
    UserError
        If a period is shorter than the window.
    """
    return [result for result, _ in _each(market, agent, jobs, window)]


def sharpes(market: Market, agent: Chooser, jobs: Sequence[tuple[History, Segment]], window: int) -> list[float]:
    """Annual Sharpe ratios in excess of cash of the same, each up to the bar in which its account was closed.

    Parameters
    ----------
    market, agent, jobs, window
        As in `choices`, and what is raised.
    """
    found = []
    for result, lived in _each(market, agent, jobs, window):
        years = years_between(int(result.time[0]), int(result.time[lived]))
        found.append(sharpe((returns(result.equity) - result.cash)[:lived], per_year(lived, years)))
    return found


def _each(
    market: Market, agent: Chooser, jobs: Sequence[tuple[History, Segment]], window: int
) -> list[tuple[BacktestResult, int]]:
    """What each backtest came to, and the bars that its account lived."""
    window = max(window, window_of(market, agent))
    accounts = [_account(history, segment, window) for history, segment in jobs]
    order = sorted(range(len(accounts)), key=lambda k: accounts[k].first - accounts[k].last)
    found: dict[int, tuple[BacktestResult, int]] = {}
    for at in range(0, len(order), AT_ONCE):
        part = order[at : at + AT_ONCE]
        found |= dict(zip(part, _walked(market, agent, [accounts[k] for k in part]), strict=True))
    return [found[k] for k in range(len(accounts))]


def _account(history: History, segment: Segment, window: int) -> _Account:
    start = max(0, segment.start - window)
    if segment.stop - start <= window:
        raise UserError(
            f"{history.source.origin}: the period has {max(0, segment.stop - start)} bars with its warm-up, but "
            f"{window} are needed before the first decision and one after; take a longer period."
        )
    return _Account(history, start + window - 1, segment.stop - 1, window)


def _walked(market: Market, agent: Chooser, accounts: Sequence[_Account]) -> list[tuple[BacktestResult, int]]:
    interface = agent.interface
    assert isinstance(interface, MarketInterface)
    histories = list({id(one.history): one.history for one in accounts}.values())
    begins = dict(zip(map(id, histories), np.cumsum([0, *map(len, histories)]).tolist(), strict=False))
    offsets = np.array([begins[id(one.history)] for one in accounts])
    n = len(accounts)
    engine = BatchEngine(
        _tape(histories, interface.observer, market.rules.detail_ns > 0), interface, market.rules, market.reward,
        market.cash, None, n, recorded=True, limits=market.limits,
    )  # fmt: skip
    _begin(engine, accounts, offsets)
    length = np.array([one.last - one.first for one in accounts])
    equity, sums, lived = np.empty((n, int(length.max()) + 1)), np.zeros((n, N_SUMS)), np.zeros(n, dtype=np.int64)
    equity[:, 0], policy = engine.equity, agent.acting()
    for t in range(equity.shape[1] - 1):
        active: Bool = (t < length) & (engine.account[:, RUINED] == 0.0)
        if not active.any():
            equity[:, t + 1 :] = engine.account[:, EQUITY, None]
            break
        engine.step(policy(engine.observe()), active)
        equity[:, t + 1], lived = engine.equity, lived + active
        count_rows(engine.fills, active, sums)
    return [
        (BacktestResult(
            equity[k, : length[k] + 1], *summed(sums[k]), one.history.time[one.first : one.last + 1],
            one.history.cash_rate[one.first + 1 : one.last + 1],
        ), int(lived[k]))
        for k, one in enumerate(accounts)
    ]  # fmt: skip


def _tape(histories: Sequence[History], observer: Observer, finer: bool) -> PackedHistory:
    stops = np.cumsum([len(history) for history in histories])
    starts = stops - [len(history) for history in histories]
    return PackedHistory(
        np.concatenate([history.time for history in histories]),
        np.concatenate([bars_of(h.values, h.funding, h.final, h.cash_rate, h.columns) for h in histories]),
        np.concatenate([observer.matrix(history) for history in histories]),
        np.stack([starts, stops - 1], axis=1),
        finer=joined(histories) if finer else NO_FINER,
    )


def _begin(engine: BatchEngine, accounts: Sequence[_Account], offsets: Int) -> None:
    """Put every account on the row of its first decision, with the marks of its warm-up."""
    everybody = np.ones(len(accounts), dtype=np.bool_)
    engine.reset(everybody, offsets + np.array([one.first for one in accounts]))
    engine.last[:] = offsets + [one.last for one in accounts]
    engine.holding[:, :, MARK] = [last_closes(one.history, one.first, one.window) for one in accounts]
    if engine.watch is not None:
        begin_rows(everybody, engine.account, engine.holding, engine.tape.time, engine.row, engine.watch)
