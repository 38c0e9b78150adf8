"""Markets of many agents whose equilibrium is known: what they do, played out."""

from __future__ import annotations

import numpy as np
import pytest

from envs.glosten_milgrom import Config as MakersConfig
from envs.kyle import REACH
from envs.queue_race import Config as RaceConfig
from envs.queue_race import make as make_race
from qframe_rl.arena.game import Game, make_game
from qframe_rl.arena.seat import SeatEnv
from qframe_rl.config import UserError
from qframe_rl.theory.glosten_milgrom import beliefs
from qframe_rl.theory.kyle import kyle
from qframe_rl.theory.queues import race, rise_probability
from qframe_rl.types import Float, Int

N = 40_000


def begun(name: str, n: int = N, **params: object) -> Game:
    game = make_game(name, n, params)
    game.seed_with(1)
    game.reset(np.ones(n, np.bool_))
    return game


@pytest.mark.parametrize("rounds", [1, 3])
def test_kyles_equilibrium_earns_what_it_says(rounds: int) -> None:
    """Insider and maker by the linear rules, within three standard errors; and what the maker knows in the end."""
    game, found, everyone = begun("kyle", rounds=rounds), kyle(rounds), np.ones(N, np.bool_)
    paid, errors = np.zeros(N), np.zeros((rounds, N))
    for k in range(rounds):
        assert game.acting.tolist() == [[True, False]] * N
        actions = np.zeros((N, 2, 1))
        actions[:, 0, 0] = np.clip(found.beta[k] * game.observe()[:, 0, 4] / REACH, -1.0, 1.0)
        rewards, over = game.step(actions, everyone)
        assert not rewards.any() and not over.any() and game.acting.tolist() == [[False, True]] * N
        actions[:, 1, 0] = np.clip(found.impact[k] * game.observe()[:, 1, 5] / REACH, -1.0, 1.0)
        rewards, over = game.step(actions, everyone)
        paid, errors[k] = paid + rewards[:, 0], -rewards[:, 1]
    assert over.all()
    assert abs(paid.mean() - found.profit) < 3.0 * paid.std() / np.sqrt(N)
    gaps = np.abs(errors.mean(axis=1) - found.variance)
    assert (gaps < 3.0 * errors.std(axis=1) / np.sqrt(N)).all()


def test_the_insider_sees_the_value_and_the_maker_the_flow_alone() -> None:
    game = begun("kyle", 4, value_deviation=2.0, noise_deviation=3.0)
    seen = game.observe()
    assert seen[:, 0, 5].tolist() == seen[:, 1, 4].tolist() == seen[:, 1, 5].tolist() == [0.0] * 4
    game.step(np.full((4, 2, 1), 0.5), np.ones(4, np.bool_))
    flow = game.observe()[:, 1, 5] * 3.0
    assert not game.observe()[:, 0, 4:].any() and (np.abs(flow - 6.0) < 12.0).all() and len(set(flow.tolist())) == 4


def test_a_seat_waits_until_it_is_to_act() -> None:
    """The maker's seat begins with the flow, and an episode is one decision long for either."""
    flat = lambda seen: np.zeros(1)  # noqa: E731
    for seat, other in (("maker_0", "insider_0"), ("insider_0", "maker_0")):
        env = SeatEnv(make_game("kyle"), seat, {other: flat})
        seen, _ = env.reset(seed=3)
        assert seen[2] == 1.0 and seen[4 if seat == "insider_0" else 5] != 0.0
        _, paid, terminated, truncated, _ = env.step(np.full(1, 0.25))
        assert terminated and not truncated and paid != 0.0


def test_beliefs_are_what_the_value_turns_out_to_be() -> None:
    """G6: among markets with the same trades the value is 1 as often as is believed, within three standard errors."""
    n = 200_000
    game, everyone = begun("glosten_milgrom", n, informed=0.3, reward_mode="sampled"), np.ones(n, np.bool_)
    value, sides, seen = game.snapshot()["state"][:, 0], [], []
    for _ in range(4):
        row = game.observe()[:, 0]
        sides.append(row[:, 1] > 0.0)
        seen.append(row[:, 0])
        game.step(np.zeros((n, 2, 1)), everyone)
    told, shown = np.array(sides).T, np.array(seen).T
    expected = beliefs(0.5, 0.3, [True, True, False, True])
    for k in range(4):
        same = (told[:, :k] == [True, True, False, True][:k]).all(axis=1)
        assert shown[same, k] == pytest.approx(expected[k], abs=1e-6)
        error = np.sqrt(expected[k] * (1.0 - expected[k]) / same.sum())
        assert abs(value[same].mean() - expected[k]) < 3.0 * error


