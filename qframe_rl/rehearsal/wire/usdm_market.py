"""Public endpoints of the futures wire."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qframe_rl.rehearsal import errors, funding
from qframe_rl.rehearsal.decimals import float_text, text
from qframe_rl.rehearsal.market import USDM, ListedMarket
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.wire import quotes
from qframe_rl.rehearsal.wire.call import KEY, Call, Json, Route
from qframe_rl.rehearsal.wire.listing import nothing_listed, usdm_info

_API = "/fapi/v1"
_FAR = 2**62


def _ping(call: Call) -> Json:
    return {}


def _time(call: Call) -> Json:
    return {"serverTime": call.clock_reads()}


def _klines(call: Call) -> Json:
    return quotes.kline_rows(call, call.place().tape, 1500)


def _mark_klines(call: Call) -> Json:
    place = call.place()
    assert place.marks is not None
    # Prices of a mark candle are told as they are; it has no volume, no turnover and a count that means nothing.
    return [[*row[:5], "0", row[6], "0", row[8], "0", "0", "0"] for row in quotes.kline_rows(call, place.marks, 1500)]


def _pair(call: Call) -> Call:
    """A request that names a pair, as one of the pair's perpetual."""
    if call.text("contractType", "PERPETUAL") != "PERPETUAL":
        raise errors.Refused(-1130, "Data sent for parameter 'contractType' is not valid.")
    return call.with_params({"symbol": call.text("pair")})


def _continuous_klines(call: Call) -> Json:
    return _klines(_pair(call))


def _index_klines(call: Call) -> Json:
    return _mark_klines(_pair(call))


def _premium_klines(call: Call) -> Json:
    """Premium of the last price over the index, which here is the mark price: it stands still within a bar."""
    place = call.place()
    return [_premium_candle(place.market, row) for row in quotes.kline_rows(call, place.tape, 1500)]


def _premium_candle(market: ListedMarket, row: list[Json]) -> Json:
    first = max(0, int(np.searchsorted(market.opens, row[0], side="right")) - 1)
    last = max(first + 1, int(np.searchsorted(market.opens, row[6], side="right")))
    told = [float(1 / funding.ratio(market, n)) - 1.0 for n in range(first, last)]
    prices = [f"{x:.8f}" for x in (told[0], max(told), min(told), told[-1])]
    return [row[0], *prices, "0", row[6], "0", row[8], "0", "0", "0"]


def _depth(call: Call) -> Json:
    place = call.place()
    number, both = call.world.shown(place, call.limit(500, 1000))
    bids, asks = (quotes.pairs(place.market, side) for side in both)
    return {"lastUpdateId": number, "E": call.now, "T": call.now, "bids": bids, "asks": asks}


def _trades(call: Call) -> Json:
    place = call.place()
    return [quotes.trade(place.market, one) for one in quotes.last_trades(call, place.tape)]


def _agg_trades(call: Call) -> Json:
    place = call.place()
    return [quotes.agg_trade(place.market, one) for one in quotes.wanted_trades(call, place.tape)]


def _rows(call: Call, row: Callable[[Place, int], Json]) -> Json:
    """A row for the named market, or a row for each."""
    if call.params.get("symbol"):
        return row(call.place(), call.now)
    return [row(place, call.now) for place in call.world.all(USDM)]


def _day(call: Call) -> Json:
    return _rows(call, day_row)


