"""What lies on an exchange's account and is not the session's: it came from outside, and nobody let the session use it.

Coins and cash that no trade, fee or funding explains raise no equity: they are set aside, seen neither by the strategy
nor by limits and figures, until the operator adopts them as a transfer. What lessens an account counts at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from qframe_rl.amounts import UNITS, money, paid, units_of
from qframe_rl.journal.codec import Plain
from qframe_rl.types import Account, Bool, Float, Instrument
from qframe_rl.venues.funding import Allotted, free_on_exchange, refusal

_NOISE = 1e-6
"""Of the equity: smaller differences of cash are roundings of an exchange, and the session's."""


class SetAside:
    """Coins and cash of one account that are kept from its session, in units of 1e-8.

    Parameters
    ----------
    instruments
        The A instruments.
    """

    def __init__(self, instruments: Sequence[Instrument]):
        self._coin = [one.kind == "spot" for one in instruments]
        self._symbols = [one.symbol for one in instruments]
        self.allotted = Allotted()
        self.cash, self.coins = 0, [0] * len(instruments)
        self._booked: float | None = None
        """Cash that the session's trades come to; None before the first reading."""
        self._said: Plain = self.told()
        self._short = False
        """Whether the last reading had less: once may be a payment that is listed late, twice is a loss."""

    def carried(self) -> Plain:
        """What is remembered between two bars, as JSON."""
        return {
            "kept": self.allotted.carried(), "cash": self.cash, "coins": self.coins, "booked": self._booked,
            "short": self._short, "said": self._said,
        }  # fmt: skip

    def carry(self, memory: Mapping[str, Any]) -> None:
        """Take over what `carried` returned."""
        self.allotted.carry(memory["kept"])
        self.cash, self.coins = int(memory["cash"]), [int(units) for units in memory["coins"]]
        self._booked, self._short, self._said = memory["booked"], bool(memory["short"]), memory["said"]

    def told(self) -> Plain:
        """What is set aside now: units of cash, and of coins by their symbols."""
        coins = {symbol: units for symbol, units in zip(self._symbols, self.coins, strict=True) if units}
        return {"cash": self.cash, "coins": coins}

    def news(self) -> Plain | None:
        """What `told` says, where that is not what it said the last time; else None."""
        said = self.told()
        if said == self._said:
            return None
        self._said = said
        return said

    def position(self, raw: Float) -> Float:
        """(A,) base units of the session, of those that the exchange holds."""
        if not any(self.coins):
            return raw
        each = zip(raw.tolist(), self.coins, strict=True)
        return np.array([paid(held, -units) if units else held for held, units in each])

    def take_coins(self, more: Float, off: Bool, traded: Collection[str]) -> None:
        """Set coins aside that came without a trade, and let go of those that left.

        Parameters
        ----------
        more
            (A,) base units that the session would have besides those that its trades come to.
        off
            (A,) where that is a difference.
        traded
            Symbols in which somebody else traded: what was bought there cost cash as well.
        """
        for a in np.flatnonzero(off).tolist():
            if self._coin[a] and self._symbols[a] not in traded:
                self.coins[a] = max(0, self.coins[a] + units_of(float(more[a])))

    def cash_of(self, said: Plain, moved: float, equity: float, began: bool, *, certain: bool) -> float:
        """The session's cash of a reading, as in `take_cash`.

        Before anything was ordered, and in records of before anything was set aside, it is all that there is.

        Parameters
        ----------
        said
            The reading.
        moved, equity, certain
            As in `take_cash`.
        began
            Whether anything was ordered yet.
        """
        if not began or "aside" not in said:
            self._booked = self.allotted.of(said["cash"])
            return self._booked
        return self.take_cash(said["cash"], moved, equity, certain=certain)

    def take_cash(self, raw: float, moved: float, equity: float, *, certain: bool) -> float:
        """The session's cash, of what the exchange says; what its trades do not explain is set aside.

        Parameters
        ----------
        raw
            What the exchange says, quote currency.
        moved
            What trades, fees and funding brought since the last reading.
        equity
            Of the account at the last reading.
        certain
            Whether it is known what became of every order.
        """
        whole = self.allotted.of(raw)
        self._booked = whole if self._booked is None else self._booked + moved
        off, noise = whole - self._booked, _NOISE * max(equity, 0.0)
        if not certain:
            return paid(whole, -self.cash) if self.cash else whole
        if abs(off - self.cash / UNITS) > noise:
            self.cash = units_of(off) if off > noise else 0
        elif self.cash <= units_of(noise):
            self.cash = 0
        if off < -noise and not self._short:
            self._short = True
            return whole
        self._short = False
        self._booked = paid(whole, -self.cash) if self.cash else whole
        return self._booked

    def transfer(self, units: int, account: Account, instruments: Sequence[Instrument]) -> tuple[str, Account]:
        """Keep less or more of the account's cash back, as `Allotted.transfer` does.

        Parameters
        ----------
        units, account, instruments
            As there.

        Returns
        -------
        tuple[str, Account]
            As there.
        """
        why, after = self.allotted.transfer(units, account, instruments)
        return why, after if why else self._books(units, after)

    def adopt(
        self, a: int | None, units: int, account: Account, instruments: Sequence[Instrument]
    ) -> tuple[str, Account]:
        """Give the session what is set aside; or, where negative, set aside what is about to be withdrawn.

        Parameters
        ----------
        a
            The instrument; None = cash.
        units
            Of 1e-8 of the coin, or of the quote currency.
        account
            As the session sees it.
        instruments
            The A instruments.

        Returns
        -------
        tuple[str, Account]
            Why not, or empty; the account as the session sees it then.
        """
        there = self.cash if a is None else self.coins[a]
        what = "" if a is None else f" of {self._symbols[a]}"
        if units > there:
            why = f"{money(units)}{what} are more than what came from outside and is set aside, {money(there)}"
            return why, account
        if a is None:
            why = refusal(units, free_on_exchange(account, instruments), float(account.equity))
            if why:
                return why, account
            self.cash -= units
            cash = np.array(paid(float(account.cash), units))
            return "", self._books(units, account._replace(cash=cash))
        why, after = with_coins(account, a, units)
        if not why:
            self.coins[a] -= units
        return why, after

    def _books(self, units: int, account: Account) -> Account:
        self._booked = None if self._booked is None else paid(self._booked, units)
        return account


