"""Many equity curves as numbers and as a fan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from qframe_rl.evaluate.metrics import compound, drawdown, log_growth, returns, sharpe
from qframe_rl.types import Float

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
POINTS = 160
"""Points of a fan along time."""
_SHOWN = 12
_BINS = 24
STATISTICS = ("sharpe", "annual_return", "total_return", "max_drawdown")


@dataclass(frozen=True)
class Distribution:
    """How one figure is spread over paths."""

    real: float
    """Of the record itself."""
    mean: float
    low: float
    """5th percentile."""
    median: float
    high: float
    """95th percentile."""
    positive: float
    """Share of paths above zero."""
    reached: float
    """Share of paths that reach the record's own figure."""


@dataclass(frozen=True, eq=False)
class GrowthFan:
    """Quantiles of growth along time, over paths."""

    at: Float
    """(G,) share of the time gone, 0 to 1."""
    quantiles: Float
    """(5, G) of equity over initial equity, for `QUANTILES`."""
    shown: Float
    """(K, G) a few of the paths."""
    real: Float | None
    """(G,) the record itself, where it covers the same time."""


class Paths:
    """Figures of equity curves, gathered one by one.

    Parameters
    ----------
    frequency
        Bars in a year.
    real
        (N + 1,) equity of the record that the paths are held against; None = there is none.
    """

    def __init__(self, frequency: float, real: Float | None = None):
        self.frequency = frequency
        self.real = real
        self._figures: list[tuple[float, ...]] = []
        self._curves: list[Float] = []

    def add(self, equity: Float) -> None:
        """Take one curve in."""
        self._figures.append(self._of(equity))
        self._curves.append(_thin(equity))

    def add_all(self, curves: Iterable[Float]) -> Paths:
        """Take several in."""
        for curve in curves:
            self.add(curve)
        return self

    def __len__(self) -> int:
        return len(self._figures)

    def column(self, name: str) -> Float:
        """(P,) one figure of every path: ``sharpe``, ``annual_return``, ``total_return`` or ``max_drawdown``."""
        return np.array(self._figures, dtype=np.float64)[:, STATISTICS.index(name)]

    def spread(self, name: str) -> Distribution:
        """One figure's spread."""
        drawn = self.column(name)
        real = self._of(self.real)[STATISTICS.index(name)] if self.real is not None else float("nan")
        low, middle, high = (float(q) for q in np.quantile(drawn, (0.05, 0.5, 0.95)))
        reached = float(np.mean(drawn >= real)) if self.real is not None else float("nan")
        return Distribution(real, float(drawn.mean()), low, middle, high, float(np.mean(drawn > 0.0)), reached)

    def fan(self) -> GrowthFan:
        """The curves along time."""
        curves = np.stack(self._curves)
        at = np.linspace(0.0, 1.0, curves.shape[1])
        step = max(1, len(curves) // _SHOWN)
        real = None if self.real is None else _thin(self.real)
        return GrowthFan(at, np.quantile(curves, QUANTILES, axis=0), curves[::step][:_SHOWN], real)

    def describe(self) -> dict[str, Any]:
        """Plain data: spreads, histogram of Sharpe ratios, fan."""
        fan, ratios = self.fan(), self.column("sharpe")
        low, high = float(ratios.min()), float(ratios.max())
        # The order of trades leaves the ratio as it is, up to rounding.
        reach = (low, high) if high - low > 1e-6 else (low - 0.5, high + 0.5)
        counts, edges = np.histogram(ratios, bins=_BINS, range=reach)
        spreads = {name: {k: _plain(v) for k, v in asdict(self.spread(name)).items()} for name in STATISTICS}
        return {
            "paths": len(self),
            **spreads,
            "histogram": {"counts": counts.tolist(), "edges": _round(edges)},
            "fan": {
                "at": _round(fan.at),
                "quantiles": [_round(row) for row in fan.quantiles],
                "shown": [_round(row) for row in fan.shown],
                "real": None if fan.real is None else _round(fan.real),
            },
        }

    def _of(self, equity: Float) -> tuple[float, ...]:
        rate = returns(equity)
        growth = log_growth(equity)
        annual = float(compound(np.array(growth), len(rate) / self.frequency))
        total = float(np.expm1(growth))
        return sharpe(rate, self.frequency), annual, total, float(drawdown(equity).min())


def curve_of(rate: Float, start: float = 1.0) -> Float:
    """(n + 1,) equity of (n,) simple returns; a loss of everything ends it."""
    curve: Float = start * np.concatenate([[1.0], np.cumprod(np.maximum(1.0 + rate, 0.0))])
    return curve


def _thin(equity: Float) -> Float:
    rows = np.linspace(0, len(equity) - 1, min(POINTS, len(equity))).round().astype(np.int64)
    thin: Float = np.interp(np.linspace(0.0, 1.0, POINTS), np.linspace(0.0, 1.0, len(rows)), equity[rows] / equity[0])
    return thin


def _round(values: Float | Sequence[float]) -> list[float]:
    return [float(f"{value:.6g}") for value in np.asarray(values)]


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value
