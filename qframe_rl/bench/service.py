"""The service beside sessions: what it costs them, how soon a bar is with its clients, and how fast it answers."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from qframe_rl.bench.measure import BenchmarkRow, Work, rates, rows
from qframe_rl.bench.peers import Peers
from qframe_rl.config import Unavailable
from qframe_rl.journal.store import NAME, pulse
from qframe_rl.runner.log import Screen

_ROOT = Path(__file__).resolve().parents[2]
_STREAMS = 20
"""Streams that the service opens for one token."""
_PATIENCE_S = 120.0


class _Size(NamedTuple):
    """How much is measured."""

    sessions: int = 10
    pace: float = 1.0
    """Bars a second of each."""
    clients: int = 200
    phase_s: float = 20.0
    killed: int = 20
    requests: int = 500


_SMALL = _Size(sessions=2, pace=5.0, clients=4, phase_s=2.0, killed=2, requests=20)


class _Worker:
    """A process that reads lines and answers in lines."""

    def __init__(self, *argv: str):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "qframe_rl.bench.service_worker", *argv], cwd=_ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def told(self, line: str) -> None:
        """Write a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def says(self) -> str:
        """Wait for a line; raises `Unavailable` where it ended instead."""
        assert self._process.stdout is not None and self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            said = self._process.stderr.read().strip().splitlines()
            raise Unavailable(f"a process of the benchmark ended: {said[-1] if said else 'without a word'}")
        return line.strip()

    def last_word(self) -> str:
        """End its stdin and wait for what it then says."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        said = self.says()
        self._process.wait()
        return said

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        with self._process:  # closes its pipes and waits
            pass


class _Served(NamedTuple):
    """A service that answers."""

    host: str
    port: int
    tokens: list[str]
    ready_s: float


def service(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Decisions of sessions alone and watched by turns, bars to clients, requests, and the kill of all."""
    size = _SMALL if small else _Size()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        living = _Worker("sessions")
        try:
            decisions, came, ready = _watched(size, repeats, folder, living, screen)
            killed = [_killed(size.killed, folder / f"killed-{k}", living) for k in range(repeats)]
            answered = _answered(size, repeats, folder, living, peers, screen)
        finally:
            living.close()
    p99 = {name: float(np.percentile(seconds, 99.0)) * 1e3 for name, seconds in decisions.items()}
    return [
        *rows("service.decision_p99", size.clients, p99["watched"], f"ms{_beside()}", {"alone": 1.0}, p99),
        BenchmarkRow("service.decision_p99_alone", 0, p99["alone"], "ms", "", None),
        BenchmarkRow("service.bar_to_client_p99", size.clients, _percentile_ms(came, 99.0), "ms", "", None),
        BenchmarkRow("service.bar_to_client", size.clients, _percentile_ms(came, 50.0), "ms, median", "", None),
        *rows("service.requests", 1, answered["requests"], "requests/s", {"freqtrade": 1.0}, answered),
        BenchmarkRow("service.kill", size.killed, statistics.median(killed), "s", "", None),
        BenchmarkRow("service.ready", 1, statistics.median(ready), "s", "", None),
    ]


def _watched(
    size: _Size, repeats: int, folder: Path, living: _Worker, screen: Screen
) -> tuple[dict[str, list[float]], list[float], list[float]]:
    """Seconds of decisions by turns without and with service and clients, of bars to clients, and until it answers."""
    decisions: dict[str, list[float]] = {"alone": [], "watched": []}
    came: list[float] = []
    ready: list[float] = []
    title = "sessions alone and watched"
    screen.begin(title)
    for turn in range(repeats):
        root = folder / f"alone-{turn}"
        with _sessions(living, root, size.sessions, size.pace) as made:
            begun = time.time()
            time.sleep(size.phase_s)
        decisions["alone"] += _since(begun, made)
        screen.advance(title, 2 * turn + 1, 2 * repeats, "alone")
        root = folder / f"watched-{turn}"
        with (
            _sessions(living, root, size.sessions, size.pace) as made,
            _serving(root, size.clients) as served,
            _relaying(root),
        ):
            ready.append(served.ready_s)
            clients = _Worker("clients", served.host, str(served.port), str(size.clients), *served.tokens)
            try:
                clients.says()
                begun = time.time()
                time.sleep(size.phase_s)
                came += json.loads(clients.last_word())
            finally:
                clients.close()
        decisions["watched"] += _since(begun, made)
        screen.advance(title, 2 * turn + 2, 2 * repeats, "watched")
    screen.end(title, f"{len(came):,} bars came to clients")
    return decisions, came, ready


@contextmanager
def _sessions(living: _Worker, root: Path, n: int, pace: float) -> Iterator[list[tuple[float, float]]]:
    """Sessions below a folder; the list has at the end when each decision was made, and the seconds it took."""
    root.mkdir(parents=True)
    living.told(f"{root} {n} {pace}")
    living.says()
    made: list[tuple[float, float]] = []
    try:
        yield made
    finally:
        living.told("end")
        made += json.loads(living.says())


def _since(begun: float, made: list[tuple[float, float]]) -> list[float]:
    """Seconds of decisions since all that is measured had begun: a process that starts takes a core for itself."""
    return [seconds for at, seconds in made if at >= begun]


