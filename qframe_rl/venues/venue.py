"""The seam through which orders go out."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from qframe_rl.types import Account, Bar, Fills, Orders


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
