"""Strategies that trade bars in the seats of a coin's traders, by the doors: against each other and learners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import tournament, train
from qframe_rl.arena.coin import CoinConfig, CoinMarket
from qframe_rl.arena.game import make_game
from qframe_rl.arena.play import play
from qframe_rl.arena.rules import NoSeat
from qframe_rl.arena.seats import VectorSeatEnv, seats_of
from qframe_rl.arena.strategies import StrategySeat, strategy
from qframe_rl.config import UserError
from qframe_rl.runner.arena.seated import rule

SHORT = {"episode_bars": 12}
QUICK: dict[str, Any] = {"lookback_bars": 16, "volatility_bars": 32}


def test_who_learns_meets_strategies_and_they_meet_one_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--env", "portfolio_game", "--set", "env.traders=1", "--set", "env.rivals=2", "--runs", str(tmp_path)]
    asked += ["--set", "env.episode_bars=12"]
    learning = ["--roles", "trader=ppo,rival=momentum", "--steps", "120", "--markets", "2", "--n-steps", "10"]
    learning += ["--reply-steps", "40", "--episodes", "8", "--set", "agent.ppo.hidden=[8]"]
    told = train.main([*asked, *learning, "--json"])
    assert told is not None and [(row["role"], row["agent"]) for row in told["roles"]] == [
        ("trader", "ppo"), ("rival", "momentum"),
    ]  # fmt: skip
    met = ["--role", "trader", "--roles", "rival=buy_and_hold", "--episodes", "4", "--checkpoints"]
    rated = tournament.main([*asked, *met, f"{told['run']}/agents/trader", "--json"])
    assert rated is not None
    names = {one["agent"] for one in rated["ratings"]}
    assert {"noise", "flat", "buy_and_hold", "momentum", "mean_reversion", f"{told['run']}/agents/trader"} <= names
    assert not names & {"ppo", "pairs", "glft", "idle", "cross_sectional"}
    with pytest.raises(
        UserError, match=r"trader=momentum: momentum looks back|momentum looks back on 169 bars.*set warm"
    ):
        train.main([*asked, "--set", "env.warmup_bars=100", "--roles", "trader=ppo,rival=momentum"])


def test_a_seat_acts_as_the_strategy_of_its_agent() -> None:
    """In any number of markets, several agents of a role each by its own, and in a batch of another role's seats."""
    game = CoinMarket(CoinConfig(traders=2, rivals=1, **SHORT), 3)  # type: ignore[arg-type]
    seat, everyone = StrategySeat(game, "momentum", QUICK, 5), np.ones(3, np.bool_)
    game.seed_with(1)
    game.reset(everyone)
    acts = [strategy(game, k, "momentum", QUICK, 5) for k in (0, 1)]
    seen = game.observe()
    rows = seat.sit(game, np.array([0, 1]))(seen[:, :2].reshape(6, -1))
    np.testing.assert_array_equal(rows.reshape(3, 2, 1), np.stack([act(seen[:, k]) for k, act in enumerate(acts)], 1))
    with pytest.raises(RuntimeError, match="it acts there by sit"):
        seat(seen[:, 0])
    paid = play(game, {"trader": seat, "rival": seat}, 3)
    other = CoinMarket(game.config, 3)
    envs = VectorSeatEnv(other, "rival", {"trader": seat})
    _, total, over = envs.reset(seed=3), np.zeros(3), np.zeros(3, np.bool_)
    mine = StrategySeat(other, "momentum", QUICK, 5).sit(other, seats_of(other, "rival"))
    while not over.any():
        _, rewards, over, _, _ = envs.step(mine(other.observe()[:, 2]).astype(np.float32))
        total += rewards
    np.testing.assert_allclose(total, paid[:, 2], atol=1e-6)


def test_what_cannot_sit_is_said() -> None:
    game = make_game("portfolio_game", 1)
    for name, why in (
        ("pairs", "trader=pairs: pairs cannot trade this one coin"),
        ("eiie", "trader=eiie: eiie must be trained first"),
        ("twap", "trader=twap: twap quotes in order books"),
    ):  # fmt: skip
        with pytest.raises(NoSeat, match=why):
            rule(game, "trader", name, {})
    with pytest.raises(UserError, match="agent momentum: unknown key 'lookback'"):
        rule(game, "trader", "momentum", {"lookback": 3})
