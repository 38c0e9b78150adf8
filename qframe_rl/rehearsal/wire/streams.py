"""Who listens to what: market streams and user streams, composed once for all of their listeners."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal

from qframe_rl.rehearsal import funding
from qframe_rl.rehearsal.account import ExchangeAccount
from qframe_rl.rehearsal.candles import INTERVALS, Candle, candles, end_of, start_of
from qframe_rl.rehearsal.decimals import exact, float_text, text
from qframe_rl.rehearsal.ladder import Change
from qframe_rl.rehearsal.market import SPOT, USDM, ListedMarket
from qframe_rl.rehearsal.order import Happening
from qframe_rl.rehearsal.path import Print
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.wire import quotes
from qframe_rl.rehearsal.wire.call import Json
from qframe_rl.rehearsal.wire.events import events_of
from qframe_rl.rehearsal.wire.link import ClientConnection, dumps
from qframe_rl.rehearsal.wire.overview import Overview
from qframe_rl.rehearsal.world import World

_CONTINUOUS, _PERPETUAL = "continuousKline_", "_perpetual"
Wrap = Callable[[Json], Json]
_MOST = 1000


class Hub:
    """Everybody who listens.

    Parameters
    ----------
    world
        What is listened to.
    """

    def __init__(self, world: World):
        self.world = world
        self.links: set[ClientConnection] = set()
        self._listeners: dict[tuple[str, str], dict[str, set[ClientConnection]]] = defaultdict(lambda: defaultdict(set))
        self._users: dict[tuple[str, str], dict[ClientConnection, Wrap]] = defaultdict(dict)
        self._told: dict[tuple[str, str, str], int] = {}
        """Open of the candle that is told now, by wire, market and kind of stream."""
        self._overview = Overview(world, self._told_one)
        self._running: dict[tuple[str, str, str], tuple[Candle, Decimal]] = {}
        """The candle that is open, with its exact volume."""
        world.watchers.append(self)
        world.register.listeners.append(self._happened)

    def subscribe(self, link: ClientConnection, stream: str) -> None:
        """Let a client listen to a stream such as ``btcusdt@kline_1h``; unknown ones stay silent, as on the venue."""
        link.streams.add(stream)
        if stream.startswith("!"):
            self._overview.subscribe(link, stream)
            return
        key, kind = _named(link.wire, stream)
        self._listeners[key][kind].add(link)
        place = self.world.places.get(key)
        if place is None:
            return
        self.world.wake(place)
        interval = _interval(kind)
        if interval in INTERVALS:
            self._told.setdefault((*key, kind), start_of(interval, self.world.now))

    def unsubscribe(self, link: ClientConnection, stream: str) -> None:
        """Let a client listen no more."""
        link.streams.discard(stream)
        if stream.startswith("!"):
            self._overview.unsubscribe(link, stream)
            return
        key, kind = _named(link.wire, stream)
        listeners = self._listeners[key]
        listeners[kind].discard(link)
        if not listeners[kind]:
            del listeners[kind]
            self._told.pop((*key, kind), None)
            self._running.pop((*key, kind), None)
        if not listeners:
            del self._listeners[key]

    def listen(self, link: ClientConnection, account: ExchangeAccount, wrap: Wrap) -> None:
        """Let a client listen to an account."""
        self._users[account.key, link.wire][link] = wrap

    def leave(self, link: ClientConnection) -> None:
        """Forget a client."""
        for stream in list(link.streams):
            self.unsubscribe(link, stream)
        for listeners in self._users.values():
            listeners.pop(link, None)
        self.links.discard(link)

    def wants(self, market: ListedMarket) -> bool:
        """Whether anybody listens to a market."""
        return (market.wire, market.id) in self._listeners

    def printed(self, place: Place, print_: Print) -> None:
        """Tell of a trade, and of everything that it changes."""
        listeners = self._listeners.get((place.market.wire, place.market.id))
        if not listeners:
            return
        for kind in list(listeners):
            base = kind.partition("@")[0]
            if _interval(kind):
                self._roll(place, kind, print_.time)
                self._candle(place, kind, print_)
            elif base in _COMPOSED and not (base == "bookTicker" and place.market.ticks):
                self._tell(place, kind, base, _COMPOSED[base](place, print_, self.world.now))
        self._show(place)

    def closed(self, place: Place, close_ms: int) -> None:
        """Tell the candles that end with a bar."""
        for kind in list(self._listeners.get((place.market.wire, place.market.id), ())):
            if _interval(kind):
                self._roll(place, kind, close_ms)

    def booked(self, place: Place, change: Change) -> None:
        """Tell what changed in the book."""
        listeners = self._listeners.get((place.market.wire, place.market.id), {})
        for kind in list(listeners):
            base = kind.partition("@")[0]
            if base == "depth":
                self._tell(place, kind, "depth", depth_update(place, change, self.world.now))
            elif base == "bookTicker" and change.best:
                self._tell(place, kind, base, _book_ticker(place, None, self.world.now))
            elif base in _PARTIAL:
                self._tell(place, kind, "depth", _partial(place, change, _PARTIAL[base], self.world.now))

    def touched(self, place: Place) -> None:
        """Show the book anew, if somebody watches it."""
        self._show(place)

    def _show(self, place: Place) -> None:
        kinds = self._listeners.get((place.market.wire, place.market.id), ())
        if any(kind.startswith("depth") for kind in kinds):
            self.world.show(place)

    def _tell(self, place: Place, kind: str, name: str, message: Json) -> None:
        market = place.market
        written = dumps(message)
        stream = f"{market.id.lower()}{_PERPETUAL if kind.startswith(_CONTINUOUS) else ''}@{kind}"
        for link in list(self._listeners[market.wire, market.id].get(kind, ())):
            if link.combined:
                link.tell(name, {"stream": stream, "data": message})
            else:
                link.tell(name, message, written)

    def _told_one(self, place: Place, kind: str) -> Json:
        """One market's message of a kind, as streams of all markets join them."""
        now = self.world.now
        return _COMPOSED[kind](place, quotes.last_print(place.tape, now), now)

    def _roll(self, place: Place, kind: str, now_ms: int) -> None:
        """Tell the candles that ended by now."""
        key, interval = (place.market.wire, place.market.id, kind), _interval(kind)
        since = self._told.get(key)
        if since is None or now_ms < end_of(interval, since):
            return
        for candle in candles(place.tape, interval, since, now_ms - 1, _MOST, now_ms):
            if candle.end_ms <= now_ms:
                last = candle.first_id + candle.trades - 1
                self._tell(place, kind, "kline", kline(place, kind, candle, last, True, self.world.now))
        self._told[key] = start_of(interval, now_ms)

    def _candle(self, place: Place, kind: str, print_: Print) -> None:
        """Tell the open candle."""
        interval = _interval(kind)
        if interval not in INTERVALS:
            return
        key = (place.market.wire, place.market.id, kind)
        open_ms, running = start_of(interval, print_.time), self._running.get(key)
        if running is None or running[0].open_ms != open_ms:
            found = candles(place.tape, interval, open_ms, open_ms, 1, print_.time)
            if not found:
                return
            running = found[0]._replace(trades=print_.id - found[0].first_id + 1), exact(found[0].volume)
        else:
            running = _grown(running, print_)
        self._running[key] = running
        self._tell(place, kind, "kline", kline(place, kind, running[0], print_.id, False, self.world.now))

    def _happened(self, happening: Happening) -> None:
        """Tell an account's listeners."""
        listeners = self._users.get((happening.account.key, happening.market.wire))
        if not listeners:
            return
        for event in events_of(happening):
            for link, wrap in list(listeners.items()):
                link.tell("user", wrap(event))


