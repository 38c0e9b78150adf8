"""Every role of every market of many agents as a native batch: the bits of a single seat."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from qframe_rl import catalog
from qframe_rl.arena.game import ActionSpace, Game, make_game
from qframe_rl.arena.seat import Frozen, SeatEnv
from qframe_rl.arena.seats import BatchPolicy, VectorSeatEnv, roles_of, seats_of
from qframe_rl.types import Single


def told_by_sight(space: ActionSpace) -> BatchPolicy:
    """A policy that depends on what is seen."""

    def act(seen: Single) -> NDArray[Any]:
        total = seen.astype(np.float64).sum(axis=1)
        if isinstance(space, spaces.Discrete):
            return np.abs(np.rint(7.0 * total)).astype(np.int64) % int(space.n)
        return np.sin(total[:, None] + np.arange(space.shape[0]))

    return act


def policies_of(game: Game) -> dict[str, BatchPolicy]:
    everyone = np.arange(game.n_agents)
    return {
        role: told_by_sight(game.action_space(int(seats_of(game, role)[0]))) for role in roles_of(game, everyone)
    }  # fmt: skip


def alone(name: str, seat: str, policies: dict[str, BatchPolicy]) -> SeatEnv:
    game = make_game(name)

    def one(act: BatchPolicy) -> Frozen:
        return lambda row: act(row[None])[0]

    others = {
        other: one(policies[game.role_names[role]])
        for other, role in zip(game.names, game.roles, strict=True) if other != seat
    }  # fmt: skip
    return SeatEnv(game, seat, others)


CASES = [(name, role) for name in catalog.games() for role in policies_of(make_game(name))]


@pytest.mark.parametrize(("name", "role"), CASES)
def test_a_lane_is_a_single_seat_and_a_snapshot_brings_it_back(name: str, role: str) -> None:
    games = [make_game(name, 3) for _ in range(2)]
    policies = policies_of(games[0])
    seat = games[0].names[int(seats_of(games[0], role)[0])]
    rest = roles_of(games[0], np.setdiff1d(np.arange(games[0].n_agents), [games[0].names.index(seat)]))
    envs, other = (
        VectorSeatEnv(game, role, {r: policies[r] for r in rest}, [0], AutoresetMode.SAME_STEP) for game in games
    )
    single = alone(name, seat, policies)
    seen, _ = envs.reset(seed=11)
    row, _ = single.reset(seed=13)
    envs.action_space.seed(3)
    kept, lived = {}, []
    for step in range(30):
        np.testing.assert_array_equal(seen[2], row)
        actions = envs.action_space.sample()
        if step == 10:
            kept = envs.snapshot()
        seen, paid, ended, over, infos = envs.step(actions)
        row, reward, terminated, truncated, _ = single.step(actions[2])
        assert (reward, terminated, truncated) == (paid[2], ended[2], over[2])
        if terminated or truncated:
            np.testing.assert_array_equal(infos["final_obs"][2], row)
            row, _ = single.reset()
        if step >= 10:
            lived.append((actions, seen, paid))
    other.restore(kept)
    for actions, seen, paid in lived:
        again, reward, *_ = other.step(actions)
        np.testing.assert_array_equal(again, seen)
        np.testing.assert_array_equal(reward, paid)
