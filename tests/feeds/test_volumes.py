"""Volumes are base units, whatever an exchange counts: for every class of CCXT that trades contracts.

Each row has the shape that the class's sources document, with their numbers where they state any, and goes through the
class's own parser. Where a row also tells what was paid, volume times a price of the bar must give it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ccxt
import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.exchanges import Conventions, amount_unit, base_volume, table, volume_unit
from qframe_rl.feeds import exchange as room
from qframe_rl.feeds.exchange import MarketDataClient
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.store import store_instruments, stored_instruments
from qframe_rl.types import HOUR, Instrument

T = 1_670_608_800_000
KLINE = [T, "41000", "41100", "40900", "41050", "22.19", T + 3_599_999, "910899.5", 40, "10.9", "0.27", "0"]
"""Binance's layout, which others took over."""
ETHER = [[T], [3492.2], [3495.85], [3491.15], [3491.3], [1740.0]]
DERIBIT = {"ticks": [T], "open": [7834], "high": [7839.5], "low": [7834], "close": [7839.5], "volume": [3.668084797]}
ORDERLY = {"open": 66166.23, "close": 66124.56, "low": 66038.06, "high": 66176.97, "volume": 23.45528526,
           "start_timestamp": T}  # fmt: skip


class Case(NamedTuple):
    row: Any
    size: float | None
    volume: float
    """What it is in base units."""
    paid: float | None = None
    """What it was worth, by the row itself."""


def view(row: dict[str, Any], time: str, volume: str = "volume") -> Callable[[Any], Any]:
    """A page that comes as one list for each field."""

    def rows(client: Any) -> Any:
        return client.convert_trading_view_to_ohlcv(row, time, "open", "high", "low", "close", volume, True)[0]

    return rows


def named(o: str, h: str, low: str, c: str, v: str, t: str = "t") -> Callable[..., dict[str, Any]]:
    def row(*values: Any) -> dict[str, Any]:
        return dict(zip((o, h, low, c, v, t), values, strict=True))

    return row


