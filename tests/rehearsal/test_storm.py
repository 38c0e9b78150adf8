"""Everything goes wrong at once: the exchange itself stays whole, and its books agree with its statements."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from decimal import Decimal
from typing import Any

import ccxt
import pytest

from qframe_rl.rehearsal import Rehearsal, RehearsalConfig, script_of, serve
from qframe_rl.rehearsal.faults import AFTER, BEFORE
from tests.rehearsal.conftest import COIN, HOUR, PERP, markets, pro_client, run

FAILS = (ccxt.BaseError, TypeError, AttributeError, KeyError)
"""What a bare client raises in a storm; the last three come from its parsers."""


async def trade(client: Any, symbol: str, dice: random.Random, n: int) -> None:
    for _ in range(n):
        side = dice.choice(["buy", "sell"])
        calls = (
            lambda side=side: client.create_order(symbol, "market", side, 0.5),
            lambda side=side: client.create_order(symbol, "limit", side, 0.5, 100.0 if side == "buy" else 110.0),
            lambda: client.cancel_all_orders(symbol),
            lambda: client.fetch_my_trades(symbol),
            lambda: client.fetch_balance(),
            lambda: client.fetch_open_orders(symbol),
            lambda: client.fetch_ohlcv(symbol, "1h"),
        )
        with contextlib.suppress(*FAILS):
            await dice.choice(calls)()


def test_the_exchange_outlives_a_storm(caplog: pytest.LogCaptureFixture) -> None:
    config = RehearsalConfig(prints=10, seed=3)
    start = markets()[0].first_ms + 10 * HOUR

    async def main(ex: Rehearsal) -> None:
        async with pro_client(ex, timeout=150) as futures, pro_client(ex, "binance", timeout=150) as spot:
            ex.inject(*script_of("storm"))
            dice = random.Random(1)
            await asyncio.gather(
                trade(futures, PERP, dice, 150), trade(futures, PERP, dice, 150), trade(spot, COIN, dice, 150)
            )

    with serve(markets(), config, speed="36000x", start_ms=start) as ex, caplog.at_level(logging.WARNING):
        run(lambda: main(ex), 60.0)
        truth, hits = ex.truth()["accounts"][config.api_key], ex.hits()
        incomes = ex.call(lambda control: control.exchange.world.accounts[config.api_key].margin.incomes)
    assert len({kind for kind, _ in hits}) > len(BEFORE | AFTER) / 2
    assert not [record for record in caplog.records if record.name.startswith("aiohttp")]
    wallet = Decimal(truth["usdm"]["wallet"]["USDT"])
    assert wallet == 10_000 + sum(line.amount for line in incomes)
    filled = sum(Decimal(t["quantity"]) * (1 if t["side"] == "BUY" else -1) for t in truth["trades"]["usdm"])
    assert filled == Decimal(truth["usdm"]["positions"].get("SYN0USDT", "0"))
    assert len(truth["orders"]["spot"]) > 10


def test_the_fixture_runs(rehearsal: Rehearsal) -> None:
    before = rehearsal.now_ms
    assert rehearsal.advance(HOUR) == before + HOUR == rehearsal.now_ms
