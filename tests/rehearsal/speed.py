"""How fast the rehearsal exchange is: ``python -m tests.rehearsal.speed``.

The exchange runs in a process of its own, as a user starts it. Lock-step: a client tells the time to move by one bar
over HTTP and waits for the closed candle of each market on its websocket before it goes on. Free run: the exchange goes
as fast as it can while a client listens, and the client counts the closed candles.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import ccxt.pro

from qframe_rl.rehearsal.clients import point

HOUR = 3_600_000


@contextmanager
def exchange(*options: str) -> Iterator[str]:
    command = [sys.executable, "-m", "experiments.rehearse", "--port", "0", "--bars", "400000", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        yield process.stderr.readline().split(" ")[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


async def act(session: aiohttp.ClientSession, url: str, name: str, **tree: Any) -> Any:
    async with session.post(f"{url}/rehearsal/{name}", json=tree) as answer:
        return await answer.json()


async def raw_lock_step(url: str, symbols: list[str], n_bars: int) -> float:
    """Bars a second in lock-step, all markets counted, with a bare websocket."""
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/market/ws") as socket:
        streams = [f"{symbol.lower()}@kline_1h" for symbol in symbols]
        await socket.send_json({"method": "SUBSCRIBE", "params": streams, "id": 1})
        await socket.receive()
        begun = time.perf_counter()
        for _ in range(n_bars):
            await act(session, url, "advance", by=HOUR)
            closed = 0
            while closed < len(symbols):
                closed += '"x":true' in (await socket.receive()).data
        return n_bars * len(symbols) / (time.perf_counter() - begun)


async def pro_lock_step(url: str, symbols: list[str], n_bars: int) -> float:
    """The same with a genuine ccxt.pro client."""
    client = point(ccxt.pro.binanceusdm({"options": {"fetchMarkets": {"types": ["linear"]}}}), url)
    await client.load_markets()
    wanted = [[symbol, "1h"] for symbol in client.markets]

    async def listen() -> None:
        while True:
            await client.watch_ohlcv_for_symbols(wanted)

    def last() -> int:
        """Open of the last candle of the slowest market, from the client's cache: of a burst it returns the first."""
        return int(min((client.ohlcvs.get(symbol, {}).get("1h", [[0]])[-1][0] for symbol, _ in wanted)))

    listener = asyncio.ensure_future(listen())
    async with aiohttp.ClientSession() as session:
        await asyncio.sleep(0.5)
        now = int((await act(session, url, "advance", by=1))["result"])
        begun = time.perf_counter()
        for n in range(n_bars):
            await act(session, url, "advance", to=(now // HOUR + n + 1) * HOUR + 1)
            while last() < (now // HOUR + n + 1) * HOUR:
                await asyncio.sleep(0)
        seconds = time.perf_counter() - begun
    listener.cancel()
    await client.close()
    return n_bars * len(symbols) / seconds


async def free_run(url: str, symbols: list[str], n_bars: int) -> float:
    """Bars a second while the exchange goes as fast as it can."""
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/market/ws") as socket:
        streams = [f"{symbol.lower()}@kline_1h" for symbol in symbols]
        await socket.send_json({"method": "SUBSCRIBE", "params": streams, "id": 1})
        await socket.receive()
        await act(session, url, "speed", speed="1000000000x")
        begun, closed = time.perf_counter(), 0
        while closed < n_bars * len(symbols):
            closed += '"x":true' in (await socket.receive()).data
        return closed / (time.perf_counter() - begun)


async def plain_requests(url: str, n: int) -> float:
    """Unsigned requests a second over one connection."""
    async with aiohttp.ClientSession() as session:
        begun = time.perf_counter()
        for _ in range(n):
            async with session.get(f"{url}/fapi/v1/time") as answer:
                await answer.read()
        return n / (time.perf_counter() - begun)


async def orders(url: str, n: int) -> float:
    """Market orders a second of a genuine client, one after another."""
    keys = {"apiKey": "rehearsal", "secret": "rehearsal-secret", "enableRateLimit": False}
    client = point(ccxt.pro.binanceusdm({**keys, "options": {"fetchMarkets": {"types": ["linear"]}}}), url)
    await client.load_markets()
    await client.load_time_difference()
    symbol = next(iter(client.markets))
    begun = time.perf_counter()
    for k in range(n):
        await client.create_order(symbol, "market", "sell" if k % 2 else "buy", 1.0)
    seconds = time.perf_counter() - begun
    await client.close()
    return n / seconds


def row(what: str, rate: float, unit: str) -> None:
    print(json.dumps({"what": what, "per_second": round(rate), "unit": unit}), flush=True)


def main() -> None:
    two = ["--data", "synthetic:regimes,n_instruments=2", "--speed", "step"]
    names = ["SYN0USDT", "SYN1USDT"]
    steps: list[tuple[str, Callable[..., Any], str, int]] = [
        ("lock-step, bare websocket, 4 trades a bar", raw_lock_step, "4", 1000),
        ("lock-step, bare websocket, 60 trades a bar", raw_lock_step, "60", 200),
        ("lock-step, ccxt.pro, 4 trades a bar", pro_lock_step, "4", 500),
        ("lock-step, ccxt.pro, 60 trades a bar", pro_lock_step, "60", 100),
        ("free run, bare websocket, 4 trades a bar", free_run, "4", 3000),
        ("free run, bare websocket, 60 trades a bar", free_run, "60", 300),
    ]
    for what, work, prints, n in steps:
        with exchange(*two, "--prints", prints) as url:
            row(what, asyncio.run(work(url, names, n)), "bars")
    with exchange(*two) as url:
        row("GET /fapi/v1/time, bare", asyncio.run(plain_requests(url, 2000)), "requests")
        row("create_order market, ccxt.pro", asyncio.run(orders(url, 500)), "orders")


if __name__ == "__main__":
    main()
