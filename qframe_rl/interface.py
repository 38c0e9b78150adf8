"""What stands between a market and a policy: observations out, actions in.

An interface is made of an `Observer` (feature window and account state, scaled by what training rows looked like) and
an action scheme (what an action asks to hold). It is plain data, saved with the policy, so training and trading cannot
normalise differently. `rebalance` is the same arithmetic for strategies that think in target exposures themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import Field

from qframe_rl.agent import View
from qframe_rl.config import Base, UserError, build, nearest
from qframe_rl.features import Feature, features
from qframe_rl.jit import compiled
from qframe_rl.kernel.columns import EQUITY, LIMIT, MARK, N_ACCOUNT, N_BAR, POSITION, QUANTITY, STOP
from qframe_rl.kernel.lanes import scratch
from qframe_rl.kernel.rows import target_rows
from qframe_rl.types import CLOSE, Bool, Float, History, Int, Orders, Segments, Single

BOUND = 10.0
"""Every number that a policy sees lies in [-BOUND, BOUND]."""
N_NUMBERS = 4_000_000
"""Most numbers of an observation."""
Share = Annotated[float, Field(ge=-1000.0, le=1000.0)]
"""Share of equity."""
Parts = Sequence[tuple[History, Segments]]
"""Histories, and the rows of each that may be looked at."""
_FIRST = np.zeros(1, dtype=np.int64)
_ONE = np.ones(1, dtype=np.bool_)
_scratch = cache(scratch)


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of each feature over the training rows."""

    mean: Float
    """(F,)."""
    scale: Float
    """(F,) above zero."""

    def __call__(self, rows: Float) -> NDArray[np.float32]:
        """Scale (..., F) rows, clip them to ±BOUND, and write 0 where a feature is NaN."""
        scaled = (rows - self.mean) / self.scale
        np.clip(scaled, -BOUND, BOUND, out=scaled)
        scaled[np.isnan(scaled)] = 0.0
        return scaled.astype(np.float32)


class Observer:
    """Turns bars and an account into one flat row of numbers.

    The row is the scaled features of the last ``n_rows`` bars (bar by bar, instrument by instrument, feature by
    feature), then the A exposures, then A flags of which instruments trade.

    Parameters
    ----------
    specs
        Feature names, see `qframe_rl.features.known`.
    n_rows
        Bars whose features are shown, at least 1.
    n_instruments
        A.
    columns
        Names of the feed's columns.
    scaler
        As `fit` made it; features pass unscaled without one.

    Raises
    ------
    UserError
        For an unknown feature, none at all, or more than `N_NUMBERS` numbers.
    """

    def __init__(
        self,
        specs: Sequence[str],
        n_rows: int,
        n_instruments: int,
        columns: Sequence[str] = (),
        scaler: Scaler | None = None,
    ):
        self.features: tuple[Feature, ...] = features(specs, columns)
        if not self.features:
            raise UserError("an observation needs at least one feature.")
        self.n_rows = n_rows
        self.n_instruments = n_instruments
        self.columns = tuple(columns)
        self.scaler = scaler or Scaler(np.zeros(len(self.features)), np.ones(len(self.features)))
        self.lookback = max(feature.lookback for feature in self.features)
        self.window = self.lookback + n_rows - 1
        self.n_numbers = n_rows * n_instruments * len(self.features) + 2 * n_instruments
        if self.n_numbers > N_NUMBERS:
            raise UserError(
                f"an observation of {n_rows:,} bars, {n_instruments:,} instruments, {len(self.features):,} features "
                f"has {self.n_numbers:,} numbers, more than {N_NUMBERS:,}; lower n_rows or drop features."
            )
        self.space = spaces.Box(-BOUND, BOUND, (self.n_numbers,), np.float32)

    def raw(self, bars: Float, times: Int, first: int = 0) -> Float:
        """Features as they are before scaling, of rows ``first`` to the end.

        Parameters
        ----------
        bars, times
            (T, A, C) channels and (T,) closes, ns UTC.
        first
            First row wanted; a feature is NaN where fewer bars than its lookback precede.

        Returns
        -------
        Float
            (T - first, A, F).
        """
        return np.stack([feature.rows(bars, times, first) for feature in self.features], axis=-1)

    def fit(self, parts: Parts) -> Observer:
        """Return the same observer with a scaler fitted on the rows of the parts' segments alone."""
        raws = [(self.raw(history.values, history.time), segments) for history, segments in parts]
        n = len(self.features)
        rows = np.concatenate([raw[s.start : s.stop].reshape(-1, n) for raw, segments in raws for s in segments])
        seen = ~np.isnan(rows)
        count = np.maximum(seen.sum(axis=0), 1)
        mean = np.where(seen, rows, 0.0).sum(axis=0) / count
        spread = np.sqrt((np.where(seen, rows - mean, 0.0) ** 2).sum(axis=0) / count)
        scaler = Scaler(mean, np.where(spread > 1e-12, spread, 1.0))
        names = [feature.name for feature in self.features]
        return Observer(names, self.n_rows, self.n_instruments, self.columns, scaler)

    def matrix(self, history: History) -> NDArray[np.float32]:
        """Scaled features (T, A x F) of every row of a history."""
        return self.scaler(self.raw(history.values, history.time)).reshape(len(history), -1)

    def observe(self, view: View) -> NDArray[np.float32]:
        """One observation: the same bits as the row that an environment copies from `matrix`."""
        row = np.empty(self.n_numbers, dtype=np.float32)
        shown = self.scaler(self.raw(view.bars, view.times, len(view.bars) - self.n_rows))
        row[: shown.size] = shown.ravel()
        account, holding, bars = _laid_out(view)
        see_rows(account, holding, bars, _FIRST, _ONE, BOUND, shown.size, row[None])
        return row


