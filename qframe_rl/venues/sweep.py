"""What a kill switch wants of an exchange that may not answer: begun everywhere at once, and again until it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from qframe_rl.config import Unavailable, UserError
from qframe_rl.feeds.task import PendingRequest
from qframe_rl.journal.codec import Plain
from qframe_rl.venues.reading import Reader
from qframe_rl.venues.resting import Resting, call_off
from qframe_rl.venues.timely import Asking

AT_ONCE_S = 0.6
"""How long one kind of answer is waited for before everything else goes on without it, seconds."""
_AGAIN_S, _LONGEST_AGAIN_S = 0.5, 60.0
FAILURES = (Unavailable, UserError)
"""What requests end with that were put with `qframe_rl.venues.timely.Asking`."""


def called_off(
    client: Any, orders: Sequence[Resting], note: Callable[[str], None]
) -> list[str]:  # fmt: skip
    """Cancel orders, all at the same time; ids of those that are gone within `AT_ONCE_S`.

    Parameters
    ----------
    client
        Of CCXT, with keys and markets.
    orders
        What to cancel.
    note
        Told in one line of what failed.
    """
    ask = Asking(client, 0.0, note)
    tasks = {one.id: PendingRequest(partial(ask, partial(call_off, client, one))) for one in orders}
    until, gone = time.monotonic() + AT_ONCE_S, []
    for number, task in tasks.items():
        if not task.wait(until - time.monotonic()):
            note(f"order {number} is not cancelled yet: no answer")
            continue
        try:
            task.result()
        except FAILURES as error:
            note(f"order {number} is not cancelled yet: {error}")
            continue
        gone.append(number)
    return gone


def held_now(client: Any, reader: Reader, note: Callable[[str], None]) -> Plain:
    """What is held now: ``position``, None where that is not said within `AT_ONCE_S`, and then ``why``.

    Parameters
    ----------
    client
        Of CCXT, with keys and markets.
    reader
        Of the account.
    note
        Told in one line of what failed.
    """
    task = PendingRequest(partial(reader.agreed, Asking(client, 0.0, note)))
    if not task.wait(AT_ONCE_S):
        return {"position": None, "why": "no answer"}
    try:
        return {"position": task.result()[1]}
    except FAILURES as error:
        return {"position": None, "why": str(error)}


class Again:
    """When something that failed is to be tried again: after waits that double."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[float, float]] = {}

    def due(self, what: str) -> bool:
        """Whether to try it now; the first time it is asked for, the wait begins."""
        now = time.monotonic()
        at, pause_s = self._due.setdefault(what, (now + _AGAIN_S, _AGAIN_S))
        if now < at:
            return False
        pause_s = min(_LONGEST_AGAIN_S, 2.0 * pause_s)
        self._due[what] = now + pause_s, pause_s
        return True

    def done(self, what: str) -> None:
        """Forget it."""
        self._due.pop(what, None)


class Sweeper:
    """Cancels orders in several markets at the same time.

    Parameters
    ----------
    clear
        Cancels those of one market, and returns their ids.
    note
        Told in one line of what failed.
    """

    def __init__(self, clear: Callable[[str, bool], Callable[[], list[str]]], note: Callable[[str], None]):
        self._clear, self._note = clear, note
        self._tasks: dict[str, PendingRequest[list[str]]] = {}
        self._again = Again()

    def begin(self, markets: Mapping[str, bool]) -> tuple[list[str], list[str]]:
        """Begin in all markets, wait for `AT_ONCE_S`; return ids of orders that are gone, and markets that are left."""
        begun = {symbol: PendingRequest(self._clear(symbol, opening)) for symbol, opening in markets.items()}
        self._tasks |= begun
        until = time.monotonic() + AT_ONCE_S
        gone: list[str] = []
        left = []
        for symbol, task in begun.items():
            ids = self._result(symbol) if task.wait(until - time.monotonic()) else None
            if ids is None:
                left.append(symbol)
            else:
                gone += ids
        return gone, left

    def go_on(self, symbol: str, opening: bool) -> list[str] | None:
        """Ids of the orders that are gone in a market that was left; None if that is not done. Nobody is waited for."""
        if symbol in self._tasks:
            return self._result(symbol) if self._tasks[symbol].done else None
        if self._again.due(symbol):
            self._tasks[symbol] = PendingRequest(self._clear(symbol, opening))
        return None

    def _result(self, symbol: str) -> list[str] | None:
        try:
            ids = self._tasks.pop(symbol).result()
        except FAILURES as error:
            self._note(f"the orders of {symbol} are not cancelled: {error}")
            return None
        self._again.done(symbol)
        return ids
