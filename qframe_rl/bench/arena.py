"""Markets made by their traders: how fast a batch of them moves, and one through the doors of PettingZoo."""

from __future__ import annotations

import numpy as np

from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.bench.measure import BenchmarkRow, Work, rates
from qframe_rl.bench.peers import Peers
from qframe_rl.runner.log import Screen

_BATCHES = (1, 64, 256, 1024)


def arena(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Steps of agents a second, four in a market with 20 messages of its population a step; one thread."""
    steps = 20 if small else 200
    batches = _BATCHES[:2] if small else _BATCHES
    work = {f"batch_{n}": _stepped(n, steps * max(1, 256 // n)) for n in batches}
    work |= {"parallel": _at_once(10 * steps), "aec": _in_turn(10 * steps)}
    found = rates(work, repeats, screen, "arena")
    size = sum(field.nbytes for field in Crowd(CrowdConfig(), 64).snapshot().values()) / 64
    return [
        *(BenchmarkRow("arena.batch", n, found[f"batch_{n}"], "agent steps/s", "", None) for n in batches),
        BenchmarkRow("arena.parallel", 1, found["parallel"], "env steps/s", "", None),
        BenchmarkRow("arena.aec", 1, found["aec"], "turns/s", "", None),
        BenchmarkRow("arena.memory", 1, size, "bytes a market", "", None),
    ]


def _stepped(n: int, steps: int) -> Work:
    """Agents that act at random, with the observations that they are handed."""
    crowd, everyone = Crowd(CrowdConfig(), n), np.ones(n, np.bool_)
    crowd.seed_with(0)
    plan = np.random.default_rng(0).uniform(-1.0, 1.0, (16, n, crowd.n_agents, 4))

    def do() -> float:
        crowd.reset(everyone)
        for k in range(steps):
            _, over = crowd.step(plan[k % len(plan)], everyone)
            if over.any():
                crowd.reset(over)
            crowd.observe()
        return float(n * crowd.n_agents * steps)

    return do


def _at_once(steps: int) -> Work:
    from qframe_rl.arena.parallel import ParallelGame

    env = ParallelGame("crowd", Crowd(CrowdConfig(), 1))
    plan = {name: env.action_space(name).sample() for name in env.possible_agents}

    def do() -> float:
        env.reset(seed=0)
        for _ in range(steps):
            env.step(plan)
            if not env.agents:
                env.reset()
        return float(steps)

    return do


def _in_turn(steps: int) -> Work:
    from pettingzoo.utils.conversions import parallel_to_aec

    from qframe_rl.arena.parallel import ParallelGame

    env = parallel_to_aec(ParallelGame("crowd", Crowd(CrowdConfig(), 1)))
    plan = {name: env.action_space(name).sample() for name in env.possible_agents}

    def do() -> float:
        turns, seed = 0, 0
        while turns < steps:
            env.reset(seed=seed)
            for name in env.agent_iter():
                *_, over, _ = env.last()
                env.step(None if over else plan[name])
                turns += 1
            seed += 1
        return float(turns)

    return do