def day_row(place: Place, now_ms: int) -> Json:
    """Figures of the last 24 hours as REST writes them."""
    market, day = place.market, quotes.day(place, now_ms)
    change, digits, size = day.close - day.open, market.price_digits, market.quantity_digits
    return {
        "symbol": market.id,
        "priceChange": f"{change:.{digits}f}",
        "priceChangePercent": f"{100.0 * change / day.open:.3f}",
        "weightedAvgPrice": f"{day.quote / day.volume if day.volume else day.close:.{digits}f}",
        "lastPrice": float_text(day.close, digits),
        "lastQty": f"{day.last.quantity:.{size}f}",
        "openPrice": float_text(day.open, digits),
        "highPrice": float_text(day.high, digits),
        "lowPrice": float_text(day.low, digits),
        "volume": f"{day.volume:.{size}f}",
        "quoteVolume": f"{day.quote:.2f}",
        "openTime": day.since_ms,
        "closeTime": now_ms,
        "firstId": day.first_id,
        "lastId": day.last.id if day.trades else -1,
        "count": day.trades,
    }


def _price_row(place: Place, now_ms: int) -> Json:
    return {"symbol": place.market.id, "price": text(place.engine.price, place.market.price_digits), "time": now_ms}


def _price(call: Call) -> Json:
    return _rows(call, _price_row)


def _best_row(place: Place, now_ms: int) -> Json:
    both, market = place.sides(1), place.market
    bid, ask = quotes.best(market, both.bids), quotes.best(market, both.asks)
    prices = {"bidPrice": bid[0], "bidQty": bid[1], "askPrice": ask[0], "askQty": ask[1]}
    return {"symbol": market.id, **prices, "time": now_ms, "lastUpdateId": place.ladder.number}


def _best(call: Call) -> Json:
    return _rows(call, _best_row)


def _premium_row(place: Place, now_ms: int) -> Json:
    market, mark = place.market, f"{place.engine.mark:.8f}"
    return {
        "symbol": market.id,
        "markPrice": mark,
        "indexPrice": mark,
        "estimatedSettlePrice": mark,
        "lastFundingRate": f"{funding.last_rate(market, now_ms):.8f}",
        "interestRate": "0.00010000",
        "nextFundingTime": funding.next_stamp(market, now_ms),
        "time": now_ms,
    }


def _premium(call: Call) -> Json:
    return _rows(call, _premium_row)


def _funding_rates(call: Call) -> Json:
    places = [call.place()] if call.params.get("symbol") else list(call.world.all(USDM))
    since, until = call.whole("startTime", 0), min(call.whole("endTime", _FAR), call.now)
    rows = [
        {
            "symbol": place.market.id,
            "fundingTime": int(stamp),
            "fundingRate": float_text(float(rate)),
            "markPrice": f"{funding.settlement_mark(place.market, int(stamp)):.8f}",
        }
        for place in places
        for stamp, rate in zip(place.market.stamps, place.market.rates, strict=True)
        if since <= stamp <= until
    ]
    limit = call.limit(100, 1000)
    return rows[:limit] if "startTime" in call.params else rows[-limit:]


def _funding_info(call: Call) -> Json:
    return [
        {
            "symbol": place.market.id,
            "adjustedFundingRateCap": "0.02000000",
            "adjustedFundingRateFloor": "-0.02000000",
            "fundingIntervalHours": funding.interval_hours(place.market, call.now),
            "disclaimer": False,
        }
        for place in call.world.all(USDM)
    ]


def _open_interest(call: Call) -> Json:
    place = call.place()
    held = sum(abs(a.margin.position(place.market).amount) for a in call.world.accounts.values())
    return {"symbol": place.market.id, "openInterest": f"{held:.{place.market.quantity_digits}f}", "time": call.now}


def _historical(call: Call) -> Json:
    place = call.place()
    return [quotes.trade(place.market, one) for one in quotes.historical(call, place.tape)]


_PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")


def _periods(call: Call) -> tuple[ListedMarket, list[list[Json]]]:
    """The candles of a statistic's periods."""
    if call.text("period") not in _PERIODS:
        raise errors.illegal("period", "|".join(_PERIODS))
    place = call.place()
    asked = call.with_params({"interval": call.text("period")})
    return place.market, quotes.kline_rows(asked, place.tape, 500, 30)


