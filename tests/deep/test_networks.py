"""Sequence networks see no later step, and a step at a time they answer as in one go."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from qframe_rl.deep.networks import Kind, network
from qframe_rl.deep.training import own_randomness

KINDS = get_args(Kind)
TOLERANCE = 2e-6
"""Of scores of order one: a few units in the last place of a float32."""


def made(kind: Kind) -> torch.nn.Module:
    with own_randomness(1):
        net = network(kind, 5, 8, 0.1, 12)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return net.eval()


def inputs(n: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((3, n, 5)).astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_the_batch(kind: Kind) -> None:
    net, x = made(kind), inputs(60)
    with torch.inference_mode():
        whole = net(x)
        score, memory = net.begin(x[:, :20])
        scores = [score]
        for t in range(20, 60):
            score, memory = net.step(x[:, t], memory)
            scores.append(score)
    assert torch.stack(scores, 1).shape == (3, 41)
    assert (torch.stack(scores, 1) - whole[:, 19:]).abs().max() < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_later_steps_change_nothing(kind: Kind) -> None:
    net, x = made(kind), inputs(60)
    for cut in (5, 12, 30, 59):
        other = x.clone()
        other[:, cut:] = 9.0
        with torch.inference_mode():
            assert torch.equal(net(x)[:, :cut], net(other)[:, :cut])


def test_a_transformer_sees_its_reach_and_no_more() -> None:
    net, x = made("transformer"), inputs(60)
    other = x.clone()
    other[:, 10] = 5.0
    with torch.inference_mode():
        differs = (net(x) - net(other)).abs().amax(0) > 0.0
    assert differs.nonzero().flatten().tolist() == list(range(10, 22))


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_does_not_touch_the_global_generator(kind: Kind) -> None:
    before = torch.random.get_rng_state()
    made(kind)
    assert torch.equal(before, torch.random.get_rng_state())
