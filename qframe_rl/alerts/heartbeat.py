"""A sign of life to the outside: who expects it notices also what the machine itself cannot say any more."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

from qframe_rl.config import UserError
from qframe_rl.listeners import Soft

EVERY_S = 60.0
_PATIENCE_S = 10.0


class Heartbeat:
    """Asks for a URL once a minute as long as the session is well, in a thread of its own.

    Parameters
    ----------
    url
        Of a service such as healthchecks.io, which sounds the alarm when nothing comes.
    ill
        What is wrong; None while the session is well.
    soft
        Says failures.
    every_s
        Time between two requests, seconds.

    Raises
    ------
    UserError
        If it is no address of the web.
    """

    def __init__(self, url: str, ill: Callable[[], str | None], soft: Soft, every_s: float = EVERY_S):
        place = urlsplit(url)
        if place.scheme not in ("http", "https") or not place.hostname:
            raise UserError("--heartbeat: the address must begin with http:// or https:// and name a host.")
        self._url, self._ill, self._soft, self._every_s = url, ill, soft, every_s
        self._name = f"--heartbeat ({place.scheme}://{place.hostname}/...)"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a request under way is not waited for."""
        self._stopped.set()

    def _work(self) -> None:
        while True:
            if self._ill() is None:
                self._soft.run(self._name, self._ask)
            if self._stopped.wait(self._every_s):
                return

    def _ask(self) -> None:
        with urllib.request.urlopen(self._url, timeout=_PATIENCE_S) as answer:
            answer.read(1)
