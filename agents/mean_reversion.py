"""Mean reversion: buy what fell far below its mean, sell what rose far above it, and wait for the return."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import Field

from qframe_rl.agent import Brief, Log, State, Task, View
from qframe_rl.config import Base, UserError, search
from qframe_rl.features import Remembered, frozen
from qframe_rl.interface import rebalance
from qframe_rl.jit import compiled, inlined
from qframe_rl.theory import ar1_flip
from qframe_rl.types import CLOSE, DAY, YEAR, Float, Int, Orders

_MEASURED = Remembered()


class Config(Base):
    """When it enters and leaves, and how large."""

    mean_bars: int = Field(default=50, ge=3, json_schema_extra=search(24, 50, 100, 200, low=10, high=400, log=True))
    """Bars of the mean and deviation that a price is measured by."""
    entry: Annotated[float, Field(gt=0.0)] | Literal["fitted"] = Field(
        default=2.0, json_schema_extra=search(1.5, 2.0, 3.0, low=0.5, high=5.0)
    )
    """Enter beyond this many standard deviations. A reversion of that size must exceed the cost of a round trip.
    ``fitted`` = the optimum for a price that reverts as training rows do, at this market's costs, held from one side to
    the other."""
    exit: float = Field(default=0.5, ge=0.0, json_schema_extra=search(0.0, 0.5, low=0.0, high=2.0))
    """Leave within this many standard deviations, or on the other side of the mean; not used with a fitted entry."""
    max_age_days: float = Field(default=5.0, gt=0.0, json_schema_extra=search(low=0.5, high=30.0, log=True))
    """Leave after this time whatever the price."""
    quiet: float = Field(default=0.7, gt=0.0)
    """Multiplier of both thresholds while volatility is in the lowest quarter of its recent range."""
    wild: float = Field(default=1.5, gt=0.0)
    """Multiplier of both thresholds while volatility is in the highest quarter of its recent range."""
    regime_bars: int = Field(default=252, ge=20)
    """Bars of that recent range."""
    volatility_bars: int = Field(default=20, ge=2)
    """Bars from which volatility is estimated."""
    volatility_target: float = Field(default=0.4, gt=0.0, json_schema_extra=search(low=0.1, high=1.0, log=True))
    """Standard deviation a year that each position aims at; exposure is capped at one share of equity in all."""


class MeanReversion:
    """A state machine per instrument: flat, long or short, since when (ALGORITHMS, card 4.2)."""

    def __init__(self, config: Config, brief: Brief):
        n = len(brief.instruments)
        self.config = config
        self.band = 0.0
        self.entry = math.inf if config.entry == "fitted" else config.entry
        self.leave = config.exit
        self.window = max(config.mean_bars, config.regime_bars + config.volatility_bars)
        self.shorting = brief.shorting
        self.bars_per_year = YEAR / brief.bar_ns
        self.cost = brief.cost_rate
        self.fitted = False
        self.side = np.zeros(n)
        self.since: Int = np.zeros(n, dtype=np.int64)

    def decide(self, view: View) -> Orders:
        """Enter, leave, or stay as it is."""
        if view.first:
            self.side[:] = 0.0
        measured = self._measured(view.bars, len(view.bars) - 1)
        target = self._walk(measured, view.times[-1:], self.side, self.since)
        return rebalance(view, target[0], self.band)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """Walk the same states over all rows, beginning flat."""
        n, config = bars.shape[1], self.config
        numbers = (config.mean_bars, config.regime_bars, config.volatility_bars, config.quiet, config.wild, first)
        measured = _MEASURED(numbers, [bars[:, :, CLOSE]], lambda: self._measured(bars, first))
        return self._walk(measured, times[first:], np.zeros(n), np.zeros(n, dtype=np.int64))

    def carried(self) -> State:
        """The side of each instrument, and since when."""
        return {"side": self.side.copy(), "since": self.since.copy()}

    def carry(self, memory: State) -> None:
        """Take the states over."""
        self.side, self.since = np.array(memory["side"]), np.array(memory["since"])

    def _walk(self, measured: Float, times: Int, side: Float, since: Int) -> Float:
        config, out = self.config, np.empty(measured.shape[:2])
        age, aim = int(config.max_age_days * DAY), config.volatility_target / math.sqrt(self.bars_per_year)
        _walk(measured, frozen(times), self.entry, self.leave, age, aim, self.shorting, side, since, out)
        return out

    def _measured(self, bars: Float, first: int) -> Float:
        """(T - first, A, 3) z-scores, threshold multipliers and volatilities per bar."""
        config = self.config
        close = np.ascontiguousarray(bars[first - self.window + 1 :, :, CLOSE].T)
        out, work = np.empty((len(bars) - first, len(close), 3)), np.empty((3, close.shape[1]))
        numbers = (config.mean_bars, config.regime_bars, config.volatility_bars)
        for a in range(len(close)):
            _measure(close[a], self.window - 1, *numbers, config.quiet, config.wild, work, out[:, a])
        return out


class Fitted(MeanReversion):
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


@compiled
def _walk(
    measured: Float, times: Int, entry: float, leave: float, age: int, aim: float, shorting: bool, side: Float,
    since: Int, out: Float,
) -> None:  # fmt: skip
    """Move the states ``side`` and ``since`` (A,) over all rows and write what each asks for."""
    n = len(side)
    for t in range(len(measured)):
        for a in range(n):
            z, scale, volatility = measured[t, a, 0], measured[t, a, 1], measured[t, a, 2]
            old = times[t] - since[a] >= age
            left = side[a] != 0.0 and (side[a] * z > -leave * scale or old)
            if left:
                side[a] = 0.0
            out[t, a] = 0.0 if side[a] == 0.0 else np.nan
            if side[a] == 0.0 and not left and abs(z) > entry * scale and (z < 0.0 or shorting):
                side[a] = 1.0 if z < 0.0 else -1.0
                since[a] = times[t]
                size = aim / (1e-12 if volatility <= 1e-12 else volatility)
                out[t, a] = side[a] * (1.0 if size > 1.0 else size) / n


@compiled
def _measure(
    close: Float, first: int, mean_bars: int, regime_bars: int, n: int, quiet: float, wild: float, work: Float,
    out: Float,
) -> None:  # fmt: skip
    """Measure rows ``first``.. of (T,) closes; NaN z-scores, from bars that are missing, compare as neither."""
    logs, moves, trailing = work[0], work[1], work[2]
    for t in range(len(close)):
        logs[t] = math.log(close[t])
        moves[t] = logs[t] - logs[max(t - 1, 0)]
    for t in range(first - regime_bars + 1, len(close)):
        mean = (logs[t] - logs[t - n]) / n
        trailing[t] = math.sqrt(_squares(moves[t - n + 1 : t + 1], mean) / n)
    for t in range(first, len(close)):
        recent = close[t - mean_bars + 1 : t + 1]
        mean = _sum(recent) / mean_bars
        spread = math.sqrt(_squares(recent, mean) / mean_bars)
        out[t - first, 0] = (close[t] - mean) / (1e-12 if spread <= 1e-12 else spread)
        out[t - first, 1] = _scale(trailing[t - regime_bars + 1 : t + 1], quiet, wild)
        out[t - first, 2] = trailing[t]


@inlined
def _scale(trailing: Float, quiet: float, wild: float) -> float:
    """Multiplier while the last of (n,) volatilities is below their lower or above their upper quartile.

    The last one is among them, so how many lie below it, and how many not above, say on which side of an interpolated
    quartile it is; nothing need be sorted.
    """
    last, n = trailing[-1], len(trailing)
    below = within = above = 0
    for k in range(n):
        below += trailing[k] < last
        within += trailing[k] <= last
        above += trailing[k] > last
    if within + above < n:
        return 1.0
    low, high = 0.25 * (n - 1), 0.75 * (n - 1)
    if within <= (int(low) + 1 if low > int(low) else int(low)):
        return quiet
    return wild if below > int(high) else 1.0


@inlined
def _sum(x: Float) -> float:
    """Sum, in four strands: one alone would wait for each addition."""
    one = two = three = four = 0.0
    whole = len(x) // 4 * 4
    for k in range(0, whole, 4):
        one += x[k]
        two += x[k + 1]
        three += x[k + 2]
        four += x[k + 3]
    for k in range(whole, len(x)):
        one += x[k]
    return (one + two) + (three + four)


@inlined
def _squares(x: Float, mean: float) -> float:
    """Sum of squared distances from ``mean``, in four strands."""
    one = two = three = four = 0.0
    whole = len(x) // 4 * 4
    for k in range(0, whole, 4):
        one += (x[k] - mean) ** 2
        two += (x[k + 1] - mean) ** 2
        three += (x[k + 2] - mean) ** 2
        four += (x[k + 3] - mean) ** 2
    for k in range(whole, len(x)):
        one += (x[k] - mean) ** 2
    return (one + two) + (three + four)


def make(config: Config, brief: Brief) -> MeanReversion:
    """Make the agent; it is trained only if it is to find its thresholds."""
    return (Fitted if config.entry == "fitted" else MeanReversion)(config, brief)
