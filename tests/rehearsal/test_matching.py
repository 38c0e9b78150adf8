"""Who meets whom in the rehearsal: the compiled core against sorted lists, every line of the register equal."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pytest

from qframe_rl.book.state import BUY, SELL
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.rehearsal import RehearsalConfig, amend, joined, listed, pairs
from qframe_rl.rehearsal.account import ExchangeAccount
from qframe_rl.rehearsal.clock import VirtualClock
from qframe_rl.rehearsal.decimals import nearest
from qframe_rl.rehearsal.errors import Refused
from qframe_rl.rehearsal.market import SPOT, USDM, ListedMarket
from qframe_rl.rehearsal.order import OcoPair, Order
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.queues import OrderQueues, QueuedOrder
from qframe_rl.rehearsal.world import World
from tests.oracle.resting import PlainRestingBook

HOUR = 3_600_000
KINDS = ("order", "order", "order", "order", "cancel", "modify", "lessen", "pair", "stop", "advance", "ration", "halt")
NAMES = {SPOT: "GBMUSDT", USDM: "SYN0USDT"}


@cache
def markets() -> tuple[ListedMarket, ...]:
    """Two markets that jump: every fiftieth hour a price goes far off, beyond any window of the core."""
    found = []
    for market in joined([listed(synthetic("regimes", n_bars=400)), listed(synthetic("gbm", n_bars=400))]):
        by = np.repeat(np.random.default_rng(1).choice([0.4, 1.0, 2.5], 8), 50)[: len(market.values)]
        values = market.values.copy()
        values[:, :4] *= by[:, None]
        found.append(replace(market, values=values, marks=values[:, :5] * [1, 1, 1, 1, 0]))
    return tuple(found)


class Desk:
    """Three accounts that send what dice say."""

    def __init__(self, seed: int, config: RehearsalConfig, *, plain: bool):
        self.dice, self.serial, self.refused = random.Random(seed), 0, Counter[str]()
        self.clock = VirtualClock(markets()[0].first_ms, markets()[0].last_ms, 0.0)
        self.world = World(markets(), config, self.clock)
        for name in ("second", "third"):
            self.world.open_account(name, "secret", {"USDT": 1e9, "GBM": 1e7})
        if plain:
            for place in self.world.places.values():
                place.engine.resting = PlainRestingBook(place.market)  # type: ignore[assignment]

    def act(self) -> None:
        """One action; of what is refused the code is kept."""
        dice, wire = self.dice, self.dice.choice([SPOT, USDM])
        place = self.world.place(wire, NAMES[wire])
        account = dice.choice(list(self.world.accounts.values()))
        self.serial += 1
        try:
            getattr(self, dice.choice(KINDS))(place, account)
        except Refused as refusal:
            self.refused[str(refusal.code)] += 1
        self.world.touched(place)

    def made(self, place: Place, account: ExchangeAccount, **more: Any) -> Order:
        """An order near the price, seldom far from it, often at the price of another."""
        dice, market = self.dice, place.market
        at = dice.choice([0.999, 0.9999, 1.0, 1.0001, 1.001, dice.uniform(0.99, 1.01), dice.uniform(0.25, 4.0)])
        limit = nearest(place.engine.price * Decimal(repr(at)), market.tick)
        offers = place.engine.offers(dice.choice(["BUY", "SELL"]))
        if offers and dice.random() < 0.5:
            limit = dice.choice(offers[:8]).price
        size = nearest(Decimal(repr(10 ** dice.uniform(-2, 2.5))), market.lot)
        how = dice.choice(["GTC", "GTC", "GTC", "GTX", "IOC", "FOK", "MARKET", "MARKET", "quote", "reduce"])
        kind = "LIMIT"
        if how in ("MARKET", "quote"):
            kind, limit = "MARKET", None
        if how == "quote" and place.market.wire == SPOT:
            more["quote_quantity"] = Decimal(dice.randint(1, 20_000))
        return Order(
            account, market, dice.choice(["BUY", "SELL"]), kind, size, limit, how if how in ("IOC", "FOK") else "GTC",
            f"n{self.serial}", post_only=how == "GTX", reduce_only=how == "reduce" and market.wire == USDM, **more,
        )  # fmt: skip

    def order(self, place: Place, account: ExchangeAccount) -> None:
        place.engine.place(self.made(place, account))

    def stop(self, place: Place, account: ExchangeAccount) -> None:
        order = self.made(place, account)
        order.quote_quantity, order.post_only, order.rises = Decimal(0), False, self.dice.random() < 0.5
        away = self.dice.choice([1.0002, 1.003]) if order.rises else self.dice.choice([0.9998, 0.997])
        order.stop = order.stop_price = nearest(place.engine.price * Decimal(repr(away)), place.market.tick)
        place.engine.place_stop(order)

    def pair(self, place: Place, account: ExchangeAccount) -> None:
        if place.market.wire != SPOT:
            return
        first, second = self.made(place, account), self.made(place, account)
        price, tick = place.engine.price, place.market.tick
        high, low = (nearest(price * Decimal(x), tick) for x in ("1.002", "0.998"))
        first.type, first.post_only, first.tif, first.quote_quantity = "LIMIT_MAKER", True, "GTC", Decimal(0)
        second.side, second.quantity, second.quote_quantity = first.side, first.quantity, Decimal(0)
        second.post_only = False
        first.limit, second.stop = (low, high) if first.buys else (high, low)
        second.stop_price, second.rises = second.stop, first.buys
        pairs.place(place.engine, OcoPair((first, second), self.world.register.order_number(), "p", self.world.now))

    def _open(self, place: Place, account: ExchangeAccount) -> Order | None:
        found = list(account.open_orders(place.market.wire, place.market.id))
        return self.dice.choice(found) if found else None

    def cancel(self, place: Place, account: ExchangeAccount) -> None:
        if (order := self._open(place, account)) is not None:
            place.engine.cancel(order)

    def modify(self, place: Place, account: ExchangeAccount) -> None:
        order, other = self._open(place, account), self.made(place, account)
        if order is None or order.limit is None or order.stop is not None or order.pair is not None:
            return
        if other.limit is not None:
            amend.modify(place.engine, order, other.limit, other.quantity)

    def lessen(self, place: Place, account: ExchangeAccount) -> None:
        order = self._open(place, account)
        if place.market.wire == SPOT and order is not None and order.limit is not None and order.pair is None:
            quantity = order.filled + nearest(order.remaining / 2, place.market.lot)
            if order.filled < quantity < order.quantity:
                amend.lessen(place.engine, order, quantity, f"{order.client_id}a")

    def advance(self, place: Place, account: ExchangeAccount) -> None:
        by = self.dice.choice([1, 50_000, 60_000, 61_000, 300_000])
        self.clock.set(self.world.now + by)
        assert self.world.advance()

    def ration(self, place: Place, account: ExchangeAccount) -> None:
        place.engine.ration = self.dice.choice([None, None, None, Decimal("0.3")])

    def halt(self, place: Place, account: ExchangeAccount) -> None:
        place.engine.halted = self.dice.random() < 0.1


def told(seed: int, config: RehearsalConfig, n: int, steps: int) -> Counter[str]:
    """Both desks send the same n actions; what happened, counted."""
    core, plain = (Desk(seed, config, plain=is_plain) for is_plain in (False, True))
    for k in range(n):
        core.act()
        plain.act()
        if k % steps == 0:
            for wire, name in NAMES.items():
                ours, theirs = core.world.place(wire, name), plain.world.place(wire, name)
                assert ours.sides() == theirs.sides()
                assert [o.id for o in ours.engine.resting] == [o.id for o in theirs.engine.resting]
    assert core.world.register.log == plain.world.register.log
    assert core.refused == plain.refused
    found = Counter(line["what"] for line in core.world.register.log)
    assert core.clock.now() < core.clock.stop_ms, "the market did not end"
    return found + Counter(maker=sum(line.get("maker", False) for line in core.world.register.log)) + core.refused


CONFIGS = (
    RehearsalConfig(cash=1e8, touch_share=0.5),
    RehearsalConfig(cash=1e8, fills="bar", impact=0.0, prints=7),
    RehearsalConfig(cash=1e8, protocol="bybit", levels=3, volume_share=0.002),
)


@pytest.mark.parametrize("k", range(len(CONFIGS)))
def test_every_fill_is_that_of_sorted_lists(k: int) -> None:
    found = told(k, CONFIGS[k], 1_500, 10)
    assert min(found[what] for what in ("TRADE", "maker", "CANCELED", "EXPIRED", "TRADE_PREVENTION", "AMENDED")) > 10


@pytest.mark.long
@pytest.mark.parametrize("k", range(9))
def test_every_fill_of_a_hundred_thousand_orders_is_that_of_sorted_lists(k: int) -> None:
    found = told(100 + k, CONFIGS[k % len(CONFIGS)], 11_200, 100)
    assert min(found[what] for what in ("TRADE", "maker", "CANCELED", "EXPIRED", "TRADE_PREVENTION", "AMENDED")) > 100


def test_a_queue_grows_with_its_orders_and_reaches_every_price() -> None:
    """More orders than a book begins with, at prices of which a book's window holds none but its own."""
    queues, turn = OrderQueues(SELL), 0
    for tick in (7, 7 + 10**9, 3 * 10**6, 7):
        for _ in range(200):
            turn += 1
            queues.enter(QueuedOrder(turn, tick, 2, 1))
    assert queues.at(7) == [*range(1, 201), *range(601, 801)] and queues.best() == 7
    met = queues.met(None, 1_500, 2, [(7, 1), (10**12, 5)])
    assert [one.turn for one in met][:3] == [0, 1, 2] and met[-1] == (350, 1) and sum(one.lots for one in met) == 1_500
    for turn in (*range(1, 201), *range(601, 801)):
        queues.leave(7, turn)
    assert queues.best() == 3 * 10**6 and next(iter(queues)) == 401


def test_an_order_keeps_its_place_by_its_turn() -> None:
    queues = OrderQueues(BUY)
    for turn in (5, 9, 7):
        queues.enter(QueuedOrder(turn, 100, 10, turn))
    queues.lessen(100, 5, 4)
    assert queues.at(100) == [5, 7, 9]
    assert queues.met(100, 20, 7, [(100, 1)]) == [(0, 1), (5, 4), (7, -10), (9, 10)]
    assert queues.met(101, 20, 1, []) == [] and queues.depth() == [(100, 24)]


def test_an_order_larger_than_one_of_the_core_takes_all_that_there_is() -> None:
    queues = OrderQueues(SELL)
    queues.enter(QueuedOrder(5, 100, 10**15, 1))
    queues.enter(QueuedOrder(6, 100, 10**13, 1))
    assert queues.met(None, 10**18, 2, [(100, 10**9)]) == [(0, 10**9), (5, 2**48 - 10**9), (5, 10**9), (6, 10**13)]
    queues.lessen(100, 5, 10**14)
    assert queues.met(101, 10**15, 2, []) == [(5, 10**14), (6, 10**13)]
