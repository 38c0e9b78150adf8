"""The library's action schemes by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qframe_rl.config import Base
from qframe_rl.interface.bracket import Bracket, BracketConfig
from qframe_rl.interface.schemes import (
    Delta,
    DeltaConfig,
    Exposure,
    ExposureConfig,
    Levels,
    LevelsConfig,
    Limit,
    LimitConfig,
    Scheme,
    Simplex,
    SimplexConfig,
)

SCHEMES: dict[str, tuple[type[Base], Callable[[Any, int], Scheme]]] = {
    "levels": (LevelsConfig, Levels),
    "exposure": (ExposureConfig, Exposure),
    "simplex": (SimplexConfig, Simplex),
    "delta": (DeltaConfig, Delta),
    "limit": (LimitConfig, Limit),
    "bracket": (BracketConfig, Bracket),
}
