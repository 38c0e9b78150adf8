"""How long a user waits before anything happens."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from qframe_rl.bench.measure import BenchmarkRow
from qframe_rl.bench.peers import Peers
from qframe_rl.runner.log import Screen

_ROOT = Path(__file__).resolve().parents[2]
_STEP = """
import gymnasium, qframe_rl
envs = gymnasium.make_vec("QFrame/Perp-v1", num_envs=64)
envs.reset(seed=0)
envs.step(envs.action_space.sample())
"""


def startup(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Seconds of ``--help``, and from a fresh process to the first step with and without compiled code on disk."""
    screen.begin("startup")
    repeats = 1 if small else repeats
    doors = sorted(path.stem for path in (_ROOT / "experiments").glob("*.py") if _is_door(path))
    helps = {door: _seconds([sys.executable, "-m", f"experiments.{door}", "--help"], repeats) for door in doors}
    slowest = max(helps, key=lambda door: helps[door])
    with tempfile.TemporaryDirectory() as folder:
        own = os.environ | {"NUMBA_CACHE_DIR": folder}
        cold = _seconds([sys.executable, "-c", _STEP], 1, own)
        warm = _seconds([sys.executable, "-c", _STEP], repeats, own)
    screen.end("startup", f"the slowest --help is that of {slowest}")
    return [
        BenchmarkRow("startup.help", 1, helps[slowest], "s", "", None),
        BenchmarkRow("startup.first_step_cold", 1, cold, "s", "", None),
        BenchmarkRow("startup.first_step", 1, warm, "s", "", None),
    ]


def _is_door(path: Path) -> bool:
    return "__main__" in path.read_text(encoding="utf-8")


def _seconds(command: list[str], repeats: int, env: dict[str, str] | None = None) -> float:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, cwd=_ROOT, env=env, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