def gains(makers: int, choices: Int, **params: object) -> Float:
    """(makers,) rewards of one round."""
    game = begun("glosten_milgrom", 1, makers=makers, rounds=1, **params)
    rewards, over = game.step(choices.reshape(1, -1, 1).astype(float), np.ones(1, np.bool_))
    assert over.all()
    return np.asarray(rewards[0])


def test_the_best_price_trades_and_ties_share() -> None:
    """With two in ten informed .6 is the price of no profit, four steps of the grid from the belief."""
    assert gains(2, np.array([4, 9]), informed=0.2) == pytest.approx([0.0, 0.0], abs=1e-12)
    assert gains(2, np.array([6, 6]), informed=0.2) == pytest.approx([0.025, 0.025])
    assert gains(2, np.array([6, 5]), informed=0.2) == pytest.approx([0.0, 0.025])
    assert gains(3, np.array([0, 7, 7]), informed=0.2) == pytest.approx([-0.1, 0.0, 0.0])
    assert gains(1, np.array([20]), informed=0.2) == pytest.approx([0.4])
    assert gains(4, np.array([20, 20, 20, 20]), informed=0.2) == pytest.approx([0.1] * 4)


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(UserError, match=r"grid 0.03 does not divide 0\.5"):
        make_game("glosten_milgrom", 1, {"grid": 0.03})
    assert MakersConfig(grid=0.05).prices == 11
    with pytest.raises(ValueError, match=r"environment 0: action \[21\.0\] of maker_1 is not one of 21 choices"):
        begun("glosten_milgrom", 1).step(np.array([[[0.0], [21.0]]]), np.ones(1, np.bool_))
    with pytest.raises(UserError, match="at least 1"):
        make_game("kyle", 0)


def test_the_queue_race_is_decided_as_the_formula_says() -> None:
    """G2: by first queues, the first move of the price, within three standard errors."""
    made = make_race(RaceConfig(fresh=5, longest=40))
    episodes, playing = made.episodes(N), np.ones(N, np.bool_)
    episodes.seed_with(2)
    episodes.reset(playing)
    first, rose = episodes.state[:, 1:3].copy(), np.full(N, np.nan)
    for _ in range(3_000):
        episodes.step(np.ones(N, np.int64), playing)
        moved = playing & (episodes.state[:, 3] != 0.0)
        rose[moved] = episodes.state[moved, 3] > 0.0
        playing &= ~moved
    assert playing.mean() < 0.004
    for bid, ask in ((1, 2), (3, 1), (5, 2)):
        mine = (first == [bid, ask]).all(axis=1) & ~playing
        chance = rise_probability(bid, ask)
        assert abs(rose[mine].mean() - chance) < 3.0 * np.sqrt(chance * (1.0 - chance) / mine.sum())


def test_the_chain_of_the_race_agrees_with_the_formula() -> None:
    """Probability that the next move is up, solved on the chain: the bound on queues matters less and less."""
    found = race(40, 1)
    n = 40
    inner = found.move.copy()
    bid, ask = np.divmod(np.arange(n * n), n)
    ends = np.where((bid == 0) | (ask == 0))[0]
    inner[ends, 0] -= 0.25 * ((bid[ends] == 0) * 1.0 + (ask[ends] == 0))  # what begins anew, from (1, 1)
    up = np.linalg.solve(np.eye(n * n) - inner, 0.25 * (ask == 0))
    for b, a in ((1, 2), (3, 1), (5, 2)):
        assert up[(b - 1) * n + a - 1] == pytest.approx(rise_probability(b, a), abs=2e-3)
    with pytest.raises(UserError, match="queues begin with"):
        race(3, 4)
