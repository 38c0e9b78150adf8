"""Public endpoints of the spot wire."""

from __future__ import annotations

import json

from qframe_rl.rehearsal.decimals import float_text, text
from qframe_rl.rehearsal.errors import malformed
from qframe_rl.rehearsal.market import SPOT
from qframe_rl.rehearsal.wire import quotes
from qframe_rl.rehearsal.wire.call import NONE, Call, Json, Route
from qframe_rl.rehearsal.wire.listing import spot_info
from qframe_rl.rehearsal.world import Place

_API = "/api/v3"


def _ping(call: Call) -> Json:
    return {}


def _time(call: Call) -> Json:
    return {"serverTime": call.clock_reads()}


def _klines(call: Call) -> Json:
    return quotes.kline_rows(call, call.place().tape, 1000)


def _depth(call: Call) -> Json:
    place = call.place()
    number, both = call.world.shown(place)
    limit, market = call.limit(100, 5000), place.market
    bids, asks = (quotes.pairs(market, side, limit) for side in both)
    return {"lastUpdateId": number, "bids": bids, "asks": asks}


def _trades(call: Call) -> Json:
    place = call.place()
    return [quotes.trade(place.market, one) for one in quotes.last_trades(call, place.tape)]


def _agg_trades(call: Call) -> Json:
    place = call.place()
    return [quotes.agg_trade(place.market, one) for one in quotes.wanted_trades(call, place.tape)]


def _places(call: Call) -> tuple[list[Place], bool]:
    """Markets that a request is about, and whether it named a single one."""
    if call.params.get("symbol"):
        return [call.place()], True
    if call.params.get("symbols"):
        try:
            names = json.loads(call.params["symbols"])
        except ValueError:
            raise malformed("symbols") from None
        return [call.world.place(SPOT, str(name)) for name in names], False
    return list(call.world.all(SPOT)), False


def _day(call: Call) -> Json:
    found, one = _places(call)
    rows = [day_row(place, call.now) for place in found]
    return rows[0] if one else rows


def day_row(place: Place, now_ms: int) -> Json:
    """Figures of the last 24 hours as REST writes them."""
    market, day = place.market, quotes.day(place, now_ms)
    both = place.sides()
    change = day.close - day.open
    bid, ask = quotes.best(market, both.bids), quotes.best(market, both.asks)
    return {
        "symbol": market.id,
        "priceChange": f"{change:.8f}",
        "priceChangePercent": f"{100.0 * change / day.open:.3f}",
        "weightedAvgPrice": f"{day.quote / day.volume if day.volume else day.close:.8f}",
        "prevClosePrice": float_text(day.before),
        "lastPrice": float_text(day.close),
        "lastQty": f"{day.last.quantity:.8f}",
        "bidPrice": bid[0],
        "bidQty": bid[1],
        "askPrice": ask[0],
        "askQty": ask[1],
        "openPrice": float_text(day.open),
        "highPrice": float_text(day.high),
        "lowPrice": float_text(day.low),
        "volume": f"{day.volume:.8f}",
        "quoteVolume": f"{day.quote:.8f}",
        "openTime": day.since_ms,
        "closeTime": now_ms,
        "firstId": day.first_id,
        "lastId": day.last.id,
        "count": day.trades,
    }


def _price(call: Call) -> Json:
    found, one = _places(call)
    rows = [{"symbol": p.market.id, "price": text(p.engine.price)} for p in found]
    return rows[0] if one else rows


def _best(call: Call) -> Json:
    found, one = _places(call)
    rows = []
    for place in found:
        both = place.sides()
        bid, ask = quotes.best(place.market, both.bids), quotes.best(place.market, both.asks)
        names = {"bidPrice": bid[0], "bidQty": bid[1], "askPrice": ask[0], "askQty": ask[1]}
        rows.append({"symbol": place.market.id} | names)
    return rows[0] if one else rows


def _average(call: Call) -> Json:
    place = call.place()
    return {"mins": 5, "price": text(place.engine.price), "closeTime": call.now}


def _system(call: Call) -> Json:
    return {"status": 0, "msg": "normal"}


def _coins(call: Call) -> Json:
    names = {name for place in call.world.all(SPOT) for name in (place.market.base, place.market.quote)}
    return [
        {
            "coin": name,
            "name": name,
            "free": "0",
            "locked": "0",
            "isLegalMoney": False,
            "trading": True,
            "networkList": [],
        }
        for name in sorted(names)
    ]


def _nothing(call: Call) -> Json:
    return []


ROUTES: dict[tuple[str, str], Route] = {
    ("GET", f"{_API}/ping"): Route("spot.ping", _ping),
    ("GET", f"{_API}/time"): Route("spot.time", _time),
    ("GET", f"{_API}/exchangeInfo"): Route("spot.exchangeInfo", spot_info, weight=20),
    ("GET", f"{_API}/klines"): Route("spot.klines", _klines, weight=2),
    ("GET", f"{_API}/uiKlines"): Route("spot.klines", _klines, weight=2),
    ("GET", f"{_API}/depth"): Route("spot.depth", _depth, weight=5),
    ("GET", f"{_API}/trades"): Route("spot.trades", _trades, weight=25),
    ("GET", f"{_API}/aggTrades"): Route("spot.aggTrades", _agg_trades, weight=4),
    ("GET", f"{_API}/ticker/24hr"): Route("spot.ticker", _day, weight=2),
    ("GET", f"{_API}/ticker/price"): Route("spot.price", _price, weight=2),
    ("GET", f"{_API}/ticker/bookTicker"): Route("spot.bookTicker", _best, weight=2),
    ("GET", f"{_API}/avgPrice"): Route("spot.avgPrice", _average, weight=2),
    ("GET", "/sapi/v1/system/status"): Route("spot.status", _system),
    ("GET", "/sapi/v1/capital/config/getall"): Route("spot.coins", _coins, weight=10),
    ("GET", "/sapi/v1/margin/allPairs"): Route("spot.marginPairs", _nothing, NONE),
    ("GET", "/sapi/v1/margin/isolated/allPairs"): Route("spot.marginPairs", _nothing, NONE),
}
