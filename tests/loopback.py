"""A small exchange on 127.0.0.1 that speaks Binance's wire protocol, with a script of faults.

Candles are a pure function of symbol and open time, so what a client stored can be compared with what was there.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

INTERVALS_MS = {"1s": 1_000, "1m": 60_000, "1h": 3_600_000, "4h": 14_400_000, "8h": 28_800_000, "1d": 86_400_000}
SYMBOLS = {"BTCUSDT": ("BTC", 40_000.0), "ETHUSDT": ("ETH", 2_500.0)}
_HOUR_MS = 3_600_000


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def candle(symbol: str, interval: str, open_ms: int) -> list[float]:
    """[open time ms, open, high, low, close, volume] as they are after the close."""
    base, step = SYMBOLS[symbol][1], INTERVALS_MS[interval]
    first, last = (
        base * (1.0 + 0.2 * math.sin(t / 9.7e8) + 0.01 * math.sin(t / 1.3e6)) for t in (open_ms, open_ms + step)
    )
    wick = base * 0.001
    row = (first, max(first, last) + wick, min(first, last) - wick, last, 10.0 + 5.0 * math.sin(open_ms / 7.7e6))
    return [open_ms, *(round(x, 2) for x in row)]


def rate(stamp_ms: int) -> float:
    return round(1e-4 * (1.0 + math.sin(stamp_ms / 3.1e8)), 8)


class Loopback:
    """The server's state; tests set and read it while it runs."""

    def __init__(self, listed_ms: int, now_ms: Callable[[], int] = wall_ms):
        self.listed_ms = listed_ms
        self.now_ms = now_ms
        self.url = ""
        self.faults: dict[int, str] = {}
        """Fault at the n-th request for market data, counted from 0."""
        self.missing: set[tuple[str, int]] = set()
        """Candles that the exchange does not have: symbol and open, ms."""
        self.hidden: Callable[[str, int, int], bool] = lambda symbol, open_ms, now_ms: False
        """Candles that are not listed yet at a time."""
        self.spoiled: dict[tuple[str, int], list[Any]] = {}
        """What candles are listed as instead: symbol and open, ms, and a row of open, high, low, close and volume."""
        self.spoiled_rates: dict[int, Any] = {}
        """What funding rates are listed as instead, by their time, ms."""
        self.funding_step_ms = 8 * _HOUR_MS
        self.funding_late_ms = 0
        """How long after its settlement a rate is listed."""
        self.retry_after = "0"
        self.delay_s = 0.0
        self.seen: list[str] = []
        """Paths of all requests."""
        self.data_requests = 0

    def answer(self, path: str, query: dict[str, str]) -> Any:
        if path.endswith("/time"):
            return {"serverTime": self.now_ms()}
        if path.endswith("/exchangeInfo"):
            return _exchange_info(path)
        if path.endswith(("/klines", "/markPriceKlines")):
            return self._klines(query, mark="mark" in path)
        if path.endswith("/fundingRate"):
            return self._rates(query)
        if path.endswith(("/openInterestHist", "/globalLongShortAccountRatio")):
            return self._positions(query, interest="openInterest" in path)
        raise KeyError(path)

    def _klines(self, query: dict[str, str], mark: bool) -> list[list[Any]]:
        symbol, interval = query["symbol"], query["interval"]
        step, limit, now = INTERVALS_MS[interval], int(query.get("limit", 500)), self.now_ms()
        start = max(int(query.get("startTime", now - limit * step)), self.listed_ms)
        opens = range(-(-start // step) * step, now + 1, step)
        there = (t for t in opens if (symbol, t) not in self.missing and not self.hidden(symbol, t, now))
        rows = [_kline(symbol, interval, t, step, now, mark) for t, _ in zip(there, range(limit), strict=False)]
        return [[row[0], *self.spoiled.get((symbol, row[0]), row[1:6]), *row[6:]] for row in rows]

    def _rates(self, query: dict[str, str]) -> list[dict[str, Any]]:
        step, now = self.funding_step_ms, self.now_ms()
        start = max(int(query.get("startTime", now - 100 * step)), self.listed_ms)
        stamps = range(-(-start // step) * step, now - self.funding_late_ms + 1, step)
        return [
            {
                "symbol": query["symbol"],
                "fundingTime": t,
                "fundingRate": self.spoiled_rates.get(t, f"{rate(t):.8f}"),
                "markPrice": "",
            }
            for t in stamps[: int(query.get("limit", 100))]
        ]

    def _positions(self, query: dict[str, str], interest: bool) -> list[dict[str, Any]]:
        """As Binance documents them: open interest of a period, or accounts that are long over those short."""
        step, now = INTERVALS_MS[query["period"]], self.now_ms()
        start, end = max(int(query["startTime"]), self.listed_ms), int(query.get("endTime", now))
        stamps = range(-(-start // step) * step, min(now, end) + 1, step)[: int(query.get("limit", 30))]
        rows = ((t, self.spoiled_rates.get(t, f"{1e5 + t / 3.6e6 % 1e3:.8f}")) for t in stamps)
        if interest:
            return [
                {"symbol": query["symbol"], "sumOpenInterest": said, "sumOpenInterestValue": "1.5", "timestamp": t}
                for t, said in rows
            ]
        return [
            {
                "symbol": query["symbol"],
                "longAccount": "0.6",
                "shortAccount": "0.4",
                "longShortRatio": said,
                "timestamp": t,
            }
            for t, said in rows
        ]


def _kline(symbol: str, interval: str, open_ms: int, step: int, now_ms: int, mark: bool) -> list[Any]:
    _, o, h, low, c, v = candle(symbol, interval, open_ms)
    if open_ms + step > now_ms:
        h, low, c, v = o, o, o, v / 2
    prices = [f"{x:.2f}" for x in (o, h, low, c)]
    return [open_ms, *prices, "0" if mark else f"{v:.2f}", open_ms + step - 1, "0", 10, "0", "0", "0"]


def _exchange_info(path: str) -> dict[str, Any]:
    perpetual = "fapi" in path
    symbols = [_market(name, base, perpetual) for name, (base, _) in SYMBOLS.items()]
    return {"timezone": "UTC", "serverTime": 0, "rateLimits": [], "exchangeFilters": [], "symbols": symbols}


def _market(name: str, base: str, perpetual: bool) -> dict[str, Any]:
    common = {
        "symbol": name,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": "USDT",
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
    }
    tick = {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.10"}
    lot = {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "9000", "stepSize": "0.001"}
    if perpetual:
        notional = {"filterType": "MIN_NOTIONAL", "notional": "100"}
        terms = {"contractType": "PERPETUAL", "deliveryDate": 4133404800000, "marginAsset": "USDT"}
        digits = {"pricePrecision": 2, "quantityPrecision": 3}
        return {**common, "pair": name, **terms, **digits, "filters": [tick, lot, notional]}
    notional = {"filterType": "NOTIONAL", "minNotional": "5.00000000", "maxNotional": "9000000.0"}
    return {**common, "isSpotTradingAllowed": True, "permissions": ["SPOT"], "filters": [tick, lot, notional]}


_BODIES: dict[str, tuple[int, str]] = {
    "429": (429, '{"code":-1003,"msg":"Too many requests."}'),
    "418": (418, '{"code":-1003,"msg":"Way too many requests; IP banned."}'),
    "403": (403, "<html>403 Forbidden</html>"),
    "451": (451, '{"code":0,"msg":"Service unavailable from a restricted location."}'),
    "500": (500, '{"code":-1000,"msg":"An unknown error occurred while processing the request."}'),
    "502": (502, "<html>502 Bad Gateway</html>"),
    "503": (503, '{"code":-1000,"msg":"UNKNOWN"}'),
    "529": (529, "site is overloaded"),
    "empty": (200, ""),
    "broken": (200, '[[1577836800000,"7195.24","7196.25"'),
    "html": (200, "<html>maintenance</html>"),
    "object": (200, '{"unexpected":1}'),
    "nothing": (200, "[]"),
    "nulls": (200, '[[START,null,null,null,null,null,1577840399999,"0",0,"0","0","0"]]'),
    "short": (200, "[[START]]"),
    "crossed": (200, '[[START,"10.0","9.0","11.0","10.0","1.0",1577840399999,"0",0,"0","0","0"]]'),
    "twice": (200, '[[START,"1","1","1","1","1"],[START,"2","2","2","2","2"]]'),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    """Head and body leave together: in two packets each answer would wait for an acknowledgement."""
    disable_nagle_algorithm = True
    state: Loopback

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        state = self.state
        state.seen.append(parts.path)
        fault = None
        if not parts.path.endswith(("/time", "/exchangeInfo")):
            fault = state.faults.get(state.data_requests)
            state.data_requests += 1
            time.sleep(state.delay_s)
        if fault == "drop":
            self.close_connection = True
            return
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        if fault in _BODIES:
            code, body = _BODIES[fault]
            body = body.replace("START", query.get("startTime", "0"))
            self._send(code, body, {"Retry-After": state.retry_after} if code in (418, 429) else {})
            return
        self._send(200, json.dumps(state.answer(parts.path, query)), {}, cut=fault == "cut")

    def _send(self, code: int, body: str, headers: dict[str, str], cut: bool = False) -> None:
        data = body.encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.wfile.flush()
        self.close_connection = self.close_connection or cut

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed leaves a broken pipe; that is part of the tests."""


@contextmanager
def loopback(listed_ms: int, now_ms: Callable[[], int] = wall_ms) -> Iterator[Loopback]:
    """Run the exchange; ``listed_ms`` is when its markets began."""
    state = Loopback(listed_ms, now_ms)
    handler = type("Handler", (_Handler,), {"state": state})
    server = _Server(("127.0.0.1", 0), handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
