"""Pointing a genuine CCXT client at the exchange: by its addresses, or by the names of the real hosts."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from qframe_rl.exchanges import behind, conventions

_PATHS = conventions("binance").routes | {
    "dapiPublic": "dapi/v1",
    "dapiPrivate": "dapi/v1",
    "dapiPrivateV2": "dapi/v2",
    "dapiData": "futures/data",
    "sapi": "sapi/v1",
    "sapiV2": "sapi/v2",
    "sapiV3": "sapi/v3",
    "sapiV4": "sapi/v4",
}
PLAYED = (".binance.com", ".binance.vision", ".binancefuture.com", ".bybit.com")
"""Ends of the names of the hosts that the exchange plays."""


def addresses(url: str, exchange: str = "binance") -> dict[str, Any]:
    """What ``client.urls["api"]`` becomes: every address of CCXT's that this exchange answers, and no other.

    Parameters
    ----------
    url
        Base address, such as ``http://127.0.0.1:8000``.
    exchange
        ``binance`` or ``bybit``.
    """
    if exchange == "bybit":
        return behind("bybit", url)
    base = url.rstrip("/")
    sockets = base.replace("http", "ws", 1)
    # CCXT takes a spot socket for one by "/stream" in its address, and puts its own paths in where "/ws" ends another.
    spot, linear = f"{sockets}/stream/ws", f"{sockets}/ws"
    api = {"spot": f"{sockets}/ws-api/v3", "linear": f"{sockets}/ws-fapi/v1", "inverse": f"{sockets}/ws-dapi/v1"}
    ws = {"spot": spot, "margin": spot, "linear": linear, "inverse": linear, "ws-api": api}
    return {name: f"{base}/{path}" for name, path in _PATHS.items()} | {"ws": ws}


def point(client: Any, url: str) -> Any:
    """Send a CCXT client of Binance or Bybit, of any flavour, to an address (the first route); return it.

    All of its addresses are replaced, so one that the exchange does not play raises instead of reaching the venue. The
    error codes of the futures market are put in by hand: CCXT finds them by the real host's name alone.
    """
    if client.id == "bybit":
        client.urls["api"] = client.urls["demotrading"] = addresses(url, "bybit")
        return client
    client.urls["api"] = addresses(url)
    linear = client.exceptions.get("linear", {})
    if client.id == "binanceusdm" or client.options.get("defaultType") in ("swap", "future"):
        merged = {kind: {**client.exceptions.get(kind, {}), **linear.get(kind, {})} for kind in ("exact", "broad")}
        client.exceptions = {**client.exceptions, **merged}
    return client


class _Resolver(AbstractResolver):
    """Names of the played hosts lead to the exchange; all others fail."""

    def __init__(self, port: int):
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if not f".{host}".endswith(PLAYED):
            raise OSError(f"{host} is not played by the rehearsal exchange")
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=self._port, family=socket.AF_INET, proto=0, flags=0)
        ]

    async def close(self) -> None:
        """Nothing to end."""


def session(port: int, context: ssl.SSLContext) -> aiohttp.ClientSession:
    """A session in which the real hosts' names lead to the exchange (the second route).

    Give it to an asynchronous client: ``ccxt.pro.binance({"session": session, ...})``, with not one address changed.
    It cannot reach any other host. Whoever made it closes it. Needs a running event loop.

    Parameters
    ----------
    port
        Port of the exchange's TLS.
    context
        Trusts the exchange's authority.
    """
    connector = aiohttp.TCPConnector(resolver=_Resolver(port), ssl=context, use_dns_cache=False)
    return aiohttp.ClientSession(connector=connector)
