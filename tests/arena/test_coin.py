"""A coin that its traders push: impact by formula, no profit by oneself, fills by the kernel, strategies in seats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qframe_rl.arena.coin import FIRST, FUNDAMENTAL, CoinConfig, CoinMarket
from qframe_rl.arena.strategies import strategy
from qframe_rl.config import UserError, build
from qframe_rl.kernel.columns import CASH, EQUITY, POSITION, QUANTITY
from qframe_rl.kernel.settle import settle
from qframe_rl.types import CLOSE, OPEN, VOLUME, Account, Bar, Float, Orders

FREE = {"taker_fee": 0.0, "half_spread_bps": 0.0, "warmup_bars": 65}
FLAT = {"volatility": 0.0, **FREE}


def begun(n: int, seed: int = 0, **given: Any) -> CoinMarket:
    game = CoinMarket(CoinConfig(**given), n)
    game.seed_with(seed)
    game.reset(np.ones(n, np.bool_))
    return game


def played(game: CoinMarket, plan: Float) -> Float:
    """(T, B, N) rewards of (T, B, N) actions."""
    everyone = np.ones(game.n_markets, np.bool_)
    return np.array([game.step(actions[..., None], everyone)[0] for actions in plan])


@pytest.mark.parametrize(("permanent", "transient", "decay"), [(5.0, 0.0, 0.0), (0.0, 100.0, 0.9), (20.0, 60.0, 0.5)])
def test_no_round_trip_profits_by_itself(permanent: float, transient: float, decay: float) -> None:
    """Whatever one does alone at a flat fundamental, once it is closed it has cost something; so have all together."""
    impact = {"permanent_bps": permanent, "transient_bps": transient, "decay": decay}
    rng = np.random.default_rng(0)
    for traders in (1, 3):
        game = begun(256, traders=traders, episode_bars=12, **impact, **FLAT)
        plan = rng.uniform(-1.0, 1.0, (12, 256, traders)) * rng.choice([0.0, 1.0], (12, 256, 1), p=[0.3, 0.7])
        plan[:, 0] = np.linspace(0.1, 1.0, 12)[:, None]  # one who buys little by little
        gained = played(game, plan).sum(axis=(0, 2))
        assert (np.abs(game.holding[..., POSITION]) < 1e-9).all(), "closed in the last bar"
        assert (gained <= 1e-12).all() and gained.min() < -1e-5
    one = begun(1, traders=2, episode_bars=12, **impact, **FLAT)
    idle = np.zeros((12, 1, 2))
    idle[:, :, 0] = rng.uniform(-1.0, 1.0, (12, 1))
    assert not played(one, idle)[..., 1].any()


def test_paper_gains_are_there_and_are_taken_back() -> None:
    """Buying little by little lifts one's own mark, which is why episodes end closed."""
    game = begun(1, traders=1, episode_bars=20, permanent_bps=100.0, transient_bps=0.0, **FLAT)
    rewards = played(game, np.linspace(0.1, 1.0, 20)[:, None, None])[:, 0, 0]
    assert rewards[:-1].sum() > 1e-4 and rewards.sum() < -1e-5


def test_the_price_is_what_its_formula_says() -> None:
    game = begun(3, seed=5, traders=2, episode_bars=6, permanent_bps=20.0, transient_bps=50.0, decay=0.6, **FREE)
    rng, unit = np.random.default_rng(1), game.config.unit
    held, left, everyone = np.zeros(3), np.zeros(3), np.ones(3, np.bool_)
    for t in range(6):
        fundamental, before = game.market[:, FUNDAMENTAL].copy(), game.holding[:, :, 0, POSITION].copy()
        game.step(rng.uniform(-1.0, 1.0, (3, 2, 1)), everyone)
        net = (game.holding[:, :, 0, POSITION] - before).sum(axis=1)
        held, left = held + net, left + 0.5 * net / unit
        bar = game.bars[:, 65 + t]
        np.testing.assert_allclose(bar[:, OPEN], fundamental + 0.2 * held / unit + left, rtol=1e-12)
        left = 0.6 * left
        np.testing.assert_allclose(bar[:, CLOSE], game.market[:, FUNDAMENTAL] + 0.2 * held / unit + left, rtol=1e-12)


