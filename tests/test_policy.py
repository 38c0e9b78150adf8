"""Encoding each bar once changes nothing but the time that it takes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from qframe_rl.config import UserError
from qframe_rl.jit import fused
from qframe_rl.policy import Choices, Dense, EncodedBars, Gauss, Graph, InputShape, Loss, Minibatch, Net, chance_of
from qframe_rl.policy.bars import Encode
from qframe_rl.policy.products import LANES, products
from qframe_rl.policy.several import raise_all

WIDTH, ROWS, ACCOUNT = 3, 8, 2
_ADD = products(4, 2)


@fused
def _multiply(
    c: np.ndarray, a: np.ndarray, by_row: int, by_term: int, b: np.ndarray, blocks: int, terms: int
) -> None:  # fmt: skip
    for k in range(blocks):
        _ADD(c, k * 8 * LANES, a, 4 * k * by_row, by_row, by_term, b, 0, terms)


LEVELS = spaces.Discrete(3)


def net(torso: str = "mlp", space: spaces.Space | None = None) -> Net:  # type: ignore[type-arg]
    torch.manual_seed(0)
    return Net(InputShape(ROWS, WIDTH, ACCOUNT), space or LEVELS, torso, 5, (16, 12), -0.5)  # type: ignore[arg-type]


def tape(n: int = 300) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, WIDTH)).astype(np.float32)


def windows(features: np.ndarray, cursor: np.ndarray) -> torch.Tensor:
    rows = features[cursor[:, None] + np.arange(1 - ROWS, 1)]
    return torch.from_numpy(rows.reshape(len(cursor), -1))


def bars_of(one: Net, features: np.ndarray) -> tuple[EncodedBars, Encode]:
    encoder = one.encoder
    assert encoder is not None
    bars = EncodedBars(encoder.shape, encoder.recurrent, features, torch.device("cpu"))
    return bars, lambda units: bars.encode(units, encoder)


def each(do: Encode, units: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [do(u) for u in units]


def shared(part: Minibatch, encode: Encode) -> torch.Tensor:
    encodings = encode(part.units)
    return encodings if part.spot is None else encodings[part.spot]


def at(bars: EncodedBars, cursor: torch.Tensor, encode: Encode) -> torch.Tensor:
    encodings, spot = bars.at(cursor, encode)
    return encodings if spot is None else encodings[spot]


def minibatches(bars: EncodedBars, cursor: np.ndarray, size: int, n_parts: int = 1) -> Iterator[list[Minibatch]]:
    order, batch_of = bars.shuffle(cursor, torch.Generator().manual_seed(0))
    for pick in torch.split(order, size):
        yield [batch_of(part) for part in pick.chunk(n_parts)]


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
    assert torch.allclose(at(bars, torch.from_numpy(cursor), encode), plain, atol=1e-6)
    seen = []
    for parts in minibatches(bars, cursor, 64, 2):
        for part in parts:
            assert torch.allclose(shared(part, encode), plain[part.pick], atol=1e-6)
            seen.append(part.pick)
        assert sum(len(part.pick) for part in parts) in (64, n_samples % 64)
    assert sorted(torch.cat(seen).tolist()) == list(range(n_samples))


@pytest.mark.parametrize("torso", ["lstm", "gru"])
def test_a_recurrent_encoder_over_blocks_remembers_at_least_its_window(torso: str) -> None:
    """At the first bar of a block the state has seen the window and no more: there both ways agree."""
    one, features = net(torso), tape()
    assert one.encoder is not None
    bars, encode = bars_of(one, features)
    bars.refresh(1, encode, each)
    first = np.arange(bars.block, len(features), bars.block)
    found = at(bars, torch.from_numpy(first), encode)
    assert torch.allclose(found, one.encoder(windows(features, first)), atol=1e-6)
    cursor = np.random.default_rng(2).integers(ROWS - 1, len(features), 500)
    table = at(bars, torch.from_numpy(cursor), encode)
    for (part,) in minibatches(bars, cursor, 100):
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
        seen.append(at(bars, cursor, encode))
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


def lesson(one: Net, market: bool) -> tuple[torch.Tensor | None, Minibatch, torch.Tensor]:
    """Encodings, a batch and samples, some of which have gone beyond the clipping range."""
    rng, n = torch.Generator().manual_seed(1), 150
    chance, n_hidden = one.chance, one.account.out_features
    encodings = torch.randn(40, n_hidden, generator=rng) if market else None
    spot = torch.randint(0, 40, (100,), generator=rng).sort()[0] if market else None
    account = torch.randn(n, one.shape.n_account, generator=rng)
    n_actions = chance.n_parts if isinstance(chance, Choices) else chance.n_outputs
    actions = torch.randint(0, 3, (n, n_actions), generator=rng).float()
    pick = torch.randperm(n, generator=rng)[:100]
    seen = None if encodings is None or spot is None else encodings[spot]
    log_p = torch.zeros(n)
    log_p[pick] = chance.judge(one(seen, account[pick])[0], actions[pick])[0].detach()
    facts = torch.randn(n, 3, generator=rng)
    facts[:, 2] = log_p + 0.2 * facts[:, 2]
    return encodings, Minibatch(pick, None, spot), torch.cat([account, actions, facts], dim=1)


@pytest.mark.parametrize("space", [*SPACES, spaces.MultiDiscrete([5] * 7), spaces.Box(-1.0, 1.0, (20,))])
@pytest.mark.parametrize("hidden", [(16,), (64, 64), (70, 12, 130)])
@pytest.mark.parametrize("market", [True, False])
def test_compiled_tiles_learn_what_automatic_differentiation_does(
    space: spaces.Space[Any], hidden: tuple[int, ...], market: bool
) -> None:
    """Outputs, parts of the loss, gradient, slopes along encodings, and where two steps lead."""
    torch.manual_seed(0)
    one = Net(InputShape(ROWS if market else 0, WIDTH, ACCOUNT), space, "mlp", 5, hidden, -0.5)
    for p in one.parameters():
        p.data += 0.1 * torch.randn_like(p)
    encodings, batch, samples = lesson(one, market)
    lanes = [Dense(copy.deepcopy(one), Loss(0.2, 0.01)), Graph(one, Loss(0.2, 0.01))]
    found: list[list[torch.Tensor]] = []
    for lane in lanes:
        leaf = None if encodings is None else encodings.clone().requires_grad_()
        seen = []
        for _ in range(2):
            n, told = len(samples), lane.learn(leaf, batch, samples, 130)
            seen += [told.float(), lane.grad.clone()]
            lane.step([], 0.01)
            out, value = torch.empty(n, one.chance.n_outputs), torch.empty(n)
            spot = None if encodings is None else torch.arange(n) % len(encodings)
            lane.see(encodings, spot, samples[:, :ACCOUNT].contiguous(), out, value)
            seen += [out, value, lane.flat.detach().clone()]
        found.append(seen if leaf is None or leaf.grad is None else [*seen, leaf.grad])
    for ours, plain in zip(*found, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-3, atol=2e-4 * float(plain.abs().max()))
    told, grad = found[1][0], found[1][1]
    assert told[4] > 0.1, "nothing was clipped"
    assert grad.abs().max() > 1e-3


def test_parts_of_a_minibatch_add_up_to_it() -> None:
    torch.manual_seed(0)
    one = net()
    encodings, batch, samples = lesson(one, True)
    assert encodings is not None and batch.spot is not None
    whole, first = Dense(copy.deepcopy(one), Loss(0.2, 0.01)), Dense(copy.deepcopy(one), Loss(0.2, 0.01))
    second = Dense(copy.deepcopy(one), Loss(0.2, 0.01), first)
    told = whole.learn(encodings.clone().requires_grad_(), batch, samples, 100)
    pieces = [
        lane.learn(
            encodings.clone().requires_grad_(), Minibatch(batch.pick[part], None, batch.spot[part]), samples, 100
        )
        for lane, part in ((first, slice(0, 37)), (second, slice(37, 100)))
    ]
    assert torch.allclose(pieces[0] + pieces[1], told)
    whole.step([], 0.01)
    first.step([second], 0.01)
    assert torch.allclose(first.flat, whole.flat, atol=1e-6)
    assert second.flat is first.flat


@given(rows=st.integers(1, 3), terms=st.integers(1, 9), seed=st.integers(0, 1000))
def test_products_are_sums_of_products(rows: int, terms: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.normal(size=size).astype(np.float32) for size in ((4 * rows, terms), (terms, 2 * LANES)))
    c = rng.normal(size=(4 * rows, 2 * LANES)).astype(np.float32)
    wanted = c.astype(np.float64) + a.astype(np.float64) @ b
    turned = np.ascontiguousarray(a.T)
    for one, by_row, by_term in ((a, terms, 1), (turned, 1, 4 * rows)):
        into = c.ravel().copy()
        _multiply(into, one.ravel(), by_row, by_term, b.ravel(), rows, terms)
        assert np.allclose(into.reshape(c.shape), wanted, atol=1e-5)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="MultiDiscrete with equal parts"):
        chance_of(spaces.MultiDiscrete([2, 3]), 0.0)
    with pytest.raises(UserError, match="needs a market"):
        Net(InputShape(0, 0, 4), LEVELS, "lstm", 8, (8,), 0.0)
    with pytest.raises(UserError, match="n_rows"):
        Net(InputShape(1, 4, 4), LEVELS, "cnn", 8, (8,), 0.0)


def test_exponentials_of_a_tile_are_those_of_the_library() -> None:
    x = np.concatenate([np.linspace(-87.0, 0.0, 100_001), [-1e30, -104.0, -0.0]]).astype(np.float32)
    ours = x.copy()
    raise_all(ours)
    exact = np.exp(x.astype(np.float64))
    assert np.abs(ours[:-3] / exact[:-3] - 1.0).max() < 2e-7
    assert ours[-3:].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("space", [LEVELS, spaces.MultiDiscrete([5] * 7)])
def test_what_is_forbidden_takes_no_part(space: spaces.Space[Any]) -> None:
    """Each choice keeps its taken option and one more at least; both ways learn the same of what is left."""
    torch.manual_seed(0)
    one = Net(InputShape(0, WIDTH, ACCOUNT), space, "mlp", 5, (16,), -0.5)
    _, batch, samples = lesson(one, False)
    chance = one.chance
    assert isinstance(chance, Choices)
    taken = samples[:, ACCOUNT:-3].long()
    barred = torch.rand(len(samples), chance.n_parts, chance.n_options) < 0.4
    barred.scatter_(2, taken.unsqueeze(2), False)
    barred = barred.flatten(1)
    lanes = [Dense(copy.deepcopy(one), Loss(0.2, 0.01)), Graph(one, Loss(0.2, 0.01))]
    told = [lane.learn(None, batch, samples, 130, barred).float() for lane in lanes]
    assert torch.allclose(told[0], told[1], rtol=1e-3, atol=1e-4)
    assert torch.allclose(lanes[0].grad, lanes[1].grad, rtol=1e-3, atol=2e-4 * float(lanes[1].grad.abs().max()))
    free = Dense(copy.deepcopy(one), Loss(0.2, 0.01))
    assert not torch.allclose(free.learn(None, batch, samples, 130).float(), told[0], rtol=1e-2)
