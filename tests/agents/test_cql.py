"""Conservative Q-learning where its values are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import root
from scipy.special import softmax

from agents import cql
from qframe_rl.deep.offline import Batch
from qframe_rl.deep.training import own_randomness
from qframe_rl.types import Float
from tests.deep.recorded import PAID, PROBABILITY, bandit, learned, settled, standing, told


@pytest.mark.long
@pytest.mark.parametrize("weight", [0.1, 1.0])
def test_the_values_of_cql_lie_where_error_and_conservatism_balance(weight: float) -> None:
    """The gradient of the loss is zero: weight (softmax(Q) - p) + p (Q - paid) = 0 for each action."""
    seen = bandit()
    paid = PAID / seen.rewards.std()

    def slope(q: Float) -> Float:
        return weight * (softmax(q) - PROBABILITY) + PROBABILITY * (q - paid)

    exact = root(slope, paid).x
    found = told(learned("cql", seen, 3, conservatism=weight), "critic")
    assert found == pytest.approx(exact, abs=0.04)
    assert np.abs(exact - paid).max() > 0.05


def test_conservatism_alone_keeps_cql_from_what_was_never_tried() -> None:
    """All that was recorded is bad: an untrained number for what was not looks better."""
    seen = bandit()
    bad = seen._replace(rewards=seen.rewards - 20.0)
    free, kept = (told(learned("cql", bad, 4, conservatism=c, updates=400), "critic") for c in (0.0, 2.0))
    assert free.argmax() == 3
    assert kept.argmax() < 3


def test_cql_aims_at_the_copys_worth_of_what_the_learned_network_prefers() -> None:
    """Double Q-learning: the copy says 3 of the action that is preferred, and 8 of the other."""
    with own_randomness(0):
        net = cql.CqlNetworks(cql.Config(hidden=(4,), conservatism=0.0, gamma=0.5), 1, 2)
        standing(net.critic, [3.0, 8.0])
        with torch.no_grad():
            net.critic.net[-1].bias.copy_(torch.tensor([4.0, -4.0]))
        one = torch.ones(8, 1)
        settled(net, Batch(one, torch.zeros(8, dtype=torch.int64), torch.ones(8), one, torch.ones(8)))
    assert net.critic(torch.ones(1, 1))[0, 0].item() == pytest.approx(1.0 + 0.5 * 3.0, abs=0.05)
