"""Everything behind the wire: markets that live by themselves, accounts, and one virtual time."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from qframe_rl.rehearsal import funding
from qframe_rl.rehearsal.account import ExchangeAccount
from qframe_rl.rehearsal.clock import VirtualClock
from qframe_rl.rehearsal.config import RehearsalConfig
from qframe_rl.rehearsal.decimals import exact
from qframe_rl.rehearsal.errors import invalid_symbol
from qframe_rl.rehearsal.ladder import Change, Sides
from qframe_rl.rehearsal.margin import MarginWallet
from qframe_rl.rehearsal.market import SPOT, USDM, ListedMarket
from qframe_rl.rehearsal.matching import MatchingEngine
from qframe_rl.rehearsal.order import EXPIRED, Happening, Register
from qframe_rl.rehearsal.path import Print
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.recorded import RecordedPlace
from qframe_rl.rehearsal.risk import check_margin, close_position, pay_funding, record
from qframe_rl.rehearsal.spot import SpotWallet
from qframe_rl.rehearsal.tape import CLOSE, FUNDING, MESSAGE, MarketEvent


class Watcher(Protocol):
    """Somebody who is told of what markets do."""

    def wants(self, market: ListedMarket) -> bool:
        """Whether to be told of a market at all."""

    def printed(self, place: Place, print_: Print) -> None:
        """A trade was printed."""

    def closed(self, place: Place, close_ms: int) -> None:
        """A bar closed."""

    def booked(self, place: Place, change: Change) -> None:
        """The book was shown anew."""

    def touched(self, place: Place) -> None:
        """A client changed a market."""


class World:
    """The exchange without its wire.

    Parameters
    ----------
    markets
        What is listed.
    config
        Rules beside the markets.
    clock
        Virtual time.
    """

    def __init__(self, markets: Sequence[ListedMarket], config: RehearsalConfig, clock: VirtualClock):
        self.config, self.clock = config, clock
        self.register = Register()
        self.register.listeners.append(self._state)
        self.register.now = clock.now() if clock.speed == 0.0 else clock.start_ms
        self.places = {(m.wire, m.id): self._opened(m) for m in markets}
        self.watchers: list[Watcher] = []
        self.accounts: dict[str, ExchangeAccount] = {}
        self.listen_keys: dict[str, ExchangeAccount] = {}
        """Whose events are told under which name."""
        self._serial = itertools.count(1)
        self.deadlines: dict[tuple[str, str], int | None] = {}
        """When the orders of an account in a market are cancelled, unless it says that it lives."""
        self.open_account(config.api_key, config.secret)
        self._agenda: list[tuple[int, int, int, Callable[[], None]]] = []
        self._turn = 0

    @property
    def now(self) -> int:
        """Virtual time up to which everything has happened, ms UTC."""
        return self.register.now

    def _opened(self, market: ListedMarket) -> Place:
        of = Place if market.ticks is None else RecordedPlace
        return of(market, self.config, self.register)

    def open_account(self, key: str, secret: str, balances: Mapping[str, float] | None = None) -> ExchangeAccount:
        """Open an account with the configured cash in every quote currency, or with ``balances`` on both wires."""
        quotes: dict[str, dict[str, Decimal]] = {SPOT: {}, USDM: {}}
        for wire, held in quotes.items():
            named = balances if balances is not None else self._cash(wire)
            held |= {asset: exact(float(amount)) for asset, amount in named.items()}
        margin = MarginWallet(quotes[USDM], self.config.leverage, self.mark)
        spot = SpotWallet(quotes[SPOT])
        if self.config.protocol == "bybit":
            # One wallet: what is free of it pays for coins and carries contracts.
            margin.wallet |= {a: x for a, x in spot.free.items() if a not in margin.wallet}
            spot.free = margin.wallet
            spot.spendable = lambda asset: min(spot.free[asset], margin.available(asset))
        account = ExchangeAccount(key, secret, spot, margin)
        self.accounts[key] = account
        return account

    def listen_key(self, account: ExchangeAccount) -> str:
        """Name under which an account's events can be listened to; one that is there goes on."""
        for name, owner in self.listen_keys.items():
            if owner is account:
                return name
        name = hashlib.sha256(f"listen {account.key} {next(self._serial)}".encode()).hexdigest()
        self.listen_keys[name] = account
        return name

    def forget_listen_key(self, account: ExchangeAccount) -> None:
        """End an account's listen key."""
        self.listen_keys = {name: owner for name, owner in self.listen_keys.items() if owner is not account}

    def _state(self, happening: Happening) -> None:
        """Write futures fills into the account's statement."""
        trade = happening.trade
        if happening.market.wire == USDM and (trade is not None or happening.amount):
            wallet = happening.account.margin
            wallet.updated = wallet.position(happening.market).updated = happening.time
        if happening.what == "TRADE" and happening.market.wire == USDM and trade is not None:
            account, market = happening.account, happening.market
            if trade.realized:
                record(account, "REALIZED_PNL", trade.realized, market, self.register, trade.id)
            record(account, "COMMISSION", -trade.fee, market, self.register, trade.id)

    def _cash(self, wire: str) -> dict[str, float]:
        return {p.market.quote: self.config.cash for p in self.places.values() if p.market.wire == wire}

    def place(self, wire: str, name: str | None) -> Place:
        """A market by its name on a wire, as of now.

        Raises
        ------
        Refused
            If there is none.
        """
        found = self.places.get((wire, name or ""))
        if found is None or not self.is_listed(found.market):
            raise invalid_symbol()
        self.sync(found)
        return found

    def all(self, wire: str) -> Iterator[Place]:
        """All markets of a wire, as of now."""
        for place in self.places.values():
            if place.market.wire == wire and self.is_listed(place.market):
                self.sync(place)
                yield place

    def is_listed(self, market: ListedMarket) -> bool:
        """Whether its first bar has opened."""
        return market.first_ms <= self.now

    def mark(self, market: ListedMarket) -> Decimal:
        """Mark price of a market now."""
        return self.places[market.wire, market.id].engine.mark

    def advance(self, budget_s: float = float("inf")) -> bool:
        """Let happen what is due.

        Parameters
        ----------
        budget_s
            Wall seconds after which to return although there is more.

        Returns
        -------
        bool
            Whether the virtual time has arrived where the clock is.
        """
        target, deadline = self.clock.now(), time.monotonic() + budget_s
        while self._agenda and self._agenda[0][0] <= target:
            moment, _, _, action = heapq.heappop(self._agenda)
            self.register.now = max(self.register.now, moment)
            action()
            if time.monotonic() > deadline:
                return False
        self.register.now = max(self.register.now, target)
        return True

    def next_ms(self) -> int | None:
        """When something happens next."""
        return self._agenda[0][0] if self._agenda else None

    def at(self, moment_ms: int, action: Callable[[], None], rank: int = 9) -> None:
        """Do something at a moment; of one moment's actions the lower rank goes first."""
        self._turn += 1
        heapq.heappush(self._agenda, (moment_ms, rank, self._turn, action))

    def wall_ms(self, span_ms: float) -> int:
        """Virtual length of a span that clients measure with their own clocks."""
        speed = self.clock.speed
        return int(span_ms * max(1.0, speed)) if speed != float("inf") else int(span_ms)

    def show(self, place: Place) -> None:
        """Tell watchers what changed in the book."""
        change = place.step()
        if change is not None:
            for watcher in self.watchers:
                watcher.booked(place, change)

    def shown(self, place: Place, limit: int | None = None) -> tuple[int, Sides]:
        """Number and so many levels of the book; watchers are told of what changed."""
        self.show(place)
        return place.ladder.number, place.sides(limit)

    def touched(self, place: Place) -> None:
        """A client changed a market: its book, or who minds it."""
        self.wake(place)
        for watcher in self.watchers:
            watcher.touched(place)

    def wake(self, place: Place) -> None:
        """Let a market's events happen from now on, if anybody minds them."""
        if place.awake or place.ended or not self._minded(place):
            return
        self.sync(place)
        place.awake = True
        self._follow(place, place.tape.events(self.now))

    def _minded(self, place: Place) -> bool:
        market = place.market
        if not place.engine.idle or any(w.wants(market) for w in self.watchers):
            return True
        if market.wire != USDM:
            return False
        return any(p.market is market for account in self.accounts.values() for p in account.margin.held())

    def _follow(self, place: Place, events: Iterator[MarketEvent]) -> None:
        event = next(events, None)
        if event is None:
            place.awake = False
            return

        def happen() -> None:
            if place.ended or not self._minded(place):
                place.awake = False
                return
            self._happen(place, event)
            self._follow(place, events)

        self.at(event.time, happen, event.kind)

    def _happen(self, place: Place, event: MarketEvent) -> None:
        if event.kind == CLOSE:
            self._close(place, event)
        elif event.kind == FUNDING:
            amount = funding.due(place.market, event.row, event.time)
            for account in self.accounts.values():
                pay_funding(account, place.market, amount, self.register)
        elif event.kind == MESSAGE:
            self._tell(place, event)
        else:
            self._print(place, event)

    def _print(self, place: Place, event: MarketEvent) -> None:
        print_ = place.tape.prints(event.row)[event.n]
        engine = place.engine
        if event.n == 0:
            self._open(place, event.row)
            engine.jump(print_)
        else:
            engine.walk(print_)
        place.cursor = (event.row, event.n)
        self.check_margins(place)
        for watcher in self.watchers:
            watcher.printed(place, print_)

    def _tell(self, place: Place, event: MarketEvent) -> None:
        """Let a recorded message come true."""
        assert isinstance(place, RecordedPlace)
        print_, change = place.happen(event.row, event.n)
        self.check_margins(place)
        for watcher in self.watchers:
            if print_ is not None:
                watcher.printed(place, print_)
            if change is not None:
                watcher.booked(place, change)

    def _open(self, place: Place, row: int) -> None:
        place.engine.row = row
        if place.market.wire == USDM:
            place.engine.ratio = funding.ratio(place.market, row)

    def _close(self, place: Place, event: MarketEvent) -> None:
        place.engine.row = place.market.row_at(event.time)
        for watcher in self.watchers:
            watcher.closed(place, event.time)
        if place.market.delisted(event.time):
            self.delist(place)

    def delist(self, place: Place) -> None:
        """End a market: its orders expire, and positions in it are settled at the last price."""
        engine = place.engine
        engine.row, place.ended = -1, True
        for order, _ in list(engine.waiting):
            if order.id:
                engine.close(order, EXPIRED)
        for order in engine.resting:
            engine.close(order, EXPIRED)
        engine.waiting = []
        if place.market.wire == USDM:
            for account in self.accounts.values():
                close_position(account, place.market, engine.price, place.market.taker, self.register, "DELISTED")

    def check_margins(self, place: Place) -> None:
        """Liquidate whose margin is gone."""
        if place.market.wire != USDM:
            return
        fee = exact(self.config.liquidation_fee)
        for account in self.accounts.values():
            if account.margin.position(place.market).amount:
                check_margin(account, place.market.quote, self._engine, fee, self.register)

    def _engine(self, market: ListedMarket) -> MatchingEngine:
        return self.places[market.wire, market.id].engine

    def sync(self, place: Place) -> None:
        """Bring a market that nobody minded to the present."""
        if place.awake or place.ended:
            return
        place.sync(self.now)

    def truth(self) -> dict[str, Any]:
        """All accounts and the log's digest, as plain data."""
        return {
            "time": self.now,
            "digest": self.register.digest,
            "accounts": {key: account.truth() for key, account in self.accounts.items()},
        }