def _laid_out(view: View) -> tuple[Float, Float, Float]:
    """A view's account, holdings and last bar as the compiled functions read them."""
    account, n = view.account, len(view.account.position)
    money, holding, bars = np.zeros((1, N_ACCOUNT)), np.empty((1, n, 2)), np.empty((1, n, N_BAR))
    money[0, EQUITY] = account.equity
    holding[0, :, POSITION], holding[0, :, MARK] = account.position, account.mark
    bars[0, :, :5] = view.bars[-1, :, :5]
    return money, holding, bars


@compiled
def see_rows(
    account: Float, holding: Float, bars: Float, row: Int, mask: Bool, bound: float, first: int, out: Single
) -> None:
    """Write what a policy sees of masked accounts: A exposures clipped to ±bound, then A flags of what trades now.

    Parameters
    ----------
    account, holding, bars, row
        As in `qframe_rl.kernel.rows.advance_rows`: accounts, positions and marks, packed bars, and the row of the last
        bar of each account.
    mask
        (B,) which accounts are written; the rows of others are left alone.
    bound
        Exposures are clipped to ± this; an account without equity counts as one of infinite equity.
    first
        Column of ``out`` that the first exposure is written to.
    out
        (B, at least first + 2 A) written.
    """
    n = holding.shape[1]
    for b in range(len(account)):
        if mask[b]:
            t = np.uintp(row[b])
            equity = account[b, EQUITY] if account[b, EQUITY] > 0.0 else np.inf
            for a in range(n):
                held = holding[b, a, POSITION]
                share = held * holding[b, a, MARK] / equity if held != 0.0 else 0.0
                share = share if share < bound else bound
                close = bars[t, a, CLOSE]
                out[b, first + a] = share if share > -bound else -bound
                out[b, first + n + a] = 1.0 if close == close else 0.0


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


class MarketInterface:
    """The `Interface` of every market that is settled by the kernel.

    Parameters
    ----------
    observer
        What a policy sees.
    scheme
        Name of an action scheme: ``levels``, ``exposure``, ``weights`` or ``limit``.
    params
        Parameters of the scheme's configuration.

    Raises
    ------
    UserError
        For an unknown scheme or parameter.
    """

    def __init__(self, observer: Observer, scheme: str, params: Mapping[str, Any]):
        if scheme not in SCHEMES:
            raise UserError(f"unknown action scheme {scheme!r}{nearest(scheme, SCHEMES)}")
        config, make = SCHEMES[scheme]
        self.observer = observer
        self.scheme_name = scheme
        self.scheme_params = dict(params)
        self.scheme: Scheme = make(build(config, params, f"actions {scheme}"), observer.n_instruments)
        self.window = observer.window
        self.market_shape = (observer.n_rows, observer.n_instruments * len(observer.features))
        self.observation_space: gymnasium.Space[Any] = observer.space
        self.action_space = self.scheme.space

    def fit(self, parts: Parts) -> MarketInterface:
        """Return the same interface with its scaler fitted on the rows of the parts' segments alone."""
        return MarketInterface(self.observer.fit(parts), self.scheme_name, self.scheme_params)

    def observe(self, view: View) -> NDArray[np.float32]:
        """Observation of one view, (n_numbers,) float32."""
        return self.observer.observe(view)

    def orders(self, action: Any, view: View) -> Orders:
        """Orders that one action means at one view."""
        target, offset = self.scheme.targets(np.asarray(action)[None])
        return _orders(target, offset, view, self.scheme.band)

    def describe(self) -> dict[str, Any]:
        """Plain data from which `interface_from` makes it again, the scaler's numbers to the last bit."""
        o = self.observer
        return {
            "features": [feature.name for feature in o.features],
            "n_rows": o.n_rows,
            "n_instruments": o.n_instruments,
            "columns": list(o.columns),
            "mean": o.scaler.mean.tolist(),
            "scale": o.scaler.scale.tolist(),
            "scheme": self.scheme_name,
            "params": self.scheme_params,
        }


def interface_from(data: Mapping[str, Any]) -> MarketInterface:
    """Make an interface from what `MarketInterface.describe` returned."""
    scaler = Scaler(np.array(data["mean"], dtype=np.float64), np.array(data["scale"], dtype=np.float64))
    observer = Observer(data["features"], data["n_rows"], data["n_instruments"], data["columns"], scaler)
    return MarketInterface(observer, data["scheme"], data["params"])


def rebalance(view: View, target: Float, band: float = 0.0) -> Orders:
    """Market orders that take the account to target exposures.

    Parameters
    ----------
    view
        The decision instant.
    target
        (A,) signed share of equity to hold of each instrument; NaN = leave as it is.
    band
        No order where exposure is within this of its target, unless the target is exactly 0.
    """
    target = np.asarray(target, dtype=np.float64)
    return _orders(target[None], np.empty((0, len(target))), view, band)


def _orders(target: Float, offset: Float, view: View, band: float) -> Orders:
    account, holding, bars = _laid_out(view)
    out = np.empty((1, target.shape[1], 3))
    target_rows(target, offset, band, account, holding, bars, _FIRST, out, _scratch(target.shape[1]))
    return Orders(out[0, :, QUANTITY], out[0, :, LIMIT], out[0, :, STOP])
