"""The seam through which orders go out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from qframe_rl.types import Account, Bar, Fills, Float, Orders
from qframe_rl.venues.book import Book


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
    """A venue whose orders go to an exchange: they may rest there, and they act between two bars."""

    trouble: tuple[str, ...]
    """What the last reading of the account could not explain."""

    def cancel(self) -> None:
        """Cancel every order of ours that rests."""

    def held(self) -> Float:
        """(A,) base units that the exchange says are held now."""

    def close(self, orders: Orders, position: Float) -> None:
        """Send orders that close ``position``, (A,) base units: for these it is never too late."""
