"""Mean reversion: buy what fell far below its mean, sell what rose far above it, and wait for the return."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import Field

from qframe_rl.agent import Log, MarketSpec, Runs, State, Task, View
from qframe_rl.config import Base, UserError, search
from qframe_rl.estimate.zscores import TOGETHER, measure_regime, measure_scores
from qframe_rl.features import Remembered, frozen
from qframe_rl.interface import rebalance
from qframe_rl.jit import apart, compiled, inlined
from qframe_rl.theory import ar1_flip
from qframe_rl.types import CLOSE, DAY, YEAR, Float, Int, Orders

_REGIMES, _SCORES = Remembered(), Remembered()
_BLOCK = 32
"""Rows of which the extremes are noted, so that a search for the next crossing can leap over them."""


class Config(Base):
    """When it enters and leaves, and how large."""

    mean_bars: int = Field(
        default=50, ge=3, le=1_000_000, json_schema_extra=search(24, 50, 100, 200, low=10, high=400, log=True)
    )
    """Bars of the mean and deviation that a price is measured by."""
    entry: Annotated[float, Field(gt=0.0, le=1e6)] | Literal["fitted"] = Field(
        default=2.0, json_schema_extra=search(1.5, 2.0, 3.0, low=0.5, high=5.0)
    )
    """Enter beyond this many standard deviations. A reversion of that size must exceed the cost of a round trip.
    ``fitted`` = the optimum for a price that reverts as training rows do, at this market's costs, held from one side to
    the other."""
    exit: float = Field(default=0.5, ge=0.0, le=1e6, json_schema_extra=search(0.0, 0.5, low=0.0, high=2.0))
    """Leave within this many standard deviations, or on the other side of the mean; not used with a fitted entry."""
    max_age_days: float = Field(default=5.0, gt=0.0, le=1e6, json_schema_extra=search(low=0.5, high=30.0, log=True))
    """Leave after this time whatever the price."""
    quiet: float = Field(default=0.7, gt=0.0, le=1e6)
    """Multiplier of both thresholds while volatility is in the lowest quarter of its recent range."""
    wild: float = Field(default=1.5, gt=0.0, le=1e6)
    """Multiplier of both thresholds while volatility is in the highest quarter of its recent range."""
    regime_bars: int = Field(default=252, ge=20, le=1_000_000)
    """Bars of that recent range."""
    volatility_bars: int = Field(default=20, ge=2, le=1_000_000)
    """Bars from which volatility is estimated."""
    volatility_target: float = Field(
        default=0.4, gt=0.0, le=1000.0, json_schema_extra=search(low=0.1, high=1.0, log=True)
    )
    """Standard deviation a year that each position aims at; exposure is capped at one share of equity in all."""


class MeanReversion:
    """A state machine per instrument: flat, long or short, since when (ALGORITHMS, card 4.2)."""

    def __init__(self, config: Config, spec: MarketSpec):
        n = len(spec.instruments)
        self.config = config
        self.band = 0.0
        self.entry = math.inf if config.entry == "fitted" else config.entry
        self.leave = config.exit
        self.window = max(config.mean_bars, config.regime_bars + config.volatility_bars)
        self.shorting = spec.shorting
        self.bars_per_year = YEAR / spec.bar_ns
        self.cost = spec.cost_rate
        self.fitted = False
        self.side = np.zeros(n)
        self.since: Int = np.zeros(n, dtype=np.int64)

    def decide(self, view: View) -> Orders:
        """Enter, leave, or stay as it is."""
        if view.first:
            self.side[:] = 0.0
        now = len(view.bars) - 1
        regime = self._regime(view.bars, now)
        runs = self._walk(*self._scores(view.bars, now, regime[0]), *regime, view.times[-1:], self.side, self.since)
        return rebalance(view, runs.values[0], self.band)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """Walk the same states over all rows, beginning flat."""
        return self.runs(bars, times, first).dense()

    def runs(self, bars: Float, times: Int, first: int) -> Runs:
        """Say only what changes."""
        n, config, close = bars.shape[1], self.config, bars[:, :, CLOSE]
        numbers = (config.regime_bars, config.volatility_bars, config.quiet, config.wild, first)
        regime = _REGIMES(numbers, [close], lambda: self._regime(bars, first))
        scores = _SCORES((*numbers, config.mean_bars), [close], lambda: self._scores(bars, first, regime[0]))
        return self._walk(*scores, *regime, times[first:], np.zeros(n), np.zeros(n, dtype=np.int64))

    def carried(self) -> State:
        """The side of each instrument, and since when."""
        return {"side": self.side.copy(), "since": self.since.copy()}

    def carry(self, memory: State) -> None:
        """Take the states over."""
        self.side, self.since = np.array(memory["side"]), np.array(memory["since"])

    def _walk(
        self, z: Float, extremes: Float, scale: Float, volatility: Float, times: Int, side: Float, since: Int
    ) -> Runs:
        config, n, length = self.config, len(z), len(times)
        age, aim = int(config.max_age_days * DAY), config.volatility_target / math.sqrt(self.bars_per_year)
        coming, starts, values = np.empty(n, dtype=np.int64), np.empty(length, dtype=np.int64), np.empty((length, n))
        count = _walk(
            z, scale, volatility, extremes, frozen(times), self.entry, self.leave, age, aim, self.shorting, side,
            since, coming, starts, values,
        )  # fmt: skip
        return Runs(length, starts[:count].copy(), values[:count].copy())

    def _regime(self, bars: Float, first: int) -> tuple[Float, Float]:
        """(A, T - first) threshold multipliers, in whole blocks, and volatilities."""
        config, rows = self.config, len(bars) - first
        before = config.regime_bars + config.volatility_bars
        close = np.ascontiguousarray(bars[first - before + 1 :, :, CLOSE].T)
        scale, volatility = _in_blocks(len(close), rows, 1.0), np.empty((len(close), rows))
        work, sums = np.empty((3, close.shape[1])), np.empty((5, TOGETHER))
        for a in range(len(close)):
            numbers = (config.regime_bars, config.volatility_bars, config.quiet, config.wild)
            measure_regime(close[a], *numbers, work, sums, scale[a, :rows], volatility[a])
        return scale, volatility

    def _scores(self, bars: Float, first: int, scale: Float) -> tuple[Float, Float]:
        """(A, T - first) z-scores, in whole blocks, and (A, blocks, 4) the extremes of them and of ``scale``."""
        n_bars, rows = self.config.mean_bars, len(bars) - first
        close = np.ascontiguousarray(bars[first - n_bars + 1 :, :, CLOSE].T)
        z, sums = _in_blocks(len(close), rows, np.nan), np.empty((5, TOGETHER))
        extremes = np.empty((len(z), z.shape[1] // _BLOCK, 4))
        for a in range(len(close)):
            measure_scores(close[a], n_bars, sums, z[a, :rows])
            _note_extremes(z[a], scale[a], extremes[a])
        return z, extremes


class FittedMeanReversion(MeanReversion):
    """The same with the thresholds that are optimal for the reversion that training rows show.

    A price that reverts is a signal of its own returns: with autocorrelation phi of its distance x from the mean, the
    next bar is expected to bring (phi - 1) x. The best threshold for such a signal at linear cost is known
    (`qframe_rl.theory.ar1_flip`), and so is that one holds until the opposite one.
    """

    def fit(self, task: Task, log: Log) -> None:
        """Measure the reversion, over all instruments together.

        Raises
        ------
        UserError
            If no instrument has enough training bars.
        """
        before, after = self._distances(task)
        if len(before) < 2 * self.config.mean_bars:
            raise UserError(
                f"agent mean_reversion: {len(before)} training bars show the distance from a mean of "
                f"{self.config.mean_bars} bars; take a longer period or give an entry."
            )
        square = float((before * before).mean())
        phi = float((before * after).mean()) / square if square > 0.0 else 1.0
        if 0.0 < phi < 1.0:
            deviation = math.sqrt(square)
            self.entry = ar1_flip(phi, self.cost / ((1.0 - phi) * deviation)).threshold
            self.leave = -self.entry
        log.scalar("train/autocorrelation", phi, 0)
        log.progress(1, 1, f"autocorrelation {phi:.4f}, threshold {self.entry:.2f}")
        self.fitted = True

    def decide(self, view: View) -> Orders:
        """Enter, leave, or stay as it is."""
        if not self.fitted:
            raise RuntimeError("train or restore the agent before it decides")
        return super().decide(view)

    def state(self) -> State:
        """The thresholds."""
        return {"thresholds": np.array([self.entry, self.leave])} if self.fitted else {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take fitted thresholds over."""
        self.entry, self.leave = (float(x) for x in state["thresholds"])
        self.fitted = True

    def _distances(self, task: Task) -> tuple[Float, Float]:
        """Log distances of closes from their means in training rows, and those of the bars after."""
        pairs = [np.empty((2, 0))]
        for history, segments in task.train:
            for segment in segments:
                close = history.values[segment.start : segment.stop, :, CLOSE]
                if len(close) > self.config.mean_bars:
                    mean = sliding_window_view(close, self.config.mean_bars, axis=0).mean(axis=-1)
                    x = np.log(close[self.config.mean_bars - 1 :] / mean)
                    both = np.stack([x[:-1].ravel(), x[1:].ravel()])
                    pairs.append(both[:, ~np.isnan(both.sum(axis=0))])
        before, after = np.concatenate(pairs, axis=1)
        return before, after


