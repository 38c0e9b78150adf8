"""Whatever clients do, no money is made or lost: the matching engine and the wallets under random orders."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.rehearsal import RehearsalConfig, amend, joined, listed, pairs
from qframe_rl.rehearsal.account import ExchangeAccount
from qframe_rl.rehearsal.clock import VirtualClock
from qframe_rl.rehearsal.decimals import nearest
from qframe_rl.rehearsal.errors import Refused
from qframe_rl.rehearsal.market import SPOT, USDM, ListedMarket
from qframe_rl.rehearsal.order import OPEN, OcoPair, Order
from qframe_rl.rehearsal.path import prints
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.world import World
from tests.oracle.resting import fits

HOUR = 3_600_000
ZERO = Decimal(0)
CASH = Decimal(10_000)


@cache
def markets() -> tuple[ListedMarket, ...]:
    return joined([listed(synthetic("regimes", n_bars=300)), listed(synthetic("gbm", n_bars=300))])


actions = st.one_of(
    st.tuples(
        st.just("order"),
        st.sampled_from([SPOT, USDM]),
        st.integers(0, 1),
        st.sampled_from(["BUY", "SELL"]),
        st.decimals("0.1", "40", places=3),
        st.one_of(st.none(), st.decimals("0.97", "1.03", places=4)),
        st.sampled_from(["GTC", "IOC", "FOK", "GTX", "reduce"]),
    ),
    st.tuples(st.just("cancel"), st.sampled_from([SPOT, USDM]), st.integers(0, 1), st.integers(0, 5)),
    st.tuples(
        st.just("pair"),
        st.integers(0, 1),
        st.sampled_from(["BUY", "SELL"]),
        st.decimals("0.1", "40", places=3),
        st.decimals("1.001", "1.02", places=4),
        st.decimals("0.98", "0.999", places=4),
        st.one_of(st.none(), st.decimals("0.98", "1.02", places=4)),
    ),
    st.tuples(st.just("lessen"), st.integers(0, 1), st.integers(0, 5), st.decimals("0.01", "0.99", places=2)),
    st.tuples(
        st.just("modify"),
        st.integers(0, 1),
        st.integers(0, 5),
        st.decimals("0.1", "40", places=3),
        st.decimals("0.97", "1.03", places=4),
    ),
    st.tuples(st.just("advance"), st.integers(1, 12 * HOUR)),
    st.tuples(st.just("ration"), st.sampled_from([SPOT, USDM]), st.sampled_from([None, Decimal("0.3")])),
)
shapes = st.builds(
    RehearsalConfig,
    prints=st.sampled_from([4, 7, 60]),
    touch_share=st.sampled_from([0.0, 0.5]),
    fills=st.sampled_from(["book", "bar"]),
    impact=st.sampled_from([0.0, 0.01]),
    leverage=st.sampled_from([1, 20, 125]),
    protocol=st.sampled_from(["binance", "bybit"]),
)


class Floor:
    """A world with two accounts that trade against the book and each other."""

    def __init__(self, config: RehearsalConfig):
        opened = markets()
        self.clock = VirtualClock(opened[0].first_ms, opened[0].last_ms, 0.0)
        self.world = World(opened, config, self.clock)
        self.world.open_account("second", "secret", {"USDT": 10_000.0, "GBM": 50.0})
        self.coins = {"rehearsal": ZERO, "second": Decimal(50)}
        self.accounts: list[ExchangeAccount] = list(self.world.accounts.values())
        self.serial = 0

    def place(self, wire: str) -> Place:
        return self.world.place(wire, "GBMUSDT" if wire == SPOT else "SYN0USDT")

    def order(self, wire: str, who: int, side: str, size: Decimal, at: Decimal | None, how: str) -> None:
        place, self.serial = self.place(wire), self.serial + 1
        limit = None if at is None else nearest(place.engine.price * at, place.market.tick)
        order = Order(
            self.accounts[who], place.market, side, "MARKET" if limit is None else "LIMIT", size, limit,
            how if how in ("IOC", "FOK") and limit is not None else "GTC", f"n{self.serial}",
            post_only=how == "GTX" and limit is not None, reduce_only=how == "reduce" and wire == USDM,
        )  # fmt: skip
        try:
            place.engine.place(order)
        except Refused:
            assert order.id == 0 and not order.trades
        self.world.touched(place)

    def cancel(self, wire: str, who: int, n: int) -> None:
        found = list(self.accounts[who].open_orders(wire))
        if found:
            place = self.place(wire)
            place.engine.cancel(found[n % len(found)])
            self.world.touched(place)

    def pair(self, who: int, side: str, size: Decimal, above: Decimal, below: Decimal, limit: Decimal | None) -> None:
        place, self.serial = self.place(SPOT), self.serial + 2
        price, tick = place.engine.price, place.market.tick
        high, low = nearest(price * above, tick), nearest(price * below, tick)
        take, stop = (high, low) if side == "SELL" else (low, high)
        first = Order(
            self.accounts[who], place.market, side, "LIMIT_MAKER", size, take, "GTC", f"n{self.serial}", post_only=True
        )
        second = Order(
            self.accounts[who], place.market, side, "STOP_LOSS", size,
            None if limit is None else nearest(price * limit, tick), "GTC", f"n{self.serial + 1}",
            stop=stop, stop_price=stop, rises=side == "BUY",
        )  # fmt: skip
        pair = OcoPair((first, second), self.world.register.order_number(), f"p{self.serial}", self.world.now)
        try:
            pairs.place(place.engine, pair)
        except Refused:
            assert first.id == second.id == 0
        self.world.touched(place)

    def lessen(self, who: int, n: int, share: Decimal) -> None:
        place = self.place(SPOT)
        found = [o for o in self.accounts[who].open_orders(SPOT) if o.limit is not None and o.pair is None]
        if found:
            order = found[n % len(found)]
            quantity = order.filled + nearest(order.remaining * share, place.market.lot)
            if order.filled < quantity < order.quantity:
                amend.lessen(place.engine, order, quantity, f"{order.client_id}a")
                self.world.touched(place)

    def modify(self, who: int, n: int, size: Decimal, at: Decimal) -> None:
        place = self.place(USDM)
        found = [o for o in self.accounts[who].open_orders(USDM) if o.limit is not None]
        if found:
            order = found[n % len(found)]
            before = (order.limit, order.quantity, order.held)
            try:
                amend.modify(place.engine, order, nearest(place.engine.price * at, place.market.tick), size)
            except Refused:
                assert (order.limit, order.quantity, order.held) == before
            self.world.touched(place)

    def advance(self, by_ms: int) -> None:
        self.clock.set(self.world.now + by_ms)
        assert self.world.advance()

    def ration(self, wire: str, share: Decimal | None) -> None:
        self.place(wire).engine.ration = share

    def check(self) -> None:
        for account in self.accounts:
            self.check_orders(account)
            moved = self.check_spot(account)
            self.check_margin(account, moved)

    def check_orders(self, account: ExchangeAccount) -> None:
        for wire in (SPOT, USDM):
            alive = {o.id for o in account.open_orders(wire)}
            for order in account.orders[wire].values():
                assert (order.id in alive) == (order.status in OPEN)
                assert ZERO <= order.filled <= order.quantity
                assert order.filled == sum((t.quantity for t in order.trades), ZERO)
                assert order.paid == sum((t.quote for t in order.trades), ZERO)
                assert order.status != "FILLED" or order.filled == order.quantity
                for trade in order.trades:
                    assert trade.fee >= 0 and trade.quantity > 0
                    if not order.amendments:
                        assert fits(order, trade.price)
                        assert not trade.maker or trade.price == order.limit
        for pair in account.pairs.values():
            first, second = pair.orders
            assert not (first.filled and second.filled)
            assert pair.begun is not None or (first.is_open and second.is_open)

    @property
    def unified(self) -> bool:
        """Whether there is one wallet for coins and contracts."""
        return self.world.config.protocol == "bybit"

    def check_spot(self, account: ExchangeAccount) -> Decimal:
        """Money that trades in coins moved; coins and what is kept back are held against the trades."""
        wallet, coins, cash = account.spot, self.coins[account.key], ZERO
        for trade in account.trades[SPOT]:
            if trade.order.buys:
                coins, cash = coins + trade.quantity - trade.fee, cash - trade.quote
            else:
                coins, cash = coins - trade.quantity, cash + trade.quote - trade.fee
        held: dict[str, Decimal] = defaultdict(lambda: ZERO)
        for order in account.open_orders(SPOT):
            held["USDT" if order.buys else "GBM"] += order.held
        assert wallet.free["GBM"] + wallet.locked["GBM"] == coins
        if not self.unified:
            assert wallet.free["USDT"] + wallet.locked["USDT"] == CASH + cash
            assert wallet.free["USDT"] >= 0
        assert wallet.free["GBM"] >= 0
        for asset in ("GBM", "USDT"):
            assert wallet.locked[asset] == held[asset] >= 0
        return cash - wallet.locked["USDT"] if self.unified else ZERO

    def check_margin(self, account: ExchangeAccount, moved: Decimal) -> None:
        """Hold wallet and position against the trades in contracts, and ``moved`` by coins in the same wallet."""
        wallet, amount, cash = account.margin, ZERO, CASH + moved
        for trade in account.trades[USDM]:
            sign = 1 if trade.order.buys else -1
            amount += sign * trade.quantity
            cash -= sign * trade.quote + trade.fee
        place = self.place(USDM)
        position = wallet.position(place.market)
        assert position.amount == amount
        # What was paid and not closed is the position's cost; the rest of the cash is in the wallet.
        assert wallet.wallet["USDT"] == cash + position.cost - wallet.funding_paid + wallet.absorbed
        assert wallet.wallet["USDT"] == CASH + moved + sum((line.amount for line in wallet.incomes), ZERO)
        assert position.amount != 0 or position.cost == 0
        resting = [o for o in account.open_orders(USDM) if o.limit is not None and not o.reduce_only]
        for reserved, side in ((position.bids, True), (position.asks, False)):
            assert reserved == sum((o.held for o in resting if o.buys == side), ZERO) >= 0


@settings(max_examples=80)
@given(shapes, st.lists(actions, min_size=1, max_size=25))
def test_no_money_is_made_or_lost(config: RehearsalConfig, todo: list[Any]) -> None:
    floor = Floor(config)
    for name, *given_ in todo:
        getattr(floor, name)(*given_)
        floor.check()


@settings(max_examples=20)
@given(shapes, st.lists(actions, min_size=1, max_size=15))
def test_the_same_orders_at_the_same_times_make_the_same_world(config: RehearsalConfig, todo: list[Any]) -> None:
    def digest() -> str:
        floor = Floor(config)
        for name, *given_ in todo:
            getattr(floor, name)(*given_)
        return floor.world.register.digest

    assert digest() == digest()


@settings(max_examples=60)
@given(st.integers(0, 299), st.integers(4, 200), st.integers(0, 1))
def test_trades_tell_the_recorded_bar_to_the_bit(row: int, n: int, which: int) -> None:
    market = markets()[which]
    told = prints(market, row, n)
    price = [float(p.price) for p in told]
    counted = [price[0], max(price), min(price), price[-1], float(sum(p.quantity for p in told))]
    assert counted == market.values[row].tolist()
    assert [p.time for p in told] == sorted(p.time for p in told)
    assert told[0].time == market.opens[row] and told[-1].time == market.opens[row] + market.bar_ms - 1
    assert min(p.quantity for p in told) >= 0


@settings(max_examples=40)
@given(st.decimals("0.5", "60", places=3), st.sampled_from(["BUY", "SELL"]))
def test_taking_from_the_book_costs_what_the_kernel_says(size: Decimal, side: str) -> None:
    floor = Floor(RehearsalConfig(leverage=125))
    floor.advance(10 * HOUR)
    place = floor.place(USDM)
    floor.order(USDM, 0, side, size, None, "GTC")
    (order,) = floor.accounts[0].orders[USDM].values()
    volume = float(place.market.values[place.engine.row, 4])
    slip = 1e-4 + 0.01 * (float(size) / volume) ** 0.5
    price = float(place.engine.price) * (1.0 + (slip if side == "BUY" else -slip))
    tick = float(place.market.tick)
    # A small order takes the first level alone, whose price is the level's average, rounded outward.
    first = place.sides().asks if side == "BUY" else place.sides().bids
    assert abs(float(order.average) - price) <= abs(float(first[0].price) - float(place.engine.price)) + tick
    assert (float(order.average) - float(place.engine.price)) * (1 if side == "BUY" else -1) > 0.0