def _named(wire: str, stream: str) -> tuple[tuple[str, str], str]:
    """Wire and market of a stream, and its kind."""
    name, _, kind = stream.partition("@")
    if kind.startswith(_CONTINUOUS):
        name = name.removesuffix(_PERPETUAL)
    return (wire, name.upper()), kind


def _interval(kind: str) -> str:
    """Length of the candles of a stream of candles; empty for another one."""
    head, _, interval = kind.partition("_")
    return interval if head in ("kline", "continuousKline") else ""


def _grown(running: tuple[Candle, Decimal], print_: Print) -> tuple[Candle, Decimal]:
    """An open candle after one more trade."""
    candle, volume = running[0], running[1] + print_.quantity
    price = float(print_.price)
    grown = candle._replace(
        high=max(candle.high, price),
        low=min(candle.low, price),
        close=price,
        volume=float(volume),
        trades=print_.id - candle.first_id + 1,
    )
    return grown, volume


_PARTIAL = {"depth5": 5, "depth10": 10, "depth20": 20}


def kline(place: Place, kind: str, candle: Candle, last_id: int, done: bool, now_ms: int) -> Json:
    """A candle as a stream of some kind tells it."""
    market, interval = place.market, _interval(kind)
    row = quotes.kline_row(market, candle)
    body = {
        "t": candle.open_ms,
        "T": candle.end_ms - 1,
        "s": market.id,
        "i": interval,
        "f": candle.first_id,
        "L": last_id,
        "o": row[1],
        "c": row[4],
        "h": row[2],
        "l": row[3],
        "v": row[5],
        "n": candle.trades,
        "x": done,
        "q": row[7],
        "V": row[9],
        "Q": row[10],
        "B": "0",
    }
    if kind.startswith(_CONTINUOUS):
        del body["s"]
        return {"e": "continuous_kline", "E": now_ms, "ps": market.id, "ct": "PERPETUAL", "k": body}
    return {"e": "kline", "E": now_ms, "s": market.id, "k": body}


