"""Size and power of the selection: how often luck is promoted, and how often skill.

``python -m tests.learning.test_selection 200`` prints the figures of docs/evaluation.md. That edits of a file are
trials is held in tests/runner/test_ledger.py.
"""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest

from qframe_rl import catalog
from qframe_rl.agent import Agent, Task
from qframe_rl.config import Ref
from qframe_rl.deploy import make_market
from qframe_rl.evaluate.metrics import returns, sharpe
from qframe_rl.evaluate.splits import split
from qframe_rl.evaluate.trials import Trial, luck, trial
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.market import Market
from qframe_rl.interface import rebalance
from qframe_rl.runner.choose import choose, validation_rows
from qframe_rl.runner.study.walks import run_all
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import DAY, HOUR, Float, History, Int, Record, Segment
from tests.contracts.checks import Quiet
from tests.evaluate.made import cash_record

YEARS = 4
BARS = YEARS * 8760
WINDOW = 60
FREE = {
    "taker_fee_bps": 0.0,
    "maker_fee_bps": 0.0,
    "half_spread_bps": 0.0,
    "impact": 0.0,
    "features": ("log_return:1",),
}
HIDDEN, HIDDEN_BARS = 60, 3000
"""Tries of an agent that shows one of them, and bars of each of its markets."""
_MIX = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], dtype=np.uint64)
"""Of SplitMix64 (Steele et al., 2014): the coins of two numbers have nothing in common."""
PLANTED = 2.0
"""Annual Sharpe ratio of the planted edge."""


class Follower:
    """Holds one share of equity on the side of a published signal."""

    window, band = 1, 0.05

    def decide(self, view: Any) -> Any:
        return rebalance(view, self.targets(view.bars, view.times, len(view.bars) - 1)[-1], self.band)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        return np.sign(bars[first:, :, 5])


