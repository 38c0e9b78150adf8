"""Who listens to which topics: candles, books, trades and figures of markets, and what happens to accounts."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator

from qframe_rl.rehearsal.account import ExchangeAccount
from qframe_rl.rehearsal.bybit.market import INTERVALS, candle_texts, pairs, ticker_row
from qframe_rl.rehearsal.bybit.rows import (
    CATEGORY,
    fill_row,
    funding_row,
    order_row,
    position_row,
    wallet_row,
)
from qframe_rl.rehearsal.candles import Candle, candles, end_of, start_of
from qframe_rl.rehearsal.decimals import short
from qframe_rl.rehearsal.ladder import Change, Ladder, Sides
from qframe_rl.rehearsal.market import USDM, ListedMarket
from qframe_rl.rehearsal.order import Happening
from qframe_rl.rehearsal.path import Print
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.wire.call import Json
from qframe_rl.rehearsal.wire.link import ClientConnection, dumps
from qframe_rl.rehearsal.world import World

_MOST = 1000
_DEPTHS = {"1": 1, "50": 50, "200": 200, "500": 500, "1000": 1000}
_KINDS = ("kline", "orderbook", "publicTrade", "tickers", "allLiquidation")
PRIVATE = ("order", "execution", "execution.fast", "position", "wallet", "dcp")
_FAULTS = {"orderbook": "depth", "publicTrade": "trade", "tickers": "ticker"}
Key = tuple[str, str]


class Topics:
    """Everybody who listens.

    Parameters
    ----------
    world
        What is listened to.
    """

    def __init__(self, world: World):
        self.world = world
        self.links: set[ClientConnection] = set()
        self._listeners: dict[Key, dict[str, set[ClientConnection]]] = defaultdict(dict)
        self._owners: dict[ClientConnection, ExchangeAccount] = {}
        self._books: dict[tuple[Key, str], Ladder] = {}
        self._tickers: dict[tuple[Key, str], dict[str, Json]] = {}
        self._told: dict[tuple[Key, str], int] = {}
        """Open of the candle that is told now."""
        self._serial = itertools.count(1)
        world.watchers.append(self)
        world.register.listeners.append(self._happened)

    def subscribe(self, link: ClientConnection, topic: str) -> str:
        """Let a client listen; what is wrong with the topic, or nothing."""
        kind, head, name = _parts(topic)
        if (
            kind not in _KINDS
            or (kind == "kline" and head not in INTERVALS)
            or (kind == "orderbook" and head not in _DEPTHS)
        ):
            return f"error:handler not found,topic:{topic}"
        key = (link.wire, name)
        place = self.world.places.get(key)
        if place is None or not self.world.is_listed(place.market):
            return f"error:handler not found,topic:{topic}"
        link.streams.add(topic)
        self._listeners[key].setdefault(topic, set()).add(link)
        self.world.wake(place)
        self.world.sync(place)
        if kind == "kline":
            self._told.setdefault((key, topic), start_of(INTERVALS[head], self.world.now))
        # The first message comes after the answer to the subscription.
        self.world.at(self.world.now, lambda: self._begin(link, place, topic))
        return ""

    def _begin(self, link: ClientConnection, place: Place, topic: str) -> None:
        """Tell a new listener the whole of what changes are told of later."""
        if topic not in link.streams:
            return
        kind, head, _ = _parts(topic)
        key = _key(place)
        if kind == "orderbook":
            ladder = self._books.get((key, topic))
            if ladder is None:
                ladder = self._books[key, topic] = Ladder()
                ladder.step(_cut(place.sides(), _DEPTHS[head]))
            self._send([link], topic, "snapshot", self._book_data(place, place.sides(), _DEPTHS[head], ladder.number))
        elif kind == "tickers":
            row = self._tickers[key, topic] = ticker_row(place, self.world.now)
            self._send([link], topic, "snapshot", row)

    def unsubscribe(self, link: ClientConnection, topic: str) -> None:
        """Let a client listen no more."""
        link.streams.discard(topic)
        key = (link.wire, _parts(topic)[2])
        links = self._listeners.get(key, {}).get(topic, set())
        links.discard(link)
        if not links and key in self._listeners:
            self._listeners[key].pop(topic, None)
            for memory in (self._books, self._tickers, self._told):
                memory.pop((key, topic), None)
            if not self._listeners[key]:
                del self._listeners[key]

    def own(self, link: ClientConnection, account: ExchangeAccount) -> None:
        """A client said whose it is."""
        self._owners[link] = account

    def owner(self, link: ClientConnection) -> ExchangeAccount | None:
        """Whose a private socket is."""
        return self._owners.get(link)

    def leave(self, link: ClientConnection) -> None:
        """Forget a client; the last private socket of an account may take its orders along."""
        for topic in list(link.streams):
            self.unsubscribe(link, topic)
        self.links.discard(link)
        account = self._owners.pop(link, None)
        if account is None or account.cancels_after_s is None:
            return
        due = self.world.now + self.world.wall_ms(1000.0 * account.cancels_after_s)
        self.world.at(due, lambda: self._disconnected(account))

    def _disconnected(self, account: ExchangeAccount) -> None:
        if account in self._owners.values():
            return
        for order in account.open_orders(USDM):
            place = self.world.place(USDM, order.market.id)
            place.engine.cancel(order)
            self.world.touched(place)

    def wants(self, market: ListedMarket) -> bool:
        """Whether anybody listens to a market."""
        return (market.wire, market.id) in self._listeners

    def printed(self, place: Place, print_: Print) -> None:
        """Tell of a trade, and of everything that it changes."""
        key = _key(place)
        for topic in list(self._listeners.get(key, ())):
            kind, head, _ = _parts(topic)
            if kind == "kline":
                self._roll(place, topic, print_.time)
                self._open(place, topic, head, print_)
            elif kind == "publicTrade":
                self._send(self._listeners[key][topic], topic, "snapshot", [_trade(place, print_)])
            elif kind == "tickers":
                self._figures(place, topic)
        self.touched(place)

    def closed(self, place: Place, close_ms: int) -> None:
        """Tell the candles that end with a bar."""
        for topic in list(self._listeners.get(_key(place), ())):
            if topic.startswith("kline."):
                self._roll(place, topic, close_ms)

    def booked(self, place: Place, change: Change) -> None:
        """Nothing: each depth has its own book."""

    def touched(self, place: Place) -> None:
        """Tell what changed in the books that are watched, each to its depth."""
        key = _key(place)
        for topic in list(self._listeners.get(key, ())):
            kind, head, _ = _parts(topic)
            ladder = self._books.get((key, topic)) if kind == "orderbook" else None
            if ladder is None:
                continue
            cut = _cut(place.sides(), _DEPTHS[head])
            change = ladder.step(cut)
            if change is None:
                continue
            links = self._listeners[key][topic]
            if head == "1":
                self._send(links, topic, "snapshot", self._book_data(place, cut, 1, change.last))
            else:
                sides = Sides(change.bids, change.asks)
                self._send(links, topic, "delta", self._book_data(place, sides, None, change.last))

    def _book_data(self, place: Place, sides: Sides, depth: int | None, number: int) -> Json:
        return {"s": place.market.id, **pairs(sides, depth or 10_000), "u": number, "seq": place.ladder.number}

    def _figures(self, place: Place, topic: str) -> None:
        """Tell figures: of coins all of them, of contracts those that changed."""
        key = _key(place)
        before, row = self._tickers.get((key, topic)), ticker_row(place, self.world.now)
        self._tickers[key, topic] = row
        if before is None or place.market.wire != USDM:
            self._send(self._listeners[key][topic], topic, "snapshot", row)
            return
        changed = {name: value for name, value in row.items() if value != before[name] or name == "symbol"}
        self._send(self._listeners[key][topic], topic, "delta", changed)

    def _roll(self, place: Place, topic: str, now_ms: int) -> None:
        """Tell the candles that ended by now."""
        key, interval = _key(place), INTERVALS[_parts(topic)[1]]
        since = self._told.get((key, topic))
        if since is None or now_ms < end_of(interval, since):
            return
        for candle in candles(place.tape, interval, since, now_ms - 1, _MOST, now_ms):
            if candle.end_ms <= now_ms:
                self._candle(place, topic, candle, True)
        self._told[key, topic] = start_of(interval, now_ms)

    def _open(self, place: Place, topic: str, head: str, print_: Print) -> None:
        """Tell the open candle."""
        begin = start_of(INTERVALS[head], print_.time)
        for candle in candles(place.tape, INTERVALS[head], begin, begin, 1, print_.time):
            self._candle(place, topic, candle, False)

    def _candle(self, place: Place, topic: str, candle: Candle, done: bool) -> None:
        names = ("open", "high", "low", "close", "volume", "turnover")
        row = {
            "start": candle.open_ms,
            "end": candle.end_ms - 1,
            "interval": _parts(topic)[1],
            **dict(zip(names, candle_texts(candle), strict=True)),
            "confirm": done,
            "timestamp": self.world.now,
        }
        self._send(self._listeners[_key(place)][topic], topic, "snapshot", [row])

    def _send(self, links: set[ClientConnection] | list[ClientConnection], topic: str, sort: str, data: Json) -> None:
        message = {"topic": topic, "type": sort, "ts": self.world.now, "data": data, "cts": self.world.now}
        name, written = _parts(topic)[0], dumps(message)
        for link in list(links):
            link.tell(_FAULTS.get(name, name), message, written)

    def _happened(self, happening: Happening) -> None:
        """Tell an account's listeners."""
        for link, account in list(self._owners.items()):
            if account is not happening.account:
                continue
            for topic, rows in self._news(happening):
                category = CATEGORY[happening.market.wire]
                for subscribed in link.streams & {topic, f"{topic}.{category}"}:
                    message = {
                        "id": f"{account.key}{next(self._serial)}",
                        "topic": subscribed,
                        "creationTime": happening.time,
                        "data": rows,
                    }
                    link.tell("user", message)

    def _news(self, happening: Happening) -> Iterator[tuple[str, list[Json]]]:
        """Topics and rows of something that happened to an account."""
        account, market = happening.account, happening.market
        category = {"category": CATEGORY[market.wire]}
        if happening.trade is not None:
            fill = {**category, **fill_row(happening.trade)}
            yield "execution", [fill]
            kept = (
                "category", "symbol", "execId", "execPrice", "execQty", "orderId", "isMaker", "orderLinkId", "side",
                "execTime", "seq",
            )  # fmt: skip
            yield "execution.fast", [{name: fill[name] for name in kept}]
        if happening.what == "FUNDING":
            size = abs(account.margin.position(market).amount)
            yield "execution", [{**category, **funding_row(account.margin.incomes[-1], size)}]
        if market.wire == USDM and (happening.trade is not None or happening.what == "LEVERAGE"):
            row = position_row(account.margin, account.margin.position(market))
            yield "position", [{**category, **row, "entryPrice": row["avgPrice"]}]
        if happening.order is not None:
            yield "order", [{**category, **order_row(happening.order)}]
        if happening.order is not None or happening.what == "FUNDING":
            yield "wallet", [wallet_row(self.world, account)]


def _key(place: Place) -> Key:
    return place.market.wire, place.market.id


def _parts(topic: str) -> tuple[str, str, str]:
    """Kind of a topic, what stands between, and its market."""
    kind, _, rest = topic.partition(".")
    head, _, name = rest.rpartition(".")
    return kind, head, name


def _cut(sides: Sides, depth: int) -> Sides:
    return Sides(sides.bids[:depth], sides.asks[:depth])


def _trade(place: Place, one: Print) -> Json:
    return {
        "T": one.time,
        "s": place.market.id,
        "S": "Buy" if one.buying else "Sell",
        "v": short(one.quantity),
        "p": short(one.price),
        "L": "PlusTick" if one.buying else "MinusTick",
        "i": str(one.id),
        "BT": False,
        "RPI": False,
        "seq": one.id,
    }
