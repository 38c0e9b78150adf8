"""Sessions at a pace, and clients that listen to them, in processes of their own.

``python -m qframe_rl.bench.service_worker sessions`` reads on each line of stdin ``FOLDER N PACE``, begins N sessions
below FOLDER that live through PACE bars a second each, says ``ready`` once all of them have decided, and on the next
line ends them and says of each of their decisions when it was made, seconds since 1970, and the seconds that it took.
``clients URL N TOKEN...`` says ``ready`` once N clients listen,
and when stdin ends what each bar took to come, seconds.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from qframe_rl.agent import View
    from qframe_rl.risk.engine import RiskDecision

N_BARS = 100_000
_HOUR_S = 3600.0
_STAMP = re.compile(rb'"time_ns":"(\d+)"')


def sessions() -> None:
    """Begin and end sessions as stdin says."""
    import tempfile

    from qframe_rl.bench.paper import run, world

    with tempfile.TemporaryDirectory() as first:
        run(world(100), Path(first), durable=True)  # compiles, for all that are forked from here
    made = multiprocessing.get_context("fork")
    for line in sys.stdin:
        text, n, pace = line.split()
        folders = [Path(text) / f"session-{k:02}" for k in range(int(n))]
        running = [
            made.Process(target=_session, args=(folder, float(pace), k / int(n) / float(pace)))
            for k, folder in enumerate(folders)
        ]
        for one in running:
            one.start()
        while not all((folder / "decided").exists() for folder in folders):
            time.sleep(0.05)
            if any(one.exitcode is not None for one in running):
                raise SystemExit("a session ended before its time")
        print("ready", flush=True)
        sys.stdin.readline()
        for one in running:
            one.terminate()
        for one in running:
            one.join()
        print(json.dumps([one for folder in folders for one in np.load(folder / "seconds.npy").tolist()]), flush=True)


def _session(folder: Path, pace: float, late_s: float) -> None:
    """One session, until SIGTERM."""
    from qframe_rl.bench.paper import WARM_UP, world
    from qframe_rl.live.paper import paper
    from qframe_rl.live.recorded import ReplayFeed
    from qframe_rl.live.signals import hear_early
    from qframe_rl.types import Segment

    hear_early()  # the service's kill sends a signal, too, which ends a process that does not listen
    made, timed = world(N_BARS), _Latencies(folder)
    rows = Segment(WARM_UP, len(made.history))
    feed = ReplayFeed(made.history, rows, made.terms.window, _HOUR_S * pace)
    signal.signal(signal.SIGTERM, lambda *_: feed.stopped.set())
    time.sleep(late_s)
    paper(made.market, made.agent, feed, made.terms, folder, told=[timed])
    np.save(folder / "seconds.npy", np.array(timed.seconds))


class _Latencies:
    """When each decision was made, and the seconds it took."""

    def __init__(self, folder: Path):
        self.seconds: list[tuple[float, float]] = []
        self._mark = folder / "decided"

    def decided(self, view: View, verdict: RiskDecision, seconds: float) -> None:
        """Note one; the first is said to whoever waits, and not counted."""
        if self._mark.exists():
            self.seconds.append((time.time(), seconds))
        else:
            self._mark.touch()

    def changed(self, time: int, state: str, reasons: Sequence[str]) -> None:
        """Not counted."""


async def clients(host: str, port: int, n: int, tokens: Sequence[str]) -> None:
    """Listen until stdin ends."""
    took: list[float] = []
    greeted = [asyncio.Event() for _ in range(n)]
    listening = [
        asyncio.create_task(_client(host, port, tokens[k % len(tokens)], took, hello))
        for k, hello in enumerate(greeted)
    ]
    for hello in greeted:
        await hello.wait()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for one in listening:
        if one.done():  # nobody may have been let go of
            one.result()
        one.cancel()
    print(json.dumps(took), flush=True)


async def _client(host: str, port: int, token: str, took: list[float], hello: asyncio.Event) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        f"GET /api/v1/events?kinds=bar HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {token}\r\n"
        "accept: text/event-stream\r\n\r\n".encode()
    )
    status = await reader.readline()
    if b" 200 " not in status:
        raise SystemExit(f"a client was answered {status.decode().strip()}")
    async for line in reader:
        if line.startswith(b"event: hello"):
            hello.set()
        elif line.startswith(b"data:") and (stamp := _STAMP.search(line)) and hello.is_set():
            took.append((time.time_ns() - int(stamp[1])) / 1e9)
    raise SystemExit("a client was hung up on")


if __name__ == "__main__":
    if sys.argv[1] == "sessions":
        sessions()
    else:
        asyncio.run(clients(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]))
