"""Learning in an order book whose optimum is known: planted order flow, served as ticks like any other."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl import catalog
from qframe_rl.runner.books.packing import made_agent
from qframe_rl.runner.books.replay import as_quoter, replay, stretches
from qframe_rl.runner.books.task import BookTask
from qframe_rl.theory.grid_quoting import grid_quotes
from tests.book.planted import TERMS, GridQuoter, book, span

SETTINGS = {
    "total_steps": 500_000, "n_epochs": 8, "ent_coef": 0.1, "ent_coef_end": 0.0, "n_envs": 256, "n_steps": 64,
    "patience": 0,
}  # fmt: skip
LEAST = 0.9
"""Share of the optimum that a short training reaches; `main` trains four times as long."""


class Silent:
    """A log that nobody reads."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Nothing."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Nothing."""


def reached(seed: int, times: int = 1, test_s: int = 600) -> tuple[float, float]:
    """Share of the optimum that `ppo` earns on ticks that it was not trained on, and its standard error."""
    train, stopping, test = span(10 * seed + 1, 3600), span(10 * seed + 2, 600), span(10 * seed + 3, test_s)
    market = book(train)
    agent = made_agent(
        "ppo",
        catalog.load("agents", "ppo").Config(**{**SETTINGS, "total_steps": times * SETTINGS["total_steps"]}),
        market,
        seed,
    )
    agent.fit(BookTask(market, [train], [stopping], seed), Silent())
    walked = stretches(market, [test])
    best = replay(market, GridQuoter(grid_quotes(TERMS), TERMS), walked)[0].rewards[:-1]
    learned = replay(market, as_quoter(agent, market.interface), walked)[0].rewards[:-1]
    blocks = (learned - best)[: len(best) // 100 * 100].reshape(-1, 100).mean(axis=1)
    return float(learned.mean() / best.mean()), float(blocks.std(ddof=1) / len(blocks) ** 0.5 / best.mean())


@pytest.mark.long
def test_ppo_learns_to_quote_where_the_optimum_is_known() -> None:
    share, _ = reached(0)
    assert share >= LEAST


def main() -> None:
    """Five seeds, and what they reach."""
    shares = []
    for seed in range(5):
        share, error = reached(seed, 4, 3600)
        shares.append(share)
        print(f"seed {seed}: {share:.3f} of the optimum, standard error {error:.3f}", flush=True)
    print(f"mean {np.mean(shares):.3f}")


if __name__ == "__main__":
    main()
