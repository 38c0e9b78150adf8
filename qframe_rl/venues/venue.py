"""The seam through which orders go out."""

from __future__ import annotations

from typing import Protocol

from qframe_rl.types import Account, Bar, Fills, Orders


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
