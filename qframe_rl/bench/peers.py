"""Peers run in an environment of their own, one process each, and take turns with us."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.bench.measure import Work
from qframe_rl.config import UserError
from qframe_rl.types import CLOSE, Float, History

_BARS = 100_000
_WORKER = Path(__file__).with_name("peer_worker.py")
_SERVER = Path(__file__).with_name("peer_server.py")
_FORMULAS = Path(__file__).with_name("peer_formulas.py")
_BOOKS = Path(__file__).with_name("peer_book.py")


class PeerServer(NamedTuple):
    """A peer's web server that answers."""

    host: str
    port: int
    headers: dict[str, str]
    """What opens it."""


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

    def books(self, place: Path, *names: str) -> dict[str, Work]:
        """Work of peers on order books, with what ``place`` has; in an environment of their own where there is one.

        Raises
        ------
        UserError
            If one of them cannot be run; with what it said.
        """
        python = self._below("books")
        return {name: self._worker(name, place, 1, _BOOKS, python if python.exists() else None) for name in names}

    def formulas(self, texts: Sequence[str], bars: Float, label: Float) -> dict[str, Work]:
        """Work of peers on formulas: their values and what these tell of labels.

        Parameters
        ----------
        texts
            Each formula as tokens in reverse Polish order, blanks between.
        bars, label
            (T, A, 5) channels and (T, A) labels.

        Raises
        ------
        UserError
            If one of them cannot be run; with what it said.
        """
        place = Path(self._folder.name) / f"{len(self._running)}.npz"
        np.savez(place, bars=bars, label=label, formulas=np.array(texts))
        return {"gplearn": self._worker("gplearn", place, len(texts), _FORMULAS)}

    def server(self, name: str) -> PeerServer:
        """A peer's web server; it has an environment of its own below the others'.

        Raises
        ------
        UserError
            If it cannot be run; with what it said.
        """
        python = self._below(name)
        if not python.exists():
            raise UserError(f"--peers: no Python interpreter at {python}; make peers puts one there.")
        _, told = self._begun(name, [str(python), str(_SERVER)])
        return PeerServer(told["host"], told["port"], told["headers"])

    def _below(self, name: str) -> Path:
        """The interpreter of an environment below the others', for what conflicts with them."""
        return self.python.absolute().parent.parent / name / "bin" / "python"

    def _begun(self, name: str, argv: list[str]) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        """A process, and the line in which it said that it is ready."""
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )  # fmt: skip
        self._running.append(process)
        told = _answer(process, name)
        self.versions[name] = str(told["version"])
        return process, told

    def _worker(
        self, name: str, place: Path, size: int, script: Path = _WORKER, python: Path | None = None
    ) -> Work:  # fmt: skip
        process, _ = self._begun(name, [str(python or self.python), str(script), name, str(place), str(size)])

        def do() -> float:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            return float(_answer(process, name)["units"])

        return do

    def close(self) -> None:
        """End the processes and remove their files."""
        for process in self._running:
            if process.stdin is not None:
                process.stdin.close()  # a server ends its own processes then
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
            with process:  # closes its pipes and waits
                pass
        self._folder.cleanup()


def _answer(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        if line.startswith("{"):
            return dict(json.loads(line))
    said = process.stderr.read().strip().splitlines()
    raise UserError(f"--peers: {name} cannot be run there: {said[-1] if said else 'it ended without a word'}")
