"""What Ray costs: beginning a cluster, handing a job over, and memory where many workers read the same bars."""

from __future__ import annotations

import os
import time
from pathlib import Path

from qframe_rl.agent import Log
from qframe_rl.bench.measure import BenchmarkRow
from qframe_rl.bench.peers import Peers
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.runner.executors import Mute, RayExecutor
from qframe_rl.runner.log import Screen
from qframe_rl.types import History

_WORKERS = 2
_SPREAD = 8
"""Cells for each worker in the measurement of memory, so that every worker gets one."""


def fan(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Wall time of jobs that wait, over that without any overhead; and what a worker holds of its own."""
    jobs, seconds = (8, 0.05) if small else (200, 2.0)
    history = synthetic("correlated", n_bars=2_000 if small else 8 * 365 * 24, n_instruments=16)
    size = sum(array.nbytes for array in (history.time, history.values, history.funding, history.final)) / 1e6
    screen.begin("fan")
    began = time.perf_counter()
    with RayExecutor(cores=_WORKERS) as cluster:
        start = time.perf_counter() - began
        dict(cluster.run(wait, 0.0, list(range(_SPREAD * _WORKERS)), lambda _: Mute()))
        empty = _timed(cluster, 0.0, jobs, screen)
        full = _timed(cluster, seconds, jobs, screen)
        before = dict(cluster.run(own_memory, None, [0.1] * _SPREAD * _WORKERS, lambda _: Mute()))
        after = dict(cluster.run(own_memory, history, [0.1] * _SPREAD * _WORKERS, lambda _: Mute()))
    with RayExecutor(cores=1) as single:
        dict(single.run(wait, 0.0, list(range(_SPREAD)), lambda _: Mute()))
        few = jobs // 8
        alone = _timed(single, seconds, few, screen)
    screen.end("fan", f"{jobs} jobs of {seconds} s")
    base = dict(before.values())
    grown = max(max(0.0, held - base[worker]) for worker, held in after.values() if worker in base)
    return [
        BenchmarkRow("fan.start", _WORKERS, start, "s", "", None),
        BenchmarkRow("fan.cell", _WORKERS, empty / jobs * 1e3, "ms/job", "", None),
        BenchmarkRow("fan.cells", jobs, full, "s", "ideal", full / (seconds * jobs / _WORKERS)),
        BenchmarkRow("fan.one", few, alone, "s", "ideal", alone / (seconds * few)),
        BenchmarkRow("fan.bars", _WORKERS, size, "MB", "", None),
        BenchmarkRow("fan.memory", _WORKERS, grown + 1e-3, "MB/worker", "fan.bars", (grown + 1e-3) / size),
    ]


def wait(seconds: float, job: int, log: Log) -> int:
    """Take a while and no core."""
    time.sleep(seconds)
    return job


def own_memory(history: History | None, seconds: float, log: Log) -> tuple[int, float]:
    """Read all bars, and say which process this is and how many MB are its own alone (USS)."""
    if history is not None:
        history.values.max()
    time.sleep(seconds)
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:"))]
    return os.getpid(), sum(kilobytes) / 1e3


def _timed(cluster: RayExecutor, seconds: float, jobs: int, screen: Screen) -> float:
    began = time.perf_counter()
    for done, _ in enumerate(cluster.run(wait, seconds, list(range(jobs)), lambda _: Mute())):
        screen.advance("fan", done, jobs)
    return time.perf_counter() - began
