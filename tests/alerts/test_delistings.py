"""What market data say about the end of a market, in the words of each exchange."""

from __future__ import annotations

from typing import Any

import ccxt
import pytest

from qframe_rl.alerts.delistings import NOW, Delistings, end_of
from qframe_rl.listeners import Soft
from tests.alerts.test_alerts import QUIET, until

AT_MS, AT = 1_767_225_600_000, 1_767_225_600_000 * 1_000_000
NEVER_MS = 4_133_404_800_000


@pytest.mark.parametrize(
    ("market", "end"),
    [
        ({"active": True, "info": {"deliveryDate": AT_MS, "contractType": "PERPETUAL"}}, AT),  # binance
        ({"active": True, "info": {"deliveryDate": NEVER_MS}}, NEVER_MS * 1_000_000),  # binance, far in the future
        ({"active": True, "info": {"deliveryTime": "0"}}, None),  # bybit
        ({"active": True, "info": {"deliveryTime": str(AT_MS)}}, AT),  # bybit
        ({"active": True, "info": {"expTime": ""}}, None),  # okx
        ({"active": True, "info": {"expTime": str(AT_MS)}}, AT),  # okx
        ({"active": True, "info": {"offTime": "-1", "deliveryTime": ""}}, None),  # bitget
        ({"active": True, "info": {"offTime": AT_MS}}, AT),  # bingx
        ({"active": True, "info": {"expireDate": None}}, None),  # kucoin
        ({"active": True, "info": {"in_delisting": False}}, None),  # gate
        ({"active": True, "info": {"in_delisting": True}}, NOW),  # gate
        ({"active": True, "expiry": AT_MS // 1000, "info": {}}, AT),  # in seconds
        ({"active": False, "info": {}}, NOW),
        ({"active": None, "info": [1, 2]}, None),
        ({}, None),
    ],
)
def test_the_end_of_a_market(market: dict[str, Any], end: int | None) -> None:
    assert end_of(market) == end


def test_a_perpetual_whose_end_was_announced_is_found_through_ccxt_itself() -> None:
    told = {
        "symbol": "OLDUSDT", "pair": "OLDUSDT", "contractType": "PERPETUAL", "deliveryDate": AT_MS, "status": "TRADING",
        "baseAsset": "OLD", "quoteAsset": "USDT", "marginAsset": "USDT", "filters": [], "onboardDate": 1,
    }  # fmt: skip
    market = ccxt.binanceusdm().parse_market(told)
    assert market["symbol"] == "OLD/USDT:USDT"
    assert market["expiry"] is None, "CCXT tells it only in the exchange's own words"
    assert end_of(market) == AT
    assert end_of(ccxt.binanceusdm().parse_market(told | {"status": "SETTLING"})) == NOW


class Client:
    def __init__(self, markets: dict[str, Any]):
        self.markets, self.fails = markets, 0

    def load_markets(self) -> None:
        if self.fails:
            self.fails -= 1
            raise ccxt.NetworkError("away")


def looking(markets: dict[str, Any], soft: Soft) -> tuple[Delistings, Client]:
    looks = Delistings("binance", ["A/USDT:USDT", "B/USDT:USDT"], None, False, soft)
    client = Client(markets)
    looks._made = lambda one: client
    return looks, client


def test_ends_are_known_by_symbol_and_a_market_that_is_not_listed_is_gone() -> None:
    looks, _ = looking({"A/USDT:USDT": {"active": True, "info": {"deliveryDate": AT_MS}}}, QUIET)
    assert looks.look() == {"A/USDT:USDT": AT, "B/USDT:USDT": NOW}
    assert looks.ends == {"A/USDT:USDT": AT, "B/USDT:USDT": NOW}


def test_an_exchange_that_cannot_be_asked_is_said_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    looks, client = looking({"A/USDT:USDT": {"active": True}, "B/USDT:USDT": {"active": False}}, Soft(said.append))
    client.fails = 2
    monkeypatch.setattr("qframe_rl.alerts.delistings._AGAIN_S", 0.01)
    looks.start()
    until(lambda: looks.ends == {"B/USDT:USDT": NOW})
    looks.stop()
    assert said[0].startswith("the look for delistings: NetworkError: away")
    assert said[1] == "the look for delistings: works again, after 2 failures."
