"""An exchange on 127.0.0.1 that tells depth and trades as Binance does, from a made-up run.

Played in step, each message is sent once the one before was heard, with the recorder's clock at the moment that the run
says: what is recorded is then the run to the bit. Played at a pace, messages are sent by the wall clock whether anybody
listens or not, stamped with it.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
from aiohttp import WSMsgType, web

from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE, Events
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.synthetic_ticks import events_of, rows_of
from tests.loopback import _exchange_info

MS = 1_000_000
TICK, LOT = 0.1, 0.001
Side = list[tuple[int, int]]


class Frame(NamedTuple):
    """A message of the run."""

    kind: int
    at_ms: int
    local_ns: int
    levels: tuple[Side, Side]
    """Ticks and lots of bids and asks; of a trade the one, on the side of who took."""
    ids: tuple[int, int, int]
    """Of depth its first and final update, and the final one before it; of a trade its id, thrice."""
    print_kind: str = "MARKET"


class Picture(NamedTuple):
    """A whole book that was given out."""

    position: int
    """Frames that are in it."""
    local_ns: int
    levels: tuple[Side, Side]
    last: int


class TickExchange:
    """The exchange.

    Parameters
    ----------
    listing
        What is told.
    n
        Messages of its run.
    seed
        Of its random numbers.
    pace
        Messages a second; None = in step with who listens.
    """

    def __init__(self, listing: Listing, n: int = 600, seed: int = 0, pace: float | None = None):
        self.listing, self.pace, self.url = listing, pace, ""
        self.frames, self._first = _frames(rows_of(seed, n, 0.03), spot=listing.kind == "spot")
        self.position = 0
        self.lead, self.behind = 6, 3
        """Messages before the whole book is given out, and by how many it is older than they are."""
        self.dropped: set[int] = set()
        """Frames that are not sent."""
        self.cut: set[int] = set()
        """Frames before which all connections are closed, once."""
        self.breaks: set[int] = set()
        """Frames after which whoever listens is waited for to leave."""
        self.again: set[int] = set()
        """Trades that are sent twice."""
        self.spoiled: dict[int, dict[str, Any]] = {}
        """What of a frame is sent otherwise."""
        self.pictures: list[Picture] = []
        self.sent: list[tuple[int, dict[str, Any]]] = []
        """Frames that were sent at a pace, with the messages."""
        self.n_connections = 0
        self.waits_for_nobody = False
        """Whether a pace begins before somebody listens."""
        self.done = False
        """Whether the run is over, and heard if it is played in step."""
        self._now = self._heard = 0
        self._sockets: dict[str, set[web.WebSocketResponse]] = defaultdict(set)
        self._released = asyncio.Event()
        self._stop = threading.Event()

    def clock(self) -> int:
        """The recorder's, when it hears a message."""
        self._heard += 1
        return self._now

    @contextmanager
    def running(self) -> Iterator[TickExchange]:
        """Serve."""
        ready = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        thread.start()
        assert ready.wait(10.0)
        try:
            yield self
        finally:
            self._stop.set()
            thread.join(10.0)

    def book(self, position: int) -> tuple[Side, Side]:
        """What stands after so many frames, best first."""
        sides = tuple(dict(side) for side in self._first)
        for frame in self.frames[:position]:
            if frame.kind == DEPTH:
                for side, levels in zip(sides, frame.levels, strict=True):
                    side |= dict(levels)
        bids, asks = ([(t, lots) for t, lots in side.items() if lots] for side in sides)
        return sorted(bids, reverse=True), sorted(asks)

    def events(self, picture: Picture, stop: int | None = None, *, without: set[int] = frozenset()) -> Events:  # type: ignore[assignment]
        """Rows that one who was given a whole book has after so many frames.

        Parameters
        ----------
        picture
            The book.
        stop
            Frames; None = all.
        without
            Frames that are left out.
        """
        spot = self.listing.kind == "spot"
        kept = next(
            k for k, f in enumerate(self.frames) if f.kind == DEPTH and f.ids[1] >= picture.last + spot
        )  # fmt: skip
        first = self.frames[kept]
        early = [f for f in self.frames[:kept] if f.kind == TRADE and f.at_ms >= first.at_ms]
        local = min(f.local_ns for f in (picture, first, *early))
        rows = [
            (first.at_ms * MS, local, SNAPSHOT, side, tick, lots, 0)
            for side, levels in enumerate(picture.levels) for tick, lots in levels
        ]  # fmt: skip
        number = 0
        for k, frame in enumerate(self.frames[:stop]):
            of_it = frame.at_ms >= first.at_ms if frame.kind == TRADE else k >= kept
            if k in without or not of_it:
                continue
            number += 1
            rows += [
                (frame.at_ms * MS, frame.local_ns, frame.kind, side, tick, lots, number)
                for side, levels in enumerate(frame.levels) for tick, lots in levels
            ]  # fmt: skip
        return events_of(rows)

    async def _serve(self, ready: threading.Event) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        playing = asyncio.create_task(self._play() if self.pace is None else self._pace(self.pace))
        while not self._stop.is_set():
            await asyncio.sleep(0.01)
            if playing.done():
                await playing
        playing.cancel()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        path = request.path
        if path.endswith("/time"):
            return web.json_response({"serverTime": time.time_ns() // MS})
        if path.endswith("/exchangeInfo"):
            return web.json_response(_exchange_info(path))
        assert path.endswith("/depth"), path
        if self.pace is None:
            await self._released.wait()
        position = max(0, self.position - (self.behind if self.pace is None else 0))
        levels = self.book(position)
        before = [f for f in self.frames[:position] if f.kind == DEPTH]
        last = before[-1].ids[1] if before else self.frames[0].ids[0]
        self._now += 1
        self.pictures.append(Picture(position, self._now, levels, last))
        bids, asks = ([[_price(tick), _amount(lots)] for tick, lots in side] for side in levels)
        return web.json_response({"lastUpdateId": last, "E": 1, "T": 1, "bids": bids, "asks": asks})

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.n_connections += 1
        try:
            async for message in socket:
                assert message.type == WSMsgType.TEXT
                asked = json.loads(message.data)
                for stream in asked["params"]:
                    self._sockets[stream.split("@")[1]].add(socket)
                await socket.send_json({"result": None, "id": asked["id"]})
        finally:
            for sockets in self._sockets.values():
                sockets.discard(socket)
        return socket

    async def _close(self) -> None:
        for socket in {one for sockets in self._sockets.values() for one in sockets}:
            await socket.close()
        await self._left()

    async def _left(self) -> None:
        while any(self._sockets.values()):
            await asyncio.sleep(0.001)

    async def _play(self) -> None:
        """Send a frame once the one before was heard."""
        lead = self.lead
        while self.position < len(self.frames):
            while not (self._sockets["depth"] and self._sockets["trade"]):
                self._released.clear()
                lead = self.lead
                await asyncio.sleep(0.001)
            frame, k = self.frames[self.position], self.position
            if k in self.cut:
                self.cut.discard(k)
                await self._close()
                continue
            self.position += 1
            for n in range((k not in self.dropped) + (k in self.again)):
                self._now = frame.local_ns + n
                await self._heard_after(self._send(frame, k))
            if k in self.breaks:
                await self._left()
                continue
            lead -= 1
            if lead == 0:
                self._released.set()
                pictures, heard = len(self.pictures), self._heard
                while len(self.pictures) == pictures or self._heard == heard:
                    await asyncio.sleep(0.0002)
        self.done = True

    async def _heard_after(self, sending: Any) -> None:
        heard = self._heard
        await sending
        while self._heard == heard and (self._sockets["depth"] and self._sockets["trade"]):
            await asyncio.sleep(0.0001)

    async def _pace(self, pace: float) -> None:
        """Send frames by the wall clock."""
        while not self.waits_for_nobody and not self._sockets["depth"]:
            await asyncio.sleep(0.01)
        begun, at_ms = time.monotonic(), 0
        while self.position < len(self.frames):
            await asyncio.sleep(0.005)
            while self.position < len(self.frames) and self.position < (time.monotonic() - begun) * pace:
                k = self.position
                at_ms = max(at_ms + 1, time.time_ns() // MS)
                frame = self.frames[k] = self.frames[k]._replace(at_ms=at_ms)
                self.position += 1
                if k not in self.dropped:
                    await self._send(frame, k)
        self.done = True

    async def _send(self, frame: Frame, k: int) -> None:
        message = self._wire(frame) | self.spoiled.get(k, {})
        if self.pace is not None:
            self.sent.append((k, message))
        for socket in list(self._sockets["depth" if frame.kind == DEPTH else "trade"]):
            # Who was killed is still among the sockets for a moment.
            with suppress(ConnectionError):
                await socket.send_json(message)

    def _wire(self, frame: Frame) -> dict[str, Any]:
        head = {"E": frame.at_ms + 1, "s": self.listing.pair.replace("-", "")}
        perpetual = self.listing.kind == "perpetual"
        if frame.kind == DEPTH:
            first, final, previous = frame.ids
            chain = (
                {"T": frame.at_ms, "U": first, "u": final, "pu": previous} if perpetual else {"U": first, "u": final}
            )
            both = ([[_price(tick), _amount(lots)] for tick, lots in side] for side in frame.levels)
            head["E"] = frame.at_ms + perpetual
            return {"e": "depthUpdate", **head, **chain, **dict(zip("ba", both, strict=True))}
        side = int(not frame.levels[0])
        ((tick, lots),) = frame.levels[side]
        kind = {"X": frame.print_kind} if perpetual else {"M": True}
        return {
            "e": "trade", **head, "t": frame.ids[0], "p": _price(tick), "q": _amount(lots), "T": frame.at_ms,
            "m": bool(side), **kind,
        }  # fmt: skip


def _price(tick: int) -> str:
    return f"{tick // 10}.{tick % 10}0"


def _amount(lots: int) -> str:
    return f"{lots // 1000}.{lots % 1000:03d}"


def _frames(rows: list[Any], *, spot: bool) -> tuple[list[Frame], tuple[dict[int, int], dict[int, int]]]:
    """Messages of a run that is made up, and the book before them."""
    first: tuple[dict[int, int], dict[int, int]] = ({}, {})
    grouped: dict[int, list[Any]] = {}
    for row in rows:
        if row[2] == SNAPSHOT:
            first[row[3]][row[4]] = row[5]
        else:
            grouped.setdefault(row[6], []).append(row)
    rng, frames, final, local, number = np.random.default_rng(1), [], 1000, 0, 7
    for group in grouped.values():
        at, late, kind = group[0][:3]
        local = max(local + 3, late)
        levels: tuple[Side, Side] = ([], [])
        for row in group:
            levels[row[3]].append((row[4], row[5]))
        if kind == DEPTH:
            start = final + 1 if spot else final + int(rng.integers(1, 5))
            ids = (start, start + int(rng.integers(0, 9)), final)
            final = ids[1]
        else:
            number += 1
            ids = (number,) * 3
        frames.append(Frame(kind, at // MS, local, levels, ids))
    return frames, first
