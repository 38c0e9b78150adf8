"""Websockets, whatever is spoken over them: how they open, are read, and end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from aiohttp import WSMsgType, web

from qframe_rl.rehearsal.exchange import RehearsalExchange
from qframe_rl.rehearsal.faults import DIALS
from qframe_rl.rehearsal.wire.link import ClientConnection


class Dial(ABC):
    """Opens and serves websockets.

    Parameters
    ----------
    exchange
        What is listened to.
    """

    def __init__(self, exchange: RehearsalExchange):
        self.exchange = exchange

    @abstractmethod
    def named(self, request: web.BaseRequest) -> tuple[str, str]:
        """Wire and role of a request, by its address."""

    @abstractmethod
    def link(
        self, request: web.BaseRequest, socket: web.WebSocketResponse, transport: asyncio.Transport
    ) -> ClientConnection:
        """The link of a websocket that opens."""

    @abstractmethod
    def open(self, link: ClientConnection, request: web.BaseRequest) -> None:
        """Do what the address itself says."""

    @abstractmethod
    async def request(self, link: ClientConnection, text: str) -> None:
        """Do what a client says."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one websocket until it ends."""
        wire, role = self.named(request)
        fault = self.exchange.script.draw(f"{wire}.dial.{role}", DIALS) if self.exchange.script.lines else None
        if self.exchange.down or (fault is not None and fault.kind == "503-dial"):
            return web.Response(status=503, text="Service Unavailable")
        transport = request.transport
        if transport is None or fault is not None:
            if transport is not None:
                transport.abort()
            raise ConnectionResetError
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=2**20)
        await socket.prepare(request)
        link = self.link(request, socket, transport)
        self.exchange.hub.links.add(link)
        writer = asyncio.ensure_future(link.write())
        try:
            self.open(link, request)
            self.exchange.nudge()
            await self._read(link)
        finally:
            writer.cancel()
            link.gone()
            self.exchange.hub.leave(link)
        return socket

    async def _read(self, link: ClientConnection) -> None:
        async for message in link.socket:
            if link.stalled:
                continue
            if message.type == WSMsgType.PING:
                await link.socket.pong(message.data)
            elif message.type == WSMsgType.TEXT:
                await self.request(link, message.data)
            elif message.type == WSMsgType.ERROR:
                return
