"""What a policy is shown of its account where it is asked for: limits that are used up, and orders that rest."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from qframe_rl.config import Ref
from qframe_rl.gym.make import make_vec
from qframe_rl.interface import interface_from
from qframe_rl.risk.engine import RiskEngine
from qframe_rl.risk.limits import Limits
from qframe_rl.types import DAY, Account, Fills, Orders
from tests.markets import panel

BRACKET = Ref(name="bracket", params={"max_stop": 0.1, "max_take": 0.2, "bars": 12})


def shown(**more: Any) -> Any:
    history = panel(400, 2, seed=3, volatility=0.001)
    return make_vec("portfolio", num_envs=2, history=history, observation="dict", features=("log_return:1",), **more)


def test_orders_that_rest_are_shown_by_their_distance() -> None:
    vec = shown(actions=BRACKET, show_resting=True, half_spread_bps=0.0, impact=0.0, taker_fee_bps=0.0)
    seen, _ = vec.reset(seed=1)
    assert seen["account"].shape == (2, 5, 2)
    assert not seen["account"][:, 2:].any()
    before = vec.engine.mark.copy()
    seen, *_ = vec.step(np.array([[0.5, 0.0, 0.0, 0.0, 1.0, 1.0], [0.0] * 6]))
    slots, mark, panels = vec.engine._board.slots[0, 0], vec.engine.mark[0, 0], seen["account"]
    # Distances of .0525 and .2 of the mark at which it was decided, and one of twelve bars lived through.
    assert slots[2, 1] == pytest.approx(before[0, 0] * (1 - 0.0525))
    assert panels[0, 2, 0] == pytest.approx(100 * np.log(before[0, 0] * (1 - 0.0525) / mark), abs=1e-5)
    assert panels[0, 3, 0] == 10.0  # log(1.2) is beyond what is shown
    assert panels[0, 4, 0] == pytest.approx(np.log1p(slots[4, 3]))
    assert 10 <= slots[4, 3] <= 12
    assert not panels[0, 2:, 1].any()
    assert not panels[1, 2:].any()


def test_used_up_limits_are_shown_in_training_and_after_a_restart() -> None:
    limits = Limits(max_drawdown=0.5, daily_loss=0.25, on_loss="REDUCE_ONLY")
    engine = RiskEngine(limits, panel(10, 1).instruments)

    def settle(k: int, cash: float) -> list[float]:
        account = Account(np.array(cash), np.zeros(1), np.array([1.0]))
        engine.settled(DAY // 4 * k, account, Orders.market(np.zeros(1)), Fills.none(1))
        return engine.limit_use.tolist()

    engine.begin(0, Account(np.array(1000.0), np.zeros(1), np.array([1.0])))
    assert engine.limit_use.tolist() == [0.0, 0.0, 0.0]
    assert settle(1, 900.0) == pytest.approx([0.2, 0.4, 0.0])
    assert settle(5, 1200.0) == pytest.approx([0.0, 0.0, 0.0])
    assert settle(6, 840.0) == pytest.approx([0.6, 1.2, 1.0])
    engine.trip(("because of something else",))
    other = RiskEngine(limits, engine.instruments)
    other.carry(json.loads(json.dumps(engine.carried())))
    assert other.limit_use.tolist() == engine.limit_use.tolist() == pytest.approx([0.6, 1.2, 1.0])


def test_a_checkpoint_knows_what_its_policy_is_shown() -> None:
    vec = shown(show_limits=True, show_locks=True, show_resting=True, risk={"max_drawdown": 0.3})
    seen, _ = vec.reset(seed=1)
    assert seen["account"].shape == (2, 10, 2)
    interface = vec.engine.interface
    again = interface_from(json.loads(json.dumps(interface.describe())))
    assert again.observation_space == interface.observation_space
    assert again.describe() == interface.describe()
    assert [again.observer.place(name) for name in ("locks", "limits", "resting")] == [4, 8, 14]
