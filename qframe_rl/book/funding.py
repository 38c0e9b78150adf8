"""Funding on a tape: what falls due at a moment is paid on what was held just before it.

Whatever happens at that moment, rows and own messages alike, comes after the payment. It is charged at the mark price
where one is known, else at the exchange's mid price just before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.book.accounts import NOW, POSITION, Walk
from qframe_rl.book.lookup import rows_until
from qframe_rl.book.tape import NO_ASK, NO_BID, Tape
from qframe_rl.book.walk import advance
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Float, Int

RATE, MARK = range(2)
"""Columns of terms: share of the notional that longs pay, and the mark price, ticks; NaN = the mid price."""


class FundingDues(NamedTuple):
    """F settlements, rising in time."""

    at: Int
    """(F,) ns UTC, exchange's clock."""
    terms: Float
    """(F, 2) rate and mark."""

    def between(self, after: int, until: int) -> FundingDues:
        """Those after a moment, and until another with it, ns."""
        kept = (self.at > after) & (self.at <= until)
        return FundingDues(self.at[kept], self.terms[kept])


NO_DUES = FundingDues(np.zeros(0, np.int64), np.zeros((0, 2)))


@inlined
def mid_before(tape: Tape, at: int) -> float:
    """The exchange's mid price just before a moment, ticks: the last one with both sides; NaN if there was none."""
    row, mid = rows_until(tape.exchange_ns, at - 1) - 1, np.nan
    while row >= 0 and np.isnan(mid):
        if tape.bid[row] != NO_BID and tape.ask[row] != NO_ASK:
            mid = 0.5 * (tape.bid[row] + tape.ask[row])
        row -= 1
    return float(mid)


@inlined
def owed(held: int, mid: float, rate: float, mark: float) -> float:
    """What an account pays, ticks times lots; where no price was ever known nothing can be held."""
    price = mid if np.isnan(mark) else mark
    return 0.0 if held == 0 or np.isnan(price) else held * price * rate


@compiled
def advance_paid(
    tape: Tape, dues: FundingDues, walk: Walk, b: int, until: int, answer_ns: int, power: float
) -> None:  # fmt: skip
    """Let an account live through the market, and pay what falls due.

    Parameters
    ----------
    tape, walk, b, until, answer_ns, power
        As in `qframe_rl.book.walk.advance`.
    dues
        Settlements.
    """
    k = rows_until(dues.at, walk.account[b, NOW])
    while k < len(dues.at) and dues.at[k] <= until:
        at = dues.at[k]
        advance(tape, walk, b, at - 1, answer_ns, power)
        mid = mid_before(tape, at)
        walk.funding[b] += owed(walk.account[b, POSITION], mid, dues.terms[k, RATE], dues.terms[k, MARK])
        k += 1
    advance(tape, walk, b, until, answer_ns, power)
