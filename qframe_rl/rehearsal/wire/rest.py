"""Binance over REST: routes, signatures, and the answers of its own."""

from __future__ import annotations

from urllib.parse import parse_qsl

from aiohttp import web

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.exchange import Exchange
from qframe_rl.rehearsal.wire import auth
from qframe_rl.rehearsal.wire.call import Call, Json
from qframe_rl.rehearsal.wire.http import Asked, Told
from qframe_rl.rehearsal.wire.link import dumps
from qframe_rl.rehearsal.wire.routes import ROUTES, wire_of

_UNKNOWN = Told(
    503,
    '{"code":-1006,"msg":"An unexpected response was received from the message bus. Execution status unknown."}',
)
_REFUSALS: dict[str, Told] = {
    "429": Told(429, '{"code":-1003,"msg":"Too many requests."}'),
    "418": Told(418, '{"code":-1003,"msg":"Way too many requests; IP banned."}'),
    "408": Told(408, '{"code":-1007,"msg":"Timeout waiting for response from backend server."}'),
    "451": Told(451, '{"code":0,"msg":"Service unavailable from a restricted location."}'),
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

    def __init__(self, exchange: Exchange):
        self.exchange = exchange
        self.refusals = _REFUSALS

    def asked(self, request: web.BaseRequest, body: str) -> Asked | None:
        """The route of method and path."""
        route = ROUTES.get((request.method, request.path))
        return None if route is None else Asked(route.name, route.weight)

    def unknown(self, request: web.BaseRequest) -> Told:
        """The venue's error for a path that it does not know."""
        message = f"Path {request.path}, Method {request.method} is invalid"
        return Told(404, dumps({"code": -5000, "msg": message}))

    def answer(self, request: web.BaseRequest, body: str) -> Told:
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
            return Told(refusal.status, dumps(refusal.body()))
        return Told(200, dumps(answer))
