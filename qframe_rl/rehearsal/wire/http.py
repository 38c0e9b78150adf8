"""REST over HTTP: routes, signatures, weights, and everything that goes wrong on the way."""

from __future__ import annotations

import asyncio
import math
from urllib.parse import parse_qsl

from aiohttp import web

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.exchange import Exchange
from qframe_rl.rehearsal.faults import AFTER, BEFORE, Fault
from qframe_rl.rehearsal.wire import auth
from qframe_rl.rehearsal.wire.call import Call, Json, Route
from qframe_rl.rehearsal.wire.link import dumps
from qframe_rl.rehearsal.wire.routes import ROUTES, wire_of

_JSON = "application/json"
_HTML = "<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"
_REFUSALS: dict[str, tuple[int, str]] = {
    "429": (429, '{"code":-1003,"msg":"Too many requests."}'),
    "418": (418, '{"code":-1003,"msg":"Way too many requests; IP banned."}'),
    "403": (403, _HTML.format("403 Forbidden")),
    "404": (404, _HTML.format("404 Not Found")),
    "408": (408, '{"code":-1007,"msg":"Timeout waiting for response from backend server."}'),
    "451": (451, '{"code":0,"msg":"Service unavailable from a restricted location."}'),
    "500": (500, _HTML.format("500 Internal Server Error")),
    "502": (502, _HTML.format("502 Bad Gateway")),
    "503": (503, "Service Unavailable"),
    "504": (504, _HTML.format("504 Gateway Time-out")),
    "520": (520, _HTML.format("520 Web server returns an unknown error")),
    "529": (529, "site is overloaded"),
}
_UNKNOWN = (
    503,
    '{"code":-1006,"msg":"An unexpected response was received from the message bus. Execution status unknown."}',
)
_BODIES: dict[str, tuple[int, str]] = {
    "unknown-before": _UNKNOWN,
    "unknown-after": _UNKNOWN,
    "timeout-after": _REFUSALS["504"],
    "empty": (200, ""),
    "html": (200, _HTML.format("System maintenance")),
    "null": (200, "null"),
    "list": (200, "[]"),
    "object": (200, "{}"),
}
_HITS = {**BEFORE, **AFTER}


class Cut(Exception):
    """The connection was cut instead of an answer."""


class Rest:
    """Answers requests.

    Parameters
    ----------
    exchange
        What answers them.
    """

    def __init__(self, exchange: Exchange):
        self.exchange = exchange

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        exchange = self.exchange
        exchange.requests += 1
        route = ROUTES.get((request.method, request.path))
        if route is None:
            message = f"Path {request.path}, Method {request.method} is invalid"
            return _answer(404, dumps({"code": -5000, "msg": message}))
        if exchange.down:
            return _answer(503, _HTML.format("System maintenance"))
        used, within = exchange.charge(route.weight)
        if not within:
            return _banned(used, exchange.config.weight_limit)
        fault = exchange.script.draw(route.name, _HITS) if exchange.script.lines else None
        if fault is not None and fault.kind in BEFORE and fault.kind != "late":
            return await self._refuse(request, fault)
        body = await request.text() if request.body_exists else ""
        if fault is not None and fault.kind == "late":
            await asyncio.sleep(fault.seconds)
        status, text = self._do(request, route, body)
        if fault is not None and fault.kind in AFTER:
            return await self._spoil(request, fault, status, text)
        response = _answer(status, text)
        response.headers["X-MBX-USED-WEIGHT-1M"] = str(used)
        return response

    def _do(self, request: web.BaseRequest, route: Route, body: str) -> tuple[int, str]:
        exchange, query = self.exchange, request.rel_url.raw_query_string
        exchange.catch_up()
        params = dict(parse_qsl(query, keep_blank_values=True))
        if body:
            params |= dict(parse_qsl(body, keep_blank_values=True))
        call = Call(exchange.world, wire_of(request.path), params, freshness=exchange.freshness)
        try:
            auth.admit(call, route.security, request.headers.get("X-MBX-APIKEY"), auth.payload_of(query, body))
            answer: Json = route.answer(call)
        except errors.Refused as refusal:
            return refusal.status, dumps(refusal.body())
        finally:
            exchange.nudge()
        return 200, dumps(answer)

    async def _refuse(self, request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
        """Do nothing, and answer as the fault says."""
        if fault.kind == "drop":
            return await self._cut(request)
        if fault.kind == "black-hole":
            return await self._swallow(request)
        status, text = (_REFUSALS | _BODIES)[fault.kind]
        response = _answer(status, text)
        if status in (418, 429):
            response.headers["Retry-After"] = str(math.ceil(fault.seconds))
        return response

    async def _spoil(self, request: web.BaseRequest, fault: Fault, status: int, text: str) -> web.StreamResponse:
        """Answer what was done as the fault says."""
        kind = fault.kind
        if kind == "drop-after":
            return await self._cut(request)
        if kind == "black-hole-after":
            return await self._swallow(request)
        if kind == "slow":
            await asyncio.sleep(fault.seconds)
            return _answer(status, text)
        if kind == "cut":
            return await self._cut(request, _head(status, text) + text.encode()[: len(text) // 2])
        if kind == "malformed":
            return _answer(200, text[: max(1, 2 * len(text) // 3)])
        return _answer(*_BODIES[kind])

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


def _answer(status: int, text: str) -> web.Response:
    kind = "text/html" if text.startswith("<") else _JSON
    return web.Response(status=status, body=text.encode(), content_type=kind, charset="utf-8")


def _head(status: int, text: str) -> bytes:
    length = len(text.encode())
    return f"HTTP/1.1 {status} OK\r\nContent-Type: {_JSON}\r\nContent-Length: {length}\r\n\r\n".encode()


def _banned(used: int, limit: int) -> web.Response:
    """Too much weight: first a warning, then a ban."""
    status, text = _REFUSALS["418" if used > 2 * limit else "429"]
    response = _answer(status, text)
    response.headers["Retry-After"] = "60"
    return response
