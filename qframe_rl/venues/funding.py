"""Money that is paid into an account or out of it: what is free, and what an exchange's account leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from qframe_rl.amounts import UNITS, money, paid
from qframe_rl.kernel.rules import MAINTENANCE, OWNED, Rules
from qframe_rl.types import Account, Instrument


def free_cash(account: Account, moving: float, rules: Rules) -> float:
    """Cash that nothing stands on, quote currency.

    Parameters
    ----------
    account
        Of (A,) instruments.
    moving
        Cash that is on its way and can serve nothing yet.
    rules
        On spot accounts all cash is free. Where positions are contracts, what they need stays: their value over the
        cap on leverage or their maintenance margin, whichever is more; coins that are owned beside them are no
        collateral.
    """
    cash = float(account.cash) - moving
    if not rules.shorting and rules.leverage == 1.0:
        return cash
    contract = (rules.table[:, OWNED] == 0.0) & (account.position != 0.0)
    value = np.where(contract, account.position * account.mark, 0.0)
    gross = np.abs(value)
    needed = max(float(gross.sum()) / rules.leverage, float((gross * rules.table[:, MAINTENANCE]).sum()))
    return cash + float(value.sum()) - needed


def free_on_exchange(account: Account, instruments: Sequence[Instrument]) -> float:
    """Cash of an exchange's account that nothing stands on: contracts stay covered in full.

    Parameters
    ----------
    account
        Of (A,) instruments.
    instruments
        Of which kind they are.
    """
    value = np.where(account.position != 0.0, account.position * account.mark, 0.0)
    contracts = np.array([one.kind == "perpetual" for one in instruments])
    return float(account.cash) + float((value - np.abs(value))[contracts].sum())


def refusal(units: int, free: float, equity: float) -> str:
    """Why a transfer cannot be; empty if it can.

    Parameters
    ----------
    units
        Of the transfer; negative = out of the account.
    free
        Cash that nothing stands on.
    equity
        Of the account: what is left must be more than nothing, or the account is ruined.
    """
    if units > 0:
        return ""
    if Fraction(-units, UNITS) > Fraction(free):
        return f"{money(-units)} are more than the free cash, {max(free, 0.0):,.8f}: lessen positions first"
    if paid(equity, units) <= 0.0:
        return f"{money(-units)} are all that there is: an account that is empty is ruined; leave something in it"
    return ""


class Allotted:
    """How much of an exchange's account a session does not use: the money itself stays where it is.

    A session begins with all of the account. What is taken from it is kept back: neither its strategy nor its limits
    see that money. What is given to it comes from what is kept back, and from nowhere else: only the exchange can bring
    money into its account.
    """

    def __init__(self) -> None:
        self._kept_back = 0

    def carried(self) -> int:
        """Units that are kept back."""
        return self._kept_back

    def carry(self, units: Any) -> None:
        """Take over what `carried` returned."""
        self._kept_back = int(units)

    def of(self, cash: float) -> float:
        """What the session may use of the account's cash."""
        return paid(cash, -self._kept_back) if self._kept_back else cash

    def transfer(self, units: int, account: Account, instruments: Sequence[Instrument]) -> tuple[str, Account]:
        """Keep less or more back.

        Parameters
        ----------
        units
            Of the transfer.
        account
            As the session sees it.
        instruments
            The A instruments. What is held of contracts stays covered in full, as the exchange's own rule for margin
            is not known here.

        Returns
        -------
        tuple[str, Account]
            Why not, or empty; the account as the session sees it then.
        """
        if units > self._kept_back:
            return (
                f"the session uses all of the exchange's account but {money(self._kept_back)}: pay in at the exchange, "
                "and adopt it (control adopt)", account,
            )  # fmt: skip
        why = refusal(units, free_on_exchange(account, instruments), float(account.equity))
        if why:
            return why, account
        self._kept_back -= units
        return "", account._replace(cash=np.array(paid(float(account.cash), units)))
