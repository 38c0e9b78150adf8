"""Kill Redis, relay, sink and PostgreSQL at random instants while a session writes, and hold the rows to the journal.

``python -m tests.soak.kill_relay --kills 400``: each victim a quarter of them; half of Redis' lives end with a torn
tail of its file, as a loss of power leaves it. At the end every event is there once, in order, with its hash.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from qframe_rl.config import Unavailable
from qframe_rl.journal.store import chained
from qframe_rl.service.store import ServiceStore
from tests.servers import TestServer, postgres, redis_server
from tests.service.places import ROOT, Session
from tests.soak.kills import killed

VICTIMS = ("redis", "relay", "sink", "postgres")


class RelayedHosts:
    """A session, its relay, a sink, and the servers between and behind them.

    Parameters
    ----------
    folder
        Where all of it lies.
    dice
        Says how much is written and torn.
    """

    def __init__(self, folder: Path, dice: random.Random):
        self.dice, self.torn = dice, 0
        self.redis, self.postgres = redis_server(), postgres()
        self.session = Session(folder / "root" / "alpha")
        self.url = f"postgresql://postgres@127.0.0.1:{self.postgres.port}/postgres"
        queue, root = f"redis://127.0.0.1:{self.redis.port}/0", str(folder / "root")
        self._starts: dict[str, list[str]] = {
            "relay": ["--root", root, "--to", queue],
            "sink": ["--from", queue, "--to", self.url, "--root", root, "--state", str(folder / "sink")],
        }
        self._log = (folder / "said.txt").open("ab")
        self.store = ServiceStore(folder / "state", self.url)
        self._running = {name: self._begun(name) for name in self._starts}

    def kill(self, victim: str) -> None:
        """Kill one, let the session write on, and start it again."""
        server: TestServer | None = {"redis": self.redis, "postgres": self.postgres}.get(victim)
        if server is None:
            self._running[victim].kill()
            self._running[victim].wait()
            self.session.bar(self.dice.randrange(10))
            self._running[victim] = self._begun(victim)
            return
        server.kill()
        if victim == "redis" and self.dice.random() < 0.5:
            self._tear()
        self.session.bar(self.dice.randrange(10))
        server.start()

    def revive(self) -> None:
        """Start what ended by itself, as a supervisor of processes does: a sink that begins without a database."""
        for name, process in self._running.items():
            if process.poll() is not None:
                self._running[name] = self._begun(name)

    def there(self) -> int:
        """Events in the database; -1 while it does not answer."""
        try:
            return int(self.store.rows("SELECT count(*) FROM events")[0][0])
        except Unavailable:
            return -1

    def close(self) -> None:
        """End all of it."""
        for process in self._running.values():
            process.kill()
            process.wait()
        self.store.close()
        self.session.close()
        self.redis.close()
        self.postgres.close()
        self._log.close()

    def _begun(self, name: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "experiments.relay", *self._starts[name]]
        return subprocess.Popen(argv, stderr=self._log, env={**os.environ, "PYTHONPATH": str(ROOT)})

    def _tear(self) -> None:
        for path in (self.redis.folder / "appendonlydir").glob("*.incr.aof"):
            size = path.stat().st_size
            os.truncate(path, max(0, size - self.dice.randrange(1, 3000)))
            self.torn += 1


def soak(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill so many times; fails if an event is missing, doubled or another one at the end."""
    dice = random.Random(seed)
    hosts, count = RelayedHosts(folder, dice), Counter[str]()
    try:
        for number in range(kills):
            victim = VICTIMS[number % len(VICTIMS)]
            hosts.session.bar(dice.randrange(1, 30))
            time.sleep(dice.uniform(0.0, 1.5))
            hosts.kill(victim)
            hosts.revive()
            count[victim] += 1
        expected = [(*event, digest) for event, digest in chained(hosts.session.folder / "journal.db")]
        _await(lambda: hosts.there() == len(expected), hosts.revive)
        rows = hosts.store.rows("SELECT seq, time_ns, kind, payload, hash FROM events ORDER BY seq")
        assert rows == expected, "an event is missing, doubled or another one"
        settled = sum(row[2] in ("started", "settled") for row in expected)
        assert hosts.store.rows("SELECT count(*) FROM equity") == [(settled,)]
        return {"events": len(expected), **{f"{k}_kills": n for k, n in count.items()}, "torn_tails": hosts.torn}
    finally:
        hosts.close()


def _await(done: Callable[[], bool], meanwhile: Callable[[], None]) -> None:
    until = time.monotonic() + 120.0
    while not done():
        assert time.monotonic() < until, "it never caught up"
        meanwhile()
        time.sleep(0.1)


if __name__ == "__main__":
    killed(__doc__, soak, 400, "each once, in order")
