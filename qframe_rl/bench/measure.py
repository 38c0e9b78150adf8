"""How work is timed: variants take turns, so that what else the machine does meets all of them alike."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from qframe_rl.runner.log import Screen

Work = Callable[[], float]
"""Does a fixed piece of work and returns how many units it was."""


class BenchmarkRow(NamedTuple):
    """One line of the benchmark."""

    name: str
    """What was measured, such as ``env.window``."""
    batch: int
    """Environments, settings or workers side by side."""
    value: float
    unit: str
    ratio_to: str
    """What the value is compared with; empty where it stands alone."""
    ratio: float | None
    """Value / that of ``ratio_to``, both of this run."""


def rates(work: Mapping[str, Work], repeats: int, screen: Screen, title: str) -> dict[str, float]:
    """Units a second of each piece of work: medians over ``repeats`` rounds in which all take turns.

    A round before the first is not counted: it compiles and fills caches.
    """
    found: dict[str, list[float]] = {name: [] for name in work}
    screen.begin(title)
    for turn in range(repeats + 1):
        for k, (name, do) in enumerate(work.items()):
            screen.advance(title, turn * len(work) + k, (repeats + 1) * len(work), name)
            start = time.perf_counter()
            units = do()
            if turn:
                found[name].append(units / (time.perf_counter() - start))
    screen.end(title, f"medians of {repeats}")
    return {name: statistics.median(values) for name, values in found.items()}


def rows(
    name: str, batch: int, value: float, unit: str, others: Mapping[str, float], found: Mapping[str, float]
) -> list[BenchmarkRow]:
    """A line for each thing that ``value`` is compared with.

    ``others`` says what a unit of each is worth in units of ``value``.
    """
    compared = [
        BenchmarkRow(name, batch, value, unit, other, value / (found[other] * worth))
        for other, worth in others.items()
        if other in found
    ]
    return compared or [BenchmarkRow(name, batch, value, unit, "", None)]


def machine() -> dict[str, str]:
    """The machine and the versions that the figures were taken with."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    found = {"cpu": model or "unknown", "cores": str(os.cpu_count()), "python": platform.python_version()}
    for name in ("numpy", "numba", "torch", "gymnasium", "stable-baselines3", "sb3-contrib"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
