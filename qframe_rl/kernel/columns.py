"""How accounts, orders, bars and fills lie in the arrays of the compiled functions: names of their last axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qframe_rl.members import member_channel, outsiders
from qframe_rl.types import VOLUME, Bool, Float

# Integers of a module are constants of what is compiled: a name costs nothing.
# Of an account, (B, 8 and what its rules remember, see `qframe_rl.kernel.rules.Rules.n_columns`): equity after the last
# bar, and before it; cash that is on its way, for so many bars; interest.
CASH, EQUITY, BEFORE, ABSORBED, RUINED, MOVING, LEFT, EARNED = range(8)
N_ACCOUNT = 8
# Of a holding, (B, A, 2).
POSITION, MARK = range(2)
# Of an order, (B, A, 3); also the first of a fill.
QUANTITY, LIMIT, STOP = range(3)
N_ORDER = 3
# Of an order in a slot, (B, A, 8, K): after those three the attributes that an order by itself has not. Of what became
# of it, (B, A, 3, K).
GOOD, AFTER, TRAIL, FLAGS, GROUP = range(3, 8)
N_SLOT = 8
PART, PART_PRICE, PART_FEE = range(3)
N_PARTS = 3
# Of a fill, (B, A, 9).
PRICE, FEE, SPREAD, PUSHED, FUNDING, CANCELLED, FORCED, FORCED_PRICE = range(1, 9)
N_FILLS = 9
# Of the sums of a backtest, (B, 3): quote currency, quote currency, number of fills.
COSTS, NOTIONAL, TRADES = range(3)
N_SUMS = 3
# Of a row of a record, (N_HEAD + N_PANELS x A + N_TAIL,): cash and loss absorbed; panels of A numbers each, which are
# positions, marks, the fields of an order and those of a fill; interest and cash rate, counted from the end.
ROW_CASH, ROW_ABSORBED, N_HEAD = range(3)
POSITIONS, MARKS, ORDERS = range(3)
FILLS = ORDERS + N_ORDER
N_PANELS = FILLS + N_FILLS
ROW_INTEREST, ROW_CASH_RATE, N_TAIL = -2, -1, 2
# Of a bar, (T, A, 8), after open, high, low, close and volume; the last is the same for all instruments.
DUE, STANDING, CASH_RATE = 5, 6, 7
N_BAR = 8
# How an instrument stands: as ever, in its last bar, or below zero where it is outside the universe, so that what is
# ordered after the bar can only reduce; the last bar may be outside as well.
INSIDE, LAST, OUTSIDE, LAST_OUTSIDE = 0.0, 1.0, -1.0, -2.0


def bars_of(values: Float, funding: Float, final: Bool, cash_rate: Float, columns: Sequence[str] = ()) -> Float:
    """Lay what there is of bars side by side.

    Parameters
    ----------
    values
        (T, A, C) channels.
    funding, final, cash_rate
        (T, A), (T, A) and (T,), as in `qframe_rl.types.Bar`.
    columns
        Names of the channels after the first five, by which is known who is in the universe.

    Returns
    -------
    Float
        (T, A, 8).
    """
    bars = np.zeros((*funding.shape, N_BAR))
    bars[..., : VOLUME + 1] = values[..., : VOLUME + 1]
    bars[..., DUE] = funding
    outside = outsiders(values, member_channel(columns))
    bars[..., STANDING] = np.where(outside, np.where(final, LAST_OUTSIDE, OUTSIDE), np.where(final, LAST, INSIDE))
    bars[..., CASH_RATE] = cash_rate[:, None]
    return bars


def opened(cash: float, n_envs: int, n_columns: int = N_ACCOUNT) -> Float:
    """(B, ``n_columns``) accounts that hold ``cash`` and nothing else, as wide as `Rules.n_columns` says."""
    account = np.zeros((n_envs, n_columns))
    account[:, CASH] = account[:, EQUITY] = account[:, BEFORE] = cash
    return account
