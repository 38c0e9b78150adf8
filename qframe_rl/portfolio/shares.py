"""Who gets how much: shares of a portfolio's members, and the transfers that bring them about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np

from qframe_rl.amounts import UNITS
from qframe_rl.config import UserError
from qframe_rl.estimate.allocation import hierarchical_risk_parity, inverse_volatility, ledoit_wolf, risk_parity
from qframe_rl.types import Float

Method = Literal["hand", "equal", "inverse_volatility", "risk_parity", "hrp"]
METHODS: tuple[Method, ...] = ("hand", "equal", "inverse_volatility", "risk_parity", "hrp")
LEAST_RETURNS = 20
"""Returns of each member that a method needs which goes by their risk."""
_BY_RISK = {
    "inverse_volatility": inverse_volatility, "risk_parity": risk_parity, "hrp": hierarchical_risk_parity,
}  # fmt: skip


class Move(NamedTuple):
    """Units that a member is to get, or to give back where negative."""

    member: str
    units: int


def shares_of(method: Method, members: Sequence[str], by_hand: Mapping[str, float], returns: Float) -> dict[str, float]:
    """Shares of a portfolio's equity.

    Parameters
    ----------
    method
        ``hand``: as they are given; ``equal``; ``inverse_volatility``, ``risk_parity`` (equal contributions to risk)
        or ``hrp`` (hierarchical risk parity) by the covariance of returns, shrunk as Ledoit and Wolf have it.
    members
        Their names, M of them.
    by_hand
        Share of each member; together at most 1, and the rest stays unallocated. The other methods divide the whole.
    returns
        (N, M) of the members over the same periods, without what was paid in or out.

    Returns
    -------
    dict[str, float]
        By member, each at least 0.

    Raises
    ------
    UserError
        For shares that are missing or more than the whole, or fewer than `LEAST_RETURNS` returns.
    """
    if not members:
        return {}
    if method == "hand":
        check_shares(members, by_hand)
        return {name: by_hand[name] for name in members}
    if method == "equal":
        weight = np.full(len(members), 1.0 / len(members))
    else:
        if len(returns) < LEAST_RETURNS:
            raise UserError(
                f"{method} goes by risk and needs {LEAST_RETURNS} returns of each member; there are {len(returns)} "
                "in which all of them traded: divide equally or by hand until then."
            )
        weight = _BY_RISK[method](ledoit_wolf(np.asarray(returns, dtype=np.float64)))
    return {name: float(share) for name, share in zip(members, weight, strict=True)}


def check_shares(members: Sequence[str], by_hand: Mapping[str, float]) -> None:
    """Refuse shares by hand that leave a member out, or are more than the whole; raises UserError."""
    missing = [name for name in members if name not in by_hand]
    if missing:
        raise UserError(f"the share of {missing[0]} is missing: by hand every member has one.")
    total = sum(Fraction(by_hand[name]).limit_denominator(10**12) for name in members)
    if total > 1 or any(by_hand[name] < 0.0 for name in members):
        raise UserError(f"shares are from 0 to 1 and together 1 at most, not {float(total):g}.")


def moves(
    shares: Mapping[str, float], equity: Mapping[str, int], whole: int, band: float, least: int = UNITS
) -> list[Move]:
    """The transfers that bring members to their shares.

    Parameters
    ----------
    shares
        By member.
    equity
        What each member has, units of 1e-8.
    whole
        What is divided: all members' equity and what is unallocated, units.
    band
        A member is moved where its share is off by more than this.
    least
        What is less than this is not worth a transfer, units.

    Returns
    -------
    list[Move]
        What is taken first, in the order of names, then what is given; never more than there is.
    """
    found = []
    for name in sorted(shares):
        goal = int(Fraction(shares[name]) * whole)
        off = goal - equity[name]
        if abs(off) >= max(least, 1) and abs(off) > Fraction(band) * whole:
            found.append(Move(name, off))
    spare = whole - sum(equity.values()) + sum(-move.units for move in found if move.units < 0)
    given = sum(move.units for move in found if move.units > 0)
    if given > spare:
        # Those that stay within their band hold a little more than their shares: what is given is less by that.
        found = [move if move.units < 0 else Move(move.member, move.units * max(spare, 0) // given) for move in found]
    return sorted((move for move in found if move.units), key=lambda move: (move.units > 0, move.member))