short, long = named("o", "h", "l", "c", "v"), named("open", "high", "low", "close", "volume", "time")
LINEAR = {
    "apex": Case({"t": T, "c": "90235", "h": "90235", "l": "90156", "o": "90156", "v": "0.052"}, 0.001, 0.052,
                 4690.4466),
    "aster": Case(KLINE, 1.0, 22.19, 910899.5),
    "backpack": Case(long("118238", "118297.6", "118237.5", "118294.6", "0.03473", 0)
                     | {"start": "2025-07-19T13:09:00"}, 1.0, 0.03473, 4106.558156),
    "binance": Case(KLINE, 1.0, 22.19, 910899.5),
    "binanceusdm": Case(KLINE, 1.0, 22.19, 910899.5),
    "bingx": Case(long("19394.4", "19394.4", "19368.3", "19379.0", "167.44", T), 1.0, 167.44),
    "bitfinex": Case([T, 0.02594, 0.02594, 0.02594, 0.02594, 0.1], 1.0, 0.1),
    "bitget": Case([str(T), "39406", "39407", "39374.5", "39379", "35.526", "1399132.341"], 1.0, 35.526, 1399132.341),
    "bitrue": Case(named("open", "high", "low", "close", "vol", "idx")("35349.4", "35360.7", "35347.9", "35347.9",
                                                                       "110288", T), 0.0001, 11.0288),
    "bitstamp": Case(named("open", "high", "low", "close", "volume", "timestamp")(
        "9040.87", "9064.77", "9040.87", "9064.77", "18.49436608", str(T // 1000)), None, 18.49436608),
    "blofin": Case([str(T), "24341.4", "24344", "24313.2", "24323", "2581.9", "2.5819", "62812", "0"], 0.001, 2.5819,
                   62812.0),
    "btse": Case([str(T // 1000), "1895.78", "1898.52", "1892.05", "1898.3", "560622.306372"], 1e-4,
                 560622.306372 / np.mean([1898.52, 1892.05, 1898.3]), 560622.306372),
    "bullish": Case(long("100846.7490", "100972.4001", "100840.8129", "100972.2602", "30.56064890", 0)
                    | {"createdAtTimestamp": str(T)}, 1.0, 30.5606489),
    "bybit": Case([str(T), "17071", "17073", "17027", "17055.5", "15.74", "268462.7"], 1.0, 15.74, 268462.7),
    "bybitid": Case([str(T), "17071", "17073", "17027", "17055.5", "15.74", "268462.7"], 1.0, 15.74, 268462.7),
    "bydfi": Case(short("2967.83", "2967.83", "2964.13", "2964.99", "20358.000000000000000000", str(T)), 0.001, 20.358),
    "coinbase": Case(long("71100", "71145", "71000", "71140", "1285", 0) | {"start": str(T // 1000)}, 0.01, 12.85),
    "coinbaseinternational": Case(
        view({"ticks": [T], "open": [78444.0], "high": [78444.0], "low": [78441.0], "close": [78441.0],
              "volume": [0.0168]}, "ticks"), 0.0001, 0.0168, 1317.8151),
    "cryptocom": Case(short("26949.89", "26957.64", "26948.24", "26950.00", "0.0670", T), 1.0, 0.067),
    "deepcoin": Case([str(T), "3739.08", "3741.95", "3737.75", "3740.1", "2849", "1065583.744"], 0.1, 284.9,
                     1065583.744),
    "deribit": Case(view(DERIBIT, "ticks"), 0.001, 3.668084797, 28740.0),
    "derive": Case({"open_price": "83628.5", "high_price": "83640", "low_price": "83628.5", "close_price": "83628.5",
                    "volume_contracts": "0.011", "timestamp": T // 1000}, 1.0, 0.011, 920.02165302276944),
    "dydx": Case({"startedAt": "2025-07-25T09:47:00.000Z", "low": "116099", "high": "116199", "open": "116099",
                  "close": "116099", "baseTokenVolume": "0.25", "usdVolume": "29037.5"}, 1.0, 0.25, 29037.5),
    "gate": Case(short("41025", "41882.17", "40783.94", "41776.92", 97151, T // 1000), 0.0001, 9.7151),
    "gemini": Case([T, 0.02503, 0.02509, 0.02503, 0.02503, 44.6405], 0.01, 44.6405),
    "grvt": Case({"open_time": f"{T}000000", "open": "88178.8", "close": "88176.7", "high": "88192.7", "low": "88176.6",
                  "volume_b": "15.32", "volume_q": "1350962.4782"}, 1.0, 15.32, 1350962.4782),
    "hibachi": Case(named("open", "high", "low", "close", "volumeNotional", "timestamp")(
        "3716.406894", "3716.530378", "3699.627883", "3704.751036", "1637355.846362", T // 1000), 1.0,
        1637355.846362 / np.mean([3716.530378, 3699.627883, 3704.751036]), 1637355.846362),
    "hitbtc": Case(named("open", "max", "min", "close", "volume", "timestamp")(
        "4173.391", "4173.986", "4170.923", "4170.923", "0.1879", "2021-10-25T07:38:00.000Z"), 1.0, 0.1879,
        784.2517846),
    "fmfwio": Case(named("open", "max", "min", "close", "volume", "timestamp")(
        "4173.391", "4173.986", "4170.923", "4170.923", "0.1879", "2021-10-25T07:38:00.000Z"), 1.0, 0.1879,
        784.2517846),
    "htx": Case(named("open", "high", "low", "close", "amount", "id")(13059.8, 13060.0, 13050.0, 13055.0, 0.004,
                                                                     T // 1000), 0.001, 0.002),
    "hyperliquid": Case(short("2247.9", "2247.9", "2224.6", "2226.4", "591.6427", T), 1.0, 591.6427),
    "krakenfutures": Case(long("309.15", "309.15", "308.70", "308.85", 12.5, T), 1.0, 12.5),
    "kucoin": Case([T, 4779.3, 4792.1, 4768.7, 4770.3, 78051], 0.01, 780.51),
    "kucoinfutures": Case([T, 4779.3, 4792.1, 4768.7, 4770.3, 78051], 0.01, 780.51),
    "lighter": Case(short(3236.86, 3237.78, 3235.36, 3235.39, 55.1632, T), 10000.0, 55.1632, 178530.793575),
    "mexc": Case(view({"time": [T // 1000], "open": [3492.2], "high": [3495.85], "low": [3491.15], "close": [3491.3],
                       "vol": [1740.0]}, "time", "vol"), 0.01, 17.4, 60793.623),
    "modetrade": Case(ORDERLY, 1.0, 23.45528526, 1550436.21725288),
    "nado": Case({"timestamp": str(T // 1000), "open_x18": "27235" + "0" * 18, "high_x18": "27298" + "0" * 18,
                  "low_x18": "27235" + "0" * 18, "close_x18": "27298" + "0" * 18, "volume": "2" + "0" * 18}, 1.0, 2.0),
    "okx": Case([str(T), "24341.4", "24344", "24313.2", "24323", "258.19", "2.5819", "62812", "0"], 0.01, 2.5819,
                62812.0),
    "myokx": Case([str(T), "24341.4", "24344", "24313.2", "24323", "258.19", "2.5819", "62812", "0"], 0.01, 2.5819,
                  62812.0),
    "onetrading": Case({"granularity": {"unit": "HOURS", "period": 1}, "high": "9252.65", "low": "9115.27",
                        "open": "9250.0", "close": "9132.35", "total_amount": "33.85924", "volume": "311958.9635744",
                        "time": "2020-05-08T22:59:59.999Z"}, 1.0, 33.85924, 311958.9635744),
    "pacifica": Case(short("105376", "105376", "105376", "105376", "0.00022", T), 1.0, 0.00022),
    "phemex": Case([T // 1000, 300, "23376", "23322", "23381", "23315", "23367", "20.8671", "487290"], 1.0, 20.8671,
                   487290.0),
    "poloniex": Case(["84207.02", "84320.85", "84207.02", "84253.83", "3707.5395", "44", "14", str(T), str(T + 59_999)],
                     0.001, 0.044, 3707.5395),
    "polymarket": Case([T, "7754.5", "7754.5", "7751.4", "7751.4", "0.39184", 3], 1.0, 0.39184),
    "weex": Case(KLINE, 1e-6, 22.19, 910899.5),
    "whitebit": Case([T // 1000, "0.025025", "0.025025", "0.025029", "0.025023", "6.181", "0.154686629"], 1.0, 6.181,
                     0.154686629),
    "woo": Case({k: str(v) for k, v in ORDERLY.items()} | {"startTimestamp": T}, 1.0, 23.45528526, 1550436.21725288),
    "woofipro": Case(ORDERLY, 1.0, 23.45528526, 1550436.21725288),
    "xt": Case({"t": T, "o": "22450.0", "c": "22441.5", "h": "22450.0", "l": "22441.5", "a": "312931",
                "v": "702461.58895"}, 0.0001, 31.2931, 702461.58895),
}  # fmt: skip
INVERSE = {
    "binancecoinm": Case([T, "41000", "41100", "40900", "41050", "9108", T, "22.19", 40, "0", "0", "0"], 100.0, 22.19,
                         910800.0),
    "binance": Case([T, "41000", "41100", "40900", "41050", "9108", T, "22.19", 40, "0", "0", "0"], 100.0, 22.19,
                    910800.0),
    "bybit": Case([str(T), "17071", "17073", "17027", "17055.5", "268611", "15.74462667"], 1.0, 15.74462667, 268611.0),
    "bitget": Case([str(T), "39406", "39407", "39374.5", "39379", "1399132", "35.526"], 1.0, 35.526, 1399132.0),
    "bitrue": Case(named("open", "high", "low", "close", "vol", "idx")(
        "35349.4", "35360.7", "35347.9", "35347.9", "1102", T), 100.0,
        110200.0 / np.mean([35360.7, 35347.9, 35347.9]), 110200.0),
    "blofin": Case([str(T), "24341.4", "24344", "24313.2", "24323", "628", "2.5819", "62800", "0"], 100.0, 2.5819,
                   62800.0),
    "deribit": Case(view(DERIBIT, "ticks"), 10.0, 3.668084797, 28740.0),
    "gate": Case(short("41025", "41882.17", "40783.94", "41776.92", 97151, T // 1000), 1.0,
                 97151.0 / np.mean([41882.17, 40783.94, 41776.92]), 97151.0),
    "htx": Case(named("open", "high", "low", "close", "amount", "id")(13059.8, 13060.0, 13050.0, 13055.0, 0.0306,
                                                                     T // 1000), 100.0, 0.0153, 200.0),
    "kucoin": Case([T, 4779.3, 4792.1, 4768.7, 4770.3, 78051], 1.0, 78051.0 / np.mean([4792.1, 4768.7, 4770.3]),
                   78051.0),
    "okx": Case([str(T), "24341.4", "24344", "24313.2", "24323", "628", "2.5819", "62800", "0"], 100.0, 2.5819,
                62800.0),
}  # fmt: skip
REFUSED = ("bigone", "delta", "digifinex", "extended", "hashkey", "mudrex", "paradex", "toobit", "zebpay")
"""What their sources document does not tell a count of contracts from coins or from money."""


def contracts() -> list[str]:
    """Classes of CCXT that trade contracts and have candles of them."""
    has = {name: getattr(ccxt, name)().has for name in ccxt.exchanges}
    return [n for n, h in has.items() if (h.get("swap") or h.get("future")) and h.get("fetchOHLCV")]


def market(symbol: str, size: float | None, **more: Any) -> dict[str, Any]:
    base, quote = symbol.partition(":")[0].split("/")
    settle = symbol.partition(":")[2]
    linear, inverse = settle == quote, bool(settle) and settle != quote
    return {
        "id": "market", "symbol": symbol, "base": base, "quote": quote, "settle": settle or None, "active": True,
        "type": "swap" if settle else "spot", "spot": not settle, "swap": bool(settle), "future": False,
        "option": False, "priceScale": 0, "contract": bool(settle), "linear": linear if settle else None,
        "inverse": inverse if settle else None,
        "contractSize": size, "precision": {"amount": 1.0, "price": 0.1}, "taker": 0.0005, "maker": 0.0002,
        "limits": {"amount": {"min": 5.0}, "cost": {"min": None}}, "info": {}, **more,
    }  # fmt: skip


def opened(name: str, one: dict[str, Any], case: Case | None, monkeypatch: pytest.MonkeyPatch) -> MarketDataClient:
    """An exchange whose markets and candles are those of a case."""
    client = getattr(ccxt, name)()
    client.load_markets = lambda reload=False: client.set_markets([one])

    def fetch(symbol: str, timeframe: str, since: int, limit: int | None) -> Any:
        assert case is not None
        row = case.row(client) if callable(case.row) else case.row
        return client.parse_ohlcvs([row], client.market(symbol), timeframe)

    client.fetch_ohlcv = fetch
    monkeypatch.setattr(room, "client", lambda *_: client)
    return MarketDataClient(name, tries=1)


def page(name: str, symbol: str, case: Case, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    line = opened(name, market(symbol, case.size), case, monkeypatch)
    (values,) = line.candles(Listing(name, symbol), "1h", 0, HOUR).values
    return values


def test_every_class_of_ccxt_is_known_or_refused() -> None:
    named = contracts()
    assert len(named) >= 50
    assert sorted(named) == sorted({*table(), *REFUSED})
    assert {n for n, row in table().items() if row.linear} == set(LINEAR) | {"binancecoinm"}
    assert {n for n, row in table().items() if row.inverse} == set(INVERSE) | {
        "binanceusdm", "bybitid", "kucoinfutures", "myokx",
    }  # fmt: skip
    assert all(row.why for row in table().values())


@pytest.mark.parametrize("name", LINEAR)
def test_linear_contracts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(LINEAR[name], page(name, "ETH/USDT:USDT", LINEAR[name], monkeypatch))


@pytest.mark.parametrize("name", INVERSE)
def test_inverse_contracts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(INVERSE[name], page(name, "BTC/USD:BTC", INVERSE[name], monkeypatch))


def check(case: Case, values: np.ndarray) -> None:
    assert values[4] == pytest.approx(case.volume, rel=1e-9)
    if case.paid is not None:
        low, high = values[2] * (1 - 1e-3), values[1] * (1 + 1e-3)
        assert low <= case.paid / values[4] <= high, f"{case.paid / values[4]:g} is no price of {values}"


@pytest.mark.parametrize("name", REFUSED)
def test_an_unknown_unit_is_refused_in_a_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = opened(name, market("BTC/USDT:USDT", 1.0), None, monkeypatch)
    timeframe = next(iter(line.client.timeframes))
    with pytest.raises(UserError, match=f"{name}: whether the volumes of its contracts count coins") as caught:
        line.check(Listing(name, "BTC/USDT:USDT"), timeframe)
    assert "\n" not in str(caught.value)
    spot = opened(name, market("BTC/USDT", None), None, monkeypatch)
    spot.check(Listing(name, "BTC/USDT"), timeframe)


def test_a_class_that_nobody_looked_at_is_refused_and_spot_is_base() -> None:
    assert volume_unit("tomorrow", market("BTC/USDT", None)) == "base"
    with pytest.raises(UserError, match="tomorrow: whether the volumes of its contracts"):
        volume_unit("tomorrow", market("BTC/USDT:USDT", 1.0))
    with pytest.raises(UserError, match="phemex: whether the volumes of its inverse contracts"):
        volume_unit("phemex", market("BTC/USD:BTC", 1.0))


def test_a_coin_whose_exchange_counts_money(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case([str(T // 1000), "1895.78", "1898.52", "1892.05", "1898.3", "560622.306372"], None,
                560622.306372 / np.mean([1898.52, 1892.05, 1898.3]), 560622.306372)  # fmt: skip
    check(case, page("btse", "ETH/USDT", case, monkeypatch))


def test_contracts_without_a_size_are_refused() -> None:
    with pytest.raises(UserError, match="okx does not state the size of a contract of BTC/USDT:USDT"):
        amount_unit("okx", market("BTC/USDT:USDT", None))
    with pytest.raises(UserError, match="gate does not state the size"):
        base_volume("gate", market("BTC/USDT:USDT", None), np.ones(1), np.ones(1))


@pytest.mark.parametrize(("name", "lot"), [("okx", 0.01), ("deribit", 1.0), ("gemini", 1.0), ("kucoin", 0.01)])
def test_steps_minimums_and_books_are_base_units(name: str, lot: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of one contract of 0.01 coins, or of one coin where amounts are coins whatever a contract is."""
    line = opened(name, market("BTC/USDT:USDT", 0.01), None, monkeypatch)
    monkeypatch.setattr(line.client, "precisionMode", ccxt.TICK_SIZE)
    one = Listing(name, "BTC/USDT:USDT")
    rules = line.instrument(one)
    assert (rules.lot, rules.min_amount) == (lot, 5.0 * lot)
    told = {"bids": [[99.0, 3.0]], "asks": [[101.0, 7.0]], "timestamp": T}
    line.client.fetch_order_book = lambda symbol, depth: told
    _, bids, asks = line.book(one, 5)
    assert bids.tolist() == [[99.0, 3.0 * lot]] and asks.tolist() == [[101.0, 7.0 * lot]]


@pytest.mark.parametrize(
    ("folder", "refused"),
    [("gate_um", True), ("htx_um", True), ("btse", True), ("gate", False), ("binance_um", False), ("okx_um", False)],
)
def test_volumes_of_two_units_never_mix(folder: str, refused: bool, tmp_path: Path) -> None:
    """What an earlier version stored as the exchange counts it is neither read nor added to."""
    path = tmp_path / "ohlcv" / folder / "instruments.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"environment": "production", "instruments": {}}))
    one = Instrument("BTC/USDT:USDT" if folder.endswith("_um") else "BTC/USDT")
    if refused:
        with pytest.raises(UserError, match=r"its volumes are in what \w+ counts, and not in base units; download"):
            store_instruments(tmp_path, folder, [one], "production")
        path.unlink()
    store_instruments(tmp_path, folder, [one], "production")
    assert json.loads(path.read_text())["volume"] == "base"
    assert stored_instruments(tmp_path, folder)[0] == {one.symbol: one}


def test_the_table_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="linear"):
        Conventions(linear="lots")  # type: ignore[arg-type]
