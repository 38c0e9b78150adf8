"""A recorded market over the genuine wire: its book and trades as they were, and fills by the rules of replay."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any

import aiohttp
import numpy as np
import pytest

from qframe_rl.book.accounts import F_CAUSE, F_LOTS, F_SIDE, F_TICK, F_TIME, TOOK, new_walk
from qframe_rl.book.events import TRADE
from qframe_rl.book.queue import exponent
from qframe_rl.book.state import BUY, SELL
from qframe_rl.book.walk import QUOTE, TAKE, WITHDRAW, follow, place
from qframe_rl.config import UserError
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.synthetic_ticks import synthetic_ticks
from qframe_rl.rehearsal import Rehearsal, RehearsalConfig, serve
from qframe_rl.rehearsal.clock import VirtualClock
from qframe_rl.rehearsal.errors import Refused
from qframe_rl.rehearsal.load import tick_market_of
from qframe_rl.rehearsal.market import ListedMarket, present
from qframe_rl.rehearsal.order import Order
from qframe_rl.rehearsal.recorded import RecordedBook, RecordedPlace
from qframe_rl.rehearsal.ticks import tick_market
from qframe_rl.rehearsal.world import World
from qframe_rl.types import Instrument
from tests.book.tapes import bare
from tests.oracle.resting import fits
from tests.rehearsal.conftest import pro_client, run

MS = 1_000_000
MADE, COIN = "MADE/USDT:USDT", "MADE/USDT"
NAMES = ("BUY", "SELL")
Fill = tuple[int, str, int, int, bool]


@cache
def market(seed: int = 0, symbol: str = MADE, *, told: bool = True) -> ListedMarket:
    """A market; with ``told`` false, levels that the other side passed end unsaid."""
    kind, made = "perpetual" if symbol == MADE else "spot", synthetic_ticks(seed, 4_000)
    made = made if told else made._replace(events=bare(made.events))
    return tick_market(made, Instrument(symbol, kind, maker_fee=0.0002, taker_fee=0.0005))


def displayed(of: ListedMarket, now_ms: int) -> tuple[dict[float, float], dict[float, float]]:
    """Bids and asks that the rows of a tape tell up to a moment: price to quantity."""
    assert of.ticks is not None
    tape, sides = of.ticks.tape, ({}, {})  # type: tuple[Any, tuple[dict[float, float], dict[float, float]]]
    for row in range(int(np.searchsorted(tape.exchange_ns, now_ms * MS, side="right"))):
        if tape.kind[row] != TRADE:
            sides[tape.side[row]][float(int(tape.tick[row]) * of.tick)] = float(int(tape.lots[row]) * of.lot)
    return tuple({p: q for p, q in side.items() if q} for side in sides)  # type: ignore[return-value]


def printed(of: ListedMarket, now_ms: int) -> list[tuple[int, float, float, str]]:
    assert of.ticks is not None
    tape = of.ticks.tape
    rows = [int(k) for k in tape.trades if of.ticks.begins_ms * MS < tape.exchange_ns[k] <= now_ms * MS]
    return [
        (int(tape.exchange_ns[k]) // MS, float(int(tape.tick[k]) * of.tick), float(int(tape.lots[k]) * of.lot),
         "buy" if tape.side[k] == 0 else "sell")
        for k in rows
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "symbol"), [("binanceusdm", MADE), ("binance", COIN)])
def test_a_genuine_client_keeps_the_book_and_the_trades_of_the_tape(name: str, symbol: str) -> None:
    of = market(3, symbol)

    async def main(ex: Rehearsal) -> None:
        async with pro_client(ex, name, newUpdates=False) as client:
            client.options["tradesLimit"] = 10_000

            async def listen(watch: Any) -> None:
                while True:
                    await watch(symbol)

            tasks = [asyncio.ensure_future(listen(w)) for w in (client.watch_order_book, client.watch_trades)]
            while len(listened(ex)) < 2 or not (client.orderbooks.get(symbol) or {}).get("nonce"):
                await asyncio.sleep(0.01)
            heard: list[Any] = []
            for _ in range(40):
                now = await ex.step(97)
                bids, asks = displayed(of, now)
                while client.orderbooks[symbol]["nonce"] != numbers(of, now):
                    await asyncio.sleep(0.001)
                book, whole = client.orderbooks[symbol], await client.fetch_order_book(symbol, 100)
                for seen in (book, whole):
                    assert (dict(map(tuple, seen["bids"])), dict(map(tuple, seen["asks"]))) == (bids, asks)
                best = await client.fetch_bids_asks([symbol])
                assert (best[symbol]["bid"], best[symbol]["ask"]) == (max(bids), min(asks))
                expected = printed(of, now)
                while len(heard) < len(expected):
                    heard = [(t["timestamp"], t["price"], t["amount"], t["side"]) for t in client.trades[symbol]]
                    await asyncio.sleep(0.001)
                assert heard == expected
            assert len(heard) > 500
            for task in tasks:
                task.cancel()

    with serve([of], RehearsalConfig()) as ex:
        run(lambda: main(ex), 60.0)


def listened(ex: Rehearsal) -> set[str]:
    """Streams that somebody listens to: what is told before is not heard."""
    return ex.call(lambda control: {stream for link in control.exchange.hub.links for stream in link.streams})


def numbers(of: ListedMarket, now_ms: int) -> int:
    """Number of the last change of the book at a moment: levels that were told."""
    assert of.ticks is not None
    tape = of.ticks.tape
    return 1 + int((tape.kind[tape.exchange_ns <= now_ms * MS] != TRADE).sum())


def test_messages_are_chained_and_stamped_as_recorded() -> None:
    of = market(4)
    assert of.ticks is not None
    heard: list[Any] = []

    async def main(ex: Rehearsal) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{ex.url}/market/ws") as socket:
            await socket.send_json({"method": "SUBSCRIBE", "params": [f"made{'usdt'}@depth", "madeusdt@bookTicker"]})
            await socket.receive()
            before = numbers(of, ex.now_ms)
            await ex.step(2_000)
            while not heard or heard[-1]["u"] != numbers(of, ex.now_ms):
                heard.append(await socket.receive_json())
            changes = [one for one in heard if one["e"] == "depthUpdate"]
            for one in changes:
                assert (one["pu"], one["U"]) == (before, before + 1)
                before = one["u"]
            bests = [one for one in heard if one["e"] == "bookTicker"]
            assert 50 < len(bests) < len(changes)
            bids, asks = displayed(of, ex.now_ms)
            assert (float(bests[-1]["b"]), float(bests[-1]["a"])) == (max(bids), min(asks))
            tape = of.ticks.tape  # type: ignore[union-attr]
            told = np.unique(tape.message[(tape.kind != TRADE) & (tape.exchange_ns > of.ticks.begins_ms * MS)])  # type: ignore[union-attr]
            at = [int(tape.exchange_ns[np.flatnonzero(tape.message == n)[0]]) // MS for n in told[: len(changes)]]
            assert [one["T"] for one in changes] == at

    with serve([of], RehearsalConfig()) as ex:
        run(lambda: main(ex))


class Floor:
    """The exchange without its wire, on one tape."""

    def __init__(self, of: ListedMarket, **more: Any):
        assert of.ticks is not None
        self.of, self.clock = of, VirtualClock(of.ticks.begins_ms, of.ticks.ends_ms, 0.0)
        self.world = World([of], RehearsalConfig(cash=1e9, **more), self.clock)
        self.world.open_account("second", "secret")
        self.serial = 0

    @property
    def place(self) -> RecordedPlace:
        found = self.world.place(self.of.wire, self.of.id)
        assert isinstance(found, RecordedPlace)
        return found

    def go(self, now_ms: int) -> None:
        self.clock.set(now_ms)
        assert self.world.advance()

    def order(self, side: int, tick: int | None, lots: int, tif: str = "GTX", who: str = "rehearsal") -> Order | None:
        """Send an order; None where it is refused."""
        self.serial += 1
        limit = None if tick is None else tick * self.of.tick
        order = Order(
            self.world.accounts[who], self.of, NAMES[side], "MARKET" if tick is None else "LIMIT", lots * self.of.lot,
            limit, "GTC" if tif == "GTX" else tif, f"n{self.serial}", post_only=tif == "GTX",
        )  # fmt: skip
        try:
            self.place.engine.place(order)
        except Refused:
            return None
        self.world.touched(self.place)
        return order

    def fills(self) -> list[Fill]:
        lines = [line for line in self.world.register.log if line["what"] == "TRADE"]
        tick, lot = self.of.tick, self.of.lot
        return [
            (
                line["time"],
                line["side"],
                int(Decimal(line["price"]) / tick),
                int(Decimal(line["size"]) / lot),
                line["maker"],
            )
            for line in lines
        ]


def walked(of: ListedMarket, script: list[tuple[int, ...]], power: float) -> list[Fill]:
    """Fills by the walk on the same tape of messages that arrive at the same moments."""
    assert of.ticks is not None
    walk = new_walk(1, 100_000)
    place(of.ticks.tape, walk, np.array([of.ticks.begins_ms * MS]))
    messages = np.array(script, np.int64)
    messages[:, 0] *= MS
    follow(of.ticks.tape, walk, messages, 0, power, of.ticks.ends_ms * MS)
    return [
        (int(f[F_TIME]) // MS, NAMES[f[F_SIDE]], int(f[F_TICK]), int(f[F_LOTS]), bool(f[F_CAUSE] != TOOK))
        for f in walk.fills[: walk.n_fills[0]]
    ]


def traded(floor: Floor, seed: int) -> list[tuple[int, ...]]:
    """Let a trader quote and take by dice to the end of the tape; the script of what was sent."""
    dice, script = random.Random(seed), []
    quotes: list[Order | None] = [None, None]
    now = floor.clock.now()
    while (now := now + dice.randint(1, 12)) < floor.clock.stop_ms:
        floor.go(now)
        side, book = dice.randrange(2), floor.place.book
        live = quotes[side]
        if live is not None and live.is_open:
            if dice.random() < 0.2:
                floor.place.engine.cancel(live)
                script.append((now, WITHDRAW, side, 0, 0))
            continue
        if live is not None and live.updated == now:
            continue  # a script does not know yet that it ended
        other = quotes[1 - side]
        if dice.random() < 0.4 and not (other is not None and other.is_open):
            tick, lots = book.best(1 - side) + dice.randint(0, 3) * (1 if side == BUY else -1), dice.randint(1, 30)
            floor.order(side, tick, lots, "IOC", "second")
            script.append((now, TAKE, side, tick, lots))
        else:
            tick = book.best(side) - dice.randint(-1, 3) * (1 if side == BUY else -1)
            lots = dice.randint(1, 25)
            if other is not None and other.is_open and fits(other, tick * floor.of.tick):
                continue  # the walk knows no trade with oneself
            quotes[side] = floor.order(side, tick, lots)
            script.append((now, QUOTE, side, tick, lots))
    floor.go(floor.clock.stop_ms)
    return script


@pytest.mark.parametrize("rule", ["share", "trades", "power"])
@pytest.mark.parametrize("seed", range(4))
def test_every_fill_is_that_of_the_walk(seed: int, rule: Any) -> None:
    floor = Floor(market(seed), queue=rule)
    script = traded(floor, seed)
    fills = floor.fills()
    assert fills == walked(floor.of, script, exponent(rule))
    assert sum(maker for *_, maker in fills) > 50 and sum(not maker for *_, maker in fills) > 20


@pytest.mark.long
@pytest.mark.skipif("QFRAME_DATA" not in os.environ, reason="needs recorded ticks")
def test_every_fill_on_a_recorded_market_is_that_of_the_walk() -> None:
    whole = tick_market_of(DataConfig(data=os.environ["QFRAME_DATA"], symbols=("BTC/USDT:USDT",)))
    assert whole.ticks is not None
    of = replace(whole, ticks=whole.ticks._replace(ends_ms=whole.begins_ms + 90_000))
    floor = Floor(of)
    script = traded(floor, 1)
    fills = floor.fills()
    assert len(fills) > 300 and fills == walked(of, script, exponent("share"))


def test_quotes_of_a_genuine_client_fill_as_in_the_walk() -> None:
    of = market(5)
    assert of.ticks is not None
    script: list[tuple[int, ...]] = []

    async def main(ex: Rehearsal) -> list[Fill]:
        async with pro_client(ex) as client:
            dice, ids = random.Random(5), ["", ""]
            for _ in range(120):
                now = await ex.step(dice.randint(5, 60))
                bids, asks = displayed(of, now)
                side = dice.randrange(2)
                live = (
                    await client.fetch_order(ids[side], MADE) if ids[side] else {"status": "", "lastUpdateTimestamp": 0}
                )
                if live["lastUpdateTimestamp"] == now:
                    continue  # a script does not know yet that it ended
                if live["status"] == "open":
                    if dice.random() < 0.3:
                        assert (await client.cancel_order(ids[side], MADE))["status"] == "canceled"
                        script.append((now, WITHDRAW, side, 0, 0))
                    continue
                price, lots = max(bids) if side == BUY else min(asks), dice.randint(1, 9)
                made = await client.create_order(
                    MADE, "limit", NAMES[side].lower(), lots * float(of.lot), price, {"timeInForce": "GTX"}
                )
                ids[side] = made["id"]
                script.append((now, QUOTE, side, round(price / float(of.tick)), lots))
            await ex.step(to_ms=of.ticks.ends_ms)  # type: ignore[union-attr]
            trades = await client.fetch_my_trades(MADE)
        return [
            (t["timestamp"], t["side"].upper(), round(t["price"] / float(of.tick)), round(t["amount"] / float(of.lot)),
             t["takerOrMaker"] == "maker")
            for t in trades
        ]  # fmt: skip

    with serve([of], RehearsalConfig(cash=1e6)) as ex:
        fills = run(lambda: main(ex), 60.0)
    assert len(fills) > 20 and fills == walked(of, script, exponent("share"))


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_lots_that_were_printed_fill_once_for_all_orders(seed: int) -> None:
    """Fifty orders of two clients at one price fill what one of their size does, the older order first."""
    alone, many = Floor(market(seed)), Floor(market(seed))
    for floor, lots, n in ((alone, 100, 1), (many, 2, 50)):
        best = floor.place.book.best(BUY)
        for k in range(n):
            assert floor.order(BUY, best, lots, who=("rehearsal", "second")[k % 2]) is not None
        floor.go(floor.clock.now() + 400)
    total = [sum(lots for *_, lots, _ in floor.fills()) for floor in (alone, many)]
    assert total[0] == total[1] > 20
    first = [o for a in many.world.accounts.values() for o in a.orders["usdm"].values()]
    filled = [int(o.filled / many.of.lot) for o in sorted(first, key=lambda o: o.id)]
    assert filled == sorted(filled, reverse=True)


def test_no_lot_is_taken_twice_and_what_may_not_take_is_refused() -> None:
    floor = Floor(market(7))
    book = floor.place.book
    best = book.best(SELL)
    lots = int(book.lots[book.level_of(SELL, best)])
    first, second = (floor.order(BUY, best, lots + 3, "IOC", who) for who in ("rehearsal", "second"))
    assert first is not None and second is not None
    assert (first.filled, second.filled) == (lots * floor.of.lot, 0)
    assert floor.order(BUY, best, 1) is None, "it is displayed, although it was taken"
    rests = floor.order(BUY, best, 5, "GTC")
    assert rests is not None and rests.is_open and not rests.filled
    assert floor.place.sides().asks[0].quantity == lots * floor.of.lot, "the market is the recorded one"


def test_an_order_that_waits_for_its_price_takes_the_book_that_is_then() -> None:
    floor = Floor(market(8, COIN))
    price = floor.place.engine.price
    order = Order(
        floor.world.accounts["rehearsal"], floor.of, "BUY", "STOP_LOSS", 5 * floor.of.lot, None, "GTC", "s",
        stop=price + 5 * floor.of.tick, stop_price=price + 5 * floor.of.tick, rises=True,
    )  # fmt: skip
    floor.place.engine.place_stop(order)
    floor.world.touched(floor.place)
    floor.go(floor.clock.stop_ms)
    (first, *_) = [t for t in printed(floor.of, floor.clock.stop_ms) if t[1] >= float(order.stop_price)]
    assert order.trades and order.trades[0].time == first[0]


def test_bars_sum_the_prints_up_and_a_tape_can_be_played_at_another_time() -> None:
    of = market(9)
    assert of.ticks is not None
    tape, found = (
        of.ticks.tape,
        RecordedPlace(market(9), RehearsalConfig(), World([of], RehearsalConfig(), VirtualClock(0, 1, 0.0)).register),
    )
    prices = np.round(tape.tick[tape.trades] * 0.1, 1)
    assert (of.values[:, 1].max(), of.values[:, 2].min()) == (prices.max(), prices.min())
    assert of.values[:, 4].sum() == pytest.approx(tape.lots[tape.trades].sum() * 0.001)
    told = [p for row in range(len(of.opens)) for p in found.tape.prints(row)]
    assert [p.id for p in told] == list(range(1, len(tape.trades) + 1))
    for row, (o, h, low, c, v) in enumerate(of.values.tolist()):
        inside = [float(p.price) for p in found.tape.prints(row)]
        if inside:
            assert (o, h, low, c) == (inside[0], max(inside), min(inside), inside[-1])
        assert v == pytest.approx(float(sum(p.quantity for p in found.tape.prints(row))))
    now = of.begins_ms + 86_400_123
    (later,) = present([of], of.begins_ms, now)
    assert later.ticks is not None and 0 <= now - later.begins_ms < 1000
    assert later.last_ms - later.begins_ms == of.last_ms - of.begins_ms and not (later.opens % 1000).any()


def test_what_cannot_be_served_is_said() -> None:
    with pytest.raises(UserError, match="protocol of binance"), serve([market()], RehearsalConfig(protocol="bybit")):
        pass
    with pytest.raises(UserError, match="no run 'synthetic-9'"):
        tick_market_of(DataConfig(data="synthetic:ticks"), "synthetic-9")
    quiet = synthetic_ticks(0, 500)
    with pytest.raises(UserError, match="no trade once"):
        tick_market(quiet._replace(ready_ns=int(quiet.events.exchange_ns[-1]) + 1), Instrument(MADE, "perpetual"))
    with pytest.raises(UserError, match="neither spot"):
        tick_market(quiet, Instrument("MADE", "spot"))
    longest = tick_market_of(DataConfig(data="synthetic:ticks"))
    assert longest.symbol == MADE and replace(longest).ticks is longest.ticks


def test_a_book_that_nobody_minded_is_the_one_of_its_rows() -> None:
    of = market(10)
    assert of.ticks is not None
    book = RecordedBook(of.ticks.tape)
    for stop in (400, 401, 2_000, len(of.ticks.tape.tick)):
        book.go(stop)
        bids, asks = displayed(of, int(of.ticks.tape.exchange_ns[stop - 1]) // MS)
        if stop == len(of.ticks.tape.tick):
            seen = [book.tape.level_tick[book.standing(side)] for side in (BUY, SELL)]
            assert [len(seen[0]), len(seen[1])] == [len(bids), len(asks)]
            assert seen[0][0] == book.best(BUY) and seen[1][0] == book.best(SELL)
            assert (np.diff(seen[0]) < 0).all() and (np.diff(seen[1]) > 0).all()


def test_a_level_that_the_other_side_passed_is_displayed_no_more() -> None:
    """Streams that tell such ends and that do not are the same book, level by level."""
    one, other = (Floor(market(11, told=told)) for told in (True, False))
    for now in range(one.clock.now() + 50, one.clock.stop_ms, 250):
        for floor in (one, other):
            floor.go(now)
        assert one.place.sides() == other.place.sides()
        assert one.place.sides().bids[0].price < one.place.sides().asks[0].price
