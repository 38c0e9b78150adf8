"""Websockets: topics of markets, what happens to an account, and orders."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Mapping

from aiohttp import web

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.bybit import orders, refusals
from qframe_rl.rehearsal.bybit.rest import plain, signed
from qframe_rl.rehearsal.bybit.rows import CATEGORIES
from qframe_rl.rehearsal.bybit.streams import PRIVATE, Topics
from qframe_rl.rehearsal.exchange import RehearsalExchange
from qframe_rl.rehearsal.faults import AFTER, BEFORE
from qframe_rl.rehearsal.wire.call import Call, Json
from qframe_rl.rehearsal.wire.dial import Dial
from qframe_rl.rehearsal.wire.link import API, MARKET, USER, ClientConnection

_HITS = {**BEFORE, **AFTER}
_ACTS = {"order.create": orders.create, "order.amend": orders.amend, "order.cancel": orders.cancel}
_NAMES = {"order.create": "order.post", "order.amend": "order.put", "order.cancel": "order.delete"}
_EXTRAS = {
    "unknown-event": '{"topic":"somethingNew.BTCUSDT","type":"snapshot","ts":0,"data":{}}',
    "error-frame": '{"success":false,"ret_msg":"Internal error","conn_id":"rehearsal","op":""}',
}
Message = Mapping[str, Json]


class BybitSockets(Dial):
    """Bybit's websockets.

    Parameters
    ----------
    exchange
        What is listened to.
    topics
        Who listens.
    """

    def __init__(self, exchange: RehearsalExchange, topics: Topics):
        super().__init__(exchange)
        self.topics = topics

    def named(self, request: web.BaseRequest) -> tuple[str, str]:
        """Wire and role of a request, by its address."""
        if request.path.startswith("/v5/public/"):
            return request.path.rpartition("/")[2], MARKET
        return "account", API if request.path == "/v5/trade" else USER

    def link(
        self, request: web.BaseRequest, socket: web.WebSocketResponse, transport: asyncio.Transport
    ) -> ClientConnection:
        """The link of a websocket that opens."""
        category, role = self.named(request)
        wire = CATEGORIES.get(category, category)
        return ClientConnection(wire, role, socket, transport, self.exchange.script, named=category, extras=_EXTRAS)

    def open(self, link: ClientConnection, request: web.BaseRequest) -> None:
        """Nothing: an address names no topic."""

    async def request(self, link: ClientConnection, text: str) -> None:
        """Do what a client says."""
        try:
            request = json.loads(text)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            link.answer(_said(link, {}, "error:invalid json", False))
        elif link.role == API and str(request.get("op")) in _ACTS:
            await self._order(link, request)
        else:
            self._talk(link, request)
        self.exchange.nudge()

    def _talk(self, link: ClientConnection, request: Message) -> None:
        op, args = request.get("op"), request.get("args") or []
        if op == "ping":
            if link.role == MARKET:
                link.answer(_said(link, request, "pong"))
            else:
                stamp = str(self.exchange.world.now)
                link.answer({"req_id": request.get("req_id", ""), "op": "pong", "args": [stamp], "conn_id": _id(link)})
        elif op == "auth":
            self._auth(link, request, args if isinstance(args, list) else [])
        elif op in ("subscribe", "unsubscribe") and isinstance(args, list):
            self._subscribe(link, request, [str(topic) for topic in args])
        else:
            link.answer(_said(link, request, "error:invalid op", False))

    def _auth(self, link: ClientConnection, request: Message, args: list[Json]) -> None:
        """Say whose a socket is: key, a moment that is not over, and the signature of that moment."""
        key, expires, signature = (str(x) for x in (*args, "", "", "")[:3])
        account = self.exchange.world.accounts.get(key)
        valid = account is not None and not account.revoked and expires.isdecimal()
        if account is None or not valid:
            why = "API key is invalid."
        elif int(expires) < min(self.exchange.world.now, int(time.time() * 1000)):
            why = "expires time is over."
        elif not hmac.compare_digest(signature, signed(account, f"GET/realtime{expires}")):
            why = "error sign!"
        else:
            self.topics.own(link, account)
            why = ""
        if link.role == API:
            code, text = (10004, why) if why else (0, "OK")
            link.answer({"retCode": code, "retMsg": text, "op": "auth", "connId": _id(link)})
        else:
            link.answer(_said(link, request, why, not why))

    def _subscribe(self, link: ClientConnection, request: Message, topics: list[str]) -> None:
        wrong = ""
        for topic in topics:
            if request["op"] == "unsubscribe":
                self.topics.unsubscribe(link, topic)
            elif link.role == MARKET:
                wrong = wrong or self.topics.subscribe(link, topic)
            elif self.topics.owner(link) is None:
                wrong = "Request not authorized"
            elif topic in PRIVATE or topic.partition(".")[0] in PRIVATE:
                link.streams.add(topic)
            else:
                wrong = f"error:handler not found,topic:{topic}"
        link.answer(_said(link, request, wrong, not wrong))

    async def _order(self, link: ClientConnection, request: Message) -> None:
        """Place, change or cancel an order over the websocket."""
        self.exchange.requests += 1
        op, args = str(request["op"]), request.get("args")
        params = plain(args[0]) if isinstance(args, list) and args and isinstance(args[0], dict) else {}
        category = params.get("category", "")
        script = self.exchange.script
        fault = script.draw(f"{category}.{_NAMES[op]}", _HITS) if script.lines else None
        if fault is not None and fault.kind in BEFORE:
            if fault.kind != "late":
                _lose(link, fault.kind)
                return
            await asyncio.sleep(fault.seconds)
        answer = self._ordered(link, request, op, category, params)
        if fault is not None and fault.kind in AFTER:
            _lose(link, fault.kind)
        else:
            link.answer(answer)

    def _ordered(
        self, link: ClientConnection, request: Message, op: str, category: str, params: dict[str, str]
    ) -> Json:
        self.exchange.catch_up()
        world, account = self.exchange.world, self.topics.owner(link)
        head = {"reqId": request.get("reqId", ""), "op": op, "connId": _id(link)}
        wire = CATEGORIES.get(category, "")
        try:
            if account is None or account.revoked:
                raise errors.bad_key()
            if not wire:
                raise refusals.params("Illegal category")
            self._fresh(request)
            result = _ACTS[op](Call(world, wire, params, account, self.exchange.freshness))
        except errors.Refused as refusal:
            code, text = refusals.told(refusal, wire)
            return {**head, "retCode": code, "retMsg": text, "data": {}}
        return {**head, "retCode": 0, "retMsg": "OK", "data": result, "header": {"Timenow": str(world.now)}}

    def _fresh(self, request: Message) -> None:
        """Refuse a request that is older than its window."""
        header = request.get("header")
        if not isinstance(header, dict):
            raise refusals.params("header is not an object")
        stamp, window = str(header.get("X-BAPI-TIMESTAMP", "")), str(header.get("X-BAPI-RECV-WINDOW", "5000"))
        if not stamp.isdecimal() or not window.isdecimal():
            raise refusals.params("X-BAPI-TIMESTAMP is not a number")
        self.exchange.freshness.check(int(stamp), int(window), self.exchange.world.now)


def _lose(link: ClientConnection, kind: str) -> None:
    """What a fault makes of an answer: the connection ends, or nothing is said."""
    if not kind.startswith("black-hole"):
        link.end(reset=True)


def _id(link: ClientConnection) -> str:
    return f"rehearsal-{id(link):x}"


def _said(link: ClientConnection, request: Message, text: str, success: bool = True) -> Json:
    told = {"success": success, "ret_msg": text, "conn_id": _id(link), "op": request.get("op", "")}
    return told | ({"req_id": request["req_id"]} if "req_id" in request else {})
