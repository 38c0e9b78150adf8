"""Who looks on at a session that a command runs, and how it is stopped: what the doors of sessions share."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
from collections.abc import Callable
from threading import Event
from typing import TYPE_CHECKING, Any, TextIO

from qframe_rl.alerts.config import AlertConfig

if TYPE_CHECKING:
    from qframe_rl.live.watching import WatchConfig


def watch_config(given: dict[str, Any], alerts: AlertConfig, speed: float) -> WatchConfig:
    """Who shall look on, and what must not be written."""
    from qframe_rl.journal.secrets import secrets_of
    from qframe_rl.live.watching import WatchConfig

    urls = os.environ.get("APPRISE_URLS", "").split()
    addresses = {f"alert URL {number}": url for number, url in enumerate(urls, start=1)}
    if given["heartbeat"] is not None:
        addresses["--heartbeat"] = given["heartbeat"]
    live = given["feed"] != "replay"
    return WatchConfig(
        alerts, urls, given["heartbeat"], given["metrics"], given["log"], round(given["log_mb"] * 1e6),
        given["log_keep"], given["tensorboard"], live, given["url"], 1.0 if live and speed == math.inf else speed,
        secrets_of(os.environ, addresses),
    )  # fmt: skip


def stopped_by(stopped: Event) -> list[str]:
    """Let Ctrl-C and SIGTERM set what ends the feed; the list will hold the name of the signal that did."""
    came: list[str] = []

    def stop(number: int, frame: object) -> None:
        came.append("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return came


class SessionNotes:
    """Lines of a session: on stderr, and in its log once there is one."""

    def __init__(self) -> None:
        self.also: Callable[[str], None] = lambda text: None
        """Takes each line as well."""

    def __call__(self, text: str) -> None:
        """Say a line."""
        print(text, file=sys.stderr)
        self.also(text)


class Steady:
    """A stream that nothing ends: what cannot be written to the one below is lost."""

    def __init__(self, below: TextIO):
        self._below = below

    def write(self, text: str) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError, ValueError):
            self._below.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with contextlib.suppress(OSError, ValueError):
            self._below.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)