def test_fills_and_accounts_are_the_kernels_to_the_bit() -> None:
    game = begun(4, seed=9, traders=3, episode_bars=15)
    rng, rules, everyone = np.random.default_rng(2), game.kernel, np.ones(4, np.bool_)
    mark = game.holding[:, :, 0, 1].copy()
    accounts = Account(np.full((4, 3), 10_000.0), np.zeros((4, 3, 1)), mark[..., None])
    for t in range(15):
        game.step(rng.uniform(-1.0, 1.0, (4, 3, 1)), everyone)
        row = game.bars[:, game.config.warmup_bars + t]
        values = np.broadcast_to(row[:, None, None, : VOLUME + 1], (4, 3, 1, 5))
        bar = Bar(0, values, np.zeros((4, 3, 1)), np.zeros((4, 3, 1), np.bool_))
        accounts, fills = settle(accounts, Orders.market(game._orders[..., QUANTITY]), bar, rules)
        assert fills.quantity.tolist() == game._orders[..., QUANTITY].tolist(), "whole, since nothing binds"
        assert accounts.cash.tolist() == game.money[..., CASH].tolist()
        assert accounts.position.tolist() == game.holding[..., POSITION].tolist()
        assert accounts.equity.tolist() == game.money[..., EQUITY].tolist()


@pytest.mark.parametrize("path", ["walk", "trending", "reverting"])
def test_paths_are_as_wild_as_asked(path: str) -> None:
    game = begun(64, path=path, volatility=0.02, persistence=0.8, predictable=0.5, warmup_bars=400)
    moves = np.diff(np.log(game.bars[:, :400, CLOSE]), axis=1)
    centred = moves - moves.mean()
    related = (centred[:, 1:] * centred[:, :-1]).mean() / (centred**2).mean()
    # Of a drift with persistence .8 and half of the variance .4; of a distance that shrinks by a fifth -(1 - .8) / 2.
    assert related == pytest.approx({"walk": 0.0, "trending": 0.4, "reverting": -0.1}[path], abs=0.03)
    expected = 0.02 * {"walk": 1.0, "trending": 1.0, "reverting": np.sqrt(2.0 / 1.8)}[path]
    assert moves.std() == pytest.approx(expected, rel=0.03)
    assert (game.bars[:, 0, OPEN] == FIRST).all()


def test_strategies_of_the_catalogue_sit_beside_policies() -> None:
    """Who follows the trend earns on trends, and less among more of his kind; what he sees are bars alone."""
    quick = {"lookback_bars": 16, "volatility_bars": 32}
    alone = _followed(1, quick)
    crowded = _followed(6, quick)
    assert alone.mean() > 3.0 * alone.std() / np.sqrt(len(alone))
    assert crowded.mean() < 0.7 * alone.mean()


def _followed(n: int, params: dict[str, Any]) -> Float:
    """(B x n,) what each of n followers gains."""
    path = {"path": "trending", "predictable": 0.4, "persistence": 0.97, "episode_bars": 60, "warmup_bars": 128}
    game = CoinMarket(CoinConfig(traders=n, permanent_bps=0.0, transient_bps=40.0, **path), 24)
    sat, everyone = [strategy(game, k, "momentum", params) for k in range(n)], np.ones(24, np.bool_)
    game.seed_with(3)
    game.reset(everyone)
    total = np.zeros((24, n))
    for _ in range(60):
        seen = game.observe()
        total += game.step(np.stack([act(seen[:, k]) for k, act in enumerate(sat)], axis=1), everyone)[0]
    return total.ravel()


def test_what_cannot_sit_is_said() -> None:
    game = CoinMarket(CoinConfig(), 1)
    for name, params, message in (
        ("glft", {}, "trades no bars"), ("ppo", {}, "must be trained first"),
        ("momentum", {"lookback_bars": 500}, "set warmup_bars"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            strategy(game, 0, name, params)
    with pytest.raises(UserError, match="together the traders could move the price by"):
        build(CoinConfig, {"traders": 64, "transient_bps": 100.0}, "env portfolio_game")
