"""REST over HTTP, whatever is spoken: faults, weights, and everything that goes wrong on the way."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from aiohttp import web

from qframe_rl.rehearsal.exchange import RehearsalExchange
from qframe_rl.rehearsal.faults import AFTER, BEFORE, Fault

_JSON = "application/json"
_HTML = "<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"
_HITS = {**BEFORE, **AFTER}


class KnownRequest(NamedTuple):
    """A request that is known: its name for faults, and its weight."""

    name: str
    weight: int


class Response(NamedTuple):
    """An answer."""

    status: int
    text: str


class Dialect(Protocol):
    """How one exchange speaks over REST."""

    def asked(self, request: web.BaseRequest, body: str) -> KnownRequest | None:
        """What a request is; None = nothing that is known."""

    def unknown(self, request: web.BaseRequest) -> Response:
        """What is said to a path that is not known."""

    def answer(self, request: web.BaseRequest, body: str) -> Response:
        """Do what a known request asks for."""

    @property
    def refusals(self) -> Mapping[str, Response]:
        """What faults say beside those that every exchange has; ``429`` and ``418`` among them."""


_FAULTS: dict[str, Response] = {
    "403": Response(403, _HTML.format("403 Forbidden")),
    "404": Response(404, _HTML.format("404 Not Found")),
    "500": Response(500, _HTML.format("500 Internal Server Error")),
    "502": Response(502, _HTML.format("502 Bad Gateway")),
    "503": Response(503, "Service Unavailable"),
    "504": Response(504, _HTML.format("504 Gateway Time-out")),
    "520": Response(520, _HTML.format("520 Web server returns an unknown error")),
    "529": Response(529, "site is overloaded"),
    "timeout-after": Response(504, _HTML.format("504 Gateway Time-out")),
    "empty": Response(200, ""),
    "html": Response(200, _HTML.format("System maintenance")),
    "null": Response(200, "null"),
    "list": Response(200, "[]"),
    "object": Response(200, "{}"),
}


class Cut(Exception):
    """The connection was cut instead of an answer."""


class Rest:
    """Answers requests.

    Parameters
    ----------
    exchange
        What answers them.
    dialect
        How it speaks.
    """

    def __init__(self, exchange: RehearsalExchange, dialect: Dialect):
        self.exchange, self.dialect = exchange, dialect
        self._faults = {**_FAULTS, **dialect.refusals}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        exchange = self.exchange
        exchange.requests += 1
        body = await request.text() if request.body_exists else ""
        asked = self.dialect.asked(request, body)
        if asked is None:
            return _answer(self.dialect.unknown(request))
        if exchange.down:
            return _answer(Response(503, _HTML.format("System maintenance")))
        used, within = exchange.charge(asked.weight)
        if not within:
            return self._banned(used, exchange.config.weight_limit)
        fault = exchange.script.draw(asked.name, _HITS) if exchange.script.lines else None
        if fault is not None and fault.kind in BEFORE and fault.kind != "late":
            return await self._refuse(request, fault)
        if fault is not None and fault.kind == "late":
            await asyncio.sleep(fault.seconds)
        exchange.catch_up()
        told = self.dialect.answer(request, body)
        exchange.nudge()
        if fault is not None and fault.kind in AFTER:
            return await self._spoil(request, fault, told)
        response = _answer(told)
        response.headers["X-MBX-USED-WEIGHT-1M"] = str(used)
        return response

    async def _refuse(self, request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
        """Do nothing, and answer as the fault says."""
        if fault.kind == "drop":
            return await self._cut(request)
        if fault.kind == "black-hole":
            return await self._swallow(request)
        response = _answer(self._faults[fault.kind])
        if fault.kind in ("418", "429"):
            response.headers["Retry-After"] = str(math.ceil(fault.seconds))
        return response

    async def _spoil(self, request: web.BaseRequest, fault: Fault, told: Response) -> web.StreamResponse:
        """Answer what was done as the fault says."""
        kind = fault.kind
        if kind == "drop-after":
            return await self._cut(request)
        if kind == "black-hole-after":
            return await self._swallow(request)
        if kind == "slow":
            await asyncio.sleep(fault.seconds)
            return _answer(told)
        if kind == "cut":
            half = told.text.encode()[: len(told.text) // 2]
            return await self._cut(request, _head(told) + half)
        if kind == "malformed":
            return _answer(Response(200, told.text[: max(1, 2 * len(told.text) // 3)]))
        return _answer(self._faults[kind])

    def _banned(self, used: int, limit: int) -> web.Response:
        """Too much weight: first a warning, then a ban."""
        response = _answer(self._faults["418" if used > 2 * limit else "429"])
        response.headers["Retry-After"] = "60"
        return response

    async def _cut(self, request: web.BaseRequest, last_words: bytes = b"") -> web.StreamResponse:
        transport = request.transport
        if transport is not None:
            transport.write(last_words)
            transport.close()
        raise Cut

    async def _swallow(self, request: web.BaseRequest) -> web.StreamResponse:
        """Keep the connection open and say nothing, until the client or the exchange goes."""
        while (
            not self.exchange.stopping.is_set() and request.transport is not None and not request.transport.is_closing()
        ):
            await asyncio.sleep(0.05)
        return await self._cut(request)


def _answer(told: Response) -> web.Response:
    kind = "text/html" if told.text.startswith("<") else _JSON
    return web.Response(status=told.status, body=told.text.encode(), content_type=kind, charset="utf-8")


def _head(told: Response) -> bytes:
    length = len(told.text.encode())
    return f"HTTP/1.1 {told.status} OK\r\nContent-Type: {_JSON}\r\nContent-Length: {length}\r\n\r\n".encode()