def with_coins(account: Account, a: int, units: int) -> tuple[str, Account]:
    """An account with more coins, or fewer.

    Parameters
    ----------
    account
        Of (A,).
    a
        The instrument.
    units
        Of 1e-8 of the coin; negative = fewer.

    Returns
    -------
    tuple[str, Account]
        Why not, or empty; the account after it.
    """
    if np.isnan(account.mark[a]):
        return "there is no price of it yet", account
    position = account.position.copy()
    position[a] = paid(float(position[a]), units)
    after = account._replace(position=position)
    if position[a] < 0.0:
        return f"{money(-units)} are more than the {float(account.position[a]):.8f} that are held", account
    if float(after.equity) <= 0.0:
        return "it is all that there is: an account that is empty is ruined; leave something in it", account
    return "", after


def cash_moved(said: Plain, ours: Collection[str], seen: Collection[str], doubtful: Collection[str]) -> float:
    """Cash that trades and funding of a reading brought, fees in the quote currency included.

    Parameters
    ----------
    said
        The reading.
    ours
        Ids of orders of the session.
    seen
        Ids of trades that were counted before.
    doubtful
        Markets in which it is not known what became of an order: trades of others are not told apart there.
    """
    moved = 0.0
    for one in said["trades"]:
        if one["id"] not in seen and (one["order"] in ours or one["symbol"] not in doubtful):
            moved -= one["quantity"] * one["price"] + (0.0 if one["fee_base"] else one["fee"])
    return moved - sum(float(cost) for _, cost in said["funding"].values())


def traded_by_others(said: Plain, ours: Collection[str]) -> dict[str, str]:
    """Trades of a reading whose orders are not ours: their markets, by their ids."""
    return {one["id"]: one["symbol"] for one in said["trades"] if one["order"] not in ours}
