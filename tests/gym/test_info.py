"""What ``info`` holds, in one environment, in a batch, and in Gymnasium's own batch of single ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from qframe_rl.config import UserError
from qframe_rl.gym.info import NAMES
from qframe_rl.gym.make import make_env, make_vec
from tests.markets import panel

PARAMS: dict[str, Any] = {"features": ["log_return:1"], "episode_bars": 23, "cash": 1000.0}


def flat(info: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one."""
    out = {}
    for name, value in info.items():
        out |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return out


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_batch_lays_it_out_as_gymnasium_does(mode: AutoresetMode) -> None:
    history = panel(300, 2, kind="perpetual", seed=3)
    given = {"history": history, "info": NAMES, **PARAMS}
    ours = gymnasium.make_vec("QFrame/Perp-v1", num_envs=3, autoreset_mode=mode, **given)
    theirs = SyncVectorEnv([lambda: gymnasium.make("QFrame/Perp-v1", **given) for _ in range(3)], autoreset_mode=mode)
    ours.action_space.seed(0)
    pairs = [(ours.reset(seed=5)[1], theirs.reset(seed=5)[1])]
    for _ in range(60):
        actions = ours.action_space.sample()
        pairs.append((ours.step(actions)[4], theirs.step(actions)[4]))
    seen = set()
    for mine, other in pairs:
        one, two = flat(mine), flat(other)
        assert one.keys() == two.keys()
        seen |= one.keys()
        for name in one.keys() - {"final_obs"}:
            rows = slice(None) if not name.startswith("final_info.") else mine["_final_info"]
            np.testing.assert_array_equal(one[name][rows], two[name][rows], name)
    assert {"equity", "_equity", "costs.fee", "costs._fee", "fills"} <= seen
    assert ("final_info.costs.funding" in seen) == (mode == AutoresetMode.SAME_STEP)


def test_money_adds_up_bar_by_bar() -> None:
    """Equity changes by what positions gained, less costs that are not in prices already, plus interest."""
    history = panel(300, 2, seed=8, kind="perpetual", ragged=False)
    env = make_env("perp", history, info=NAMES, half_spread_bps=5.0, impact=0.05, **PARAMS | {"episode_bars": None})
    _, before = env.reset(seed=0)
    env.action_space.seed(3)
    spent = 0.0
    for _ in range(250):
        *_, info = env.step(env.action_space.sample())
        row = int(env.engine.row[0])
        close, previous = history.values[row, :, 3], history.values[row - 1, :, 3]
        gained = (before["position"] * (close - previous)).sum() + (info["fills"] * (close - info["prices"])).sum()
        costs = info["costs"]
        after = before["equity"] + gained - costs["fee"] - costs["funding"] + info["interest"]
        assert info["equity"] == pytest.approx(after, rel=1e-9)
        assert info["position"] == pytest.approx(before["position"] + info["fills"])
        assert info["exposure"] == pytest.approx(info["position"] * close / info["equity"])
        spent += costs["spread"] + costs["impact"] + costs["fee"]
        before = info
    assert spent > 0.0


def test_interest_is_what_idle_cash_earned() -> None:
    history = replace(panel(200, 1, kind="spot", ragged=False), cash_rate=np.linspace(0.0, 1e-4, 200))
    env = make_env("spot", history, info=("cash", "interest"), **PARAMS)
    _, before = env.reset(seed=0)
    assert before["interest"] == 0.0
    for _ in range(23):
        _, _, _, over, info = env.step(0)
        rate = history.cash_rate[int(env.engine.row[0])]
        assert info["interest"] == pytest.approx(before["cash"] * rate)
        before = info
    assert over
    assert before["interest"] > 0.0
    assert env.reset()[1]["interest"] == 0.0


def test_nothing_is_there_that_was_not_asked_for() -> None:
    vec = make_vec("spot", 2, panel(200, 1, kind="spot"), **PARAMS)
    assert vec.reset(seed=0)[1] == {}
    assert vec.step(np.array([0, 1]))[4] == {}
    assert vec.engine.fills.size == 0  # type: ignore[union-attr]
    env = make_env("spot", panel(200, 1, kind="spot"), info=(), **PARAMS)
    assert env.reset(seed=0)[1] == {}
    env = make_env("spot", panel(200, 1, kind="spot"), info="cash, fills", **PARAMS)
    assert set(env.reset(seed=0)[1]) == {"cash", "fills"}


def test_an_unknown_name_is_refused() -> None:
    for make in (make_env, make_vec):
        with pytest.raises(UserError, match="info has no 'equty'; did you mean 'equity'"):
            make("spot", info=("equty",))  # type: ignore[operator]
    with pytest.raises(UserError, match="takes no info"):
        make_vec("kelly", info=("equity",))
