"""Peers run in an environment of their own, one process each, and take turns with us."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.bench.measure import Work
from qframe_rl.config import UserError
from qframe_rl.types import CLOSE, History

_BARS = 100_000
_WORKER = Path(__file__).with_name("peer_worker.py")


class Peers:
    """Peers that a Python interpreter has installed.

    Parameters
    ----------
    python
        The interpreter; ``make peers`` makes one.

    Raises
    ------
    UserError
        If there is none.
    """

    def __init__(self, python: Path):
        if not python.exists():
            raise UserError(
                f"--peers: no Python interpreter at {python}; make peers puts one in .venv-peers/bin/python."
            )
        self.python = python
        self._folder = tempfile.TemporaryDirectory()
        self._running: list[subprocess.Popen[str]] = []
        self.versions: dict[str, str] = {}

    def work(self, history: History, size: int, *names: str) -> dict[str, Work]:
        """Work of peers on the first instrument of a history, its first 100,000 bars.

        ``size`` scales how much of it is done at a time.

        Raises
        ------
        UserError
            If one of them cannot be run; with what it said.
        """
        place = Path(self._folder.name) / f"{len(self._running)}.npz"
        np.savez(place, time=history.time[:_BARS], bars=history.values[:_BARS, 0, : CLOSE + 2])
        return {name: self._worker(name, place, size) for name in names}

    def _worker(self, name: str, place: Path, size: int) -> Work:
        process = subprocess.Popen(
            [str(self.python), str(_WORKER), name, str(place), str(size)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._running.append(process)
        self.versions[name] = str(_answer(process, name)["version"])

        def do() -> float:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            return float(_answer(process, name)["units"])

        return do

    def close(self) -> None:
        """End the processes and remove their files."""
        for process in self._running:
            process.kill()
            process.communicate()
        self._folder.cleanup()


def _answer(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        if line.startswith("{"):
            return dict(json.loads(line))
    said = process.stderr.read().strip().splitlines()
    raise UserError(f"--peers: {name} cannot be run there: {said[-1] if said else 'it ended without a word'}")
