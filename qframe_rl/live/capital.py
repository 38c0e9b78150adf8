"""Money that is paid into a session or out of it: each transfer once, and never a profit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from qframe_rl.amounts import money, paid
from qframe_rl.journal.codec import Plain, account_out
from qframe_rl.journal.inbox import Adoption
from qframe_rl.journal.ledger import Ledger
from qframe_rl.listeners import CashFlow
from qframe_rl.types import Account
from qframe_rl.venues.venue import Adopting, Funded


class AccountHolder(Protocol):
    """Whatever has an account."""

    @property
    def account(self) -> Account:
        """As it is now."""


class CapitalAccount:
    """What was paid in so far, and by which transfers; a function of the record, so a replay has the same."""

    def __init__(self) -> None:
        self.units = 0
        """Paid in less paid out since the first decision, 1e-8 of the quote currency."""
        self.scale = 1.0
        """Equity times this is what equity would be had nothing been paid in or out (time-weighted)."""
        self._known: dict[str, None] = {}

    def carried(self) -> Plain:
        """What is remembered between two bars, as JSON."""
        return {"units": self.units, "scale": self.scale, "known": list(self._known)}

    def carry(self, memory: Mapping[str, Any]) -> None:
        """Take over what `carried` returned."""
        self.units, self.scale = int(memory["units"]), float(memory["scale"])
        self._known = dict.fromkeys(memory["known"])

    def told(self, equity: float) -> Plain:
        """For those who watch: units paid in, and ``equity`` without them; nothing where nothing was paid."""
        return {"paid": self.units, "worth": equity * self.scale} if self._known else {}

    def transfer(self, time: int, payload: Plain, venue: AccountHolder, ledger: Ledger) -> CashFlow | None:
        """Pay in or out, and put on record what came of it; a transfer that is known changes nothing.

        Parameters
        ----------
        time
            Close of the last bar, ns UTC.
        payload
            ``id`` and ``units`` of the transfer.
        venue
            Whose account it is.
        ledger
            The journal.

        Returns
        -------
        CashFlow | None
            What it did; None where it did nothing.
        """
        name, units = payload["id"], payload["units"]
        if name in self._known:
            return None
        before = float(venue.account.equity)
        why = venue.transfer(units) if isinstance(venue, Funded) else "this venue's account takes no transfers"
        self._noted(time, name, units, why, {}, venue, ledger)
        return None if why else self._flowed(CashFlow(time, units, before, float(venue.account.equity)))

    def adopt(
        self, time: int, payload: Plain, symbols: Sequence[str], venue: AccountHolder, ledger: Ledger
    ) -> CashFlow | None:
        """Take in what came from outside, coins at their stated price; what it counts for is no profit.

        What a coin is worth more at its mark than at that price is profit, what it is worth less is loss.

        Parameters
        ----------
        time, venue, ledger
            As in `transfer`.
        payload
            An `Adoption`.
        symbols
            Of the A instruments.

        Returns
        -------
        CashFlow | None
            What it did; None where it did nothing.
        """
        one = Adoption(payload["id"], payload["units"], payload["symbol"], payload["price"])
        if one.id in self._known:
            return None
        before = float(venue.account.equity)
        why = "this venue's account adopts nothing; transfer cash"
        if one.symbol is not None and one.symbol not in symbols:
            why = f"it trades {', '.join(symbols)}"
        elif isinstance(venue, Adopting):
            why = venue.adopt(None if one.symbol is None else symbols.index(one.symbol), one.units)
        coins = {} if one.symbol is None else {"symbol": one.symbol, "quantity": one.units, "price": one.price}
        self._noted(time, one.id, one.value, why, {"adopted": coins}, venue, ledger)
        return None if why else self._flowed(CashFlow(time, one.value, before, paid(before, one.value)))

    def _noted(
        self, time: int, name: str, units: int, why: str, more: Plain, venue: AccountHolder, ledger: Ledger
    ) -> None:
        """Put on record what came of it, once for ever."""
        self._known[name] = None
        event: Plain = {"time": time, "id": name, "units": units, "state": "REFUSED" if why else "SETTLED"}
        event |= more | ({"why": why} if why else {})
        ledger.put("transferred", event | {"account": account_out(venue.account)})

    def _flowed(self, flow: CashFlow) -> CashFlow:
        self.units += flow.units
        self.scale /= flow.scale
        return flow


def paid_in(units: int) -> str:
    """What was paid in, in words; empty where nothing was."""
    if units == 0:
        return ""
    return f" ({money(abs(units))} {'paid in' if units > 0 else 'paid out'} since it began)"
