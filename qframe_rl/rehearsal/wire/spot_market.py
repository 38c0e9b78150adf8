"""Public endpoints of the spot wire."""

from __future__ import annotations

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.decimals import float_text, text
from qframe_rl.rehearsal.market import SPOT
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.wire import quotes
from qframe_rl.rehearsal.wire.call import NONE, Call, Json, Route
from qframe_rl.rehearsal.wire.listing import named_places, spot_info

_API = "/api/v3"


def _ping(call: Call) -> Json:
    return {}


def _time(call: Call) -> Json:
    return {"serverTime": call.clock_reads()}


def _klines(call: Call) -> Json:
    return quotes.kline_rows(call, call.place().tape, 1000)


def _depth(call: Call) -> Json:
    place = call.place()
    number, both = call.world.shown(place, call.limit(100, 5000))
    bids, asks = (quotes.pairs(place.market, side) for side in both)
    return {"lastUpdateId": number, "bids": bids, "asks": asks}


def _trades(call: Call) -> Json:
    place = call.place()
    return [quotes.trade(place.market, one) for one in quotes.last_trades(call, place.tape)]


def _agg_trades(call: Call) -> Json:
    place = call.place()
    return [quotes.agg_trade(place.market, one) for one in quotes.wanted_trades(call, place.tape)]


_MINI = (
    "symbol", "openPrice", "highPrice", "lowPrice", "lastPrice", "volume", "quoteVolume", "openTime", "closeTime",
    "firstId", "lastId", "count",
)  # fmt: skip
_FULL = ("symbol", "priceChange", "priceChangePercent", "weightedAvgPrice", *_MINI[1:])


def _kinds(call: Call, full: tuple[str, ...] | None, rows: list[dict[str, Json]]) -> list[dict[str, Json]]:
    """Rows with the fields of the ``type`` that is asked for."""
    kind = call.text("type", "FULL")
    if kind not in ("FULL", "MINI"):
        raise errors.illegal("type", "FULL|MINI")
    kept = _MINI if kind == "MINI" else full
    return rows if kept is None else [{key: row[key] for key in kept} for row in rows]


def _day(call: Call) -> Json:
    found, one = named_places(call)
    rows = _kinds(call, None, [day_row(place, call.now) for place in found])
    return rows[0] if one else rows


def _since(call: Call, since_ms: int, until_ms: int) -> Json:
    """Figures from a moment on, of markets that must be named."""
    if not call.params.get("symbol") and not call.params.get("symbols"):
        raise errors.Refused(-1102, "Either 'symbol' or 'symbols' must be sent.")
    found, one = named_places(call)
    rows = _kinds(call, _FULL, [span_row(p, quotes.span(p, since_ms, call.now), until_ms) for p in found])
    return rows[0] if one else rows


def _rolling(call: Call) -> Json:
    return _since(call, call.now - quotes.window_of(call), call.now)


def _trading_day(call: Call) -> Json:
    midnight = quotes.midnight_of(call)
    return _since(call, midnight, midnight + quotes.DAY_MS - 1)


def _historical(call: Call) -> Json:
    place = call.place()
    return [quotes.trade(place.market, one) for one in quotes.historical(call, place.tape)]


def day_row(place: Place, now_ms: int) -> dict[str, Json]:
    """Figures of the last 24 hours as REST writes them."""
    market, day = place.market, quotes.day(place, now_ms)
    both = place.sides(1)
    bid, ask = quotes.best(market, both.bids), quotes.best(market, both.asks)
    return {
        **span_row(place, day, now_ms),
        "prevClosePrice": float_text(day.before),
        "lastQty": f"{day.last.quantity:.8f}",
        "bidPrice": bid[0],
        "bidQty": bid[1],
        "askPrice": ask[0],
        "askQty": ask[1],
    }


def span_row(place: Place, span: quotes.Span, until_ms: int) -> dict[str, Json]:
    """Figures of some time."""
    change = span.close - span.open
    return {
        "symbol": place.market.id,
        "priceChange": f"{change:.8f}",
        "priceChangePercent": f"{100.0 * change / span.open:.3f}",
        "weightedAvgPrice": f"{span.quote / span.volume if span.volume else span.close:.8f}",
        "lastPrice": float_text(span.close),
        "openPrice": float_text(span.open),
        "highPrice": float_text(span.high),
        "lowPrice": float_text(span.low),
        "volume": f"{span.volume:.8f}",
        "quoteVolume": f"{span.quote:.8f}",
        "openTime": span.since_ms,
        "closeTime": until_ms,
        "firstId": span.first_id,
        "lastId": span.last.id if span.trades else -1,
        "count": span.trades,
    }


def _price(call: Call) -> Json:
    found, one = named_places(call)
    rows = [{"symbol": p.market.id, "price": text(p.engine.price)} for p in found]
    return rows[0] if one else rows


def _best(call: Call) -> Json:
    found, one = named_places(call)
    rows = []
    for place in found:
        both = place.sides(1)
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
    ("GET", f"{_API}/historicalTrades"): Route("spot.historicalTrades", _historical, weight=25),
    ("GET", f"{_API}/aggTrades"): Route("spot.aggTrades", _agg_trades, weight=4),
    ("GET", f"{_API}/ticker/24hr"): Route("spot.ticker", _day, weight=2),
    ("GET", f"{_API}/ticker"): Route("spot.rolling", _rolling, weight=4),
    ("GET", f"{_API}/ticker/tradingDay"): Route("spot.tradingDay", _trading_day, weight=4),
    ("GET", f"{_API}/ticker/price"): Route("spot.price", _price, weight=2),
    ("GET", f"{_API}/ticker/bookTicker"): Route("spot.bookTicker", _best, weight=2),
    ("GET", f"{_API}/avgPrice"): Route("spot.avgPrice", _average, weight=2),
    ("GET", "/sapi/v1/system/status"): Route("spot.status", _system),
    ("GET", "/sapi/v1/capital/config/getall"): Route("spot.coins", _coins, weight=10),
    ("GET", "/sapi/v1/margin/allPairs"): Route("spot.marginPairs", _nothing, NONE),
    ("GET", "/sapi/v1/margin/isolated/allPairs"): Route("spot.marginPairs", _nothing, NONE),
}