def _takers(call: Call) -> Json:
    """What takers bought over what they sold, as candles tell it."""
    rows = []
    for row in _periods(call)[1]:
        bought, sold = row[9], f"{float(row[5]) - float(row[9]):.8f}"
        ratio = float(bought) / float(sold) if float(sold) else 1.0
        rows.append({"buySellRatio": f"{ratio:.4f}", "buyVol": bought, "sellVol": sold, "timestamp": row[0]})
    return rows


def _crowd(call: Call) -> Json:
    """Accounts that are long and short. Nobody recorded them: they lean with the candle, by a quarter at most."""
    market, candles = _periods(call)
    rows = []
    for row in candles:
        o, h, low, c = (float(x) for x in row[1:5])
        long = 0.5 + 0.25 * ((c - o) / (h - low) if h > low else 0.0)
        shares = {"longAccount": f"{long:.4f}", "shortAccount": f"{1.0 - long:.4f}"}
        ratio = f"{long / (1.0 - long):.4f}"
        rows.append({"symbol": market.id, "longShortRatio": ratio, **shares, "timestamp": row[0]})
    return rows


_DATA = "/futures/data"
ROUTES: dict[tuple[str, str], Route] = {
    ("GET", f"{_API}/ping"): Route("usdm.ping", _ping),
    ("GET", f"{_API}/time"): Route("usdm.time", _time),
    ("GET", f"{_API}/exchangeInfo"): Route("usdm.exchangeInfo", usdm_info),
    ("GET", f"{_API}/klines"): Route("usdm.klines", _klines, weight=5),
    ("GET", f"{_API}/markPriceKlines"): Route("usdm.markPriceKlines", _mark_klines, weight=5),
    ("GET", f"{_API}/continuousKlines"): Route("usdm.continuousKlines", _continuous_klines, weight=5),
    ("GET", f"{_API}/indexPriceKlines"): Route("usdm.indexPriceKlines", _index_klines, weight=5),
    ("GET", f"{_API}/premiumIndexKlines"): Route("usdm.premiumIndexKlines", _premium_klines, weight=5),
    ("GET", f"{_API}/depth"): Route("usdm.depth", _depth, weight=10),
    ("GET", f"{_API}/trades"): Route("usdm.trades", _trades, weight=5),
    ("GET", f"{_API}/historicalTrades"): Route("usdm.historicalTrades", _historical, KEY, weight=20),
    ("GET", f"{_API}/aggTrades"): Route("usdm.aggTrades", _agg_trades, weight=20),
    ("GET", f"{_API}/ticker/24hr"): Route("usdm.ticker", _day),
    ("GET", f"{_API}/ticker/price"): Route("usdm.price", _price),
    ("GET", "/fapi/v2/ticker/price"): Route("usdm.price", _price),
    ("GET", f"{_API}/ticker/bookTicker"): Route("usdm.bookTicker", _best, weight=2),
    ("GET", f"{_API}/premiumIndex"): Route("usdm.premiumIndex", _premium),
    ("GET", f"{_API}/fundingRate"): Route("usdm.fundingRate", _funding_rates),
    ("GET", f"{_API}/fundingInfo"): Route("usdm.fundingInfo", _funding_info),
    ("GET", f"{_API}/openInterest"): Route("usdm.openInterest", _open_interest),
    ("GET", f"{_DATA}/globalLongShortAccountRatio"): Route("usdm.longShortRatio", _crowd),
    ("GET", f"{_DATA}/topLongShortAccountRatio"): Route("usdm.longShortRatio", _crowd),
    ("GET", f"{_DATA}/topLongShortPositionRatio"): Route("usdm.longShortRatio", _crowd),
    ("GET", f"{_DATA}/takerlongshortRatio"): Route("usdm.takerRatio", _takers),
    ("GET", "/dapi/v1/exchangeInfo"): Route("coinm.exchangeInfo", nothing_listed),
    ("GET", "/dapi/v1/time"): Route("coinm.time", _time),
}
