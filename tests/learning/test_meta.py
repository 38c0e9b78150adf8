"""What learned to learn on made markets: what it is worth there, and on real bars, none of which it has seen.

``python -m tests.learning.test_meta`` prints the figures of docs/agents.md for the weights that ship, on the markets
and windows of the leaderboard; names of its markets may follow. ``... train gamma=0.8 units=64`` trains with such
parameters of the policy instead, and prints what that is worth on made markets.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agents.meta import Config as MetaConfig
from agents.ppo import Act, Ppo
from agents.ppo import Config as PpoConfig
from envs.unknown_market import Config, conduct, full_information, make
from experiments.settings import locate_data
from qframe_rl import catalog
from qframe_rl.agent import State
from qframe_rl.checkpoint import Checkpoint, load_checkpoint
from qframe_rl.config import build
from qframe_rl.deploy import make_agent, make_market, window_of
from qframe_rl.evaluate.table import leaderboard
from qframe_rl.feeds.load import load
from qframe_rl.runner.backtest import backtest, joined
from qframe_rl.runner.solve.solve import ProblemTask
from qframe_rl.runner.study.plan import Study
from qframe_rl.runner.study.series import BoardPlan
from tests.contracts.checks import Quiet
from tests.learning.test_unknown import EPISODES, LONG, SEED

ROOT = Path(__file__).resolve().parents[2]
SHIPPED, BOARD = ROOT / "checkpoints" / "meta", ROOT / "experiments" / "presets" / "board.toml"
PRIORS = ("signs", "drifts", "regimes")
WIDE = Config(prior="wide", reward_mode="expected")


class Trained(NamedTuple):
    """A policy of ``meta``: its parameters and weights."""

    params: dict[str, Any]
    state: State

    def act(self, config: Config) -> Act:
        """It, as it acts on made markets."""
        made = Ppo(build(PpoConfig, self.params, "policy"), make(config).spec(0))
        made.restore(self.state)
        return made.policy()


def shipped() -> Trained:
    """The one that ships."""
    checkpoint = load_checkpoint(SHIPPED)
    return Trained(build(MetaConfig, checkpoint.agent["params"], "meta").policy, checkpoint.state)


def train(given: dict[str, Any]) -> Trained:
    """Another one, on made markets."""
    params = build(MetaConfig, {"policy": given}, "meta").policy
    problem = make(WIDE)
    made = Ppo(build(PpoConfig, params, "policy"), problem.spec(1))
    made.fit(ProblemTask(problem, 1), Quiet())
    return Trained(params, made.state())


def share(one: Trained, prior: Any) -> float:
    """Of what the best policy of a short list earns, on the same episodes."""
    config = Config(prior=prior, reward_mode="expected")
    ours, best = (conduct(config, act, EPISODES, SEED) for act in (one.act(config), make(config).theory().policy()))
    return float(ours.quarters.mean() / best.quarters.mean())


@pytest.mark.long
def test_what_ships_is_worth_most_of_the_optimum_of_a_list() -> None:
    one = shipped()
    assert share(one, "signs") > 0.85
    found = conduct(WIDE, one.act(WIDE), EPISODES, SEED)
    assert found.quarters.mean() > 0.7 * full_information(WIDE).episode
    assert found.costs[~found.edge].mean() < 0.1 * found.quarters[found.edge].mean()


def told(one: Trained) -> None:
    """Print what a policy is worth on made markets."""
    found = conduct(WIDE, one.act(WIDE), EPISODES, SEED)
    idle, bars = ~found.edge, found.quarters.mean(axis=1)
    print(f"of the bound {bars.mean() / full_information(WIDE).episode:.1%}; without an edge: held", end=" ")
    print(f"{found.exposure[idle].mean():.3f}, costs {found.costs[idle].mean():.4f}, earned {bars[idle].mean():+.4f}")
    print(*(f"of the best on {prior} {share(one, prior):.1%};" for prior in PRIORS), end=" ")
    quarters = conduct(WIDE.model_copy(update={"episode_steps": LONG}), one.act(WIDE), 1024, SEED).quarters
    print(f"last quarter over second {quarters[:, 3].mean() / quarters[:, 1].mean():.3f}", flush=True)


def rows(study: Study, checkpoint: Checkpoint) -> list[Any]:
    """Meta and who holds, through the windows that a study judges."""
    history = load(study.data)
    market = make_market(study.env, history.instruments, history.columns, history.bar_ns)
    folds = list(study.walk(len(history)).split(history))
    market = market.fit([(history, folds[0].train)])
    records = {}
    for name, params in (("meta", checkpoint.agent["params"]), ("buy_and_hold", {})):
        config = catalog.load("agents", name).Config(**params)
        agent: Any = make_agent(name, config, market, history.columns, 0, None)
        if name == "meta":
            agent.restore(checkpoint.state)
        window = window_of(market, agent)
        records[name] = joined([backtest(market, agent, history, fold.test[0], window) for fold in folds])
    return leaderboard(records, "test", windows=len(folds))


def main(argv: list[str]) -> int:
    """Print what is documented."""
    if argv[:1] == ["train"]:
        told(train({key: json.loads(value) for key, _, value in (text.partition("=") for text in argv[1:])}))
        return 0
    told(shipped())
    seen, checkpoint = set(), load_checkpoint(SHIPPED)
    plan = build(BoardPlan, tomllib.loads(BOARD.read_text()), BOARD.name)
    for title, study in plan.studies(tuple(argv), {}, locate_data):
        market = title.partition(",")[0]
        if market not in seen:
            seen.add(market)
            for row in rows(study, checkpoint):
                interval = f"{row['sharpe']:+.2f} ({row['sharpe_low']:+.2f} to {row['sharpe_high']:+.2f})"
                figures = (
                    f"{row['final_equity']:,.0f}, drawdown {row['max_drawdown']:.0%}, {row['turnover']:.1f} a year"
                )
                print(f"{market}: {row['agent']} {interval}, {figures}, exposure {row['exposure']:.0%}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
