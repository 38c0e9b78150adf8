"""Action schemes: what an action of a policy asks to hold.

A scheme is a space of actions and one compiled function over a batch of them, which also refuses what is not in the
space: checking costs nothing where the numbers are read anyway. A policy that was never trained does next to nothing
under any of them: its actions lie within a hundredth of the middle of the space, and the middle moves nothing.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import Field

from qframe_rl.config import Base, UserError, shortened
from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel.columns import EQUITY, MARK, POSITION
from qframe_rl.types import Bool, Float

Share = Annotated[float, Field(ge=-1000.0, le=1000.0)]
"""Share of equity."""
Band = Annotated[float, Field(ge=0.0, le=1000.0)]
"""Share of equity within which nothing is ordered."""
Kernel = Callable[[Float, Float, Float, Bool, Float, Float, Float], int]
"""``kernel(actions (B, K), account (B, C), holding (B, A, 2), active (B,), params, target (B, A), offset)`` writes
target exposures and limit offsets, (B, A) or none at all; NaN leaves a holding as it is, or asks at the market. It
returns the first active account whose action is outside the space, else -1."""


class Scheme(ABC):
    """What an action asks to hold.

    Parameters
    ----------
    space
        Of one account's actions.
    n_instruments
        A.
    band
        No order where exposure is within this of its target.
    """

    idle: tuple[int, ...] = ()
    """Of discrete actions the one that asks for the least, for each instrument; none where the middle of the space is
    that."""

    def __init__(self, space: gymnasium.Space[Any], n_instruments: int, *, band: float = 0.0):
        self.space, self.n, self.band = space, n_instruments, band
        self._shape = tuple(space.shape or ())
        self.market = np.empty((0, n_instruments))

    @abstractmethod
    def targets(self, actions: NDArray[Any], account: Float, holding: Float, active: Bool) -> tuple[Float, Float]:
        """Target exposures and limit offsets of a batch of actions.

        Parameters
        ----------
        actions
            (B, ...) of `space`.
        account, holding
            (B, C) and (B, A, 2), laid out as `qframe_rl.kernel.columns` says.
        active
            (B,) whose actions count.

        Returns
        -------
        tuple[Float, Float]
            (B, A) exposures, NaN = leave it; (B, A) offsets, NaN = market order, or (0, A) where all are.

        Raises
        ------
        ValueError
            For actions of another shape, or one outside the space.
        """

    def rows(self, actions: NDArray[Any], n_envs: int) -> Float:
        """(B, K) contiguous numbers of actions; raises ValueError where their shape is not that of the space."""
        return numbers_of(actions, (n_envs, *self._shape), f"{self.space} of {n_envs} wants").reshape(n_envs, -1)


class CompiledScheme(Scheme):
    """One whose actions a compiled function reads.

    Parameters
    ----------
    space, n_instruments, band
        As in `Scheme`.
    kernel, params
        What reads a batch of them.
    limits
        Whether the kernel writes limit offsets.
    """

    def __init__(
        self,
        space: gymnasium.Space[Any],
        kernel: Kernel,
        params: Sequence[float],
        n_instruments: int,
        *,
        band: float = 0.0,
        limits: bool = False,
    ):
        super().__init__(space, n_instruments, band=band)
        self._kernel, self._params, self._limits = kernel, np.array(params, dtype=np.float64), limits

    def targets(self, actions: NDArray[Any], account: Float, holding: Float, active: Bool) -> tuple[Float, Float]:
        """As `Scheme.targets`."""
        rows = self.rows(actions, len(account))
        target = np.empty((len(account), self.n))
        offset = np.empty((len(account), self.n)) if self._limits else self.market
        wrong = self._kernel(rows, account, holding, active, self._params, target, offset)
        if wrong >= 0:
            raise ValueError(outside(actions, wrong, self.space))
        return target, offset


def numbers_of(actions: NDArray[Any], shape: tuple[int, ...], whose: str) -> Float:
    """Actions as numbers.

    Parameters
    ----------
    actions
        As they were given.
    shape
        That they must have.
    whose
        What wants it, for the message: a space and how many, and the verb.

    Returns
    -------
    numpy.ndarray
        ``shape``, float64, contiguous.

    Raises
    ------
    ValueError
        For another shape, or what is no numbers.
    """
    given = np.asarray(actions)
    if given.shape != shape:
        raise ValueError(f"actions have shape {given.shape}, but {whose} {shape}")
    try:
        if given.dtype.kind not in "biufO":
            raise TypeError
        return np.ascontiguousarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"actions are numbers; {shortened(str(given.tolist()))} is none") from None


def outside(actions: NDArray[Any], wrong: int, space: gymnasium.Space[Any]) -> str:
    """Say which environment's action is outside the space.

    Parameters
    ----------
    actions
        (B, ...) of a batch.
    wrong
        Which of them.
    space
        Of one environment.
    """
    which = f"environment {wrong}: " if len(actions) > 1 else ""
    return f"{which}action {np.asarray(np.asarray(actions)[wrong]).tolist()} is not in {space}"


class LevelsConfig(Base):
    """One of a few exposures for each instrument."""

    levels: tuple[Share, ...] = Field(default=(0.0, 1.0), min_length=1, max_length=1000)
    """Exposures to choose from, shares of equity."""
    band: Band = 0.05
    """No order while exposure is within this of the target: drift alone does not trade."""


class ExposureConfig(Base):
    """Any exposure between two bounds for each instrument."""

    low: Share = 0.0
    """Smallest exposure, share of equity."""
    high: Share = 1.0
    """Largest exposure, share of equity."""
    band: Band = 0.02
    """No order while exposure is within this of the target."""


class LimitConfig(ExposureConfig):
    """An exposure for each instrument, and how far from the mark to wait for it."""

    max_offset: float = Field(default=0.01, ge=0.0, lt=1.0)
    """Farthest limit price from the mark, fraction of it; an offset of 0 or less is a market order."""


class DeltaConfig(Base):
    """A change of exposure for each instrument."""

    low: Share = 0.0
    """Smallest exposure, share of equity."""
    high: Share = 1.0
    """Largest exposure, share of equity."""
    max_step: float = Field(default=0.25, gt=0.0, le=1000.0)
    """Largest change of an exposure in one bar, share of equity."""
    band: Band = 0.02
    """No order for a smaller change: what is held is left to drift."""


class SimplexConfig(Base):
    """A share of equity for each instrument and for cash."""

    cash_bias: float = Field(default=2.3, ge=-100.0, le=100.0)
    """Added to the logit of cash: at 2.3 the action of all zeros asks for as much cash as ten instruments."""
    scale: float = Field(default=4.0, gt=0.0, le=100.0)
    """Logit of an action of 1; at 4 one instrument, or cash, can have more than nine tenths."""
    step: float = Field(default=0.02, gt=0.0, le=1.0)
    """Part of the way from what is held to what is asked for that one bar trades; 1 = all of it."""
    band: Band = 0.01
    """Least order: none for an instrument while what is held is within this of what is asked for, else at least so
    much. What is held of one that less than a tenth of it is asked for is sold to the end."""


class Levels(CompiledScheme):
    """``levels``: an action is the index of an exposure, one index per instrument."""

    def __init__(self, config: LevelsConfig, n_instruments: int):
        self.levels = np.array(config.levels, dtype=np.float64)
        n = len(self.levels)
        space = spaces.Discrete(n) if n_instruments == 1 else spaces.MultiDiscrete([n] * n_instruments)
        super().__init__(space, _levels, config.levels, n_instruments, band=config.band)
        self.idle = (int(np.argmin(np.abs(self.levels))),) * n_instruments


class Exposure(CompiledScheme):
    """``exposure``: an action is the exposure itself, on the scale [-1, 1] of its bounds."""

    def __init__(self, config: ExposureConfig, n_instruments: int):
        self.low, self.high = _bounds(config.low, config.high)
        params = (self.low, 0.5 * (self.high - self.low))
        super().__init__(box(n_instruments), _exposure, params, n_instruments, band=config.band)


class Limit(CompiledScheme):
    """``limit``: an action is A exposures and A offsets of limit prices, each on the scale [-1, 1] of its bounds."""

    def __init__(self, config: LimitConfig, n_instruments: int):
        self.low, self.high = _bounds(config.low, config.high)
        params = (self.low, 0.5 * (self.high - self.low), config.max_offset)
        super().__init__(box(2 * n_instruments), _exposure, params, n_instruments, band=config.band, limits=True)


class Delta(CompiledScheme):
    """``delta``: an action is the change of exposure, on the scale [-1, 1] of the largest; small ones leave it."""

    def __init__(self, config: DeltaConfig, n_instruments: int):
        self.low, self.high = _bounds(config.low, config.high)
        params = (self.low, self.high, config.max_step, config.band)
        super().__init__(box(n_instruments), _delta, params, n_instruments)


class Simplex(CompiledScheme):
    """``simplex``: an action is A + 1 logits, of the instruments and then cash; softmax gives what to move towards.

    Cash has a bias, and a bar trades only a part of the way, so that neither the noise of a new policy nor that of its
    exploration becomes turnover. An instrument that does not trade leaves its share in cash.
    """

    def __init__(self, config: SimplexConfig, n_instruments: int):
        params = (config.scale, config.cash_bias, config.step, config.band)
        super().__init__(box(n_instruments + 1), _simplex, params, n_instruments)


def box(n: int) -> spaces.Box:
    """The space of n numbers in [-1, 1]."""
    return spaces.Box(-1.0, 1.0, (n,), np.float32)


def _bounds(low: float, high: float) -> tuple[float, float]:
    if high <= low:
        raise UserError(f"actions.high {high} must be above actions.low {low}.")
    return low, high


@inlined
def _within(x: float) -> bool:
    """Whether a number is in [-1, 1]; NaN is not."""
    return abs(x) <= 1.0


@inlined
def _held(account: Float, holding: Float, b: int, a: int) -> float:
    """Exposure of an account to an instrument; 0 without equity."""
    held, equity = holding[b, a, POSITION], account[b, EQUITY]
    return held * holding[b, a, MARK] / equity if held != 0.0 and equity > 0.0 else 0.0


@compiled
def _levels(
    actions: Float, account: Float, holding: Float, active: Bool, params: Float, target: Float, offset: Float
) -> int:
    n = len(params)
    for b in range(len(actions)):
        for a in range(target.shape[1]):
            x = actions[b, a]
            k = int(x) if x >= 0.0 and x < n else 0
            if active[b] and k != x:
                return b
            target[b, a] = params[k]
    return -1


@compiled
def _exposure(
    actions: Float, account: Float, holding: Float, active: Bool, params: Float, target: Float, offset: Float
) -> int:
    n, limited = target.shape[1], len(offset) > 0
    for b in range(len(actions)):
        for a in range(n):
            x, y = actions[b, a], actions[b, n + a] if limited else 0.0
            if active[b] and not (_within(x) and _within(y)):
                return b
            target[b, a] = params[0] + (x + 1.0) * params[1]
            if limited:
                offset[b, a] = y * params[2] if y * params[2] > 0.0 else np.nan
    return -1


@compiled
def _delta(
    actions: Float, account: Float, holding: Float, active: Bool, params: Float, target: Float, offset: Float
) -> int:
    low, high, most, band = params[0], params[1], params[2], params[3]
    for b in range(len(actions)):
        for a in range(target.shape[1]):
            if active[b] and not _within(actions[b, a]):
                return b
            change = actions[b, a] * most
            wanted = min(max(_held(account, holding, b, a) + change, low), high)
            target[b, a] = wanted if abs(change) > band else np.nan
    return -1


@compiled
def _simplex(
    actions: Float, account: Float, holding: Float, active: Bool, params: Float, target: Float, offset: Float
) -> int:
    scale, bias, step, band = params[0], params[1], params[2], params[3]
    n = target.shape[1]
    for b in range(len(actions)):
        cash = scale * actions[b, n] + bias
        most, inside = cash, _within(actions[b, n])
        for a in range(n):
            inside = inside and _within(actions[b, a])
            most = max(most, scale * actions[b, a])
        if active[b] and not inside:
            return b
        total = math.exp(cash - most)
        for a in range(n):
            target[b, a] = math.exp(scale * actions[b, a] - most)
            total += target[b, a]
        for a in range(n):
            held, share = _held(account, holding, b, a), target[b, a] / total
            away = share - held
            size = max(step * abs(away), band)
            resting = 0.0 if share < 0.1 * band else np.nan
            target[b, a] = held + math.copysign(size, away) if abs(away) > band else resting
    return -1


WITHDRAWN = {
    "weights": "an untrained policy turned a portfolio over thousands of times a year under it; set actions.name to "
    "simplex, and train anew",
}
"""Schemes that there were, and what to do instead."""
