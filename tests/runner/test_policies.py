"""Agents that decide by their policy, many accounts side by side: the orders and money of one session after another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qframe_rl import catalog
from qframe_rl.bench.policies import exported
from qframe_rl.config import Ref, UserError
from qframe_rl.gym.market import Market, MarketConfig, market
from qframe_rl.risk.limits import Limits
from qframe_rl.runner import policies
from qframe_rl.runner.batch import BacktestResult
from qframe_rl.runner.policies import choices, chooser, sharpes
from qframe_rl.runner.study.walks import result_of, run_all, score, walk
from qframe_rl.types import History, Segment
from tests.contracts import checks
from tests.markets import panel

TOLERANCE = 1e-5
"""Of equities, where actions are numbers: rounding of the network, as a share of the start."""
ACTIONS: dict[str, dict[str, Any]] = {
    "levels": {"levels": (-1.0, 0.0, 0.5)},
    "exposure": {"low": -1.0, "high": 1.0},
    "bracket": {"low": -1.0, "high": 1.0, "max_stop": 0.02, "max_take": 0.02, "trailing": True, "bars": 6},
}
LAST = ("actor.0.weight", "action_net.weight", "pi.net.mlp.0.weight")
"""Names of last layers."""
AGENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ppo": ("ppo", "levels", {}),
    "ppo steering": ("ppo", "exposure", {}),
    "ppo that remembers, twice": ("ppo", "levels", {"network": "gru", "memory": "episode", "members": 2}),
    "sb3": ("sb3", "levels", {}),
    "sb3 that remembers": ("sb3", "levels", {"algorithm": "recurrent_ppo"}),
    "iql": ("iql", "levels", {}),
    "cql": ("cql", "levels", {}),
    "rllib": ("rllib", "levels", {}),
}


def made(history: History, scheme: str) -> Market:
    config = MarketConfig(
        features=("log_return:1", "zscore:10"), n_rows=6, actions=Ref(name=scheme, params=ACTIONS[scheme]),
        half_spread_bps=2.0, episode_bars=None,
    )  # fmt: skip
    columns, bar_ns = history.columns, history.bar_ns
    one = market("test", config, history.instruments, columns, bar_ns, leverage=3.0, shorting=True)
    return checks.fitted(one, history)


def by_rllib(market: Market, history: History) -> Any:
    return exported(market, history.columns, (16,))


def jobs_of(history: History) -> list[tuple[History, Segment]]:
    other = panel(300, 2, seed=8, volatility=0.03)
    return [
        (history, Segment(150, 260)),
        (other, Segment(40, 300)),
        (history, Segment(0, 90)),
        (other, Segment(90, 91)),
    ]


@pytest.mark.parametrize("case", AGENTS)
def test_accounts_side_by_side_are_sessions_one_after_another(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "AT_ONCE", 3)
    name, scheme, params = AGENTS[case]
    history = panel(300, 2, seed=7, volatility=0.03)
    one = made(history, scheme)
    agent: Any = by_rllib(one, history) if name == "rllib" else checks.setup(name, one, history, params)
    agent.restore({k: 50.0 * v if k.endswith(LAST) else v for k, v in agent.state().items()})  # so that it trades
    assert chooser(agent) is not None
    for limits in (Limits(), Limits(max_orders_per_hour=2, max_drawdown=0.2)):
        held = replace(one, limits=limits)
        jobs = jobs_of(history)
        alone = [result_of(walk(held, agent, *job, 20)) for job in jobs]
        together = choices(held, agent, jobs, 20)
        for two, three in zip(alone, together, strict=True):
            same(two, three, exact=scheme == "levels")
        assert sum(two.trades for two in alone) > 20
        assert sharpes(held, agent, jobs, 20) == pytest.approx([score([two]) for two in alone], abs=1e-3)


def test_a_ratio_ends_with_its_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a record of a liquidated account comes to; bars after it are none."""
    monkeypatch.setitem(ACTIONS, "levels", {"levels": (-3.0, 3.0)})
    history = panel(300, 1, seed=7, volatility=0.12)
    one = made(history, "levels")
    agent = by_rllib(one, history)
    agent.restore({k: 50.0 * v if k.endswith(LAST) else v for k, v in agent.state().items()})
    job = (history, Segment(40, 300))
    record = result_of(walk(one, agent, *job, 20))
    assert len(record.equity) < 200
    assert sharpes(one, agent, [job], 20) == pytest.approx([score([record])], abs=1e-9)


def same(one: BacktestResult, two: BacktestResult, *, exact: bool) -> None:
    """Equal orders; where they are chosen among levels equal money, to the bit."""
    n = len(one.equity)
    assert one.trades == two.trades
    assert (two.equity[n:] == two.equity[-1]).all()
    if exact:
        assert np.array_equal(one.equity, two.equity[:n])
    assert one.equity == pytest.approx(two.equity[:n], rel=TOLERANCE)
    assert (one.costs, one.notional) == pytest.approx((two.costs, two.notional), rel=1e-4, abs=1e-6)
    if n == len(two.equity):
        assert np.array_equal(one.time, two.time)
        assert np.array_equal(one.cash, two.cash)


def test_studies_walk_them_so(monkeypatch: pytest.MonkeyPatch) -> None:
    history = panel(300, 2, seed=7, volatility=0.03)
    one = made(history, "levels")
    agent = by_rllib(one, history)
    jobs = [(agent, *job) for job in jobs_of(history)]
    expected = [result_of(walk(one, agent, *job, 20)) for job in jobs_of(history)]
    monkeypatch.setattr(type(agent), "decide", lambda agent, view: pytest.fail("it was walked alone"))
    for two, three in zip(expected, run_all(one, jobs, 20), strict=True):
        same(two, three, exact=True)


def test_who_decides_otherwise_is_no_chooser() -> None:
    history = panel(300, 2, seed=7)
    one = made(history, "levels")
    spec = one.spec(history.columns, 3)
    for name in ("momentum", "fitted_q", "dmn"):
        module = catalog.load("agents", name)
        assert chooser(module.make(module.Config(), spec)) is None
    resting = made(history, "bracket")
    ppo = catalog.load("agents", "ppo")
    assert chooser(ppo.make(ppo.Config(), spec)) is not None
    assert chooser(ppo.make(ppo.Config(), resting.spec(history.columns, 3))) is None


def test_a_period_that_is_too_short_is_refused() -> None:
    history = panel(300, 2, seed=7)
    one = made(history, "levels")
    with pytest.raises(UserError, match="but 20 are needed before the first decision"):
        choices(one, by_rllib(one, history), [(history, Segment(0, 20))], 20)
