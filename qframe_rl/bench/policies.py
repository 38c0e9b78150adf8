"""Policies on markets: decisions of many accounts side by side, and of one account by itself."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from qframe_rl import catalog
from qframe_rl.agent import Chooser
from qframe_rl.bench.measure import BenchmarkRow, Work, rates, rows
from qframe_rl.bench.peers import Peers
from qframe_rl.bench.worlds import WorldTask, bars, world
from qframe_rl.gym.market import Market
from qframe_rl.runner.log import Screen
from qframe_rl.runner.policies import AT_ONCE, choices
from qframe_rl.runner.study.walks import walk
from qframe_rl.types import History, Segment

AGENTS = ("ppo", "sb3", "iql", "rllib")
_HIDDEN = (64, 64)
_WINDOW = 144
"""Bars before the first decision: as many as the features of a window of `ROWS` look back."""
_ALONE = 400
"""Decisions of the account that is by itself."""


class _Unheard:
    """A log that nobody reads."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Nothing."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Nothing."""


def policy(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Decisions a second of networks of 64 x 64 that see windows of 32 x 8, one row an agent."""
    length = 40 if small else 400
    market, tape = world(_WINDOW + AT_ONCE + length)
    history, task = bars(len(tape.time)), WorldTask(market, tape, (), 3)
    work: dict[str, Work] = {}
    for name in AGENTS:
        agent = _made(name, market, task)
        work[name] = _together(market, agent, history, length)
        work[f"{name} by itself"] = _by_itself(market, agent, history, length)
    found = rates(work, repeats, screen, "policy")
    return [
        row
        for name in AGENTS
        for row in rows("policy.batch", AT_ONCE, found[name], "decisions/s", {f"{name} by itself": 1.0}, found)
    ]


def exported(market: Market, columns: tuple[str, ...], hidden: tuple[int, ...]) -> Any:
    """The agent ``rllib`` with random numbers in the place of what RLlib exports: Ray need not be there."""
    from qframe_rl.rllib.act import n_outputs
    from qframe_rl.rllib.names import POLICY

    module, rng = catalog.load("agents", "rllib"), np.random.default_rng(4)
    agent = module.make(module.Config(hidden=hidden), market.spec(columns, 3))
    sizes = (market.interface.observer.n_numbers, *hidden, n_outputs("ppo", market.interface.action_space))
    names = [f"encoder.actor_encoder.net.mlp.{2 * k}" for k in range(len(hidden))] + ["pi.net.mlp.0"]
    state = {}
    for name, (n, m) in zip(names, pairwise(sizes), strict=True):
        state[f"{POLICY}.{name}.weight"] = (rng.normal(size=(m, n)) / np.sqrt(n)).astype(np.float32)
        state[f"{POLICY}.{name}.bias"] = np.zeros(m, dtype=np.float32)
    agent.restore(state)
    return agent


def _made(name: str, market: Market, task: WorldTask) -> Any:
    """An agent that has learned next to nothing."""
    if name == "rllib":
        return exported(market, (), _HIDDEN)
    module, log = catalog.load("agents", name), _Unheard()
    agent = module.make(module.Config(**(module.QUICK | {"hidden": _HIDDEN})), task.spec)
    agent.fit(task, log)
    return agent


def _together(market: Market, agent: Chooser, history: History, length: int) -> Work:
    jobs = [(history, Segment(_WINDOW + k, _WINDOW + k + length)) for k in range(AT_ONCE)]

    def do() -> float:
        choices(market, agent, jobs, _WINDOW)
        return float(AT_ONCE * length)

    return do


def _by_itself(market: Market, agent: Chooser, history: History, length: int) -> Work:
    n = min(_ALONE, length)

    def do() -> float:
        walk(market, agent, history, Segment(_WINDOW, _WINDOW + n), _WINDOW)
        return float(n)

    return do
