"""The exchange in a thread of its own, and the handle by which a test or a program holds it."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from qframe_rl.config import UserError
from qframe_rl.rehearsal import certificate, clients
from qframe_rl.rehearsal.bybit.rest import BybitRest
from qframe_rl.rehearsal.bybit.sockets import BybitSockets
from qframe_rl.rehearsal.bybit.streams import Topics
from qframe_rl.rehearsal.clock import VirtualClock
from qframe_rl.rehearsal.config import RehearsalConfig, speed_of
from qframe_rl.rehearsal.control import PREFIX, Control, ControlServer
from qframe_rl.rehearsal.exchange import RehearsalExchange
from qframe_rl.rehearsal.faults import Fault
from qframe_rl.rehearsal.market import MS, ListedMarket, listed
from qframe_rl.rehearsal.wire.dial import Dial
from qframe_rl.rehearsal.wire.http import Cut, Rest
from qframe_rl.rehearsal.wire.rest import BinanceRest
from qframe_rl.rehearsal.wire.sockets import Sockets
from qframe_rl.rehearsal.wire.streams import Hub
from qframe_rl.types import History, iso

T = TypeVar("T")
_SHUTDOWN_S = 0.2


class Rehearsal:
    """A running exchange. Its methods may be called from any thread.

    Attributes
    ----------
    url, tls_url
        Base addresses; ``tls_url`` is empty without TLS.
    config
        Its configuration, with the first account's key and secret.
    ca_pem
        The certificate to trust, if there is TLS.
    """

    def __init__(self, exchange: RehearsalExchange, loop: asyncio.AbstractEventLoop, paper: certificate.Paper | None):
        self.config = exchange.config
        self.url = self.tls_url = ""
        self.tls_port = 0
        self.ca_pem = paper.ca_pem if paper else b""
        self._paper, self._loop = paper, loop
        self._exchange, self._control = exchange, Control(exchange)

    def call(self, act: Callable[[Control], T]) -> T:
        """Do something with the `Control` in the exchange's own thread; return what it returns."""

        async def inside() -> T:
            return act(self._control)

        return self._wait(inside())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    @property
    def now_ms(self) -> int:
        """Virtual time, ms UTC."""
        return self.call(lambda control: control.now())

    def advance(self, by_ms: int | None = None, *, to_ms: int | None = None) -> int:
        """Let time pass by a span or to a moment; all that happens is on its way to the clients when this returns."""
        return self._wait(self._control.advance(by_ms, to_ms))

    async def step(self, by_ms: int | None = None, *, to_ms: int | None = None) -> int:
        """As `advance`, from within an event loop, which goes on meanwhile."""
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(self._control.advance(by_ms, to_ms), self._loop)
        )

    def run(self, speed: str) -> None:
        """Go on with another speed, such as ``60x`` or ``step``."""
        self.call(lambda control: control.run(speed))

    def inject(self, *faults: Fault | str) -> None:
        """Append faults to the script, each as a `Fault` or by its kind."""
        made = [Fault(kind=f) if isinstance(f, str) else f for f in faults]
        self.call(lambda control: control.inject(*made))

    def calm(self) -> None:
        """Forget all faults that are still to come."""
        self.call(lambda control: control.calm())

    def hits(self) -> Mapping[tuple[str, str], int]:
        """How often each kind of fault hit each name so far."""
        return dict(self._exchange.script.counts)

    def truth(self) -> dict[str, Any]:
        """All accounts as they are."""
        return self.call(lambda control: control.truth())

    def log(self) -> list[dict[str, Any]]:
        """Everything that happened to accounts."""
        return self.call(lambda control: control.log())

    def state(self) -> dict[str, Any]:
        """Time, speed, listeners, requests and faults."""
        return self.call(lambda control: control.state())

    def point(self, client: Any, *, tls: bool = False) -> Any:
        """Send a CCXT client here by its addresses and give it the first account's key; return it."""
        client.apiKey, client.secret = self.config.api_key, self.config.secret
        return clients.point(client, self.tls_url if tls else self.url)

    def trust(self) -> ssl.SSLContext:
        """TLS settings of a client that trusts this exchange and nobody else."""
        if self._paper is None:
            raise UserError("this exchange has no TLS; start it with tls=True.")
        return certificate.client_context(self._paper)

    def session(self) -> aiohttp.ClientSession:
        """A session in which the real hosts' names lead here, see `clients.session`; whoever asks closes it."""
        return clients.session(self.tls_port, self.trust())


@contextmanager
def serve(
    markets: History | Sequence[ListedMarket],
    config: RehearsalConfig | None = None,
    *,
    speed: str = "step",
    start_ms: int | None = None,
    faults: Sequence[Fault] = (),
    tls: bool = False,
    port: int = 0,
    tls_port: int = 0,
) -> Iterator[Rehearsal]:
    """Run an exchange on 127.0.0.1 while the context lasts.

    Parameters
    ----------
    markets
        What is listed: a panel, or markets made by `market.listed`.
    config
        Everything beside the markets.
    speed
        ``step`` (time moves when told), ``60x`` and so on, or ``max`` (everything has happened already).
    start_ms
        Virtual time at the start, ms UTC; None = the open of the first bar.
    faults
        What goes wrong from the start.
    tls
        Whether to serve over TLS as well.
    port, tls_port
        Ports; 0 = any free one.

    Raises
    ------
    UserError
        For a port that is taken, or a start outside of the tape.
    """
    opened = listed(markets) if isinstance(markets, History) else tuple(markets)
    clock = clock_of(opened, start_ms, speed_of(speed))
    exchange = RehearsalExchange(opened, config or RehearsalConfig(), clock, faults)
    paper = certificate.issue() if tls else None
    loop = asyncio.new_event_loop()
    server = _Server(exchange, loop, paper)
    thread = threading.Thread(target=server.work, name="rehearsal", daemon=True)
    try:
        # In a thread of its own, for whoever calls may be in an event loop, as every cell of a notebook is.
        with ThreadPoolExecutor(1) as opening:
            opening.submit(loop.run_until_complete, server.open(port, tls_port)).result()
        thread.start()
        yield server.handle
    finally:
        if thread.ident is not None:
            loop.call_soon_threadsafe(server.leave.set)
            thread.join()
        loop.close()


