"""One websocket: what waits to be sent, and what goes wrong with it."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping

from aiohttp import web

from qframe_rl.rehearsal.faults import STREAMS, Fault, Script
from qframe_rl.rehearsal.wire.call import Json

MARKET, USER, API = "market", "user", "api"
_CLOSE, _RESET = object(), object()


Message = Mapping[str, Json] | list[Json]
_ENCODER = json.JSONEncoder(separators=(",", ":"))


def dumps(message: Json) -> str:
    """JSON as exchanges write it."""
    return _ENCODER.encode(message)


class ClientConnection:
    """A connected client.

    Parameters
    ----------
    wire
        ``spot`` or ``usdm``.
    role
        ``market``, ``user`` or ``api``.
    socket, transport
        The open websocket and the connection under it.
    script
        Faults.
    combined
        Whether messages are wrapped with the name of their stream.
    named
        How faults call the wire; None = by its name.
    extras
        What faults put before a message, by their kinds.
    """

    def __init__(
        self,
        wire: str,
        role: str,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        script: Script,
        combined: bool = False,
        named: str | None = None,
        extras: Mapping[str, str] | None = None,
    ):
        self.wire, self.role, self.combined = wire, role, combined
        self.socket, self._transport, self._script = socket, transport, script
        self._named = named or wire
        self._extras = {**_EXTRAS, **(extras or {})}
        self.streams: set[str] = set()
        self.silent = False
        """Nothing more is sent."""
        self.stalled = False
        """Nothing more is heard either."""
        self._outbox: deque[object] = deque()
        self._filled = asyncio.Event()
        self.sent = asyncio.Event()
        """Nothing waits."""
        self.sent.set()

    @property
    def backlog(self) -> int:
        """Messages that wait."""
        return len(self._outbox)

    def tell(self, name: str, message: Message, written: str | None = None) -> None:
        """Send a message of a stream, or what a fault makes of it.

        Parameters
        ----------
        name
            Kind of the stream, such as ``kline``.
        message
            The message.
        written
            The same as JSON, if it is known already.
        """
        if self.silent:
            return
        text = dumps(message) if written is None else written
        fault = self._script.draw(f"{self._named}.{name}", STREAMS) if self._script.lines else None
        if fault is None:
            self.put(text)
        else:
            self._spoil(fault, message, text)

    def answer(self, message: Json) -> None:
        """Answer a request that came over the socket."""
        if not self.stalled:
            self.put(dumps(message))

    def put(self, item: object) -> None:
        """Let something be sent."""
        self._outbox.append(item)
        self._filled.set()
        self.sent.clear()

    def end(self, *, reset: bool = False) -> None:
        """Close the socket, or reset the connection."""
        self.put(_RESET if reset else _CLOSE)

    def _spoil(self, fault: Fault, message: Message, text: str) -> None:
        kind = fault.kind
        if kind in ("close", "reset"):
            self.end(reset=kind == "reset")
        elif kind in ("silent", "stalled"):
            self.silent, self.stalled = True, kind == "stalled"
        elif kind == "truncated":
            self.put(text[: len(text) // 2])
        elif kind == "nulls":
            self.put(dumps(hollow(message)))
        elif kind == "delayed":
            asyncio.get_running_loop().call_later(fault.seconds, self.put, text)
        elif kind == "twice":
            self.put(text)
            self.put(text)
        elif kind != "lost":
            self.put(self._extras[kind])
            self.put(text)

    async def write(self) -> None:
        """Send what waits until the connection ends."""
        try:
            while True:
                await self._filled.wait()
                while self._outbox:
                    await self._send(self._outbox[0])
                    self._outbox.popleft()
                self._filled.clear()
                self.sent.set()
        except (ConnectionError, RuntimeError):
            # The client is gone; the reader will see it as well.
            self.gone()

    def gone(self) -> None:
        """Nothing can be sent any more."""
        self._outbox.clear()
        self.sent.set()

    async def _send(self, item: object) -> None:
        if item is _RESET:
            self._transport.abort()
        elif item is _CLOSE:
            await self.socket.close(code=1001, message=b"going away")
        else:
            await self.socket.send_str(str(item))


_EXTRAS = {
    "text": "maintenance in five minutes",
    "unknown-event": '{"e":"somethingNew","E":0,"s":"BTCUSDT","x":1}',
    "error-frame": '{"error":{"code":5000,"msg":"Internal error"},"id":null}',
}


def hollow(message: Message) -> Json:
    """A message whose inner objects are null; a flat one keeps its name, time and market alone."""
    if isinstance(message, list):
        return [hollow(one) for one in message]
    inner = message.get("event") or message.get("data")
    if isinstance(inner, Mapping):
        return {k: hollow(v) if v is inner else v for k, v in message.items()}
    if any(isinstance(v, dict | list) for v in message.values()):
        return {k: None if isinstance(v, dict | list) else v for k, v in message.items()}
    return {k: v if k in ("e", "E", "s") else None for k, v in message.items()}
