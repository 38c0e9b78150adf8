"""Bybit over REST: JSON bodies, signatures in headers, an envelope around every answer."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from urllib.parse import parse_qsl

from aiohttp import web

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.account import ExchangeAccount
from qframe_rl.rehearsal.bybit import refusals
from qframe_rl.rehearsal.bybit.routes import NOT_LISTED, ROUTES
from qframe_rl.rehearsal.bybit.rows import CATEGORIES
from qframe_rl.rehearsal.exchange import RehearsalExchange
from qframe_rl.rehearsal.market import SPOT
from qframe_rl.rehearsal.wire.call import SIGNED, Call, Json, Route
from qframe_rl.rehearsal.wire.freshness import DEFAULT_WINDOW_MS
from qframe_rl.rehearsal.wire.http import KnownRequest, Response
from qframe_rl.rehearsal.wire.link import dumps

_UNKNOWN = Response(503, '{"retCode":10016,"retMsg":"Internal error. Please try again later.","result":{},"time":0}')
_REFUSALS: dict[str, Response] = {
    "429": Response(429, '{"retCode":10006,"retMsg":"Too many visits!","result":{},"time":0}'),
    "418": Response(403, "access too frequent, please try again in 5 minutes"),
    "408": Response(408, '{"retCode":10000,"retMsg":"Server Timeout","result":{},"time":0}'),
    "451": Response(451, "Service unavailable from a restricted location."),
    "unknown-before": _UNKNOWN,
    "unknown-after": _UNKNOWN,
}


class BybitRest:
    """Bybit's dialect.

    Parameters
    ----------
    exchange
        What answers.
    """

    def __init__(self, exchange: RehearsalExchange):
        self.exchange = exchange
        self.refusals = _REFUSALS

    def asked(self, request: web.BaseRequest, body: str) -> KnownRequest | None:
        """The route of method and path, named by its category."""
        route = ROUTES.get((request.method, request.path))
        if route is None:
            return None
        category = _params(request, body).get("category", "spot")
        return KnownRequest(route.name.format(category), route.weight)

    def unknown(self, request: web.BaseRequest) -> Response:
        """The venue's empty answer for a path that it does not know."""
        return Response(404, "")

    def answer(self, request: web.BaseRequest, body: str) -> Response:
        """Let a request in and do what it asks for."""
        route, params = ROUTES[request.method, request.path], _params(request, body)
        demo = request.headers.get("Host", "").startswith("api-demo")
        call = Call(
            self.exchange.world, SPOT, params | ({"demo": "true"} if demo else {}), freshness=self.exchange.freshness
        )
        try:
            if route.security == SIGNED:
                call.account = self._owner(request, body)
            return Response(200, self._done(route, call))
        except errors.Refused as refusal:
            return Response(200, envelope(call.now, {}, *refusals.told(refusal, call.wire)))

    def _done(self, route: Route, call: Call) -> str:
        now = call.now
        if "{}" in route.name:
            category = call.text("category", "")
            if category in NOT_LISTED:
                return envelope(now, {"category": category, "list": [], "nextPageCursor": ""})
            if category not in CATEGORIES:
                raise refusals.params("Illegal category")
            call.wire = CATEGORIES[category]
        answer = route.answer(call)
        if isinstance(answer, tuple):
            return envelope(now, answer[0], beside=answer[1])
        if route.name == "time":
            # Clients set their clocks by the time on the envelope.
            now = int(answer["timeNano"]) // 1_000_000
        return envelope(now, answer)

    def _owner(self, request: web.BaseRequest, body: str) -> ExchangeAccount:
        """Account of a signed request.

        Raises
        ------
        Refused
            For an unknown or revoked key, another signature, or a timestamp outside of its window.
        """
        headers = request.headers
        payload = request.rel_url.raw_query_string if request.method == "GET" else body
        key, stamp = headers.get("X-BAPI-API-KEY", ""), headers.get("X-BAPI-TIMESTAMP", "")
        window = headers.get("X-BAPI-RECV-WINDOW", str(DEFAULT_WINDOW_MS))
        account = self.exchange.world.accounts.get(key)
        if account is None or account.revoked:
            raise errors.bad_key()
        if not stamp.isdecimal() or not window.isdecimal():
            raise refusals.params("X-BAPI-TIMESTAMP or X-BAPI-RECV-WINDOW is not a number")
        self.exchange.freshness.check(int(stamp), int(window), self.exchange.world.now)
        if not hmac.compare_digest(headers.get("X-BAPI-SIGN", ""), signed(account, f"{stamp}{key}{window}{payload}")):
            raise errors.bad_signature()
        return account


def signed(account: ExchangeAccount, payload: str) -> str:
    """HMAC-SHA256 in hexadecimal digits."""
    return hmac.new(account.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def envelope(now_ms: int, result: Json, code: int = 0, text: str = "OK", beside: Json = None) -> str:
    """An answer as it is sent."""
    return dumps({"retCode": code, "retMsg": text, "result": result, "retExtInfo": beside or {}, "time": now_ms})


def _params(request: web.BaseRequest, body: str) -> dict[str, str]:
    """Parameters of a query or of a JSON body, as texts; what is no object has none."""
    if request.method == "GET" or not body:
        return dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
    try:
        tree = json.loads(body)
    except ValueError:
        return {}
    return plain(tree) if isinstance(tree, dict) else {}


def plain(tree: Mapping[str, Json]) -> dict[str, str]:
    """JSON values as texts; lists stay JSON."""
    return {key: _text(value) for key, value in tree.items() if value is not None}


def _text(value: Json) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return dumps(value) if isinstance(value, dict | list) else str(value)
