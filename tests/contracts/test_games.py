"""Every market of many agents of the catalogue keeps the contract, through each of its doors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test

from qframe_rl import catalog
from qframe_rl.arena import aec_env, parallel_env
from qframe_rl.arena.game import Game, GameConfig, make_game
from qframe_rl.config import Ref, UserError
from qframe_rl.deploy import make_market
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.make import make_env, make_problem, make_vec
from qframe_rl.types import HOUR, Float

GAMES = catalog.games()
every_game = pytest.mark.parametrize("name", GAMES)


def some_actions(game: Game, rng: np.random.Generator) -> Float:
    """(B, N, K) from the middle of their spaces, so that markets of all kinds live on."""
    chosen = rng.uniform(-0.9, 0.9, (game.n_markets, *game.mask.shape))
    for i in np.flatnonzero(game.choices):
        chosen[:, i, 0] = rng.integers(0, game.choices[i], game.n_markets)
    return chosen


def test_the_catalogue_knows_them_by_their_text_and_by_their_kind() -> None:
    assert set(GAMES) == {
        name for name in catalog.names("envs") if issubclass(catalog.load("envs", name).Config, GameConfig)
    }
    assert not set(GAMES) & {*catalog.bar_markets(), *catalog.problems(), *catalog.order_books()}
    with pytest.raises(UserError, match=r"no market of many agents"):
        make_game("spot")
    with pytest.raises(UserError, match=r"is no market of many agents"):
        make_game("qframe_rl.baselines.flat")


@every_game
def test_pettingzoos_tests_pass(name: str) -> None:
    parallel_api_test(parallel_env(name), 60)
    api_test(aec_env(name), 20)
    parallel_seed_test(lambda: parallel_env(name), 40)
    seed_test(lambda: aec_env(name), 30)


@every_game
def test_it_is_what_the_protocol_says(name: str) -> None:
    game = make_game(name, 3)
    n, k = game.mask.shape
    assert (game.n_markets, game.n_agents, len(game.names), len(set(game.names))) == (3, n, n, n)
    assert [one.rsplit("_", 1)[0] for one in game.names] == [game.role_names[role] for role in game.roles]
    assert game.acting.shape == (3, n) and game.choices.shape == game.roles.shape == (n,)
    for i in range(n):
        space, counted = game.action_space(i), int(game.mask[i].sum())
        assert game.mask[i, :counted].all() and 1 <= counted <= k
        if isinstance(space, spaces.Discrete):
            assert (counted, game.choices[i]) == (1, space.n)
        else:
            assert space.shape == (counted,) and (space.low == -1.0).all() and (space.high == 1.0).all()


@every_game
def test_a_market_alone_is_what_it_is_among_others(name: str) -> None:
    many, alone, rng = make_game(name, 5), make_game(name), np.random.default_rng(0)
    many.seed_with(40)
    alone.seed_with(43)
    many.reset(np.ones(5, np.bool_))
    alone.reset(np.ones(1, np.bool_))
    kept: list[tuple[NDArray[Any], NDArray[Any]]] = []
    ends = 0
    for _ in range(260):
        seen, mine = many.observe(), alone.observe()
        kept.append((seen, seen.copy()))
        assert seen.dtype == np.float32
        assert all(many.observation_space.contains(row) for row in seen[3])
        np.testing.assert_array_equal(seen[3], mine[0])
        np.testing.assert_array_equal(many.acting[3], alone.acting[0])
        chosen = some_actions(many, rng)
        (rewards, over), (paid, ended) = many.step(chosen, np.ones(5, np.bool_)), alone.step(chosen[3:4], ended_not())
        assert np.isfinite(rewards).all()
        np.testing.assert_array_equal(rewards[3], paid[0])
        assert over[3] == ended[0]
        ends += int(over[3])
        many.reset(over)
        alone.reset(ended)
    assert ends >= 1
    assert all(np.array_equal(one, two) for one, two in kept)


def ended_not() -> NDArray[np.bool_]:
    return np.ones(1, np.bool_)


@every_game
def test_a_snapshot_goes_back_to_the_same_bits(name: str) -> None:
    game, rng = make_game(name, 3), np.random.default_rng(1)
    everyone = np.ones(3, np.bool_)
    game.seed_with(5)
    game.reset(everyone)
    state, plan, lived = game.snapshot(), [some_actions(game, rng) for _ in range(30)], []
    for _ in range(2):
        run = []
        for chosen in plan:
            rewards, over = game.step(chosen, everyone)
            game.reset(over)
            run.append((rewards, game.observe()))
        lived.append(run)
        game.restore(state)
    for one, two in zip(*lived, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    with pytest.raises(ValueError, match="snapshot"):
        make_game(name, 2).restore(state)


@every_game
def test_the_inactive_stay_and_what_is_wrong_is_refused_without_a_move(name: str) -> None:
    game, rng = make_game(name, 2), np.random.default_rng(2)
    everyone, one = np.ones(2, np.bool_), np.array([True, False])
    with pytest.raises(UserError, match="reset"):
        game.step(some_actions(game, rng), everyone)
    game.seed_with(5)
    game.reset(everyone)
    before = {key: value[1].copy() for key, value in game.snapshot().items()}
    rewards, over = game.step(some_actions(game, rng), one)
    assert not rewards[1].any() and not over[1]
    assert all(np.array_equal(before[key], value[1]) for key, value in game.snapshot().items())
    game.reset(everyone)
    state, good = game.snapshot(), some_actions(game, rng)
    who = int(np.flatnonzero(game.acting[0])[0])
    for wrong in (np.nan, 1.5, -2.0):
        bad = good.copy()
        bad[1, who, 0] = wrong
        with pytest.raises(ValueError, match=f"environment 1: action .* of {game.names[who]} is not"):
            game.step(bad, everyone)
    with pytest.raises(ValueError, match="have shape"):
        game.step(good[:1], everyone)
    with pytest.raises(ValueError, match="active is bool"):
        game.step(good, np.ones(2))  # type: ignore[arg-type]
    assert all(np.array_equal(value, game.snapshot()[key]) for key, value in state.items())


@every_game
def test_doors_of_bars_name_what_it_is_and_what_they_take(name: str) -> None:
    (spot,) = synthetic("gbm", n_bars=200).instruments
    with pytest.raises(UserError, match=f"env '{name}' is a market of many agents, which has no bars; take one of"):
        make_market(Ref(name=name), (spot,), (), HOUR)
    for door in (make_env, make_vec):
        with pytest.raises(UserError, match="is a market of many agents"):
            door(name, history=synthetic("gbm", n_bars=200))
    with pytest.raises(UserError, match="is a market of bars, a book or a market of many agents"):
        make_problem(Ref(name=name))


def test_one_by_a_dotted_path_is_told_of_too() -> None:
    (spot,) = synthetic("gbm", n_bars=200).instruments
    with pytest.raises(UserError, match="is a market of many agents, which has no bars"):
        make_market(Ref(name=f"envs.{GAMES[0]}"), (spot,), (), HOUR)