def _in_blocks(n: int, length: int, beyond: float) -> Float:
    """(n, length) rounded up to whole blocks, ``beyond`` in what is too much."""
    out = np.empty((n, -(-length // _BLOCK) * _BLOCK))
    out[:, length:] = beyond
    return out


@apart
def _walk(
    z: Float, scale: Float, volatility: Float, extremes: Float, times: Int, entry: float, leave: float, age: int,
    aim: float, shorting: bool, side: Float, since: Int, coming: Int, starts: Int, values: Float,
) -> int:  # fmt: skip
    """Move the states ``side`` and ``since`` (A,) over all rows; write what is asked for as runs, return how many.

    From row to row in which a state changes: ``coming`` (A,) is scratch for the next of each.
    """
    n, length = len(z), len(times)
    for a in range(n):
        coming[a] = _change(z[a], scale[a], extremes[a], times, side[a], since[a], entry, leave, age, shorting, 0)
    count = t = 0
    while t < length:
        then = length
        for a in range(n):
            if coming[a] == t and side[a] == 0.0:
                size = aim / (1e-12 if volatility[a, t] <= 1e-12 else volatility[a, t])
                if size == size:  # nothing is entered whose volatility a missing bar hides
                    side[a] = 1.0 if z[a, t] < 0.0 else -1.0
                    since[a] = times[t]
                values[count, a] = 0.0 if side[a] == 0.0 else side[a] * (1.0 if size > 1.0 else size) / n
                then = t + 1
            elif coming[a] == t:
                side[a] = values[count, a] = 0.0
            else:
                values[count, a] = 0.0 if side[a] == 0.0 else np.nan
            if coming[a] == t:
                coming[a] = _change(
                    z[a], scale[a], extremes[a], times, side[a], since[a], entry, leave, age, shorting, t + 1
                )
            then = min(then, coming[a])
        starts[count] = t
        count, t = count + 1, then
    return count


@inlined
def _change(
    z: Float, scale: Float, extremes: Float, times: Int, side: float, since: int, entry: float, leave: float, age: int,
    shorting: bool, t: int,
) -> int:  # fmt: skip
    """First row from ``t`` on in which one instrument's state changes; the number of rows if there is none."""
    if side == 0.0:
        return _entrance(z, scale, extremes, len(times), entry, shorting, t)
    return _way_out(z, scale, extremes, times, side, since, -leave, age, t)


@inlined
def _entrance(z: Float, scale: Float, extremes: Float, length: int, entry: float, shorting: bool, t: int) -> int:
    """First row from ``t`` on whose score is beyond the threshold."""
    while t < length:
        block = t // _BLOCK
        begin, bound = block * _BLOCK, extremes[block]
        reach = min(entry * bound[2], entry * bound[3])
        if -bound[0] > reach or (shorting and bound[1] > reach):
            x, factor, first = z[begin:], scale[begin:], _BLOCK
            for k in range(_BLOCK):
                beyond = (abs(x[k]) > entry * factor[k]) & ((x[k] < 0.0) | shorting) & (k >= t - begin)
                first = min(first, k if beyond else _BLOCK)
            if first < _BLOCK:
                return begin + first
        t = begin + _BLOCK
    return length


@inlined
def _way_out(
    z: Float, scale: Float, extremes: Float, times: Int, side: float, since: int, leave: float, age: int, t: int
) -> int:
    """First row from ``t`` on whose score is back beyond ``leave`` on the account's side, or that is too late."""
    length = len(times)
    ages = times[length - 1] - since >= age
    while t < length:
        block = t // _BLOCK
        begin, bound, first = block * _BLOCK, extremes[block], _BLOCK
        reach = min(leave * bound[2], leave * bound[3])
        if (bound[1] if side > 0.0 else -bound[0]) > reach:
            x, factor = z[begin:], scale[begin:]
            for k in range(_BLOCK):
                back = (side * x[k] > leave * factor[k]) & (k >= t - begin)
                first = min(first, k if back else _BLOCK)
        if ages and times[min(begin + _BLOCK, length) - 1] - since >= age:
            while times[t] - since < age:
                t += 1
            first = min(first, t - begin)
        if first < _BLOCK:
            return begin + first
        t = begin + _BLOCK
    return length


@compiled
def _note_extremes(z: Float, scale: Float, out: Float) -> None:
    """Write least and greatest z-score and multiplier of each block; NaN counts for nothing.

    Rounding is monotone: what an extreme does not cross, no number of its block does.
    """
    for block in range(len(out)):
        low = least = np.inf
        high = most = -np.inf
        for t in range(block * _BLOCK, (block + 1) * _BLOCK):
            low, high = min(low, z[t]) if z[t] == z[t] else low, max(high, z[t]) if z[t] == z[t] else high
            least, most = min(least, scale[t]), max(most, scale[t])
        out[block, 0], out[block, 1], out[block, 2], out[block, 3] = low, high, least, most


def make(config: Config, spec: MarketSpec) -> MeanReversion:
    """Make the agent; it is trained only if it is to find its thresholds."""
    return (FittedMeanReversion if config.entry == "fitted" else MeanReversion)(config, spec)
