"""The seam through which orders go out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from qframe_rl.journal.ledger import Input
from qframe_rl.types import Account, Bar, Fills, Float, Instrument, Int, Orders
from qframe_rl.venues.book import Book

NEWS = frozenset({"resolved", "swept", "again", "lost"})
"""Kinds of events that come from an exchange between two bars: an order that was unknown is known; a market is clear of
orders that could not be cancelled at once; what could not be closed is due again; the account is not shown."""


@runtime_checkable
class Lasting(Protocol):
    """A venue that another process can go on with between two bars."""

    def carried(self) -> dict[str, Any]:
        """All that it remembers, as JSON."""

    def carry(self, memory: dict[str, Any]) -> None:
        """Take over what `carried` returned."""


class Venue(Protocol):
    """Where orders become fills."""

    @property
    def account(self) -> Account:
        """The account now."""

    @property
    def terminated(self) -> bool:
        """Whether the account was liquidated or ruined."""

    def submit(self, orders: Orders) -> None:
        """Take the orders for the next bar."""

    def advance(self, bar: Bar) -> Fills:
        """Settle one closed bar."""


@runtime_checkable
class Protected(Protocol):
    """A venue behind a risk engine, whose limits are used up and whose protections lock instruments for a while."""

    @property
    def locks(self) -> Int | None:
        """(A, 2) as in `qframe_rl.agent.View`; None where nothing protects."""

    @property
    def limit_use(self) -> Float:
        """(3,) as in `qframe_rl.agent.View`."""


@runtime_checkable
class Slotted(Protocol):
    """A venue at which orders stand between two bars."""

    @property
    def resting(self) -> Orders | None:
        """(A, K) orders that stand in their slots; None where there are none."""


@runtime_checkable
class Funded(Protocol):
    """A venue whose account money can be paid into, or out of."""

    def transfer(self, units: int) -> str:
        """Pay so many units of 1e-8 of the quote currency in, or out where negative; why not, if that cannot be."""


@runtime_checkable
class Adopting(Protocol):
    """A venue whose account takes in what comes from outside, coins among it."""

    def adopt(self, a: int | None, units: int) -> str:
        """Take in units of 1e-8 of a coin (None: of cash), or give up where negative; why not, if that cannot be."""


@runtime_checkable
class Ruled(Protocol):
    """A venue that goes on when its exchange changes the rules of its instruments."""

    def rule(self, instruments: tuple[Instrument, ...]) -> None:
        """Take over what the exchange now states of the A instruments."""


@runtime_checkable
class Quoted(Protocol):
    """A venue that looks at order books, and knows what its orders would have got by another rule."""

    other: Fills | None
    """What the other rule made of the last bar; None before the first."""

    def quote(self, books: Sequence[Book | None]) -> None:
        """Set the books that the next orders meet; None where there is none."""

    def sides(self, fills: Fills) -> tuple[Fills, Fills]:
        """What the books gave and what the rule for bars gave, where ``fills`` are those that count."""


@runtime_checkable
class Outgoing(Protocol):
    """A venue whose orders go to an exchange: they may rest there, act between two bars, and get no answer."""

    trouble: tuple[str, ...]
    """What the last reading of the account could not explain."""
    hear: Callable[[], None]
    """Called several times a second whenever the venue waits; it may call `cancel`, `held` and `close`."""

    def cancel(self, markets: Mapping[str, bool]) -> None:
        """Cancel every order of ours that rests in some markets, or, where true, every one that may open a position."""

    def held(self) -> Float:
        """(A,) base units that the exchange says are held now."""

    def close(self, orders: Orders, position: Float) -> None:
        """Send orders that close ``position``, (A,) base units: for these it is never too late."""

    def news(self) -> list[Input]:
        """What became clear since the last time, of kinds in `NEWS`; nobody is waited for."""

    def learn(self, kind: str, payload: dict[str, Any]) -> bool:
        """Take over what `news` said; return whether a kill switch has to act again."""
