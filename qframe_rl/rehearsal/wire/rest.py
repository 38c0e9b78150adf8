"""Binance over REST: routes, signatures, and the answers of its own."""

from __future__ import annotations

from urllib.parse import parse_qsl

from aiohttp import web

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.exchange import RehearsalExchange
from qframe_rl.rehearsal.wire import auth
from qframe_rl.rehearsal.wire.call import Call, Json
from qframe_rl.rehearsal.wire.http import KnownRequest, Response
from qframe_rl.rehearsal.wire.link import dumps
from qframe_rl.rehearsal.wire.routes import ROUTES, wire_of

_UNKNOWN = Response(
    503,
    '{"code":-1006,"msg":"An unexpected response was received from the message bus. Execution status unknown."}',
)
_REFUSALS: dict[str, Response] = {
    "429": Response(429, '{"code":-1003,"msg":"Too many requests."}'),
    "418": Response(418, '{"code":-1003,"msg":"Way too many requests; IP banned."}'),
    "408": Response(408, '{"code":-1007,"msg":"Timeout waiting for response from backend server."}'),
    "451": Response(451, '{"code":0,"msg":"Service unavailable from a restricted location."}'),
    "unknown-before": _UNKNOWN,
    "unknown-after": _UNKNOWN,
}


class BinanceRest:
    """Binance's dialect.

    Parameters
    ----------
    exchange
        What answers.
    """

    def __init__(self, exchange: RehearsalExchange):
        self.exchange = exchange
        self.refusals = _REFUSALS

    def asked(self, request: web.BaseRequest, body: str) -> KnownRequest | None:
        """The route of method and path."""
        route = ROUTES.get((request.method, request.path))
        return None if route is None else KnownRequest(route.name, route.weight)

    def unknown(self, request: web.BaseRequest) -> Response:
        """The venue's error for a path that it does not know."""
        message = f"Path {request.path}, Method {request.method} is invalid"
        return Response(404, dumps({"code": -5000, "msg": message}))

    def answer(self, request: web.BaseRequest, body: str) -> Response:
        """Let a request in and do what it asks for."""
        exchange, query = self.exchange, request.rel_url.raw_query_string
        route = ROUTES[request.method, request.path]
        params = dict(parse_qsl(query, keep_blank_values=True))
        if body:
            params |= dict(parse_qsl(body, keep_blank_values=True))
        call = Call(exchange.world, wire_of(request.path), params, freshness=exchange.freshness)
        try:
            auth.admit(call, route.security, request.headers.get("X-MBX-APIKEY"), auth.payload_of(query, body))
            answer: Json = route.answer(call)
        except errors.Refused as refusal:
            return Response(refusal.status, dumps(refusal.body()))
        return Response(200, dumps(answer))
