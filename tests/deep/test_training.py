"""The training loop: it stops, keeps the best, reports, and leaves the world as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from qframe_rl.deep.training import Loop, Schedule, arrays, load, own_randomness
from tests.contracts.checks import Quiet

SCHEDULE = Schedule(epochs=30, patience=4, learning_rate=0.1, max_gradient=1.0, seed=3)


class Notes(Quiet):
    def __init__(self) -> None:
        self.points: list[tuple[str, int]] = []
        self.progressed: list[int] = []

    def scalar(self, name: str, value: float, step: int) -> None:
        self.points.append((name, step))

    def progress(self, done: int, total: int, note: str = "") -> None:
        self.progressed.append(done)


def losses(net: torch.nn.Linear) -> Any:
    def of(epoch: int, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        for _ in range(3):
            yield (net(torch.from_numpy(rng.standard_normal((8, 2)).astype(np.float32))) - 1.0).square().mean()

    return of


def test_it_stops_when_patience_ends_and_keeps_the_best() -> None:
    scores = [0.0, 1.0, 3.0, 2.0, 2.5, 1.0, 0.0, 9.0]
    seen = []
    log = Notes()
    with own_randomness(0):
        net = torch.nn.Linear(2, 1)

        def score() -> float:
            seen.append(arrays(net))
            return scores[len(seen) - 1]

        Loop(net, SCHEDULE, object(), log)(losses(net), score)  # type: ignore[arg-type]
    assert len(seen) == 7  # the best was the third, and four more were not better
    for name, value in arrays(net).items():
        assert np.array_equal(value, seen[2][name])
    assert log.progressed == list(range(1, 8))
    assert log.points == [(name, k) for k in range(1, 8) for name in ("train/loss", "validation/score")]
    assert not net.training


def test_randomness_and_threads_are_given_back() -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    with pytest.raises(RuntimeError), own_randomness(1):
        torch.rand(3)
        raise RuntimeError
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_weights_that_do_not_fit_are_refused() -> None:
    net = torch.nn.Linear(2, 1)
    with pytest.raises(ValueError, match="'weight' is missing"):
        load(net, {"bias": np.zeros(1, dtype=np.float32)})
