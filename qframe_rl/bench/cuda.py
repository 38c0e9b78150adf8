"""`ppo` on an accelerator: frames a second beside this machine's cores and plain PyTorch, and whether it is the same.

Every part takes the device as a parameter and runs on a CPU too, which is how it is tested.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from qframe_rl import catalog
from qframe_rl.bench.measure import BenchmarkRow, Work, rates, rows
from qframe_rl.bench.offline import Quiet
from qframe_rl.bench.peers import Peers
from qframe_rl.bench.plain_ppo import PlainPpo, PlainSizes
from qframe_rl.bench.worlds import ROWS, WorldTask, bars, world
from qframe_rl.config import UserError
from qframe_rl.policy.training import PpoTraining
from qframe_rl.runner.log import Screen

MISSING = "suite cuda: torch sees no accelerator on this machine; it measures nothing else."
_BARS = 50_000
_SIZES = PlainSizes(n_envs=16_384, n_steps=64, batch_size=262_144, n_epochs=4)
_SMALL = PlainSizes(n_envs=64, n_steps=16, batch_size=512, n_epochs=2)
_UPDATES = 4
"""Of a training that is timed."""


def available() -> bool:
    """Whether there is an accelerator to measure."""
    return torch.cuda.is_available()


def cuda(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Frames a second with the networks on the accelerator, and how far it is from the CPU.

    Raises
    ------
    UserError
        If there is none.
    """
    if not available():
        raise UserError(MISSING)
    return measured("cuda", small, repeats, screen)


def measured(device: str, small: bool, repeats: int, screen: Screen) -> list[BenchmarkRow]:
    """The suite on a device; `small` and `repeats` as every suite has them."""
    sizes, cores = _SMALL if small else _SIZES, os.cpu_count() or 1
    work: dict[str, Work] = {
        "cuda.ppo": _ours(sizes, device, 1),
        "plain-torch": _plain(sizes, device),
        "cpu": _ours(sizes, "cpu", 1 if small else cores),
    }
    found = rates(work, repeats, screen, "cuda")
    screen.begin("cuda against the CPU")
    outputs, gradient = difference(device)
    screen.end("cuda against the CPU", f"gradients differ by {gradient:.1e} of the largest")
    beside = {"plain-torch": 1.0, "cpu": 1.0}
    return [
        *rows("cuda.ppo", sizes.n_envs, found["cuda.ppo"], "frames/s", beside, found),
        BenchmarkRow("cuda.outputs", _SMALL.n_envs, outputs, "of the largest", "", None),
        BenchmarkRow("cuda.gradient", _SMALL.n_envs, gradient, "of the largest", "", None),
        BenchmarkRow("peer.plain-torch", sizes.n_envs, found["plain-torch"], "frames/s", "", None),
        BenchmarkRow("peer.cpu", cores, found["cpu"], "frames/s", "", None),
    ]


def _task() -> WorldTask:
    market, tape = world(_BARS)
    return WorldTask(market, tape, bars(_BARS).columns, 0)


def _ours(sizes: PlainSizes, device: str, threads: int) -> Work:
    module, task, frames = catalog.load("agents", "ppo"), _task(), _UPDATES * sizes.n_envs * sizes.n_steps
    config = module.Config(
        total_steps=frames, precision="bfloat16", device=device, threads=threads, **sizes._asdict()
    )  # fmt: skip

    def do() -> float:
        module.make(config, task.spec).fit(task, Quiet())
        return float(frames)

    return do


def _plain(sizes: PlainSizes, device: str) -> Work:
    task = _task()

    def do() -> float:
        training = PlainPpo(task.envs(sizes.n_envs, indexed=True), ROWS, sizes, device, torch.bfloat16)
        for _ in range(_UPDATES):
            training.update()
        if device != "cpu":
            torch.cuda.synchronize()
        return float(_UPDATES * sizes.n_envs * sizes.n_steps)

    return do


def difference(device: str) -> tuple[float, float]:
    """Largest differences of one update from the CPU's: of outputs and values, and of the gradient that Adam takes.

    Both see the same bars and accounts with the same weights in float32, take the same actions and are paid the same.

    Returns
    -------
    tuple[float, float]
        Each divided by the largest number that the CPU has.
    """
    task = _task()
    here = _training(task, "cpu")
    last = here.collect()
    advantages, returns = here.judge(last)
    there = _training(task, device)
    there.cursor[:] = here.cursor
    there.account.copy_(here.account)
    there.begin()
    for t in range(_SMALL.n_steps):
        there.choose(t)
    there.actions.copy_(here.actions)
    seen = max(_apart(here.out, there.out), _apart(here.values[:-1], there.values[:-1]))
    there.improve(advantages.to(there.device), returns.to(there.device))
    here.improve(advantages, returns)
    return seen, _apart(here.lane.moments()[0], there.lane.moments()[0])


def _apart(one: Tensor, two: Tensor) -> float:
    return float((one - two.cpu()).abs().max() / one.abs().max())


def _training(task: WorldTask, device: str) -> PpoTraining:
    """A training at its beginning, of one pass over one minibatch."""
    module, n = catalog.load("agents", "ppo"), _SMALL.n_envs * _SMALL.n_steps
    config: Any = module.Config(n_epochs=1, batch_size=n, device=device)
    envs = task.envs(_SMALL.n_envs, indexed=True)
    training: PpoTraining = module.make(config, task.spec).training(envs, n, _SMALL.n_steps, Quiet())
    training.look(0, envs.reset(seed=1)[0])
    return training
