"""Requests to an account: at the exchange's time, and what their failures mean."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from qframe_rl.config import Unavailable, UserError
from qframe_rl.feeds.answer import answer, unclear
from qframe_rl.feeds.task import PendingRequest

T = TypeVar("T")
_LONGEST_PAUSE_S = 30.0


def timely(client: Any, request: Callable[[], T]) -> T:
    """Answer of a request; where the exchange says that our clock is off, it is set and the request put once more.

    An exchange that refuses a timestamp has done nothing, so this holds for orders as well.
    """
    import ccxt

    try:
        return request()
    except ccxt.InvalidNonce as error:
        if isinstance(error, ccxt.ChecksumError):
            raise
        try:
            answer(client.load_time_difference)
        except unclear():
            raise error from None
    return request()


class Timekeeper:
    """Measures now and then, in the background, how far an exchange's clock is from ours.

    Parameters
    ----------
    client
        Of CCXT; None in a replay.
    every_s
        Time between two measurements, seconds.
    note
        Told in one line when there was no answer.
    """

    def __init__(self, client: Any, every_s: float = 3600.0, note: Callable[[str], None] = lambda text: None):
        self._client, self._every_s, self._note = client, every_s, note
        self._asked = time.monotonic()

    def look(self) -> None:
        """Measure, if it is time to; nobody is waited for."""
        if time.monotonic() - self._asked >= self._every_s:
            self._asked = time.monotonic()
            PendingRequest(self._measure)

    def _measure(self) -> None:
        try:
            answer(self._client.load_time_difference)
        except unclear() as error:
            self._note(f"the exchange did not tell its time: {type(error).__name__}")


class Asking:
    """Puts requests that change nothing when they are put twice, until there is an answer or nobody wants it any more.

    Parameters
    ----------
    client
        Of CCXT.
    patience_s
        How long one of them is put before giving up, seconds.
    note
        Told in one line of every failure.
    """

    def __init__(self, client: Any, patience_s: float, note: Callable[[str], None]):
        self._client, self._patience_s, self._note = client, patience_s, note
        self.abandoned = threading.Event()
        """Set it where nobody waits for the answer any more."""
        self.why = ""
        """What it failed with last; empty if it did not."""

    def __call__(self, request: Callable[[], T]) -> T:
        """Answer of ``request``.

        Raises
        ------
        UserError
            If the exchange refuses the key.
        Unavailable
            If there is no answer for `patience_s`, or if it is abandoned.
        """
        import ccxt

        begun, pause = time.monotonic(), 0.2
        while True:
            try:
                return timely(self._client, request)
            except unclear() as error:
                if isinstance(error, ccxt.AuthenticationError) and not isinstance(error, ccxt.PermissionDenied):
                    raise UserError(f"the exchange refuses the key: {type(error).__name__}.") from None
                self.why = type(error).__name__
                if time.monotonic() - begun > self._patience_s:
                    raise Unavailable(f"the exchange does not show the account: {self.why}.") from error
                self._note(f"account: {self.why}; next attempt in {pause:.1f} s")
                if self.abandoned.wait(pause):
                    raise Unavailable("the answer is not wanted any more.") from None
                pause = min(_LONGEST_PAUSE_S, 2.0 * pause)