@contextmanager
def _serving(root: Path, clients: int, *options: str) -> Iterator[_Served]:
    """A service of a folder, and tokens enough for so many clients."""
    state = root / ".service"
    tokens = [_token(state, k) for k in range(-(-clients // _STREAMS) or 1)]
    argv = [sys.executable, "-m", "experiments.serve", "--root", str(root), "--port", "0", *options]
    begun = time.perf_counter()
    process = subprocess.Popen(argv, cwd=_ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = next((line for line in process.stderr if line.startswith("routes")), None)
        if line is None:
            raise Unavailable("the service did not begin")
        url = urlsplit(line.split()[1].rstrip(";"))
        assert url.hostname is not None and url.port is not None
        _got(url.hostname, url.port, "/api/v1/health", {})
        yield _Served(url.hostname, url.port, tokens, time.perf_counter() - begun)
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def _relaying(root: Path) -> Iterator[None]:
    """A Redis of its own, and a relay into it, where ``redis-server`` is installed."""
    server = shutil.which("redis-server")
    if server is None:
        yield
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = root.with_name(f"{root.name}-redis")
    place.mkdir()
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    options = ["--port", str(port), "--bind", "127.0.0.1", "--appendonly", "yes", "--save", "", "--dir", str(place)]
    queue = subprocess.Popen([server, *options], **quiet)
    url = f"redis://127.0.0.1:{port}/0"
    argv = [sys.executable, "-m", "experiments.relay", "--root", str(root), "--to", url, "--state", str(place)]
    relay = subprocess.Popen(argv, cwd=_ROOT, **quiet)
    try:
        yield
        if relay.poll() is not None:
            raise Unavailable(f"the relay ended with {relay.returncode}")
    finally:
        for process in (relay, queue):
            process.terminate()
            process.wait()


def _token(state: Path, k: int) -> str:
    argv = [sys.executable, "-m", "experiments.token", "make", f"bench-{k}", "--scopes", "read,operate", "--json"]
    said = subprocess.run(
        [*argv, "--state", str(state)], cwd=_ROOT, check=True, capture_output=True, text=True
    )  # fmt: skip
    return str(json.loads(said.stdout)["token"])


def _killed(n: int, root: Path, living: _Worker) -> float:
    """Seconds from the request that halts all to the journal of the last that has."""
    with _sessions(living, root, n, 0.2), _serving(root, 1, "--allow", "operate") as served:
        begun = time.perf_counter()
        with closing(http.client.HTTPConnection(served.host, served.port, timeout=_PATIENCE_S)) as asked:
            asked.request("POST", "/api/v1/kill", headers={"authorization": f"Bearer {served.tokens[0]}"})
            answer = asked.getresponse()
            if answer.status != 202 or len(json.loads(answer.read())["told"]) != n:
                raise Unavailable(f"the service did not tell all {n} sessions to halt ({answer.status})")
        left = [root / f"session-{k:02}" / NAME for k in range(n)]
        while left:
            left = [path for path in left if not _halted(path)]
            if time.perf_counter() - begun > _PATIENCE_S:
                raise Unavailable(f"{len(left)} sessions had not halted after {_PATIENCE_S:g} s")
        return time.perf_counter() - begun


def _halted(path: Path) -> bool:
    said = pulse(path)
    return said is not None and json.loads(said[1]).get("state") == "HALTED"


def _answered(
    size: _Size, repeats: int, folder: Path, living: _Worker, peers: Peers | None, screen: Screen
) -> dict[str, float]:
    """Requests a second: one session of ten, and the version that freqtrade's web server tells."""
    root = folder / "asked"
    with _sessions(living, root, size.sessions, size.pace), _serving(root, 1) as served:
        headers = {"authorization": f"Bearer {served.tokens[0]}"}
        listed = json.loads(_got(served.host, served.port, "/api/v1/sessions", headers))
        path = f"/api/v1/sessions/{listed[0]['id']}"
        with ExitStack() as open_ones:
            ours = open_ones.enter_context(closing(http.client.HTTPConnection(served.host, served.port)))
            work: dict[str, Work] = {"requests": asking(ours, path, headers, size.requests)}
            if peers is not None:
                server = peers.server("freqtrade")
                theirs = open_ones.enter_context(closing(http.client.HTTPConnection(server.host, server.port)))
                work["freqtrade"] = asking(theirs, "/api/v1/version", server.headers, size.requests)
            return rates(work, repeats, screen, "requests")


def asking(connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str], n: int) -> Work:
    """N requests, one after the other on one connection."""

    def do() -> float:
        for _ in range(n):
            _get(connection, path, headers)
        return float(n)

    return do


def _got(host: str, port: int, path: str, headers: Mapping[str, str]) -> bytes:
    with closing(http.client.HTTPConnection(host, port, timeout=_PATIENCE_S)) as connection:
        return _get(connection, path, headers)


def _get(connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str]) -> bytes:
    connection.request("GET", path, headers=dict(headers))
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise Unavailable(f"{path} was answered {answer.status}: {body[:200].decode(errors='replace')}")
    return body


def _beside() -> str:
    return "" if shutil.which("redis-server") else ", no relay: redis-server is not installed"


def _percentile_ms(seconds: list[float], percentile: float) -> float:
    if not seconds:
        raise Unavailable("no bar came to a client")
    return float(np.percentile(seconds, percentile)) * 1e3
