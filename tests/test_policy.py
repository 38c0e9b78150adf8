"""Encoding each bar once changes nothing but the time that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from qframe_rl.config import UserError
from qframe_rl.policy import Bars, Batch, Choices, Gauss, Head, Net, Shape, chance_of
from qframe_rl.policy.bars import Encode

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


def bars_of(one: Net, features: np.ndarray) -> tuple[Bars, Encode]:
    encoder = one.encoder
    assert encoder is not None
    bars = Bars(encoder.shape, encoder.recurrent, features, torch.device("cpu"))
    return bars, lambda units: bars.encode(units, encoder)


def each(do: Encode, units: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [do(u) for u in units]


def shared(part: Batch, encode: Encode) -> torch.Tensor:
    return part.share(encode(part.units), slice(None))


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
    bars, encode = bars_of(one, features)
    cursor = np.random.default_rng(2).integers(ROWS - 1, len(features), n_samples)
    plain = one.encoder(windows(features, cursor))
    bars.refresh(n_samples, encode, each)
    assert torch.allclose(bars.at(torch.from_numpy(cursor), encode), plain, atol=1e-6)
    seen = []
    for parts in bars.minibatches(cursor, 64, torch.Generator().manual_seed(0), 2):
        for part in parts:
            assert torch.allclose(shared(part, encode), plain[part.pick], atol=1e-6)
            seen.append(part.pick)
        assert sum(len(part.pick) for part in parts) in (64, n_samples % 64)
    assert sorted(torch.cat(seen).tolist()) == list(range(n_samples))


@pytest.mark.parametrize("torso", ["mlp", "lstm"])
def test_slopes_of_samples_are_summed_over_those_that_share_a_bar(torso: str) -> None:
    one, features = net(torso), tape()
    bars, encode = bars_of(one, features)
    cursor = np.random.default_rng(2).integers(ROWS - 1, len(features), 900)
    for (part,) in bars.minibatches(cursor, 200, torch.Generator().manual_seed(0)):
        encodings, slopes = encode(part.units).detach().requires_grad_(), torch.randn(len(part.pick), 32)
        plain = encodings[part.spot]
        (found,) = torch.autograd.grad(plain, encodings, slopes)
        assert torch.allclose(part.gather(slopes), found, atol=1e-5)


@pytest.mark.parametrize("torso", ["lstm", "gru"])
def test_a_recurrent_encoder_over_blocks_remembers_at_least_its_window(torso: str) -> None:
    """At the first bar of a block the state has seen the window and no more: there both ways agree."""
    one, features = net(torso), tape()
    assert one.encoder is not None
    bars, encode = bars_of(one, features)
    bars.refresh(1, encode, each)
    first = np.arange(bars.block, len(features), bars.block)
    found = bars.at(torch.from_numpy(first), encode)
    assert torch.allclose(found, one.encoder(windows(features, first)), atol=1e-6)
    cursor = np.random.default_rng(2).integers(ROWS - 1, len(features), 500)
    table = bars.at(torch.from_numpy(cursor), encode)
    for (part,) in bars.minibatches(cursor, 100, torch.Generator().manual_seed(0)):
        assert torch.allclose(shared(part, encode), table[part.pick], atol=1e-6)


@pytest.mark.parametrize("torso", ["mlp", "cnn", "lstm", "gru"])
def test_no_encoding_looks_ahead(torso: str) -> None:
    one, features = net(torso), tape()
    assert one.encoder is not None
    other = features.copy()
    other[200:] = 7.0
    cursor = torch.arange(ROWS - 1, 200)
    seen = []
    for rows in (features, other):
        bars, encode = bars_of(one, rows)
        bars.refresh(10_000, encode, each)
        seen.append(bars.at(cursor, encode))
    assert torch.equal(*seen)


@given(st.integers(1, 3), st.integers(2, 4), st.integers(0, 10))
def test_choices_are_categorical(parts: int, options: int, seed: int) -> None:
    chance, rng = Choices(parts, options), torch.Generator().manual_seed(seed)
    out = torch.randn(7, parts * options, generator=rng)
    actions = chance.sample(out, chance.noise(out.shape, rng))
    log_p, entropy = chance.judge(out, actions)
    plain = torch.distributions.Categorical(logits=out.view(7, parts, options))
    assert torch.allclose(log_p, plain.log_prob(actions).sum(-1), atol=1e-5)
    assert torch.allclose(entropy, plain.entropy().sum(-1), atol=1e-5)


def test_sampling_has_the_right_frequencies() -> None:
    out = torch.log(torch.tensor([[0.1, 0.6, 0.3]])).expand(200_000, 3)
    chance = Choices(1, 3)
    drawn = chance.sample(out, chance.noise(out.shape, torch.Generator().manual_seed(0)))[:, 0]
    share = torch.bincount(drawn, minlength=3) / len(drawn)
    assert torch.allclose(share, torch.tensor([0.1, 0.6, 0.3]), atol=0.005)


def test_gauss_is_normal() -> None:
    chance, out, actions = Gauss(2, -0.3), torch.randn(9, 2), torch.randn(9, 2)
    log_p, entropy = chance.judge(out, actions)
    plain = torch.distributions.Normal(out, chance.log_std.exp())
    assert torch.allclose(log_p, plain.log_prob(actions).sum(-1), atol=1e-6)
    assert torch.allclose(entropy, plain.entropy().sum(-1), atol=1e-6)


SPACES = [LEVELS, spaces.MultiDiscrete([3, 3]), spaces.Box(-1.0, 1.0, (2,))]


@pytest.mark.parametrize("space", SPACES)
def test_what_a_distribution_says_on_the_way_back_is_its_derivative(space: spaces.Space[Any]) -> None:
    chance, rng = chance_of(space, -0.3).double(), torch.Generator().manual_seed(0)
    out = torch.randn(9, chance.n_outputs, generator=rng, dtype=torch.float64, requires_grad=True)
    actions = chance.sample(out.detach().float(), chance.noise(out.shape, rng)).detach()
    weights = torch.randn(9, generator=rng, dtype=torch.float64)
    log_p, entropy = chance.judge(out, actions)
    ((weights * log_p).sum() + 0.7 * entropy.sum()).backward()
    plain = [p.grad.clone() for p in chance.parameters()]  # type: ignore[union-attr]
    for p in chance.parameters():
        p.grad = torch.zeros_like(p)
    same, alike, back = chance.weigh(out.detach(), actions)
    assert torch.allclose(same.to(log_p), log_p, atol=1e-6)
    assert torch.allclose(alike.to(entropy), entropy, atol=1e-6)
    assert torch.allclose(back(weights.to(same), 0.7).double(), out.grad, atol=1e-6)
    for p, grad in zip(chance.parameters(), plain, strict=True):
        assert torch.allclose(p.grad, grad, atol=1e-6)


@pytest.mark.parametrize("hidden", [(16,), (16, 12), (16, 12, 8)])
@pytest.mark.parametrize("market", [True, False])
def test_the_gradient_written_out_is_that_of_automatic_differentiation(hidden: tuple[int, ...], market: bool) -> None:
    torch.manual_seed(0)
    one = Net(Shape(ROWS if market else 0, WIDTH, ACCOUNT), LEVELS, "mlp", 5, hidden, -0.5)
    for p in one.parameters():
        torch.nn.init.normal_(p, std=0.5)
    names = [name for name, _ in one.named_parameters() if not name.startswith("encoder")]
    encoding = torch.randn(50, 32, requires_grad=True) if market else None
    account, of_out, of_value = torch.randn(50, ACCOUNT), torch.randn(50, 3), torch.randn(50)
    out, value = one(encoding, account)
    wanted = [p for name, p in one.named_parameters() if name in names] + ([] if encoding is None else [encoding])
    plain = torch.autograd.grad((out * of_out).sum() + (value * of_value).sum(), wanted)
    head = Head(one, torch.float32)
    found, worth, kept = head.forward(None if encoding is None else encoding.detach().clone(), account)
    slopes = torch.empty(50, 32)
    head.backward(kept, of_out, of_value, slopes)
    assert torch.allclose(found, out, atol=1e-5)
    assert torch.allclose(worth, value, atol=1e-5)
    grads = [p.grad for name, p in one.named_parameters() if name in names]
    for a, b in zip([*grads, slopes * head.encoding_weight], plain, strict=False):
        assert a is not None and torch.allclose(a, b, rtol=1e-6, atol=1e-6 * float(b.abs().max()) + 1e-6)
    assert torch.equal(head.flat.grad, torch.cat([p.grad.ravel() for p in one.parameters()]))  # type: ignore[union-attr, arg-type]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="MultiDiscrete with equal parts"):
        chance_of(spaces.MultiDiscrete([2, 3]), 0.0)
    with pytest.raises(UserError, match="needs a market"):
        Net(Shape(0, 0, 4), LEVELS, "lstm", 8, (8,), 0.0)
    with pytest.raises(UserError, match="n_rows"):
        Net(Shape(1, 4, 4), LEVELS, "cnn", 8, (8,), 0.0)
