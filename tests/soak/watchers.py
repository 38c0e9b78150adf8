"""A long session with every watcher on a full disk, beside one that nobody looks at: the same hash.

``python -m tests.soak.watchers --bars 35000``: log and curves lie on a file system of 64 kB, stderr goes to
``/dev/full``, the messenger takes nothing, the outward ping is answered with errors, and clients of the metrics say
nothing. Mounting wants root, or user namespaces: without root the script runs itself again under ``unshare -rm``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FULL_BYTES = 65_536


class Refuses(BaseHTTPRequestHandler):
    """Answers everything with an error."""

    def do_GET(self) -> None:
        """Say no."""
        self.send_error(503)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""


@contextmanager
def refusing() -> Iterator[int]:
    """A server that refuses; yields its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def full_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    place = folder / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={FULL_BYTES}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def pester(port: int, over: threading.Event) -> None:
    """Open connections to the metrics that say nothing, half a request, or go away."""
    held: list[socket.socket] = []
    while not over.wait(0.05):
        try:
            client = socket.create_connection(("127.0.0.1", port), timeout=1.0)
            client.sendall((b"", b"GET /metr", b"GET /metrics HTTP/1.0\r\n\r\n")[len(held) % 3])
        except OSError:
            continue
        held.append(client)
        if len(held) > 60:
            held.pop(0).close()
    for client in held:
        client.close()


def traded(checkpoint: str, bars: int, out: Path, *more: str, **given: Any) -> dict[str, Any]:
    """Trade on paper; what the command says about it."""
    command = [sys.executable, "-m", "experiments.paper", checkpoint, "--bars", str(bars), "--out", str(out), "--json"]
    done = subprocess.run([*command, *more], stdout=subprocess.PIPE, text=True, **given)
    if done.returncode != 0:
        raise SystemExit(f"paper ended with {done.returncode}: {done.stdout}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def soak(checkpoint: str, bars: int, folder: Path) -> dict[str, Any]:
    """Trade twice and compare."""
    plain = traded(checkpoint, bars, folder / "plain")
    with ExitStack() as stack:
        disk, port = stack.enter_context(full_disk(folder)), stack.enter_context(refusing())
        nowhere = stack.enter_context(Path("/dev/full").open("w"))
        metrics, over = free_port(), threading.Event()
        pesters = threading.Thread(target=pester, args=(metrics, over), daemon=True)
        pesters.start()
        more = [
            "--log", str(disk / "log.jsonl"), "--log-mb", "0.03", "--log-keep", "3",
            "--tensorboard", str(disk / "board"), "--metrics", str(metrics),
            "--heartbeat", f"http://127.0.0.1:{port}/ping", "--alert-drawdown", "0.001",
        ]  # fmt: skip
        env = os.environ | {"APPRISE_URLS": f"json://127.0.0.1:{port}/"}
        watched = traded(checkpoint, bars, folder / "watched", *more, env=env, stderr=nowhere)
        over.set()
        pesters.join()
        free = shutil.disk_usage(disk).free
        lines = (disk / "log.jsonl").read_bytes().splitlines()
    whole = sum(line.startswith(b"{") and line.endswith(b"}") for line in lines)
    assert watched["journal_hash"] == plain["journal_hash"], "who looked on changed the session"
    assert free < 4096, "the disk was not full"
    return {"bars": watched["bars"], "hash": watched["journal_hash"][:16], "lines": len(lines), "whole_lines": whole}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="of the default market, such as one of make train")
    parser.add_argument("--bars", type=int, default=35_000)
    given = parser.parse_args()
    if os.geteuid() != 0:
        os.execvp("unshare", ["unshare", "-rm", sys.executable, "-m", "tests.soak.watchers", *sys.argv[1:]])
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        said = soak(given.checkpoint, given.bars, Path(folder))
    print(" ".join(f"{k}={v}" for k, v in said.items()), f"seconds={time.monotonic() - begun:.0f}", "identical")


if __name__ == "__main__":
    main()
