"""One gradient step of PPO's networks on one thread: compiled tiles, automatic differentiation, and bare products."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from gymnasium import Space, spaces

from qframe_rl.bench.measure import BenchmarkRow, Work, rates, rows
from qframe_rl.bench.peers import Peers
from qframe_rl.jit import fused
from qframe_rl.policy import Choices, Dense, Graph, InputShape, Loss, Minibatch, Net, NetworkBackend
from qframe_rl.policy.apart import one_thread
from qframe_rl.policy.products import LANES, products
from qframe_rl.runner.log import Screen
from qframe_rl.types import Single

_SIDE = 64
_LEVELS = 5
_COINS = 16
"""Of the heads that choose a level for each, or weights of all and cash."""
_PER_BAR = 8
"""Samples that share a bar."""
_add = products(4, _SIDE // LANES)


def gradient(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Samples a second learned from, in single precision: 64 x 64 units for actor and critic, three account numbers."""
    n, work = 4 if small else 200, dict[str, Work]()
    box: Space[Any] = spaces.Box(-1.0, 1.0, (1,), np.float32)
    choice: Space[Any] = spaces.Discrete(_LEVELS)
    heads: dict[str, Space[Any]] = {
        "choices": spaces.MultiDiscrete([_LEVELS] * _COINS), "weights": spaces.Box(-1.0, 1.0, (_COINS + 1,), np.float32)
    }  # fmt: skip
    with one_thread():
        for title, space, size, times in (
            ("plain", box, 1024, n), ("market", choice, 16384, max(n // 8, 1)),
            *((title, head, 4096, max(n // 8, 1)) for title, head in heads.items()),
        ):  # fmt: skip
            net = _net(space, market=title == "market")
            lanes = {"tiles": Dense(net, Loss(0.2, 0.01)), "autograd": Graph(copy.deepcopy(net), Loss(0.2, 0.01))}
            work |= {f"{title}.{way}": _steps(lane, size, times) for way, lane in lanes.items()}
        work |= {"products": _ours(20 * n), "blas": _blas(20 * n)}
        found = rates(work, repeats, screen, "gradient")
    against = {title: {"autograd": found[f"{title}.autograd"]} for title in ("plain", "market", *heads)}
    return [
        *rows("gradient.plain", 1024, found["plain.tiles"], "samples/s", {"autograd": 1.0}, against["plain"]),
        *rows("gradient.market", 16384, found["market.tiles"], "samples/s", {"autograd": 1.0}, against["market"]),
        *(
            row
            for title in heads
            for row in rows(
                f"gradient.{title}", 4096, found[f"{title}.tiles"], "samples/s", {"autograd": 1.0}, against[title]
            )
        ),
        *rows("gradient.products", 1, found["products"], "flop/s", {"blas": 1.0}, found),
    ]


def _net(space: Space[Any], *, market: bool) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net(InputShape(32 if market else 0, 8, 3), space, "mlp", 1, (_SIDE, _SIDE), -0.5)


def _steps(lane: NetworkBackend, size: int, times: int) -> Work:
    """Gradients of one minibatch, and steps along them; encodings of bars are given."""
    rng = torch.Generator().manual_seed(0)
    chance, market = lane.net.chance, lane.net.encoder is not None
    actions = (
        torch.randint(0, _LEVELS, (size, chance.n_parts), generator=rng)
        if isinstance(chance, Choices)
        else torch.zeros(size, chance.n_outputs)
    )
    samples = torch.cat([torch.randn(size, 3, generator=rng), actions, torch.randn(size, 3, generator=rng)], dim=1)
    encodings = torch.randn(size // _PER_BAR, 2 * _SIDE, generator=rng).requires_grad_() if market else None
    spot = torch.arange(size) // _PER_BAR if market else None
    batch = Minibatch(torch.randperm(size, generator=rng), None, spot)

    def do() -> float:
        for _ in range(times):
            lane.learn(encodings, batch, samples, size)
            lane.step([], 1e-6)
        return float(times * size)

    return do


@fused
def _multiply(c: Single, a: Single, b: Single, times: int) -> None:
    for _ in range(times):
        for r in range(0, _SIDE, 4):
            _add(c, r * _SIDE, a, r * _SIDE, _SIDE, 1, b, 0, _SIDE)


def _ours(times: int) -> Work:
    """Products of 64 x 64 as the tiles have them."""
    a, b, c = np.random.default_rng(0).normal(size=(3, _SIDE * _SIDE)).astype(np.float32) * 1e-3

    def do() -> float:
        _multiply(c, a, b, times)
        return 2.0 * _SIDE**3 * times

    return do


def _blas(times: int) -> Work:
    """The same by numpy's library."""
    a, b, c = np.random.default_rng(0).normal(size=(3, _SIDE, _SIDE)).astype(np.float32) * 1e-3

    def do() -> float:
        for _ in range(times):
            np.dot(a, b, out=c)
        return 2.0 * _SIDE**3 * times

    return do
