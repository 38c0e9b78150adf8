"""Signals published for each of many coins are found by a network whose weights serve for all of them.

``python -m tests.learning.test_many_coins`` prints the figures of docs/agents.md: ten coins with signals, and without.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest

from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.fit import FittedAgent, fit
from qframe_rl.types import History, Record, Segment
from tests.planted import Told, published

STEPS, CUT = 100_000, 12_000
TENTHS = {"actions": {"name": "levels", "params": {"levels": [0.0, 0.1]}}}
"""A tenth of equity of each coin, or nothing."""


def growth(record: Record) -> float:
    equity = record.account.equity
    return math.log(equity[-1] / equity[0])


def turnover(record: Record) -> float:
    """Of equity, a year of hours."""
    equity = np.asarray(record.account.equity)
    return float((record.fills.traded[1:].sum(axis=-1) / equity[:-1]).sum()) / len(equity) * 8760.0


def trained(history: History, cut: int, seed: int, market: dict[str, Any], **params: Any) -> FittedAgent:
    """On the first bars, at 5 bp."""
    return fit("ppo", history.rows(0, cut), "portfolio", params, seed, **{"taker_fee_bps": 5.0, **market})


def told(done: FittedAgent, history: History, cut: int) -> float:
    """What the best rule earns that is told what the signals mean, chosen in hindsight."""
    segment, bounds = Segment(cut, len(history)), (0.0, 0.2, 0.4)
    rules = [Told(0.1, above, below) for above in bounds for below in bounds]
    return max(growth(backtest(done.market, rule, history, segment, rule.window)) for rule in rules)


@pytest.mark.long
def test_what_holds_for_each_coin_is_learned_once() -> None:
    history = published(16_000, 10, seed=7, edge=1.2e-3)
    found = {}
    for network in ("shared", "mlp"):
        done = trained(history, CUT, 1, TENTHS, total_steps=STEPS, network=network, margin=2.0)
        found[network] = growth(done.backtest(history))
    best = told(done, history, CUT)
    assert found["shared"] > 0.6 * best
    assert found["shared"] > 1.2 * found["mlp"]


def main() -> int:
    """Print what is documented."""
    history, cut = published(26_000, 10, seed=7, edge=6e-4), 20_000
    for network, steps in (("mlp", 200_000), ("shared", 200_000), ("shared", 600_000)):
        done = trained(history, cut, 1, TENTHS, total_steps=steps, network=network, margin=2.0)
        record = done.backtest(history)
        share = growth(record) / told(done, history, cut)
        print(
            f"signals, {network}, {steps:,} steps: {share:.0%} of the rule, {turnover(record):.0f} a year", flush=True
        )
    noise = published(26_000, 10, seed=11, edge=0.0)
    for seed, margin in ((1, None), *((seed, 2.0) for seed in range(1, 6))):
        record = trained(noise, cut, seed, {}, total_steps=200_000, margin=margin).backtest(noise)
        grown = math.expm1(growth(record))
        print(f"noise, seed {seed}, margin {margin}: {grown:+.0%}, {turnover(record):.0f} a year", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
