"""Steps of agents a second by CPU time, on a machine that has other work: `python -m tests.arena.speed`."""

from __future__ import annotations

import time

import numpy as np

from qframe_rl.arena.crowd import Crowd, CrowdConfig

N_STEPS = 190


def speed(n_markets: int) -> float:
    """The best of five episodes of agents that act at random and look at what they see."""
    crowd, everyone = Crowd(CrowdConfig(), n_markets), np.ones(n_markets, np.bool_)
    plan = np.random.default_rng(0).uniform(-1.0, 1.0, (16, n_markets, crowd.n_agents, 4))
    crowd.seed_with(0)
    took = []
    for _ in range(5):
        crowd.reset(everyone)
        start = time.process_time()
        for k in range(N_STEPS):
            crowd.step(plan[k % len(plan)], everyone)
            crowd.observe()
        took.append(time.process_time() - start)
    return N_STEPS * n_markets * crowd.n_agents / min(took)


if __name__ == "__main__":
    for n in (1, 64, 256, 1024):
        print(f"{n:5} markets: {speed(n) / 1e6:.2f} M agent steps/s")
