"""Requests in threads of their own: whoever waits for an answer can still hear."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
LOOK_S = 0.1
"""Longest time for which somebody who waits hears nothing, seconds."""


class PendingRequest(Generic[T]):
    """A request under way.

    Its thread ends with the process: a peer that never answers holds up nobody.

    Parameters
    ----------
    request
        What to do.
    """

    def __init__(self, request: Callable[[], T]):
        self.ended = 0.0
        """When it was done, by the monotonic clock; 0 before."""
        self._request = request
        self._done = threading.Event()
        self._found: list[T] = []
        self._error: BaseException | None = None
        threading.Thread(target=self._work, name="request", daemon=True).start()

    @property
    def done(self) -> bool:
        """Whether it has an answer, or failed."""
        return self._done.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait no longer than so many seconds; return whether it is done."""
        return self._done.wait(max(0.0, seconds))

    def result(self) -> T:
        """Its answer; what it failed with is raised. It must be done."""
        if self._error is not None:
            raise self._error
        return self._found[0]

    def _work(self) -> None:
        try:
            self._found.append(self._request())
        except BaseException as error:
            self._error = error
        self.ended = time.monotonic()
        self._done.set()


def answered(request: Callable[[], T], hear: Callable[[], None]) -> T:
    """Answer of a request; ``hear`` is called several times a second until it is there."""
    task = PendingRequest(request)
    while not task.wait(LOOK_S):
        hear()
    return task.result()


class Reckoned:
    """A clock that is far away, reckoned from the last time it was asked, and asked again in the background.

    Parameters
    ----------
    first
        Monotonic and distant time of one instant, ns; waited for when the clock is first looked at.
    again
        The same, asked for once; None if there was no answer.
    every_s
        Time between two measurements, seconds.
    speed
        How many times faster than ours the distant clock runs.
    """

    def __init__(
        self,
        first: Callable[[], tuple[int, int]],
        again: Callable[[], tuple[int, int] | None],
        every_s: float,
        speed: float = 1.0,
    ):
        self._first, self._again, self._every_ns, self._speed = first, again, int(every_s * 1e9), speed
        self._set: tuple[int, int] | None = None
        self._asked = 0
        self._task: PendingRequest[tuple[int, int] | None] | None = None

    def now(self) -> int:
        """Distant time, ns; once the clock was measured nobody is waited for."""
        if self._set is None:
            self._set = self._first()
            self._asked = self._set[0]
        ticks = time.monotonic_ns()
        if self._task is None and ticks - self._asked > self._every_ns:
            self._asked, self._task = ticks, PendingRequest(self._again)
        if self._task is not None and self._task.done:
            self._set, self._task = self._task.result() or self._set, None
        return self._set[1] + int((time.monotonic_ns() - self._set[0]) * self._speed)
