"""The doors of a market of many agents: PettingZoo's own tests, and one seat as Gymnasium's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test

from qframe_rl.arena import aec_env, parallel_env
from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.arena.seat import Frozen, SeatEnv
from qframe_rl.config import UserError
from qframe_rl.types import Single


def test_pettingzoos_tests_pass() -> None:
    parallel_api_test(parallel_env("crowd", episode_steps=60), 100)
    api_test(aec_env("crowd", episode_steps=20), 30)
    parallel_seed_test(lambda: parallel_env("crowd", episode_steps=60), 100)
    seed_test(lambda: aec_env("crowd", episode_steps=60), 40)


def test_a_parallel_env_is_the_market_of_a_batch_and_what_it_hands_out_is_the_callers() -> None:
    env, crowd = parallel_env("crowd", episode_steps=20), Crowd(CrowdConfig(episode_steps=20), 2)
    crowd.seed_with([99, 11])
    crowd.reset(np.ones(2, np.bool_))
    seen, _ = env.reset(seed=11)
    assert env.agents == ["maker_0", "maker_1", "taker_0", "execution_0"]
    for step in range(20):
        actions, chosen = {}, np.zeros((2, 4, 4))
        for i, name in enumerate(env.agents):
            actions[name] = env.action_space(name).sample()
            chosen[1, i, : len(actions[name])] = actions[name]
        rewards, _ = crowd.step(chosen, np.ones(2, np.bool_))
        for part in seen.values():
            part[...] = 7.0
        seen, paid, terminated, truncated, infos = env.step(actions)
        assert list(paid.values()) == rewards[1].tolist()
        np.testing.assert_array_equal(np.stack(list(seen.values())), crowd.observe()[1])
        np.testing.assert_array_equal(env.state(), crowd.observe()[1].ravel())
        assert set(truncated.values()) == {step == 19} and not any(terminated.values()) and len(infos) == 4
    assert env.agents == []
    with pytest.raises(UserError, match="no episode is under way"):
        env.step(actions)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(UserError, match="no market of many agents 'crwd'; did you mean 'crowd'"):
        parallel_env("crwd")
    with pytest.raises(UserError, match="crowd"):
        aec_env("crowd", maker=3)
    with pytest.raises(UserError, match="no market of many agents 'kelly'"):
        parallel_env("kelly")
    env = parallel_env("crowd")
    env.reset(seed=0)
    good = {name: np.zeros(env.action_space(name).shape) for name in env.agents}
    with pytest.raises(ValueError, match="are to act"):
        env.step({name: action for name, action in good.items() if name != "taker_0"})
    with pytest.raises(ValueError, match=r"the action of taker_0 has shape \(2,\), not \(1,\)"):
        env.step(good | {"taker_0": np.zeros(2)})
    with pytest.raises(ValueError, match=r"environment 0: action \[nan\] of taker_0"):
        env.step(good | {"taker_0": np.full(1, np.nan)})


def still(n: int, value: float) -> Frozen:
    def act(seen: Single) -> NDArray[Any]:
        assert seen.shape == (18,)
        return np.full(n, value)

    return act


OTHERS = {"maker_1": still(4, 0.0), "taker_0": still(1, 0.3), "execution_0": still(2, 0.0)}


def test_a_seat_is_what_that_agent_lives_through() -> None:
    config = CrowdConfig(episode_steps=15)
    env, many = SeatEnv(Crowd(config, 1), "maker_0", OTHERS), parallel_env("crowd", episode_steps=15)
    check_env(env, skip_render_check=True)
    seen, _ = env.reset(seed=4)
    all_seen, _ = many.reset(seed=4)
    rng = np.random.default_rng(0)
    for step in range(15):
        np.testing.assert_array_equal(seen, all_seen["maker_0"])
        action = rng.uniform(-1.0, 1.0, 4)
        seen, paid, ended, cut, _ = env.step(action)
        given = {name: act(all_seen[name]) for name, act in OTHERS.items()}
        all_seen, rewards, *_ = many.step(given | {"maker_0": action})
        assert paid == rewards["maker_0"] and not ended and cut == (step == 14)
    with pytest.raises(ResetNeeded):
        env.step(action)
    with pytest.raises(UserError, match="no option"):
        env.reset(options={"start": 3})
    with pytest.raises(UserError, match="no seat 'maker_7'"):
        SeatEnv(Crowd(config, 1), "maker_7", OTHERS)
    with pytest.raises(UserError, match="not of maker_0, taker_0, execution_0"):
        SeatEnv(Crowd(config, 1), "maker_1", {})
    env.reset()
    with pytest.raises(ValueError, match=r"the action of maker_0 has shape \(3,\), not \(4,\)"):
        env.step(np.zeros(3))
