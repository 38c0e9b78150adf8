"""A book in closed form: what exposures decided at closes earn, differentiably, as the kernel settles them.

Orders decided at the close of bar t fill at the open of bar t + 1, so the old exposure meets the gap between them (and
the funding that falls due), the new one the rest of the bar, and the change pays the cost of a market order. It is the
kernel's arithmetic to first order in a bar's return: fees and lots are not rounded, and weights do not drift in a bar.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

from qframe_rl.types import CLOSE, OPEN, Bool, Float, History


class UnitReturns(NamedTuple):
    """What one unit of exposure earns in each bar; 0 where there is no bar."""

    gap: Float
    """(T, A) from the last close to the bar's open, less funding: earned by what was held."""
    body: Float
    """(T, A) from the open to the close: earned by what was ordered at the last close."""
    traded: Bool
    """(T, A) whether the instrument trades in the bar."""


def moves(history: History) -> UnitReturns:
    """Moves of every bar of a history."""
    opening, close = history.values[:, :, OPEN], history.values[:, :, CLOSE]
    last = np.concatenate([np.full((1, close.shape[1]), np.nan), history.marks[:-1]])
    gap = (opening - last - history.funding) / last
    return UnitReturns(np.nan_to_num(gap), np.nan_to_num(close / opening - 1.0), ~np.isnan(close))


def net_returns(
    held: torch.Tensor, before: torch.Tensor, gap: torch.Tensor, body: torch.Tensor, cost_rate: float
) -> torch.Tensor:
    """Net return of the next bar on each exposure.

    Parameters
    ----------
    held
        (...) exposures ordered at a close.
    before
        (...) exposures held until then.
    gap, body
        (...) `UnitReturns` of the bar that follows.
    cost_rate
        Cost of one unit of turnover.
    """
    return held * body + before * gap - cost_rate * (held - before).abs()


def sharpe(returns: torch.Tensor, per_year: float) -> torch.Tensor:
    """Annual Sharpe ratio of pooled returns, as the loss of Lim, Zohren & Roberts (2019) has it."""
    deviation: torch.Tensor = (returns.var(correction=0) + 1e-9).sqrt()
    return math.sqrt(per_year) * returns.mean() / deviation


def differential_sharpe(returns: torch.Tensor, mean: torch.Tensor, square: torch.Tensor, eta: float) -> torch.Tensor:
    """Differential Sharpe ratios along the last axis (Moody & Saffell, 2001, eq. 8).

    ``D = (B dA - A dB / 2) / (B - A²)^1.5`` with ``dA = R - A`` and ``dB = R² - B``. The moments are what was known
    before each return and carry no gradient: from 0 they would take 1 / eta steps to mean anything, so they are given.

    Parameters
    ----------
    returns
        (..., T).
    mean, square
        (...) first and second moment A and B before the first return.
    eta
        Weight of the newest return in the moments that follow.
    """
    out = []
    for r in returns.unbind(-1):
        over = (square * (r - mean) - 0.5 * mean * (r * r - square)) / (square - mean * mean) ** 1.5
        out.append(over)
        seen = r.detach()
        mean, square = mean + eta * (seen - mean), square + eta * (seen * seen - square)
    return torch.stack(out, -1)


def remainder(before: torch.Tensor, after: torch.Tensor, cost_rate: float, steps: int = 12) -> torch.Tensor:
    """Share of a portfolio that is left after its weights were changed (Jiang et al., 2017, eq. 14).

    The fixed point of ``m = (1 - c w'_0 - (2 c - c²) sum (w'_i - m w_i)+) / (1 - c w_0)``, which the iteration nears
    by a factor of about 2 c a step.

    Parameters
    ----------
    before, after
        (..., 1 + A) weights, cash first.
    cost_rate
        c, the cost of a unit of turnover.
    steps
        Iterations from the first-order value.
    """
    sold = (before - after)[..., 1:]
    left: torch.Tensor = 1.0 - cost_rate * sold.abs().sum(-1)
    for _ in range(steps):
        sales = (before[..., 1:] - left[..., None] * after[..., 1:]).clamp(min=0.0).sum(-1)
        left = (1.0 - cost_rate * before[..., 0] - (2.0 * cost_rate - cost_rate**2) * sales) / (
            1.0 - cost_rate * after[..., 0]
        )
    return left