def clock_of(markets: Sequence[ListedMarket], start_ms: int | None, speed: float) -> VirtualClock:
    """A clock over all bars of the markets.

    Raises
    ------
    UserError
        Without a market, or for a start outside of the tape.
    """
    if not markets:
        raise UserError("the exchange lists no market; name at least one symbol.")
    first, last = min(m.begins_ms for m in markets), max(m.last_ms for m in markets)
    start = first if start_ms is None else start_ms
    if not first <= start < last:
        span = f"{iso(first * MS)} to {iso(last * MS)}"
        raise UserError(f"the start {iso(start * MS)} lies outside of the bars there are, {span}.")
    return VirtualClock(start, last, speed)


def _spoken(exchange: RehearsalExchange) -> tuple[Rest, Dial]:
    """What answers requests and serves websockets, in the protocol that is configured."""
    if exchange.config.protocol == "bybit":
        topics = Topics(exchange.world)
        exchange.hub = topics
        return Rest(exchange, BybitRest(exchange)), BybitSockets(exchange, topics)
    hub = Hub(exchange.world)
    exchange.hub = hub
    return Rest(exchange, BinanceRest(exchange)), Sockets(exchange, hub)


class _Connections(web.Server):
    """Knows all that are open: also those that are made while it shuts down, of which aiohttp lets go."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]):
        super().__init__(handler, access_log=None)
        self._open: dict[web.RequestHandler, asyncio.Transport] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count it in."""
        super().connection_made(handler, transport)
        self._open[handler] = transport

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Count it out."""
        super().connection_lost(handler, exc)
        self._open.pop(handler, None)

    async def end(self) -> None:
        """Let requests come to their end for a moment, drop what is open, and wait until it is."""
        self.pre_shutdown()
        await self.shutdown(_SHUTDOWN_S)
        end = time.monotonic() + _SHUTDOWN_S
        while (tasks := asyncio.all_tasks() - {asyncio.current_task()}) or self._open:
            for transport in list(self._open.values()):
                transport.abort()
            for task in tasks if time.monotonic() > end else ():
                task.cancel()
            await asyncio.sleep(0)


class _Server:
    """Sockets, pump and shutdown of one exchange."""

    def __init__(self, exchange: RehearsalExchange, loop: asyncio.AbstractEventLoop, paper: certificate.Paper | None):
        self.exchange, self.loop, self._paper = exchange, loop, paper
        self.leave = asyncio.Event()
        self.handle = Rehearsal(exchange, loop, paper)
        self._rest, self._sockets = _spoken(exchange)
        self._board = ControlServer(Control(exchange), paper.ca_pem if paper else None)
        self._connections: _Connections | None = None
        self._listening: list[asyncio.Server] = []

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            if request.path.startswith(PREFIX):
                return await self._board.handle(request)
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._sockets.handle(request)
            return await self._rest.handle(request)
        except (Cut, ConnectionResetError):
            # The connection is gone on purpose; nothing of this answer arrives.
            return web.Response(status=499)

    async def open(self, port: int, tls_port: int) -> None:
        """Listen."""
        self._connections = _Connections(self._handle)
        self.handle.url = f"http://127.0.0.1:{await self._listen(port, None)}"
        if self._paper is not None:
            self.handle.tls_port = await self._listen(tls_port, certificate.server_context(self._paper))
            self.handle.tls_url = f"https://127.0.0.1:{self.handle.tls_port}"

    def work(self) -> None:
        """Serve until told to leave."""
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        # Loading and listening take a while; virtual time begins when clients can.
        self.exchange.clock.set(self.exchange.clock.start_ms)
        pump = asyncio.ensure_future(self.exchange.pump())
        await self.leave.wait()
        self.exchange.stopping.set()
        self.exchange.nudge()
        await pump
        for link in list(self.exchange.hub.links):
            link.end(reset=True)
        for server in self._listening:
            for socket in server.sockets:
                self.loop.remove_reader(socket.fileno())
        # A connection that asyncio has taken but not made yet when its server closes stays open for ever.
        await asyncio.sleep(0)
        for server in self._listening:
            server.close()
        if self._connections is not None:
            await self._connections.end()

    async def _listen(self, port: int, context: ssl.SSLContext | None) -> int:
        """Open a port; return its number."""
        assert self._connections is not None
        try:
            server = await self.loop.create_server(self._connections, "127.0.0.1", port, ssl=context)
        except (OSError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) else "there are ports 0 to 65535"
            raise UserError(f"port {port} cannot be listened on: {why}.") from None
        self._listening.append(server)
        return int(server.sockets[0].getsockname()[1])


def write_ca(path: Path, rehearsal: Rehearsal) -> None:
    """Write the authority's certificate for clients that want a file.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(rehearsal.ca_pem)
        part.replace(path)
    except OSError as error:
        raise UserError(f"{path}: the certificate cannot be written ({error.strerror}).") from None
