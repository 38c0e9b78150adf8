"""What a step is worth: compiled functions of equity before and after a bar, each with a little state per account.

Every reward starts from zero state and reads nothing but equity, so what the agent is paid for is what it owns. A
user's own is a function of numpy over a batch, see `Lived`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from pydantic import Field

from qframe_rl.config import Base, Ref, UserError, build, nearest
from qframe_rl.custom import handed_over, is_custom, made_own
from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel.columns import BEFORE, EQUITY, MARK, POSITION
from qframe_rl.types import Bool, Float

Kernel = Callable[[Float, Bool, Float, Float, Float], None]
"""``kernel(account (B, N_ACCOUNT and more), active (B,), state (B, N_STATE), params, out (B,))`` writes the rewards."""

N_STATE = 4
# Of the state of a reward: moments of growth and how many were seen, or the highest equity.
MEAN, SQUARE, SEEN = range(3)
PEAK = 0
RUIN = 1e-3
"""Losing everything counts as being left with this share of equity: log reward -6.9 instead of minus infinity."""


class Lived(NamedTuple):
    """What a user's own reward is told of one bar, of B accounts at once."""

    before: Float
    """(B,) equity before the bar, quote currency, above zero."""
    equity: Float
    """(B,) equity after it; 0 where everything is lost."""
    exposure: Float
    """(B, A) worth of each position after it, signed share of equity."""
    memory: Float
    """(B, 4) numbers of each account to remember things by: zeros where an episode begins, then as they were left."""


Own = Callable[[Lived], Float]
"""A user's own reward: from what was lived to (B,) rewards."""


class Reward(NamedTuple):
    """A reward by name."""

    kernel: Kernel
    params: Float
    own: Own | None = None
    """A user's own function, in place of the kernel."""

    def pay(self, account: Float, holding: Float, active: Bool, memory: Float) -> Float:
        """Rewards of one bar.

        Parameters
        ----------
        account, holding
            (B, C) and (B, A, 2) after the bar, as `qframe_rl.kernel.columns` says.
        active
            (B,) who lived it.
        memory
            (B, `N_STATE`) updated in place.

        Returns
        -------
        Float
            (B,); 0 for those who are not active.

        Raises
        ------
        ValueError
            If a user's own reward is not (B,) finite numbers.
        """
        out = np.zeros(len(account))
        if self.own is None:
            self.kernel(account, active, memory, self.params, out)
        elif active.any():
            _pay_own(self.own, account, holding, active, memory, out)
        return out


def _pay_own(own: Own, account: Float, holding: Float, active: Bool, memory: Float, out: Float) -> None:
    kept = memory[active]
    equity = account[active, EQUITY]
    worth = np.where(holding[active, :, POSITION] == 0.0, 0.0, holding[active, :, POSITION] * holding[active, :, MARK])
    share = np.divide(worth, equity[:, None], out=np.zeros_like(worth), where=equity[:, None] > 0.0)
    paid = np.asarray(own(Lived(account[active, BEFORE].copy(), equity, share, kept)), dtype=np.float64)
    name = getattr(own, "__name__", type(own).__name__)
    if paid.shape != equity.shape:
        raise ValueError(f"reward {name} gave an array of shape {paid.shape} for {len(equity)} accounts")
    if not np.isfinite(paid).all():
        wrong = int(np.flatnonzero(~np.isfinite(paid))[0])
        raise ValueError(
            f"reward {name} is {paid[wrong]} where equity went from {account[active, BEFORE][wrong]:g} to "
            f"{equity[wrong]:g}; give a finite number there too"
        )
    out[active], memory[active] = paid, kept


class LogGrowthConfig(Base):
    """Log growth of equity per bar; its sum over an episode is the log of final over initial equity."""

    scale: float = Field(default=100.0, gt=0.0, le=1e9)
    """Multiplier: 100 = in percent, so that a bar's reward is of order one."""


class DifferentialSharpeConfig(Base):
    """Differential Sharpe ratio (Moody & Saffell, 2001, eq. 8)."""

    eta: float = Field(default=0.01, gt=0.0, lt=1.0)
    """Weight of the newest return in the moving moments, in (0, 1). The reward is 0 for the first 1 / eta bars."""


