"""The exchange inside its event loop: the world, who listens, what goes wrong, and the pump that lets time pass."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence
from typing import Protocol

from qframe_rl.rehearsal.clock import VirtualClock
from qframe_rl.rehearsal.config import RehearsalConfig
from qframe_rl.rehearsal.faults import Fault, Script
from qframe_rl.rehearsal.market import ListedMarket
from qframe_rl.rehearsal.wire.freshness import Freshness
from qframe_rl.rehearsal.wire.link import ClientConnection
from qframe_rl.rehearsal.world import World

_SLICE_S = 0.01
_MOST_UNSENT = 2_000
_MINUTE_S = 60.0


class Listeners(Protocol):
    """Everybody who listens over websockets."""

    links: set[ClientConnection]

    def leave(self, link: ClientConnection) -> None:
        """Forget a client."""


class Nobody:
    """Nobody listens."""

    def __init__(self) -> None:
        self.links: set[ClientConnection] = set()

    def leave(self, link: ClientConnection) -> None:
        """Forget a client."""
        self.links.discard(link)


class RehearsalExchange:
    """A world with a wire.

    Parameters
    ----------
    markets, config, clock
        As of `World`.
    faults
        What goes wrong from the start.
    """

    def __init__(
        self,
        markets: Sequence[ListedMarket],
        config: RehearsalConfig,
        clock: VirtualClock,
        faults: Sequence[Fault] = (),
    ):
        self.config, self.clock = config, clock
        self.world = World(markets, config, clock)
        self.freshness = Freshness(lambda: clock.speed)
        self.script = Script(faults, config.seed)
        self.hub: Listeners = Nobody()
        """Who listens; the protocol that is served puts its own here."""
        self.down = False
        """Maintenance: every request is refused, and no websocket opens."""
        self.requests = 0
        """Requests answered or refused, websocket API included."""
        self.stopping = asyncio.Event()
        self._moved = asyncio.Event()
        self._weight, self._minute = 0, 0.0

    def nudge(self) -> None:
        """Say that something may happen sooner than was known."""
        self._moved.set()

    def catch_up(self) -> None:
        """Let happen what is due, for a moment at most."""
        self.world.advance(_SLICE_S)

    async def pump(self) -> None:
        """Let time pass until the exchange stops."""
        while not self.stopping.is_set():
            self._moved.clear()
            if not self.world.advance(_SLICE_S) or self._unsent() > _MOST_UNSENT:
                await asyncio.sleep(0 if self._unsent() <= _MOST_UNSENT else 0.001)
                continue
            await self._wait()

    async def _wait(self) -> None:
        following = self.world.next_ms()
        seconds = math.inf if following is None else self.clock.wall_seconds_to(following)
        try:
            await asyncio.wait_for(self._moved.wait(), None if seconds == math.inf else max(0.0005, seconds))
        except TimeoutError:
            return

    def _unsent(self) -> int:
        return max((link.backlog for link in self.hub.links), default=0)

    async def advance(self, to_ms: int, patience_s: float = 10.0) -> int:
        """Go to a moment, and return the time once all that happened till then is on its way to the clients.

        Parameters
        ----------
        to_ms
            Where to go; time never goes back.
        patience_s
            How long to wait for clients that do not read, wall seconds.
        """
        self.clock.set(to_ms)
        while not self.world.advance(_SLICE_S):
            await self._settled(patience_s if self._unsent() > _MOST_UNSENT else 0.0)
        await self._settled(patience_s)
        self.nudge()
        return self.world.now

    async def _settled(self, patience_s: float) -> None:
        """Wait until everything is on its way; who does not read is not waited for longer than patience lasts."""
        waits = [link.sent.wait() for link in self.hub.links if link.backlog]
        if waits and patience_s > 0.0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.gather(*waits), patience_s)
        else:
            for wait in waits:
                wait.close()
            await asyncio.sleep(0)

    def charge(self, weight: int) -> tuple[int, bool]:
        """Count a request's weight; return the weight of this minute, and whether it is within the limit."""
        now = time.monotonic()
        if now - self._minute >= _MINUTE_S:
            self._weight, self._minute = 0, now
        self._weight += weight
        limit = self.config.weight_limit
        return self._weight, limit == 0 or self._weight <= limit

    def maintain(self, down: bool) -> None:
        """Begin or end a maintenance; at its beginning every websocket is closed."""
        self.down = down
        for link in list(self.hub.links) if down else ():
            link.end()
