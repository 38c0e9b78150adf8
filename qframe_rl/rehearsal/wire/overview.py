"""Streams of all markets of a wire at once: what changed at an instant is told together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from qframe_rl.rehearsal.ladder import Change
from qframe_rl.rehearsal.market import ListedMarket
from qframe_rl.rehearsal.path import Print
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.wire.call import Json
from qframe_rl.rehearsal.wire.link import ClientConnection
from qframe_rl.rehearsal.world import World

_KINDS = {
    "spot": {"!miniTicker@arr": "miniTicker", "!ticker@arr": "ticker", "!bookTicker": "bookTicker"},
    "usdm": {
        "!miniTicker@arr": "miniTicker",
        "!ticker@arr": "ticker",
        "!bookTicker": "bookTicker",
        "!markPrice@arr": "markPrice",
        "!markPrice@arr@1s": "markPrice",
    },
}


class Overview:
    """Who listens to all markets.

    Parameters
    ----------
    world
        What is listened to.
    message
        One market's message of a kind.
    """

    def __init__(self, world: World, message: Callable[[Place, str], Json]):
        self._world, self._message = world, message
        self._listeners: dict[str, dict[str, set[ClientConnection]]] = {wire: defaultdict(set) for wire in _KINDS}
        self._changed: dict[str, dict[Place, None]] = {wire: {} for wire in _KINDS}
        world.watchers.append(self)

    def subscribe(self, link: ClientConnection, stream: str) -> None:
        """Let a client listen; a stream that the wire has not stays silent."""
        if stream in _KINDS[link.wire]:
            self._listeners[link.wire][stream].add(link)
            for place in self._world.all(link.wire):
                self._world.wake(place)

    def unsubscribe(self, link: ClientConnection, stream: str) -> None:
        """Let a client listen no more."""
        listeners = self._listeners[link.wire]
        listeners[stream].discard(link)
        if not listeners[stream]:
            del listeners[stream]

    def wants(self, market: ListedMarket) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners[market.wire])

    def printed(self, place: Place, print_: Print) -> None:
        """Note that a market changed; everything of an instant is told once all of it has happened."""
        self._note(place)

    def closed(self, place: Place, close_ms: int) -> None:
        """Nothing that these streams tell."""

    def booked(self, place: Place, change: Change) -> None:
        """Note that the best prices of a recorded book changed."""
        if change.best:
            self._note(place)

    def touched(self, place: Place) -> None:
        """A client took from the book."""
        self._note(place)

    def _note(self, place: Place) -> None:
        wire = place.market.wire
        if not self._listeners[wire]:
            return
        if not self._changed[wire]:
            self._world.at(self._world.now, lambda: self._tell(wire))
        self._changed[wire][place] = None

    def _tell(self, wire: str) -> None:
        changed, self._changed[wire] = list(self._changed[wire]), {}
        for stream, links in list(self._listeners[wire].items()):
            kind = _KINDS[wire][stream]
            rows = [self._message(place, kind) for place in changed]
            # The best prices come one by one, the others in a list.
            for message in rows if stream == "!bookTicker" else [rows]:
                for link in list(links):
                    link.tell(kind, {"stream": stream, "data": message} if link.combined else message)
