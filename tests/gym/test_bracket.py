"""Entries with exits beside them: as an action scheme, and for any strategy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import View
from qframe_rl.config import Ref, UserError
from qframe_rl.gym.make import make_vec
from qframe_rl.interface import protect
from qframe_rl.interface.bracket import Bracket, BracketConfig
from qframe_rl.kernel.columns import EQUITY, MARK, N_BAR, POSITION
from qframe_rl.types import Account, Fills, Float, Orders
from tests.markets import panel

ONE = np.ones(1, dtype=np.bool_)


def asked(action: list[float], held: list[float], closes: list[float] | None = None, **params: Any) -> Float:
    """(A, 8, 4) orders of one account with 1,000 of equity, at prices of 50."""
    n = len(held)
    scheme = Bracket(BracketConfig(**({"low": -1.0, "max_stop": 0.1, "max_take": 0.2} | params)), n)
    account, holding, bars = np.zeros((1, 8)), np.zeros((1, n, 2)), np.full((1, n, N_BAR), 50.0)
    account[0, EQUITY], holding[0, :, POSITION], holding[0, :, MARK] = 1000.0, held, 50.0
    bars[0, :, 3] = closes or 50.0
    return scheme.slots(np.array([action]), account, holding, bars, np.zeros(1, dtype=np.int64), ONE)[0]


def test_an_entry_has_its_exits_beside_it() -> None:
    slots = asked([0.5, 0.0, 1.0], [0.0], trailing=True, bars=12)
    assert slots[0, 0].tolist() == [10.0, -10.0, -10.0, -10.0]
    assert slots[0, 2, 1] == pytest.approx(50 * (1 - 0.1 * 0.525))
    assert slots[0, 5, 1] == pytest.approx(0.1 * 0.525)
    assert slots[0, 1, 2] == pytest.approx(60.0)
    assert slots[0, 4].tolist() == [0.0, 0.0, 0.0, 12.0]
    assert slots[0, 6].tolist() == [0.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("action", "held", "closes", "entry"),
    [
        (0.1, 0.0, None, np.nan),
        (0.9, 4.0, None, np.nan),
        (-0.1, 4.0, None, np.nan),
        (-0.5, 4.0, None, -14.0),
        (0.9, 0.0, [np.nan], np.nan),
    ],
)
def test_it_leaves_what_it_does_not_want_otherwise(
    action: float, held: float, closes: list[float] | None, entry: float
) -> None:
    slots = asked([action, 0.0, 0.0], [held], closes)
    np.testing.assert_equal(slots[0, 0, 0], entry)
    assert np.isnan(slots[0, 0, 1:]).all() == np.isnan(entry)


def test_without_shorts_an_action_below_closes_and_leaves_the_exits_to_fall() -> None:
    slots = asked([-0.8, 0.0, 0.0], [6.0], low=0.0)
    assert slots[0, 0, 0] == -6.0
    assert np.isnan(slots[0, 0, 1:]).all()
    assert np.isnan(asked([-0.8, 0.0, 0.0], [0.0], low=0.0)[0, 0]).all()


def test_actions_outside_and_bounds_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="is not in Box"):
        asked([0.0, 1.5, 0.0], [0.0])
    with pytest.raises(UserError, match="low"):
        Bracket(BracketConfig(low=0.0, high=0.0), 1)
    with pytest.raises(TypeError, match="several orders"):
        Bracket(BracketConfig(), 1).targets(np.zeros((1, 3)), np.zeros((1, 8)), np.zeros((1, 1, 2)), ONE)


def test_a_snapshot_has_what_rests() -> None:
    history = panel(300, 2, seed=1, ragged=False)
    params: dict[str, Any] = {"features": ["log_return:1"], "actions": Ref(name="bracket", params={"low": -1.0})}
    vec = make_vec("perp", 4, history, **params)
    vec.reset(seed=3)
    vec.action_space.seed(5)
    for _ in range(10):
        vec.step(vec.action_space.sample())
    kept = vec.snapshot()
    assert kept["slots"].any()
    actions = [vec.action_space.sample() for _ in range(40)]
    first = [vec.step(action)[1] for action in actions]
    vec.restore(kept)
    second = [vec.step(action)[1] for action in actions]
    np.testing.assert_array_equal(np.array(first), np.array(second))


def seen(held: float, resting: Orders | None = None) -> View:
    account = Account(np.array(1000.0), np.array([held]), np.array([100.0]))
    bars = np.full((2, 1, 5), 100.0)
    return View(0, np.zeros(2, dtype=np.int64), bars, account, Fills.none(1), False, resting=resting)


def test_protect_keeps_the_exits_that_stand_and_sizes_them() -> None:
    opened = protect(seen(0.0), Orders.market(np.array([-2.0])), stop=0.1, take=0.2, trail=0.05, bars=3)
    assert opened.quantity.tolist() == [[-2.0, 2.0, 2.0, 2.0]]
    assert opened.stop[0, 1] == pytest.approx(110.0) and opened.limit[0, 2] == pytest.approx(80.0)
    moved = opened._replace(stop=np.array([[np.nan, 104.0, np.nan, np.nan]]))
    more = protect(seen(-2.0, moved), Orders.market(np.array([-1.0])), stop=0.1)
    assert more.quantity.tolist() == [[-1.0, 3.0, 3.0, 3.0]]
    assert more.stop[0, 1] == 104.0, "it never goes back"
    turned = protect(seen(-2.0, moved), Orders.market(np.array([5.0])), stop=0.1)
    assert turned.quantity.tolist() == [[5.0, -3.0, 0.0, 0.0]]
    assert turned.stop[0, 1] == pytest.approx(90.0)
    bare = protect(seen(4.0), Orders.market(np.zeros(1)), take=0.1)
    assert bare.quantity.tolist() == [[0.0, 0.0, -4.0, 0.0]], "a position without exits gets them"
    assert np.isnan(protect(seen(4.0, moved), Orders.market(np.array([-4.0])), stop=0.1).quantity[0, 1:]).all()


def test_protect_refuses_what_means_nothing() -> None:
    for wrong in ({}, {"stop": 1.0}, {"bars": 0, "stop": 0.1}):
        with pytest.raises(ValueError, match="must lie in"):
            protect(seen(0.0), Orders.market(np.zeros(1)), **wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="one order per instrument"):
        protect(seen(0.0), Orders.market(np.zeros((1, 2))), stop=0.1)
