"""A network of one instrument that answers for each: the same answers in another order, for every scheme of actions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from agents.ppo import QUICK
from qframe_rl.config import UserError
from qframe_rl.policy.net import InputShape
from qframe_rl.policy.shared import SharedNet
from qframe_rl.runner.fit import fit
from tests.markets import panel

ROWS, A, FEATURES, PANELS = 3, 4, 5, 2
SPACES: dict[str, tuple[spaces.Space[Any], int]] = {
    "levels": (spaces.MultiDiscrete([3] * A), 3),
    "exposure": (spaces.Box(-1.0, 1.0, (A,)), 1),
    "bracket": (spaces.Box(-1.0, 1.0, (3 * A,)), 3),
    "simplex": (spaces.Box(-1.0, 1.0, (A + 1,)), 1),
}


def answers(net: SharedNet, market: Tensor, account: Tensor, order: list[int]) -> tuple[Tensor, Tensor]:
    """Of (B, ROWS, A, FEATURES) and (B, PANELS, A), with the instruments in an order."""
    rows = torch.cat([market[:, :, order].flatten(1), account[:, :, order].flatten(1)], dim=1)
    return net.see(rows)


@pytest.mark.parametrize("name", SPACES)
def test_instruments_in_another_order_get_the_same_answers(name: str) -> None:
    space, each = SPACES[name]
    torch.manual_seed(0)
    net = SharedNet(InputShape(ROWS, A * FEATURES, PANELS * A), space, A, (16, 8), -1.0)
    market, account, order = torch.randn(6, ROWS, A, FEATURES), torch.randn(6, PANELS, A), [2, 0, 3, 1]
    out, value = answers(net, market, account, list(range(A)))
    again, same = answers(net, market, account, order)
    own = out[:, : A * each]
    laid = own.view(6, A, each)[:, order] if name == "levels" else own.view(6, each, A)[:, :, order]
    assert torch.allclose(again[:, : A * each], laid.flatten(1), atol=1e-6)
    assert torch.allclose(again[:, A * each :], out[:, A * each :], atol=1e-6)
    assert torch.allclose(value, same, atol=1e-6)
    assert out.std() > 0.0


def test_what_has_no_instruments_is_refused() -> None:
    with pytest.raises(UserError, match="instruments of a market"):
        SharedNet(InputShape(0, 0, 3), spaces.Discrete(3), 0, (8,), -1.0)
    with pytest.raises(UserError, match="as many actions for each"):
        SharedNet(InputShape(1, 8, 4), spaces.MultiDiscrete([3, 3, 3]), 2, (8,), -1.0)
    with pytest.raises(UserError, match="no memory"):
        fit("ppo", panel(600, 2), "portfolio", {**QUICK, "network": "shared", "memory": "episode"})
    with pytest.raises(UserError, match="one thread"):
        fit("ppo", panel(600, 2), "portfolio", {**QUICK, "network": "shared", "threads": 2})
