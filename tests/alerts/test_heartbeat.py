"""A sign of life that comes while decisions are on time, and holds up nobody."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from qframe_rl.alerts.heartbeat import EVERY_S, Heartbeat
from qframe_rl.config import UserError
from qframe_rl.listeners import Soft
from tests.alerts.test_alerts import QUIET, until


@pytest.fixture
def monitor() -> Iterator[Any]:
    """Somebody on loopback who expects a sign of life."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.got.append(self.path)  # type: ignore[attr-defined]
            self.send_response(server.code)  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.code = [], 200  # type: ignore[attr-defined]
    server.url = f"http://127.0.0.1:{server.server_address[1]}/ping/0badcafe"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_it_comes_while_the_session_is_well_and_no_more(monitor: Any) -> None:
    ill: list[str | None] = [None]
    asked: list[None] = []

    def state() -> str | None:
        asked.append(None)
        return ill[0]

    beat = Heartbeat(monitor.url, state, QUIET, every_s=0.02)
    beat.start()
    until(lambda: len(monitor.got) >= 3)
    ill[0] = "no decision"
    n = len(asked) + 1
    until(lambda: len(asked) > n + 5)
    before = len(monitor.got)
    until(lambda: len(asked) > n + 15)
    assert len(monitor.got) == before
    ill[0] = None
    until(lambda: len(monitor.got) > before)
    beat.stop()
    assert set(monitor.got) == {"/ping/0badcafe"}
    assert EVERY_S == 60.0


def test_failures_are_said_once_and_without_the_path(monitor: Any) -> None:
    said: list[str] = []
    monitor.code = 503
    beat = Heartbeat(monitor.url, lambda: None, Soft(said.append), every_s=0.02)
    beat.start()
    until(lambda: len(monitor.got) >= 5)
    monitor.code = 200
    until(lambda: len(said) == 2)
    beat.stop()
    assert said[0].startswith("--heartbeat (http://127.0.0.1/...): HTTP Error 503")
    assert "works again, after" in said[1]
    assert "0badcafe" not in " ".join(said)


def test_one_that_never_answers_holds_up_no_end() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        beat = Heartbeat(f"http://127.0.0.1:{silent.getsockname()[1]}/", lambda: None, QUIET, every_s=0.02)
        beat.start()
        peer, _ = silent.accept()
        beat.stop()
        peer.close()


@pytest.mark.parametrize("url", ["ftp://host/x", "file:///etc/passwd", "host/x", "http://", ""])
def test_what_is_no_address_of_the_web_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="--heartbeat: the address must begin with http"):
        Heartbeat(url, lambda: None, QUIET)
