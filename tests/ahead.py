"""Compile what tests wait for: ``python -m tests.ahead``, on one core while another one installs or checks.

A step of each environment of the catalogue, and of each way through the kernel: in sessions and side by side, one order
or several an instrument, limits, finer bars; and the strategies that compile most by themselves. What it leaves out is
compiled by the first test that needs it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium

import qframe_rl  # noqa: F401  makes the environments known
from qframe_rl import catalog
from qframe_rl.deploy import window_of
from qframe_rl.feeds.finer import with_made_up
from qframe_rl.gym.market import whole
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.batch import batch, lane, records
from qframe_rl.types import MINUTE, History, Segment
from tests.contracts import checks
from tests.contracts.test_agents import AGENTS, cases, make
from tests.markets import panel
from tests.test_finer import after, exits, of

SCHEMES = ("levels", "limit", "bracket")
STRATEGIES = ("ppo", "alpha", "adaptive_mean_reversion", "mean_reversion", "dmn")
RISK = {"max_leverage": 0.9, "cooldown_bars": 3}


def main() -> None:
    """Take the steps; the machine code stays on disk for all processes."""
    history = panel(400, 2, kind="perpetual")
    finer = with_made_up(history, 5 * MINUTE, 3)
    for risk in ({}, RISK):
        for scheme in SCHEMES:
            _step("QFrame/Perp-v1", history=history, actions=scheme, risk=risk)
            if not risk:
                _step("QFrame/Perp-v1", history=finer, actions=scheme, detail="5m")
        walk(history, risk)
    walk(finer, {}, detail="5m")
    for detail in (False, True):
        after(5.0, exits(97.0, 104.0), of((100, 103, 99, 102), (102, 106, 101, 105)), detail=detail)
    for name in sorted(one for one in gymnasium.registry if one.startswith("QFrame/")):
        _step(name)
    for name in filter(AGENTS.__contains__, STRATEGIES):
        panels = cases(name)[-1]
        checks.trade(*make(name, panels), panels)


def _step(name: str, **given: Any) -> None:
    """One environment and a batch of two."""
    for envs in (gymnasium.make(name, **given), gymnasium.make_vec(name, num_envs=2, **given)):
        envs.reset(seed=0)
        envs.action_space.seed(0)
        envs.step(envs.action_space.sample())
        envs.close()


def walk(history: History, risk: dict[str, Any], **given: Any) -> None:
    """A strategy, bar by bar and among others."""
    module = catalog.load("envs", "perp")
    market = module.make(module.Config(**given), history.instruments, history.columns, history.bar_ns)
    market = replace(market.fit([(history, whole(history))]), limits=Limits(**risk))
    rule = catalog.load("agents", "momentum")
    agent, segment = rule.make(rule.Config(), market.spec(history.columns, 3)), Segment(200, 300)
    window = window_of(market, agent)
    backtest(market, agent, history, segment, window)
    lanes = [lane(agent, history, segment, window)]
    batch(market, lanes)
    records(market, lanes)


if __name__ == "__main__":
    main()
