"""Signals published for each of many coins are found by a network whose weights serve for all of them."""

from __future__ import annotations

import math

import pytest

from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.fit import fit
from qframe_rl.types import Record, Segment
from tests.planted import Told, published

STEPS, CUT = 100_000, 12_000


def growth(record: Record) -> float:
    equity = record.account.equity
    return math.log(equity[-1] / equity[0])


@pytest.mark.long
def test_what_holds_for_each_coin_is_learned_once() -> None:
    history = published(16_000, 10, seed=7, edge=1.2e-3)
    market = {"actions": {"name": "levels", "params": {"levels": [0.0, 0.1]}}, "taker_fee_bps": 5.0}
    found = {}
    for network in ("shared", "mlp"):
        params = {"total_steps": STEPS, "network": network, "margin": 2.0}
        done = fit("ppo", history.rows(0, CUT), "portfolio", params, seed=1, **market)
        found[network] = growth(done.backtest(history))
    told = [
        growth(backtest(done.market, Told(0.1, above, below), history, Segment(CUT, len(history)), 200))
        for above in (0.0, 0.2, 0.4)
        for below in (0.0, 0.2, 0.4)
    ]
    print(found, max(told))
    assert found["shared"] > 0.6 * max(told)
    assert found["shared"] > 1.2 * found["mlp"]
