"""What actions ask for, scheme by scheme, against the arithmetic of a few lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qframe_rl.config import Ref, UserError
from qframe_rl.gym.make import make_env, make_vec
from qframe_rl.interface import SCHEMES
from qframe_rl.interface.schemes import Scheme
from qframe_rl.kernel.columns import EQUITY, MARK, POSITION
from tests.markets import panel


def scheme(name: str, n: int, **params: Any) -> Scheme:
    config, make = SCHEMES[name]
    return make(config(**params), n)


def targets(made: Scheme, action: list[float], held: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Targets of one account with 1,000 of equity and exposures ``held``."""
    account, holding = np.zeros((1, 8)), np.zeros((1, len(held), 2))
    account[0, EQUITY] = 1000.0
    holding[0, :, MARK] = 50.0
    holding[0, :, POSITION] = np.array(held) * 1000.0 / 50.0
    found = made.targets(np.array([action]), account, holding, np.ones(1, dtype=np.bool_))
    return found[0][0], found[1]


def test_delta_moves_from_what_is_held_and_leaves_small_changes() -> None:
    made = scheme("delta", 4, low=-0.5, high=1.0, max_step=0.4, band=0.02)
    target, _ = targets(made, [1.0, -1.0, 0.04, 0.5], [0.1, -0.3, 0.7, 0.95])
    assert target == pytest.approx([0.5, -0.5, np.nan, 1.0], nan_ok=True)


def test_simplex_goes_a_part_of_the_way_to_the_softmax() -> None:
    made = scheme("simplex", 3, cash_bias=1.0, scale=2.0, step=0.25, band=0.01)
    action, held = [0.5, -1.0, 0.2, 0.1], [0.1, 0.3, 0.25]
    logits = np.array([1.0, -2.0, 0.4, 0.2 + 1.0])
    share = (np.exp(logits) / np.exp(logits).sum())[:3]
    target, offset = targets(made, action, held)
    assert target == pytest.approx(np.array(held) + 0.25 * (share - held))
    assert offset.shape == (0, 3)


def test_simplex_orders_its_least_size_at_least_and_nothing_within_it() -> None:
    made = scheme("simplex", 3, cash_bias=0.0, scale=1.0, step=0.001, band=0.02)
    target, _ = targets(made, [0.0] * 4, [0.2, 0.24, 0.28])
    assert target == pytest.approx([0.22, np.nan, 0.26], nan_ok=True)


def test_simplex_sells_what_it_no_longer_wants_to_the_end() -> None:
    made = scheme("simplex", 2, cash_bias=0.0, scale=20.0, step=1.0, band=0.01)
    target, _ = targets(made, [1.0, -1.0, 1.0], [0.5, 0.008])
    assert np.isnan(target[0])
    assert target[1] == 0.0


def test_a_new_policy_asks_for_as_much_cash_as_ten_coins() -> None:
    made = scheme("simplex", 10, step=1.0)
    target, _ = targets(made, [0.0] * 11, [0.0] * 10)
    assert target == pytest.approx(np.full(10, 1.0 / (10.0 + np.exp(2.3))))


@pytest.mark.parametrize("name", ["delta", "simplex"])
def test_schemes_that_look_at_the_account_give_the_same_orders_to_a_session(name: str) -> None:
    """Also through `MarketInterface.orders`; tests/test_parity.py walks whole sessions."""
    history = panel(300, 3, seed=4, kind="spot", ragged=False)
    env = make_env("spot", history, features=["log_return:1"], actions=Ref(name=name), info=("exposure", "fills"))
    env.reset(seed=0)
    env.action_space.seed(1)
    traded = 0
    for _ in range(100):
        *_, info = env.step(env.action_space.sample())
        traded += int((info["fills"] != 0.0).any())
        assert info["exposure"].sum() <= 1.0 + 1e-9
    assert traded > 10


def test_the_old_weights_are_refused_with_the_mend() -> None:
    with pytest.raises(UserError, match=r"'weights' is withdrawn.*simplex"):
        make_vec("portfolio", actions=Ref(name="weights"))


@pytest.mark.parametrize("name", SCHEMES)
def test_bits_do_not_depend_on_the_size_of_the_batch(name: str) -> None:
    history = panel(200, 3, seed=5, kind="spot")
    params: dict[str, Any] = {"features": ["log_return:1"], "episode_bars": 40, "actions": Ref(name=name)}
    few, many = make_vec("spot", 3, history, **params), make_vec("spot", 70, history, **params)
    few.reset(seed=9), many.reset(seed=9)
    many.action_space.seed(2)
    for _ in range(60):
        actions = many.action_space.sample()
        a, b = few.step(actions[:3]), many.step(actions)
        for one, other in zip(a[:4], b[:4], strict=True):
            assert np.array_equal(one, other[:3])
