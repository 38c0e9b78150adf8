"""Implicit Q-learning where its value and its policy are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import expectile

from agents import iql
from qframe_rl.deep.offline import Batch
from qframe_rl.deep.training import own_randomness
from tests.deep.recorded import PAID, PROBABILITY, bandit, learned, settled, standing, told


@pytest.mark.parametrize("tau", [0.5, 0.7, 0.9])
def test_the_value_of_iql_is_the_expectile_of_what_recorded_actions_were_worth(tau: float) -> None:
    seen = bandit()
    agent = learned("iql", seen, 4, expectile=tau)
    paid = seen.rewards / seen.rewards.std()
    assert told(agent, "value")[0] == pytest.approx(expectile(paid, tau), abs=0.03)
    for critic in (agent._net.first, agent._net.second):
        with torch.inference_mode():
            assert critic(torch.ones(1, 1))[0, :3].numpy() == pytest.approx(PAID / seen.rewards.std(), abs=0.03)


@pytest.mark.parametrize("cap", [100.0, 0.5])
def test_the_policy_of_iql_is_the_recorded_one_weighed_by_the_exponential_of_the_advantage(cap: float) -> None:
    seen = bandit()
    agent = learned("iql", seen, 4, expectile=0.7, inverse_temperature=1.5, weight_cap=cap)
    paid = seen.rewards / seen.rewards.std()
    advantage = PAID / seen.rewards.std() - expectile(paid, 0.7)
    weight = PROBABILITY * np.minimum(np.exp(1.5 * advantage), cap)
    found = softmax(told(agent, "actor"))
    assert found[:3] == pytest.approx(weight / weight.sum(), abs=0.03)
    assert found[3] < 0.01


def test_without_a_temperature_iql_clones_what_was_done() -> None:
    found = softmax(told(learned("iql", bandit(), 4, inverse_temperature=0.0), "actor"))
    assert found[:3] == pytest.approx(PROBABILITY, abs=0.02)


def test_the_value_of_iql_believes_the_lower_of_two_copies() -> None:
    with own_randomness(0):
        net = iql.IqlNetworks(iql.Config(hidden=(4,), expectile=0.9), 1, 2)
        standing(net.first, [5.0, 7.0])
        standing(net.second, [1.0, 9.0])
        one = torch.ones(8, 1)
        settled(net, Batch(one, torch.arange(8) % 2, torch.zeros(8), one, torch.zeros(8)))
    found = net.value(torch.ones(1, 1)).item()
    assert found == pytest.approx(expectile(np.array([1.0, 7.0]), 0.9), abs=0.05)
