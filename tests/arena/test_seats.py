"""Seats of a role as a native batch: the bits of a single seat, in every autoreset mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from qframe_rl import catalog
from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.arena.game import make_game
from qframe_rl.arena.seat import SeatEnv
from qframe_rl.arena.seats import BatchPolicy, VectorSeatEnv
from qframe_rl.config import UserError
from qframe_rl.types import Bool, Float, Single

CONFIG = CrowdConfig(makers=2, takers=1, executions=1, episode_steps=6)


def leaning(n: int) -> BatchPolicy:
    """A policy that looks at what is seen."""

    def act(seen: Single) -> NDArray[Any]:
        return np.clip(seen[:, :n].astype(np.float64) - 0.3, -1.0, 1.0)

    return act


OTHERS = {"maker": leaning(4), "taker": leaning(1), "execution": leaning(2)}


def batch(n: int, seats: list[int] | None, mode: AutoresetMode, config: CrowdConfig = CONFIG) -> VectorSeatEnv:
    others = {name: act for name, act in OTHERS.items() if name != "maker" or seats is not None}
    return VectorSeatEnv(Crowd(config, n), "maker", others, seats, mode)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_each_lane_is_a_single_seat(mode: AutoresetMode) -> None:
    n, rng = 3, np.random.default_rng(1)
    envs = batch(n, [1], mode)
    names = {"maker_0": "maker", "taker_0": "taker", "execution_0": "execution"}
    alone = [
        SeatEnv(
            Crowd(CONFIG, 1),
            "maker_1",
            {name: lambda row, act=OTHERS[role]: act(row[None])[0] for name, role in names.items()},
        )  # type: ignore[misc]
        for _ in range(n)
    ]
    seen, _ = envs.reset(seed=7)
    expected = [env.reset(seed=7 + k)[0] for k, env in enumerate(alone)]
    over = np.zeros(n, np.bool_)
    for _ in range(20):
        np.testing.assert_array_equal(seen, np.stack(expected))
        assert envs.observation_space.contains(seen)
        actions = rng.uniform(-1.0, 1.0, (n, 4))
        if mode == AutoresetMode.DISABLED and over.any():
            expected = [env.reset()[0] for env in alone]
            seen, _ = envs.reset(options={"reset_mask": over})
            np.testing.assert_array_equal(seen, np.stack(expected))
            over[:] = False
        was = over
        seen, paid, ended, over, infos = envs.step(actions)
        assert not ended.any()
        for k, env in enumerate(alone):
            if was[k] and mode == AutoresetMode.NEXT_STEP:
                expected[k] = env.reset()[0]
                assert paid[k] == 0.0
                continue
            last, reward, _, cut, _ = env.step(actions[k])
            assert (reward, cut) == (paid[k], over[k])
            if cut and mode == AutoresetMode.SAME_STEP:
                np.testing.assert_array_equal(infos["final_obs"][k], last)
                assert infos["_final_obs"][k]
                last = env.reset()[0]
            expected[k] = last
        if mode == AutoresetMode.SAME_STEP:
            over = np.zeros(n, np.bool_)


def test_agents_of_a_role_are_lanes_of_their_market() -> None:
    envs, one = batch(2, None, AutoresetMode.SAME_STEP), Crowd(CONFIG, 1)
    seen, _ = envs.reset(seed=3)
    assert seen.shape == (4, 18) and envs.num_envs == 4
    one.seed_with(4)
    everyone = np.ones(1, np.bool_)
    one.reset(everyone)
    rng = np.random.default_rng(0)
    for _ in range(5):
        rows = one.observe()[0]
        np.testing.assert_array_equal(seen[2:], rows[:2])
        actions = rng.uniform(-1.0, 1.0, (4, 4))
        chosen = np.zeros((1, 4, 4))
        chosen[0, :2], chosen[0, 2:3, :1] = actions[2:], OTHERS["taker"](rows[2:3])
        chosen[0, 3:, :2] = OTHERS["execution"](rows[3:])
        seen, paid, *_ = envs.step(actions)
        assert paid[2:].tolist() == one.step(chosen, everyone)[0][0, :2].tolist()


def test_a_snapshot_brings_back_the_same_bits() -> None:
    envs, rng = batch(2, [0], AutoresetMode.SAME_STEP), np.random.default_rng(0)
    envs.reset(seed=5)
    actions = rng.uniform(-1.0, 1.0, (12, 2, 4))
    for one in actions[:4]:
        envs.step(one)
    kept = envs.snapshot()
    first = [envs.step(one)[:2] for one in actions[4:]]
    other = batch(2, [0], AutoresetMode.SAME_STEP)
    other.restore(kept)
    for (seen, paid), one in zip(first, actions[4:], strict=True):
        again, reward, *_ = other.step(one)
        np.testing.assert_array_equal(seen, again)
        np.testing.assert_array_equal(paid, reward)
    with pytest.raises(ValueError, match="another batch"):
        batch(3, [0], AutoresetMode.SAME_STEP).restore(kept)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_after_a_restore_episodes_begin_as_those_of_the_batch_that_was_kept(mode: AutoresetMode) -> None:
    envs, other = batch(2, [0], mode), batch(2, [0], mode)
    envs.reset(seed=5)
    envs.step(np.zeros((2, 4)))
    other.restore(envs.snapshot())
    for options in ({"reset_mask": np.array([False, True])}, {}):
        seen, again = (one.reset(options=options)[0] for one in (envs, other))
        np.testing.assert_array_equal(seen, again)
        ours, theirs = (one.step(np.full((2, 4), 0.5))[1] for one in (envs, other))
        np.testing.assert_array_equal(ours, theirs)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(UserError, match="no role 'makr'; did you mean 'maker'"):
        VectorSeatEnv(Crowd(CONFIG, 1), "makr", {})
    with pytest.raises(UserError, match="nobody in the market is taker"):
        VectorSeatEnv(Crowd(CrowdConfig(takers=0), 1), "taker", {})
    with pytest.raises(UserError, match=r"seats \[2\] of maker: there are 0 to 1"):
        batch(1, [2], AutoresetMode.SAME_STEP)
    with pytest.raises(UserError, match="policies of taker are given, not of maker, taker, execution"):
        VectorSeatEnv(Crowd(CONFIG, 1), "maker", {"taker": leaning(1)}, [0])
    envs = batch(2, None, AutoresetMode.DISABLED)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions have shape \(4, 3\), but these seats want \(4, 4\)"):
        envs.step(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="actions are numbers"):
        envs.step(np.full((4, 4), "x"))
    with pytest.raises(ValueError, match=r"environment 1: action .* of maker_1 is not within"):
        envs.step(np.vstack([np.zeros((3, 4)), np.full((1, 4), 1.5)]))
    with pytest.raises(UserError, match="the 2 lanes of a market begin and end together"):
        envs.reset(options={"reset_mask": np.array([True, False, True, True])})
    with pytest.raises(UserError, match="seed: the 2 lanes of a market"):
        envs.reset(seed=[1, 2, 3, 3])
    with pytest.raises(UserError, match="no option 'start'"):
        envs.reset(options={"start": 3})


def test_the_batch_says_whether_an_episode_ended_or_was_cut_off() -> None:
    """In a game that answers in turn, too, a step is a decision of the seat."""
    flow = VectorSeatEnv(make_game("kyle", 3), "maker", {"insider": lambda seen: 0.25 * seen[:, 4:5]})
    seen, _ = flow.reset(seed=1)
    assert (seen[:, 2] == 1.0).all() and (seen[:, 5] != 0.0).all()
    _, paid, terminated, truncated, _ = flow.step(np.zeros((3, 1)))
    assert terminated.all() and not truncated.any() and (paid < 0.0).all()
    book = VectorSeatEnv(
        make_game("crowd", 2, {"makers": 1, "takers": 0, "executions": 0, "episode_steps": 1}), "maker", {}
    )
    book.reset(seed=1)
    _, _, terminated, truncated, _ = book.step(np.zeros((2, 4)))
    assert truncated.all() and not terminated.any()


class Counting:
    """The least that a market of one's own must be: its snapshot has names of its own choice."""

    def __init__(self, n_markets: int):
        self.n_markets, self.n_agents, self.names, self.role_names = n_markets, 1, ("teller_0",), ("teller",)
        self.roles, self.choices = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self.mask, self.terminates = np.ones((1, 1), np.bool_), True
        self.observation_space = spaces.Box(-100.0, 100.0, (1,), np.float32)
        self.told = np.zeros(n_markets)

    @property
    def acting(self) -> Bool:
        return np.ones((self.n_markets, 1), np.bool_)

    def action_space(self, agent: int) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (1,), np.float32)

    def seed_with(self, seed: int | Sequence[int], mask: Bool | None = None) -> None:
        self.told[:] = 7.0

    def reset(self, mask: Bool) -> None:
        self.told[mask] += 1.0

    def observe(self) -> Single:
        return self.told.astype(np.float32).reshape(-1, 1, 1)

    def step(self, actions: NDArray[Any], active: Bool) -> tuple[Float, Bool]:
        self.told[active] += 0.5
        return np.zeros((self.n_markets, 1)), np.zeros(self.n_markets, np.bool_)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        return {"told": self.told.copy()}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        if set(state) != {"told"}:
            raise ValueError(f"told alone, not {sorted(state)}")
        self.told[:] = state["told"]


def test_a_market_of_ones_own_names_what_its_snapshot_holds_as_it_likes() -> None:
    one, other = (VectorSeatEnv(Counting(2), "teller", {}, None, AutoresetMode.SAME_STEP) for _ in range(2))
    fresh = one.snapshot()
    one.reset(seed=1)
    one.step(np.zeros((2, 1)))
    other.restore(one.snapshot())
    np.testing.assert_array_equal(other.reset()[0], one.reset()[0])
    other = VectorSeatEnv(Counting(2), "teller", {})
    other.restore(fresh)
    assert other.reset()[0].tolist() == [[8.0], [8.0]], "nobody was seeded when that was taken"


@pytest.mark.parametrize("name", catalog.games())
def test_a_batch_of_no_market_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="0 markets: at least 1"):
        make_game(name, 0)
