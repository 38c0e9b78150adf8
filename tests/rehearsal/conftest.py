"""Exchanges for these tests: a perpetual and a spot coin, hourly bars, in lock-step unless a test says otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import ccxt
import pytest

from qframe_rl.feeds import exchange
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.rehearsal import Rehearsal, RehearsalConfig, joined, listed, serve
from qframe_rl.rehearsal.market import ListedMarket
from qframe_rl.rehearsal.plugin import rehearsal, rehearsals

__all__ = ["rehearsal", "rehearsals"]

HOUR = 3_600_000
PERP, COIN = "SYN0/USDT:USDT", "GBM/USDT"


@cache
def markets() -> tuple[ListedMarket, ...]:
    return joined([listed(synthetic("regimes", n_bars=600)), listed(synthetic("gbm", n_bars=600))])


@pytest.fixture
def ex() -> Iterator[Rehearsal]:
    """Lock-step, a hundred hours in."""
    with serve(markets(), RehearsalConfig(), start_ms=markets()[0].first_ms + 100 * HOUR) as running:
        yield running


def sync_client(ex: Rehearsal, name: str = "binanceusdm", **options: Any) -> Any:
    """A genuine synchronous client, with its markets and its clock set."""
    kind = "linear" if name == "binanceusdm" else "spot"
    client = ex.point(getattr(ccxt, name)({"options": {"fetchMarkets": {"types": [kind]}}, "timeout": 2000, **options}))
    client.enableRateLimit = False
    client.load_markets()
    client.load_time_difference()
    return client


@pytest.fixture
def usdm(ex: Rehearsal) -> Iterator[Any]:
    client = sync_client(ex)
    yield client
    client.session.close()


@pytest.fixture
def spot(ex: Rehearsal) -> Iterator[Any]:
    client = sync_client(ex, "binance")
    yield client
    client.session.close()


@pytest.fixture
def unthrottled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the house's own clients ask as fast as they can."""
    made = exchange.client

    def hasty(*given: Any, **options: Any) -> Any:
        client = made(*given, **options)
        client.enableRateLimit = False
        return client

    monkeypatch.setattr(exchange, "client", hasty)


@asynccontextmanager
async def pro_client(ex: Rehearsal, name: str = "binanceusdm", **options: Any) -> AsyncIterator[Any]:
    """A genuine ccxt.pro client, with its markets and its clock set, until the context ends."""
    import ccxt.pro

    kind = "linear" if name == "binanceusdm" else "spot"
    client = ex.point(getattr(ccxt.pro, name)({"options": {"fetchMarkets": {"types": [kind]}}, **options}))
    client.enableRateLimit = False
    try:
        await client.load_markets()
        await client.load_time_difference()
        yield client
    finally:
        await client.close()


def run(main: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Run a coroutine to its end, or fail after so many seconds."""

    async def limited() -> Any:
        return await asyncio.wait_for(main(), seconds)

    return asyncio.run(limited())