def _trade(place: Place, one: Print, now_ms: int) -> Json:
    market = place.market
    body = {
        "e": "trade",
        "E": now_ms,
        "s": market.id,
        "t": one.id,
        "p": text(one.price, market.price_digits),
        "q": text(one.quantity, market.quantity_digits),
        "T": one.time,
        "m": not one.buying,
    }
    return body | ({"M": True} if market.wire == SPOT else {"X": "MARKET"})


def _agg_trade(place: Place, one: Print, now_ms: int) -> Json:
    return {"e": "aggTrade", "E": now_ms, "s": place.market.id, **quotes.agg_trade(place.market, one)}


def _book_ticker(place: Place, _: Print | None, now_ms: int) -> Json:
    market, both = place.market, place.sides(1)
    bid, ask = quotes.best(market, both.bids), quotes.best(market, both.asks)
    prices = {"s": market.id, "b": bid[0], "B": bid[1], "a": ask[0], "A": ask[1]}
    if market.wire == SPOT:
        return {"u": place.ladder.number, **prices}
    return {"e": "bookTicker", "u": place.ladder.number, **prices, "T": now_ms, "E": now_ms}


def _mini_ticker(place: Place, _: Print, now_ms: int) -> Json:
    market, day = place.market, quotes.day(place, now_ms)
    digits, size = market.price_digits, market.quantity_digits
    c, o, h, low = (float_text(x, digits) for x in (day.close, day.open, day.high, day.low))
    prices = {"c": c, "o": o, "h": h, "l": low, "v": f"{day.volume:.{size}f}", "q": f"{day.quote:.8f}"}
    return {"e": "24hrMiniTicker", "E": now_ms, "s": market.id, **prices}


def _ticker(place: Place, one: Print, now_ms: int) -> Json:
    mini, market, day = _mini_ticker(place, one, now_ms), place.market, quotes.day(place, now_ms)
    digits = market.price_digits
    change, mean = day.close - day.open, day.quote / day.volume if day.volume else day.close
    row = {
        **mini,
        "e": "24hrTicker",
        "p": f"{change:.{digits}f}",
        "P": f"{100.0 * change / day.open:.3f}",
        "w": f"{mean:.{digits}f}",
        "Q": text(day.last.quantity, market.quantity_digits),
        "O": day.since_ms,
        "C": now_ms,
        "F": day.first_id,
        "L": day.last.id,
        "n": day.trades,
    }
    if market.wire == SPOT:
        best = _book_ticker(place, one, now_ms)
        row |= {"x": float_text(day.before), **{key: best[key] for key in "bBaA"}}
    return row


def _mark(place: Place, _: Print, now_ms: int) -> Json:
    market, mark = place.market, f"{place.engine.mark:.8f}"
    return {
        "e": "markPriceUpdate",
        "E": now_ms,
        "s": market.id,
        "p": mark,
        "ap": mark,
        "P": mark,
        "i": mark,
        "r": f"{funding.last_rate(market, now_ms):.8f}",
        "T": funding.next_stamp(market, now_ms),
    }


_COMPOSED: dict[str, Callable[[Place, Print, int], Json]] = {
    "trade": _trade,
    "aggTrade": _agg_trade,
    "bookTicker": _book_ticker,
    "ticker": _ticker,
    "miniTicker": _mini_ticker,
    "markPrice": _mark,
}


def depth_update(place: Place, change: Change, now_ms: int) -> Json:
    """What changed in the book, as streams tell it."""
    market = place.market
    head = {"e": "depthUpdate", "E": now_ms}
    if market.wire == USDM:
        head |= {"T": now_ms}
    numbers = {"s": market.id, "U": change.first, "u": change.last}
    if market.wire == USDM:
        numbers |= {"pu": change.before}
    return {**head, **numbers, "b": quotes.pairs(market, change.bids), "a": quotes.pairs(market, change.asks)}


def _partial(place: Place, change: Change, depth: int, now_ms: int) -> Json:
    market, both = place.market, place.sides(depth)
    bids, asks = quotes.pairs(market, both.bids, depth), quotes.pairs(market, both.asks, depth)
    if market.wire == SPOT:
        return {"lastUpdateId": change.last, "bids": bids, "asks": asks}
    return depth_update(place, change, now_ms) | {"b": bids, "a": asks}
