"""Encoding each bar once changes nothing but the time that it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from qframe_rl.config import UserError
from qframe_rl.policy import Bars, Choices, Gauss, Net, Shape, chance_of

WIDTH, ROWS, ACCOUNT = 3, 8, 2
LEVELS = spaces.Discrete(3)


def net(torso: str = "mlp", space: spaces.Space | None = None) -> Net:  # type: ignore[type-arg]
    torch.manual_seed(0)
    return Net(Shape(ROWS, WIDTH, ACCOUNT), space or LEVELS, torso, 5, (16, 12), -0.5)  # type: ignore[arg-type]


def tape(n: int = 300) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, WIDTH)).astype(np.float32)


def windows(features: np.ndarray, cursor: np.ndarray) -> torch.Tensor:
    rows = features[cursor[:, None] + np.arange(1 - ROWS, 1)]
    return torch.from_numpy(rows.reshape(len(cursor), -1))


def test_the_split_network_is_the_plain_one() -> None:
    """The same weights in a textbook perceptron with tanh."""
    one = net()
    assert one.encoder is not None
    market, account = torch.randn(50, ROWS * WIDTH), torch.randn(50, ACCOUNT)
    first = torch.tanh(one.encoder.out(market) + one.account(account))
    of_actor, of_critic = first[:, :16], first[:, 16:]
    out = one.actor[1](torch.tanh(one.actor[0](of_actor)))
    value = one.critic[1](torch.tanh(one.critic[0](of_critic)))[:, 0]
    found, worth = one.see(torch.cat([market, account], dim=1))
    assert torch.allclose(found, out, atol=2e-6)
    assert torch.allclose(worth, value, atol=2e-6)
    (grad,) = torch.autograd.grad(found.sum() + worth.sum(), [one.encoder.out.weight])
    (plain,) = torch.autograd.grad(out.sum() + value.sum(), [one.encoder.out.weight])
    assert torch.allclose(grad, plain, atol=1e-4)


@pytest.mark.parametrize("torso", ["mlp", "cnn"])
@pytest.mark.parametrize("n_samples", [20, 900])
def test_shared_bars_are_encoded_as_single_ones(torso: str, n_samples: int) -> None:
    one, features = net(torso), tape()
    assert one.encoder is not None
    bars = Bars(one.encoder, features, torch.device("cpu"))
    cursor = np.random.default_rng(2).integers(ROWS - 1, len(features), n_samples)
    plain = one.encoder(windows(features, cursor))
    bars.refresh(n_samples)
    assert torch.allclose(bars.at(torch.from_numpy(cursor)), plain, atol=1e-6)
    seen = []
    for pick, encode in bars.minibatches(cursor, 64, torch.Generator().manual_seed(0)):
        assert torch.allclose(encode(), plain[pick], atol=1e-6)
        seen.append(pick)
    assert sorted(torch.cat(seen).tolist()) == list(range(n_samples))


@pytest.mark.parametrize("torso", ["lstm", "gru"])
def test_a_recurrent_encoder_over_blocks_remembers_at_least_its_window(torso: str) -> None:
    """At the first bar of a block the state has seen the window and no more: there both ways agree."""
    one, features = net(torso), tape()
    assert one.encoder is not None
    bars = Bars(one.encoder, features, torch.device("cpu"))
    bars.refresh(1)
    first = np.arange(64, len(features), 64)
    assert torch.allclose(bars.at(torch.from_numpy(first)), one.encoder(windows(features, first)), atol=1e-6)
    cursor = np.random.default_rng(2).integers(ROWS - 1, len(features), 500)
    table = bars.at(torch.from_numpy(cursor))
    for pick, encode in bars.minibatches(cursor, 100, torch.Generator().manual_seed(0)):
        assert torch.allclose(encode(), table[pick], atol=1e-6)


@pytest.mark.parametrize("torso", ["mlp", "cnn", "lstm", "gru"])
def test_no_encoding_looks_ahead(torso: str) -> None:
    one, features = net(torso), tape()
    assert one.encoder is not None
    other = features.copy()
    other[200:] = 7.0
    cursor = torch.arange(ROWS - 1, 200)
    seen = []
    for rows in (features, other):
        bars = Bars(one.encoder, rows, torch.device("cpu"))
        bars.refresh(10_000)
        seen.append(bars.at(cursor))
    assert torch.equal(*seen)


@given(st.integers(1, 3), st.integers(2, 4), st.integers(0, 10))
def test_choices_are_categorical(parts: int, options: int, seed: int) -> None:
    chance, rng = Choices(parts, options), torch.Generator().manual_seed(seed)
    out = torch.randn(7, parts * options, generator=rng)
    actions = chance.sample(out, rng)
    log_p, entropy = chance.judge(out, actions)
    plain = torch.distributions.Categorical(logits=out.view(7, parts, options))
    assert torch.allclose(log_p, plain.log_prob(actions).sum(-1), atol=1e-5)
    assert torch.allclose(entropy, plain.entropy().sum(-1), atol=1e-5)


def test_sampling_has_the_right_frequencies() -> None:
    out = torch.log(torch.tensor([[0.1, 0.6, 0.3]])).expand(200_000, 3)
    drawn = Choices(1, 3).sample(out, torch.Generator().manual_seed(0))[:, 0]
    share = torch.bincount(drawn, minlength=3) / len(drawn)
    assert torch.allclose(share, torch.tensor([0.1, 0.6, 0.3]), atol=0.005)


def test_gauss_is_normal() -> None:
    chance, out, actions = Gauss(2, -0.3), torch.randn(9, 2), torch.randn(9, 2)
    log_p, entropy = chance.judge(out, actions)
    plain = torch.distributions.Normal(out, chance.log_std.exp())
    assert torch.allclose(log_p, plain.log_prob(actions).sum(-1), atol=1e-6)
    assert torch.allclose(entropy, plain.entropy().sum(-1), atol=1e-6)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="MultiDiscrete with equal parts"):
        chance_of(spaces.MultiDiscrete([2, 3]), 0.0)
    with pytest.raises(UserError, match="needs a market"):
        Net(Shape(0, 0, 4), LEVELS, "lstm", 8, (8,), 0.0)
    with pytest.raises(UserError, match="n_rows"):
        Net(Shape(1, 4, 4), LEVELS, "cnn", 8, (8,), 0.0)
