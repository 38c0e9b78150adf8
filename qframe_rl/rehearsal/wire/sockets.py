"""Websockets: market streams, user streams, and the websocket API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from aiohttp import web

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.exchange import RehearsalExchange
from qframe_rl.rehearsal.faults import AFTER, BEFORE, Fault
from qframe_rl.rehearsal.market import SPOT, USDM
from qframe_rl.rehearsal.wire import auth
from qframe_rl.rehearsal.wire.call import KEY, NONE, SIGNED, Call, Json
from qframe_rl.rehearsal.wire.dial import Dial
from qframe_rl.rehearsal.wire.link import API, MARKET, USER, ClientConnection
from qframe_rl.rehearsal.wire.routes import API as METHODS
from qframe_rl.rehearsal.wire.streams import Hub

_FUTURES = ("/market/", "/public/", "/private/", "/ws-fapi/", "/fapi/")
_HITS = {**BEFORE, **AFTER}
Message = Mapping[str, Json]
Act = Callable[[Call], Json]


class Sockets(Dial):
    """Binance's websockets."""

    def __init__(self, exchange: RehearsalExchange, hub: Hub):
        super().__init__(exchange)
        self.hub = hub

    def link(
        self, request: web.BaseRequest, socket: web.WebSocketResponse, transport: asyncio.Transport
    ) -> ClientConnection:
        """The link of a websocket that opens."""
        wire, role = self.named(request)
        return ClientConnection(wire, role, socket, transport, self.exchange.script, request.path.endswith("/stream"))

    def named(self, request: web.BaseRequest) -> tuple[str, str]:
        """Wire and role of a request, by its address."""
        return _wire(request), _role(request)

    def open(self, link: ClientConnection, request: web.BaseRequest) -> None:
        """Subscribe what the address itself names: streams, or a listen key."""
        tail = request.path.rpartition("/")[2]
        named = request.query.get("streams") or unquote(tail)
        for stream in (*named.split("/"), request.query.get("listenKey", "")):
            self._subscribed(link, stream)
        self.exchange.nudge()

    def _subscribed(self, link: ClientConnection, stream: str) -> None:
        """Let a client listen to a stream, or to an account by its listen key."""
        account = self.exchange.world.listen_keys.get(stream)
        if account is not None:
            combined = link.combined
            self.hub.listen(link, account, lambda event: {"stream": stream, "data": event} if combined else event)
        elif "@" in stream or stream.startswith("!"):
            self.hub.subscribe(link, stream)

    async def request(self, link: ClientConnection, text: str) -> None:
        """Do what a client says."""
        try:
            request = json.loads(text)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            link.answer({"error": {"code": 3, "msg": "Invalid JSON"}})
        elif link.role == API:
            await self._call(link, request)
        else:
            self._subscribe(link, request)
        self.exchange.nudge()

    def _subscribe(self, link: ClientConnection, request: Message) -> None:
        number, method, params = request.get("id"), request.get("method"), request.get("params")
        if method == "LIST_SUBSCRIPTIONS":
            link.answer({"result": sorted(link.streams), "id": number})
            return
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE") or not isinstance(params, list):
            link.answer({"error": {"code": 2, "msg": "Invalid request: unknown method or parameters"}, "id": number})
            return
        link.answer({"result": None, "id": number})
        for stream in params:
            if method == "SUBSCRIBE":
                self._subscribed(link, str(stream))
            else:
                self.hub.unsubscribe(link, str(stream))

    async def _call(self, link: ClientConnection, request: Message) -> None:
        """Answer a request of the websocket API."""
        self.exchange.requests += 1
        method = str(request.get("method"))
        if method.startswith("userDataStream."):
            link.answer(self._user_stream(link, method, request))
            return
        route = METHODS[link.wire].get(method)
        if route is None:
            link.answer(_refused(request, errors.Refused(-1000, f"Unknown method: {method}")))
            return
        fault = self.exchange.script.draw(route.name, _HITS) if self.exchange.script.lines else None
        if fault is not None and fault.kind in BEFORE and fault.kind != "late":
            _spoil(link, request, fault)
            return
        if fault is not None and fault.kind == "late":
            await asyncio.sleep(fault.seconds)
        answer = self._answer(link, request, route.security, route.answer)
        if fault is not None and fault.kind in AFTER:
            _spoil(link, request, fault)
        else:
            link.answer(answer)

    def _answer(self, link: ClientConnection, request: Message, security: str, act: Act) -> Json:
        """Do what a request asks for; its own answer, or the refusal."""
        params = request.get("params") or {}
        if not isinstance(params, dict):
            return _refused(request, errors.malformed("params"))
        self.exchange.catch_up()
        plain = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in params.items()}
        call = Call(self.exchange.world, link.wire, plain, freshness=self.exchange.freshness)
        try:
            auth.admit(call, security, plain.get("apiKey"), auth.payload_of_params(params))
            return {"id": request.get("id"), "status": 200, "result": act(call), "rateLimits": []}
        except errors.Refused as refusal:
            return _refused(request, refusal)

    def _user_stream(self, link: ClientConnection, method: str, request: Message) -> Json:
        """Begin or end to tell an account's events on this socket."""
        hub = self.hub
        number = len(hub.links)

        def subscribe(call: Call) -> Json:
            hub.listen(link, call.user, lambda event: {"subscriptionId": number, "event": event})
            return {"subscriptionId": number}

        def unsubscribe(call: Call) -> Json:
            hub.leave(link)
            hub.links.add(link)
            return {}

        def start(call: Call) -> Json:
            return {"listenKey": call.world.listen_key(call.user)}

        acts: dict[str, tuple[str, Act]] = {
            "userDataStream.subscribe.signature": (SIGNED, subscribe),
            "userDataStream.unsubscribe": (NONE, unsubscribe),
            "userDataStream.start": (KEY, start),
            "userDataStream.ping": (KEY, start),
        }
        if method not in acts:
            return _refused(request, errors.Refused(-1000, f"Unknown method: {method}"))
        return self._answer(link, request, *acts[method])


def _refused(request: Message, refusal: errors.Refused) -> Json:
    return {"id": request.get("id"), "status": refusal.status, "error": refusal.body(), "rateLimits": []}


def _spoil(link: ClientConnection, request: Message, fault: Fault) -> None:
    """What a fault makes of an answer on the websocket API."""
    kind = fault.kind
    if kind.startswith("drop"):
        link.end(reset=True)
    elif kind in ("cut", "malformed", "empty", "html", "null", "list", "object"):
        link.put('{"id":"' + str(request.get("id")) + '","status":2')
    elif not kind.startswith("black-hole"):
        status = int(kind) if kind.isdigit() else 503
        code, text = (-1003, "Too many requests.") if status in (418, 429) else (-1006, "Execution status unknown.")
        link.answer(_refused(request, errors.Refused(code, text, status)))


def _wire(request: web.BaseRequest) -> str:
    host = request.headers.get("Host", "")
    futures = request.path.startswith(_FUTURES) or host.startswith(("fstream", "ws-fapi")) or "binancefuture" in host
    return USDM if futures else SPOT


def _role(request: web.BaseRequest) -> str:
    if request.path.startswith(("/ws-api/", "/ws-fapi/")):
        return API
    return USER if request.path.startswith("/private/") or "listenKey" in request.query else MARKET
