"""Public endpoints."""

from __future__ import annotations

from itertools import islice

from qframe_rl.rehearsal import funding
from qframe_rl.rehearsal.bybit.refusals import params
from qframe_rl.rehearsal.bybit.rows import number
from qframe_rl.rehearsal.candles import Candle, candles, latest, start_of
from qframe_rl.rehearsal.decimals import places, short
from qframe_rl.rehearsal.ladder import Sides
from qframe_rl.rehearsal.market import SPOT
from qframe_rl.rehearsal.path import Print
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.tape import MarketTape
from qframe_rl.rehearsal.wire import quotes
from qframe_rl.rehearsal.wire.call import Call, Json

INTERVALS = {
    "1": "1m", "3": "3m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "120": "2h", "240": "4h", "360": "6h",
    "720": "12h", "D": "1d", "W": "1w", "M": "1M",
}  # fmt: skip
_FAR = 2**62
_HOUR_MS = 3_600_000
_MOST_QUANTITY = "1000000000"


def clock(call: Call) -> Json:
    """What the exchange's clock shows."""
    now = call.clock_reads()
    return {"timeSecond": str(now // 1000), "timeNano": str(now * 1_000_000)}


def instruments(call: Call) -> Json:
    """What is listed; nothing is before its launch."""
    if call.text("status", "Trading") == "PreLaunch":
        return listing(call, [])
    found = [call.place()] if call.params.get("symbol") else list(call.world.all(call.wire))
    return listing(call, [_spot(place, call.now) if call.wire == SPOT else _linear(place, call.now) for place in found])


def listing(call: Call, rows: list[Json], cursor: str = "") -> Json:
    """Rows of a category."""
    return {"category": call.text("category"), "list": rows, "nextPageCursor": cursor}


def _status(place: Place, now_ms: int) -> str:
    ended = place.market.delisted(now_ms) or place.ended or place.engine.halted
    return "Closed" if ended else "Trading"


def _spot(place: Place, now_ms: int) -> Json:
    market = place.market
    return {
        "symbol": market.id,
        "baseCoin": market.base,
        "quoteCoin": market.quote,
        "innovation": "0",
        "status": _status(place, now_ms),
        "marginTrading": "none",
        "lotSizeFilter": {
            "basePrecision": short(market.lot),
            "quotePrecision": "0.00000001",
            "minOrderQty": short(market.lot),
            "maxOrderQty": _MOST_QUANTITY,
            "minOrderAmt": short(market.min_notional),
            "maxOrderAmt": _MOST_QUANTITY,
        },
        "priceFilter": {"tickSize": short(market.tick)},
        "riskParameters": {"priceLimitRatioX": "0.8", "priceLimitRatioY": "0.8"},
    }


def _linear(place: Place, now_ms: int) -> Json:
    market = place.market
    return {
        "symbol": market.id,
        "contractType": "LinearPerpetual",
        "status": _status(place, now_ms),
        "baseCoin": market.base,
        "quoteCoin": market.quote,
        "settleCoin": market.quote,
        "launchTime": str(market.first_ms),
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(places(market.tick)),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "125.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": short(market.tick), "maxPrice": _MOST_QUANTITY, "tickSize": short(market.tick)},
        "lotSizeFilter": {
            "maxOrderQty": _MOST_QUANTITY,
            "minOrderQty": short(market.lot),
            "qtyStep": short(market.lot),
            "postOnlyMaxOrderQty": _MOST_QUANTITY,
            "maxMktOrderQty": _MOST_QUANTITY,
            "minNotionalValue": short(market.min_notional),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": 60 * funding.interval_hours(market, now_ms),
        "copyTrading": "none",
        "isPreListing": False,
    }


def _candles(call: Call, tape: MarketTape) -> list[Candle]:
    """Candles of a request, the latest first."""
    if call.text("interval") not in INTERVALS:
        raise params("Invalid period!")
    interval, limit = INTERVALS[call.text("interval")], call.limit(200, 1000)
    until = call.whole("end", _FAR)
    if not call.params.get("start"):
        return latest(tape, interval, until, limit, call.now)[::-1]
    since = start_of(interval, call.whole("start"))
    if call.params.get("end"):
        found = latest(tape, interval, until, limit, call.now)
        return [candle for candle in reversed(found) if candle.open_ms >= since]
    return candles(tape, interval, since, _FAR, limit, call.now)[::-1]


def candle_texts(candle: Candle) -> list[str]:
    """Four prices, volume and turnover."""
    prices = [number(x) for x in (candle.open, candle.high, candle.low, candle.close)]
    return [*prices, number(candle.volume), f"{quotes.quote_volume(candle):.8f}"]


def klines(call: Call) -> Json:
    """Candles."""
    place = call.place()
    rows = [[str(candle.open_ms), *candle_texts(candle)] for candle in _candles(call, place.tape)]
    return {"category": call.text("category"), "symbol": place.market.id, "list": rows}


def mark_klines(call: Call) -> Json:
    """Candles of the mark price, which is the index as well."""
    place = call.place()
    if place.marks is None:
        raise params("Invalid category")
    rows = [[str(candle.open_ms), *candle_texts(candle)[:4]] for candle in _candles(call, place.marks)]
    return {"category": call.text("category"), "symbol": place.market.id, "list": rows}


def pairs(sides: Sides, depth: int) -> dict[str, Json]:
    """The book to a depth."""
    bids, asks = ([[short(p), short(q)] for p, q in side[:depth]] for side in sides)
    return {"b": bids, "a": asks}


def book(call: Call) -> Json:
    """The book."""
    place = call.place()
    sequence, sides = call.world.shown(place)
    depth = call.limit(1 if call.wire == SPOT else 25, 200 if call.wire == SPOT else 500)
    head = {"s": place.market.id, **pairs(sides, depth), "ts": call.now, "u": sequence, "seq": sequence}
    return head | {"cts": call.now}


def tickers(call: Call) -> Json:
    """Figures of the last 24 hours."""
    found = [call.place()] if call.params.get("symbol") else list(call.world.all(call.wire))
    return {"category": call.text("category"), "list": [ticker_row(call_place, call.now) for call_place in found]}


def ticker_row(place: Place, now_ms: int) -> dict[str, Json]:
    """Figures of one market."""
    market, day, sides = place.market, quotes.day(place, now_ms), place.sides()
    bid, ask = (([short(x) for x in side[0]] if side else ["", ""]) for side in sides)
    row: dict[str, Json] = {
        "symbol": market.id,
        "bid1Price": bid[0],
        "bid1Size": bid[1],
        "ask1Price": ask[0],
        "ask1Size": ask[1],
        "lastPrice": number(day.close),
        "prevPrice24h": number(day.open),
        "price24hPcnt": f"{(day.close - day.open) / day.open:.6f}",
        "highPrice24h": number(day.high),
        "lowPrice24h": number(day.low),
        "turnover24h": f"{day.quote:.8f}",
        "volume24h": number(day.volume),
    }
    if market.wire == SPOT:
        return row | {"usdIndexPrice": number(day.close)}
    mark = short(place.engine.mark)
    return row | {
        "indexPrice": mark,
        "markPrice": mark,
        "prevPrice1h": number(quotes.span(place, now_ms - _HOUR_MS, now_ms).open),
        "openInterest": "0",
        "openInterestValue": "0",
        "fundingRate": number(funding.last_rate(market, now_ms)),
        "nextFundingTime": str(funding.next_stamp(market, now_ms)),
        "predictedDeliveryPrice": "",
        "basisRate": "",
        "deliveryFeeRate": "",
        "deliveryTime": "0",
        "basis": "",
    }


def rates(call: Call) -> Json:
    """Settlements of funding, the latest first."""
    market = call.place().market
    if call.params.get("startTime") and not call.params.get("endTime"):
        raise params("endTime is needed with startTime")
    since, until = call.whole("startTime", 0), min(call.whole("endTime", _FAR), call.now)
    told = zip(market.stamps.tolist(), market.rates.tolist(), strict=True)
    rows = [
        {"symbol": market.id, "fundingRate": number(rate), "fundingRateTimestamp": str(stamp)}
        for stamp, rate in told
        if since <= stamp <= until
    ]
    return {"category": call.text("category"), "list": rows[::-1][: call.limit(200, 200)]}


def trade_row(place: Place, one: Print) -> Json:
    """One trade of the market."""
    return {
        "execId": str(one.id),
        "symbol": place.market.id,
        "price": short(one.price),
        "size": short(one.quantity),
        "side": "Buy" if one.buying else "Sell",
        "time": str(one.time),
        "isBlockTrade": False,
    }


def trades(call: Call) -> Json:
    """The last trades, the latest first."""
    place = call.place()
    most, usual = (60, 60) if call.wire == SPOT else (1000, 500)
    found = islice(quotes.recent(place.tape, call.now), call.limit(usual, most))
    return {"category": call.text("category"), "list": [trade_row(place, one) for one in found]}


def open_interest(call: Call) -> Json:
    """What the clients hold, now; nobody recorded what it was."""
    place = call.place()
    held = sum(abs(a.margin.position(place.market).amount) for a in call.world.accounts.values())
    row = {"openInterest": f"{held:f}", "timestamp": str(call.now)}
    head = {"symbol": place.market.id, "category": call.text("category"), "list": [row]}
    return head | {"nextPageCursor": ""}


def risk_limits(call: Call) -> Json:
    """One tier for each market."""
    found = [call.place()] if call.params.get("symbol") else list(call.world.all(call.wire))
    rows = [
        {
            "id": 1,
            "symbol": place.market.id,
            "riskLimitValue": "1000000000",
            "maintenanceMargin": short(place.market.maintenance),
            "initialMargin": "0.008",
            "isLowestRisk": 1,
            "maxLeverage": "125.00",
            "mmDeduction": "",
        }
        for place in found
    ]
    return listing(call, rows)
