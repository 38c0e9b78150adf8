"""How accounts, orders, bars and fills lie in the arrays of the compiled functions: names of their last axis."""

from __future__ import annotations

import numpy as np

from qframe_rl.types import Bool, Float

# Of an account, (B, 8 and what its rules remember, see `qframe_rl.kernel.rules.Rules.n_columns`): equity after the last
# bar, and before it; cash that is on its way, for so many bars; interest.
CASH, EQUITY, BEFORE, ABSORBED, RUINED, MOVING, LEFT, EARNED = range(8)
N_ACCOUNT = 8
# Of a holding, (B, A, 2).
POSITION, MARK = range(2)
# Of an order, (B, A, 3); also the first of a fill.
QUANTITY, LIMIT, STOP = range(3)
# Of a fill, (B, A, 9).
PRICE, FEE, SPREAD, PUSHED, FUNDING, CANCELLED, FORCED, FORCED_PRICE = range(1, 9)
N_FILLS = 9
# Of a bar, (T, A, 8), after open, high, low, close and volume; the last is the same for all instruments.
DUE, FINAL, CASH_RATE = 5, 6, 7
N_BAR = 8


def bars_of(values: Float, funding: Float, final: Bool, cash_rate: Float) -> Float:
    """Lay (T, A, C) channels, (T, A) funding, (T, A) flags of last bars and (T,) cash rates side by side: (T, A, 8)."""
    bars = np.zeros((*funding.shape, N_BAR))
    bars[..., :5] = values[..., :5]
    bars[..., DUE] = funding
    bars[..., FINAL] = final
    bars[..., CASH_RATE] = cash_rate[:, None]
    return bars


def opened(cash: float, n_envs: int, n_columns: int = N_ACCOUNT) -> Float:
    """(B, ``n_columns``) accounts that hold ``cash`` and nothing else, as wide as `Rules.n_columns` says."""
    account = np.zeros((n_envs, n_columns))
    account[:, CASH] = account[:, EQUITY] = account[:, BEFORE] = cash
    return account