class DrawdownConfig(Base):
    """Log growth, less a penalty on every further fall below the peak of equity."""

    penalty: float = Field(default=1.0, ge=0.0, le=1e6)
    """Weight of the increase in drawdown."""
    scale: float = Field(default=100.0, gt=0.0, le=1e9)
    """Multiplier of the whole."""


@inlined
def _small_log(ratio: float) -> float:
    """Logarithm of a ratio within 10 % of 1, to the last bit or two: 2 atanh((r - 1) / (r + 1)) as a series."""
    s = (ratio - 1.0) / (ratio + 1.0)
    z = s * s
    series = 1.0 / 11.0 + z * (1.0 / 13.0)
    series = 1.0 / 7.0 + z * (1.0 / 9.0 + z * series)
    return 2.0 * s * (1.0 + z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * series)))


@compiled
def _log_growth(account: Float, active: Bool, state: Float, params: Float, out: Float) -> None:
    large = 0
    for b in range(len(out)):
        ratio = account[b, EQUITY] / account[b, BEFORE]
        large += 1 if abs(ratio - 1.0) > 0.1 else 0
        out[b] = params[0] * _small_log(ratio) if active[b] else 0.0
    if large:
        for b in range(len(out)):
            ratio = account[b, EQUITY] / account[b, BEFORE]
            if active[b] and abs(ratio - 1.0) > 0.1:
                out[b] = params[0] * math.log(max(ratio, RUIN))


@compiled
def _differential_sharpe(account: Float, active: Bool, state: Float, params: Float, out: Float) -> None:
    eta = params[0]
    for b in range(len(out)):
        if active[b]:
            before, after = account[b, BEFORE], account[b, EQUITY]
            r = max(after / before, RUIN) - 1.0
            mean, square, n = state[b, MEAN], state[b, SQUARE], state[b, SEEN]
            variance = square - mean * mean
            out[b] = 0.0
            if n * eta >= 1.0 and variance > 0.0:
                out[b] = (square * (r - mean) - 0.5 * mean * (r * r - square)) / variance**1.5
            state[b, MEAN] = mean + eta * (r - mean)
            state[b, SQUARE] = square + eta * (r * r - square)
            state[b, SEEN] = n + 1.0


@compiled
def _drawdown(account: Float, active: Bool, state: Float, params: Float, out: Float) -> None:
    penalty, scale = params[0], params[1]
    for b in range(len(out)):
        if active[b]:
            before, after = account[b, BEFORE], account[b, EQUITY]
            peak = max(state[b, PEAK], before)
            was = math.log(max(before / peak, RUIN))
            peak = max(peak, after)
            now = math.log(max(after / peak, RUIN))
            state[b, PEAK] = peak
            growth = math.log(max(after / before, RUIN))
            out[b] = scale * (growth - penalty * max(0.0, was - now))


KINDS: dict[str, tuple[type[Base], Kernel, tuple[str, ...]]] = {
    "log_growth": (LogGrowthConfig, _log_growth, ("scale",)),
    "differential_sharpe": (DifferentialSharpeConfig, _differential_sharpe, ("eta",)),
    "drawdown": (DrawdownConfig, _drawdown, ("penalty", "scale")),
}


def reward(ref: Ref) -> Reward:
    """Look a reward up: one of ours by its name, or a user's own that was handed over.

    Raises
    ------
    UserError
        For an unknown name or parameter, or one of a user's own that was not handed over, or is another by now.
    """
    if is_custom(ref.name):
        return Reward(_log_growth, np.zeros(0), made_own(handed_over(ref.name, "reward"), ref.params, "reward"))
    if ref.name not in KINDS:
        raise UserError(f"unknown reward {ref.name!r}{nearest(ref.name, KINDS)}")
    config, kernel, fields = KINDS[ref.name]
    chosen = build(config, ref.params, f"reward {ref.name}")
    return Reward(kernel, np.array([getattr(chosen, field) for field in fields], dtype=np.float64))
