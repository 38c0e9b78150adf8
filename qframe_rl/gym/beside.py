"""The kernel compiled by another process, while the one that waits for it prepares bars and compiles the rest.

Of what a first step compiles, the kernel is more than half and depends on nothing else. So where its machine code is
not on disk yet, ``python -m qframe_rl.gym.beside`` writes it there; who finds none there compiles it himself.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np

from qframe_rl.kernel.columns import N_FILLS, opened
from qframe_rl.kernel.lanes import scratch
from qframe_rl.kernel.rows import advance_rows
from qframe_rl.kernel.rules import rules_of
from qframe_rl.types import Instrument

_running: subprocess.Popen[bytes] | None = None


def compile_kernel() -> None:
    """Compile what moves accounts by market orders alone, for arrays as those of an environment, by moving nobody."""
    rules, row = rules_of((Instrument("A"),)), np.zeros(1, dtype=np.int64)
    advance_rows(
        np.zeros((1, 1)), None, 0.0, opened(1.0, 1, rules.n_columns), np.zeros((1, 1, 2)), np.zeros((2, 1, 8)), row,
        np.zeros(1, dtype=np.bool_), rules.table, rules.leverage, rules.shorting, False, np.zeros((0, 1, N_FILLS)),
        scratch(1),
    )  # fmt: skip


def begin() -> None:
    """Have the kernel compiled beside, if it is not on disk, nobody was asked to before and there is a core for it."""
    global _running
    folder = Path(numba.config.CACHE_DIR)  # type: ignore[attr-defined]
    if (os.cpu_count() or 1) < 2 or not Path(sys.executable).stem.startswith("python") or _known(folder):
        return
    path = os.pathsep.join(one or str(Path.cwd()) for one in sys.path)
    own = os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": path}
    null = subprocess.DEVNULL
    _running = subprocess.Popen([sys.executable, "-m", __name__], stdin=null, stdout=null, stderr=null, env=own)
    atexit.register(_end)


def _known(folder: Path) -> bool:
    """Whether the kernel is on disk or somebody is about to write it; else it is marked that somebody is."""
    if next(folder.glob("**/rows.advance_rows*.nbi"), None) is not None:
        return True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "compiled-beside").touch(exist_ok=False)
    except OSError:
        return True
    return False


def wait() -> None:
    """Wait for the kernel, if it is being compiled beside."""
    global _running
    if _running is not None:
        _running.wait()
        _running = None


def _end() -> None:
    """Leave nothing running behind a process that ends before it took a step."""
    if _running is not None:
        _running.terminate()
        _running.wait()


if __name__ == "__main__":
    compile_kernel()
