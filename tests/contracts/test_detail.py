"""Contracts of the catalogue where orders and liquidations are resolved on finer bars: a slice of each."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl import catalog
from qframe_rl.deploy import window_of
from qframe_rl.feeds.finer import with_made_up
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.batch import batch, lane, records
from qframe_rl.types import MINUTE, History, Segment
from tests.contracts import checks
from tests.contracts.test_envs import ENVS, FEATURES, kind, maker
from tests.contracts.test_planners import planners
from tests.markets import panel

BRACKET = {"name": "bracket", "params": {"trailing": True, "max_stop": 0.03, "max_take": 0.03}}


def detailed(n_bars: int, n: int, kind: str, volatility: float = 0.02) -> History:
    return with_made_up(panel(n_bars, n, seed=11, kind=kind, volatility=volatility), 5 * MINUTE, 3)


@pytest.mark.parametrize("name", ENVS)
@pytest.mark.parametrize("actions", ["levels", "limit", BRACKET], ids=["levels", "limit", "bracket"])
def test_environments_keep_the_contract(name: str, actions: object) -> None:
    history, make = detailed(400, 2, kind(name)), maker(name, actions=actions, detail="5m")
    for check in (checks.env_is_deterministic, checks.env_pickles, checks.env_snapshots, checks.env_is_blind):
        check(make, history)
    if actions == "levels":
        checks.env_conserves_money(make, history)


@pytest.mark.parametrize(("kind", "n"), [("spot", 1), ("perpetual", 3)])
def test_a_batch_is_what_sessions_give(kind: str, n: int) -> None:
    history = detailed(760, n, kind, volatility=0.05)
    name = "perp" if kind == "perpetual" else "spot"
    module = catalog.load("envs", name)
    config = module.Config(features=FEATURES, episode_bars=100, detail="5m")
    market = checks.fitted(module.make(config, history.instruments, history.columns, history.bar_ns), history)
    for name, agent in planners(kind, n).items():
        window = window_of(market, agent)
        lanes = [lane(agent, history, Segment(560, 760), window), lane(agent, history, Segment(500, 600), window)]
        for one, journal, result in zip(lanes, records(market, lanes), batch(market, lanes), strict=True):
            segment = Segment(one.first + 1, one.first + 1 + one.runs.length)
            record = backtest(market, agent, history, segment, window)
            assert journal.digest == record.digest, name
            assert np.array_equal(record.account.equity, result.equity[: len(record)]), name
