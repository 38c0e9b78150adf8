"""Action schemes: what an action of a policy asks to hold."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import Field

from qframe_rl.config import Base, UserError
from qframe_rl.types import Float

Share = Annotated[float, Field(ge=-1000.0, le=1000.0)]
"""Share of equity."""


class Scheme(Protocol):
    """What an action asks to hold."""

    space: gymnasium.Space[Any]
    band: float

    def targets(self, actions: NDArray[Any]) -> tuple[Float, Float]:
        """(B, A) target exposures and (B, A) limit offsets of a batch of actions; NaN or none at all = market order."""


class LevelsConfig(Base):
    """One of a few exposures for each instrument."""

    levels: tuple[Share, ...] = Field(default=(0.0, 1.0), min_length=1, max_length=1000)
    """Exposures to choose from, shares of equity."""
    band: float = Field(default=0.05, ge=0.0, le=1000.0)
    """No order while exposure is within this of the target: drift alone does not trade."""


class ExposureConfig(Base):
    """Any exposure between two bounds for each instrument."""

    low: Share = 0.0
    """Smallest exposure, share of equity."""
    high: Share = 1.0
    """Largest exposure, share of equity."""
    band: float = Field(default=0.02, ge=0.0, le=1000.0)
    """No order while exposure is within this of the target."""


class WeightsConfig(Base):
    """A share of equity for each instrument and for cash."""

    band: float = Field(default=0.0, ge=0.0, le=1000.0)
    """No order while exposure is within this of the target."""


class LimitConfig(Base):
    """An exposure for each instrument, and how far from the mark to wait for it."""

    low: Share = 0.0
    """Smallest exposure, share of equity."""
    high: Share = 1.0
    """Largest exposure, share of equity."""
    max_offset: float = Field(default=0.01, ge=0.0, lt=1.0)
    """Farthest limit price from the mark, fraction of it; an offset of 0 or less is a market order."""
    band: float = Field(default=0.02, ge=0.0, le=1000.0)
    """No order while exposure is within this of the target."""


class Levels:
    """``levels``: an action is the index of an exposure, one index per instrument."""

    def __init__(self, config: LevelsConfig, n_instruments: int):
        self.levels = np.array(config.levels, dtype=np.float64)
        self.band = config.band
        self.n = n_instruments
        one = n_instruments == 1
        self.space = spaces.Discrete(len(self.levels)) if one else spaces.MultiDiscrete([len(self.levels)] * self.n)
        self._market = np.empty((0, self.n))

    def targets(self, actions: NDArray[Any]) -> tuple[Float, Float]:
        """Look the exposures up; all orders are market orders."""
        target = self.levels[np.asarray(actions, dtype=np.int64).reshape(-1, self.n)]
        return target, self._market


class Exposure:
    """``exposure``: an action is the exposure itself, on the scale [-1, 1] of its bounds."""

    def __init__(self, config: ExposureConfig, n_instruments: int):
        if config.high <= config.low:
            raise UserError(f"actions.high {config.high} must be above actions.low {config.low}.")
        self.low, self.high = config.low, config.high
        self.band = config.band
        self.n = n_instruments
        self.space = spaces.Box(-1.0, 1.0, (n_instruments,), np.float32)
        self._market = np.empty((0, self.n))

    def targets(self, actions: NDArray[Any]) -> tuple[Float, Float]:
        """Stretch [-1, 1] to [low, high]; all orders are market orders."""
        target = _stretch(np.asarray(actions, dtype=np.float64).reshape(-1, self.n), self.low, self.high)
        return target, self._market


class Weights:
    """``weights``: an action is A + 1 numbers in [0, 1], for the instruments and then cash, divided by their sum."""

    def __init__(self, config: WeightsConfig, n_instruments: int):
        self.band = config.band
        self.n = n_instruments
        self.space = spaces.Box(0.0, 1.0, (n_instruments + 1,), np.float32)
        self._market = np.empty((0, self.n))

    def targets(self, actions: NDArray[Any]) -> tuple[Float, Float]:
        """Normalise to weights that sum to one; all zeros mean all cash."""
        share = np.clip(np.asarray(actions, dtype=np.float64).reshape(-1, self.n + 1), 0.0, None)
        total = share.sum(axis=1, keepdims=True)
        target = np.divide(share, total, out=np.zeros_like(share), where=total > 0.0)[:, : self.n]
        return np.ascontiguousarray(target), self._market


class Limit:
    """``limit``: an action is A exposures and A offsets of limit prices, each on the scale [-1, 1] of its bounds."""

    def __init__(self, config: LimitConfig, n_instruments: int):
        self.config = config
        self.band = config.band
        self.n = n_instruments
        self.space = spaces.Box(-1.0, 1.0, (2 * n_instruments,), np.float32)

    def targets(self, actions: NDArray[Any]) -> tuple[Float, Float]:
        """Stretch both halves; offsets of 0 or less become market orders."""
        both = np.asarray(actions, dtype=np.float64).reshape(-1, 2 * self.n)
        target = _stretch(np.ascontiguousarray(both[:, : self.n]), self.config.low, self.config.high)
        offset = np.clip(both[:, self.n :], -1.0, 1.0) * self.config.max_offset
        return target, np.where(offset > 0.0, offset, np.nan)


def _stretch(action: Float, low: float, high: float) -> Float:
    """Map [-1, 1] onto [low, high]."""
    return low + (np.clip(action, -1.0, 1.0) + 1.0) * (0.5 * (high - low))


SCHEMES: dict[str, tuple[type[Base], Any]] = {
    "levels": (LevelsConfig, Levels),
    "exposure": (ExposureConfig, Exposure),
    "weights": (WeightsConfig, Weights),
    "limit": (LimitConfig, Limit),
}