class Coin:
    """Goes long or short by the toss of a coin that the bar's time and a number decide; holds for a day."""

    window, band = 1, 0.05

    def __init__(self, number: int):
        self.number = number

    def decide(self, view: Any) -> Any:
        return rebalance(view, self.targets(view.bars, view.times, len(view.bars) - 1)[-1], self.band)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        mixed = (times[first:] // DAY).astype(np.uint64) * _MIX[0] + np.uint64(self.number * int(_MIX[1]) % (1 << 64))
        for shift, factor in zip((30, 27), _MIX[1:], strict=True):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * factor
        side = np.where((mixed >> np.uint64(40)) % np.uint64(2) == 0, 1.0, -1.0)
        return np.repeat(side[:, None], bars.shape[1], axis=1)


class Hiding(Coin):
    """Tries many coins while it learns and shows the best of them: what used to be promoted as one try."""

    def __init__(self) -> None:
        super().__init__(0)

    def fit(self, task: Task, log: Any) -> None:
        scores = {}
        for self.number in range(HIDDEN):
            scores[self.number] = task.validate(self)
        self.number = max(scores, key=lambda number: scores[number])


class Tried(NamedTuple):
    promoted: str
    """Name of what was promoted; flat where nothing was."""
    ratio: float
    """Annual Sharpe ratio of the agent under test."""


def record_of(market: Market, agent: Agent, history: History, segment: Segment | None = None) -> Record:
    """Its equity, settled by the kernel, as a record: whole journals of four years would take longer than all else."""
    (result,) = run_all(market, [(agent, history, segment or Segment(WINDOW, len(history)))], WINDOW)
    return cash_record(result.equity, HOUR)


def selected(history: History, market: Market, agents: dict[str, Agent], segment: Segment | None = None) -> Tried:
    """What the runner would deploy: every agent a trial in a ledger of its own, flat and holding always among them."""
    for name in ("buy_and_hold", "flat"):
        module = catalog.load("agents", name)
        agents[name] = module.make(module.Config(), market.spec(history.columns, 0))
    records = {name: [record_of(market, agent, history, segment)] for name, agent in agents.items()}
    ledger: list[Trial] = [
        trial(runs[0], history, kind="train", run="r", agent=name, params=name, config=name, seed=0, fold=0)
        for name, runs in records.items()
        if name != "flat"
    ]
    chance = luck(ledger)
    rows = validation_rows(records, 0.9, 200, 0, chance)
    first = next(iter(records))
    ratio = sharpe(returns(records[first][0].account.equity), 8760.0)
    return Tried(choose(rows, records, chance).agent, ratio)


def noise(seed: int) -> Tried:
    """An agent that trades by chance, on driftless GBM, without costs: with costs even fewer would pass."""
    history = synthetic("gbm", BARS, seed=seed, drift=-0.5 * 0.8**2)
    market = make_market(Ref(name="perp", params=FREE), history.instruments, history.columns, history.bar_ns)
    module = catalog.load("agents", "random")
    return selected(history, market, {"random": module.make(module.Config(), market.spec((), seed))})


def skill(seed: int) -> Tried:
    """A signal whose follower has an annual Sharpe ratio of `PLANTED`: 0.8 edge / noise per bar, times sqrt(8760)."""
    edge = PLANTED * 60.0 / (math.sqrt(2.0 / math.pi) * math.sqrt(8760.0))
    history = synthetic(f"ar1,phi=0.99,edge_bps={edge:.6f},noise_bps=60", BARS, seed=seed)
    market = make_market(Ref(name="perp", params=FREE), history.instruments, history.columns, history.bar_ns)
    return selected(history, market, {"follower": Follower()})


def crowd(n_agents: int, seed: int) -> Tried:
    """Many noise agents on one data set: all of them are trials."""
    history = synthetic("gbm", BARS, seed=seed, drift=-0.5 * 0.8**2)
    market = make_market(Ref(name="perp", params=FREE), history.instruments, history.columns, history.bar_ns)
    module = catalog.load("agents", "random")
    agents = {f"random {k}": module.make(module.Config(), market.spec((), k)) for k in range(n_agents)}
    return selected(history, market, dict(agents))


def hiding(seed: int) -> Tried:
    """An agent that hides its tries, learning, stopping and judged as a run has it."""
    history = synthetic("gbm", HIDDEN_BARS, seed=seed, drift=-0.5 * 0.8**2)
    market = make_market(Ref(name="perp", params=FREE), history.instruments, history.columns, history.bar_ns)
    (fold,) = split("holdout").split(history)
    agent = Hiding()
    agent.fit(MarketTask(market, history, fold, 0), Quiet())
    return selected(history, market, {"hiding": agent}, fold.validation[0])


def share(tried: list[Tried]) -> float:
    return float(np.mean([one.promoted != "flat" for one in tried]))


@pytest.mark.long
def test_at_most_seven_in_a_hundred_noise_agents_are_promoted() -> None:
    found = [noise(seed) for seed in range(30)]
    assert share(found) <= 0.07
    assert abs(np.mean([one.ratio for one in found])) < 3.0 * math.sqrt(1.0 / YEARS / len(found))


@pytest.mark.long
def test_at_least_nine_in_ten_with_an_edge_are_promoted() -> None:
    found = [skill(1000 + seed) for seed in range(30)]
    assert np.mean([one.ratio for one in found]) == pytest.approx(PLANTED, abs=0.25)
    assert np.mean([one.promoted == "follower" for one in found]) >= 0.9


@pytest.mark.long
def test_tries_that_an_agent_hides_do_not_promote_it() -> None:
    found = [hiding(seed) for seed in range(20)]
    assert sum(one.promoted == "hiding" for one in found) <= 2
    ratios = np.array([one.ratio for one in found])
    assert abs(ratios.mean()) < 3.0 * ratios.std(ddof=1) / math.sqrt(len(ratios))


@pytest.mark.long
def test_of_a_crowd_of_noise_agents_none_is_promoted() -> None:
    assert crowd(40, 7).promoted == "flat"


if __name__ == "__main__":
    n = int(sys.argv[1])
    none = [noise(seed) for seed in range(n)]
    print(f"noise: {share(none):.1%} of {n} promoted, mean Sharpe {np.mean([t.ratio for t in none]):+.3f}", flush=True)
    some = [skill(1000 + seed) for seed in range(n)]
    own = np.mean([t.promoted == "follower" for t in some])
    print(f"edge:  {own:.1%} of {n} promoted, mean Sharpe {np.mean([t.ratio for t in some]):+.3f}", flush=True)
    hidden = [hiding(seed) for seed in range(40)]
    ratios, count = np.array([one.ratio for one in hidden]), sum(one.promoted == "hiding" for one in hidden)
    error = ratios.std(ddof=1) / math.sqrt(len(ratios))
    print(f"{HIDDEN} hidden tries on noise: {count} of 40 promoted, judged Sharpe {ratios.mean():+.2f} ± {error:.2f}")
    best = [crowd(200, seed) for seed in range(3)]
    print(f"crowds of 200 noise agents on one data set: {share(best):.0%} of 3 promoted anything")
