"""Sessions as a service finds them, and services in processes of their own on 127.0.0.1."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from experiments import serve
from qframe_rl.config import canonical
from qframe_rl.journal.lock import writer_of
from qframe_rl.journal.store import Writer, pulse
from qframe_rl.service.auth import Doorkeeper
from qframe_rl.service.store import ServiceStore

HOUR = 3_600_000_000_000
START = 1_700_000_000_000_000_000 // HOUR * HOUR
ROOT = Path(serve.__file__).parents[1]
SYMBOLS = ("BTC/USDT", "ETH/USDT")


class Session:
    """A writer of a journal as a session writes it: two coins, a bar an hour."""

    def __init__(self, folder: Path, agent: str = "momentum"):
        self.folder = folder
        self.writer = Writer(folder / "journal.db", durable=False)
        self.bars = self.writer.head.seq and -1
        if not self.writer.head.seq:
            instruments = [{"symbol": s, "kind": "spot", "tick": 0.01} for s in SYMBOLS]
            self.put(
                "session", name=agent, bar_ns=HOUR, orders="paper", instruments=instruments,
                source={"exchange": "binance", "environment": "production"},
            )  # fmt: skip
            self.put("process", says="begins", pid=1)
            self.put("started", time=START, account=self.account(0), hash="0")
            self.writer.commit(canonical(self.pulse()))

    def put(self, kind: str, **payload: Any) -> int:
        self.writer.append(kind, canonical(payload))
        return self.writer.head.seq

    def account(self, n: int) -> dict[str, Any]:
        return {
            "cash": 5000.0, "equity": 10_000.0 + equity(n), "mark": [100.0, 10.0], "position": [10.0, 400.0 + n],
        }  # fmt: skip

    def bar(self, n: int = 1) -> None:
        """Live through so many bars: each a decision, a bar and what was settled, in one commit."""
        for _ in range(n):
            self.bars += 1
            time_ns = START + self.bars * HOUR
            self.put("decision", time=time_ns - HOUR, asked={"quantity": [0.5, 0.0]}, sight="0")
            self.put("bar", time=time_ns, values=[[100.0, 101.0, 99.0, 100.0, 5.0]] * 2)
            fills = {"quantity": [0.5, 0.0], "price": [100.0, 0.0], "fee": [0.05, 0.0], "spread": [0.01, 0.0]}
            self.put("settled", time=time_ns, account=self.account(self.bars), fills=fills, hash="0")
            self.writer.commit(canonical(self.pulse()))

    def pulse(self) -> dict[str, Any]:
        time_ns = START + self.bars * HOUR
        return {
            "time": time_ns, "bars": self.bars, "state": "ACTIVE", "account": self.account(self.bars),
            "symbols": list(SYMBOLS), "peak": 10_000.0, "drift_bps": None,
        }  # fmt: skip

    @property
    def id(self) -> str:
        from qframe_rl.journal.peek import Peek

        with Peek(self.folder / "journal.db") as peek:
            ((digest,),) = peek.rows("SELECT hash FROM events WHERE seq = 1")
        return bytes(digest).hex()[:16]

    def close(self) -> None:
        self.writer.close()


class Replayed:
    """A session of a checkpoint that ships, in a process of its own, on recorded bars that come slowly.

    Its bars are an hour long and come twenty times a second: it lives as long as a test.
    """

    def __init__(self, folder: Path, speed: str = "72000x"):
        self.folder = folder
        self.begin(speed)

    def begin(self, speed: str = "72000x") -> None:
        checkpoint = str(ROOT / "checkpoints" / "funding_arbitrage")
        options = ["--feed", "replay", "--speed", speed, "--out", str(self.folder)]
        argv = [sys.executable, "-m", "experiments.paper", checkpoint, *options]
        env = {name: value for name, value in os.environ.items() if name != "QFRAME_DATA"} | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
        until(lambda: writer_of(self.folder / "journal.db") is not None, 60.0)
        until(lambda: pulse(self.folder / "journal.db") is not None, 60.0)

    def end(self, how: int = signal.SIGKILL) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(20.0)


def liquidated(one: Session) -> None:
    """Let a session live through a bar in which an order is filled and its venue then closes all of that coin."""
    one.bars += 1
    time_ns = START + one.bars * HOUR
    one.put("decision", time=time_ns - HOUR, asked={"quantity": [0.5, 0.0]}, sight="0")
    one.put("bar", time=time_ns, values=[[100.0, 101.0, 89.0, 90.0, 5.0]] * 2)
    account = {**one.account(one.bars), "position": [0.0, 400.0]}
    fills = {
        "quantity": [0.5, 0.0], "price": [100.0, 0.0], "fee": [9.95, 0.0], "spread": [0.01, 0.0],
        "forced": [-10.5, 0.0], "forced_price": [90.0, 0.0],
    }  # fmt: skip
    one.put("settled", time=time_ns, account=account, fills=fills, hash="0")
    one.writer.commit(canonical(one.pulse()))


def equity(n: int) -> float:
    """What was earned by bar n: it rises and falls."""
    return float((n * 37) % 101) - (500.0 if n == 77 else 0.0)


class Served:
    """A service in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], url: str, said: str, state: Path):
        self.process, self.url, self.said, self.state = process, url, said, state
        self.store: str | None = None

    def token(self, *scopes: str, name: str = "test") -> str:
        store = ServiceStore(self.state, self.store)
        try:
            return Doorkeeper(store).new_token(name, scopes or ["read"])
        finally:
            store.close()

    def client(self, *scopes: str, **more: Any) -> httpx.Client:
        """A client with a token of these scopes."""
        headers = {"authorization": f"Bearer {self.token(*scopes)}"}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=30.0, **more)

    def stop(self, how: int = signal.SIGTERM) -> str:
        self.process.send_signal(how)
        _, rest = self.process.communicate(timeout=20.0)
        return self.said + rest


def start(root: Path, *options: str, env: Mapping[str, str] | None = None, port: int = 0) -> Served:
    """Start a service and wait until it answers."""
    argv = [sys.executable, "-m", "experiments.serve", "--root", str(root), "--port", str(port), *options]
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=settings)
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("routes"):
            url = line.split()[1].removesuffix("/docs;")
            return Served(process, url, said, root / ".service")
    process.wait()
    raise AssertionError(f"it did not start: {said}")


@contextmanager
def served(root: Path, *options: str, env: Mapping[str, str] | None = None) -> Iterator[Served]:
    one = start(root, *options, env=env)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.stop()


def until(done: Any, seconds: float = 60.0) -> None:
    begun = time.monotonic()
    while not done():
        assert time.monotonic() - begun < seconds, "it never came"
        time.sleep(0.01)


def messages(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """Server-sent events of a stream of lines; comments are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
        elif fields:
            yield fields
            fields = {}


def journal_events(found: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    return [json.loads(one["data"]) for one in found if one.get("event") == "journal"]
