"""What a policy sees: a window of features, scaled as training rows were, and the state of its account."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from qframe_rl.agent import View
from qframe_rl.config import UserError
from qframe_rl.features import AUTO, Feature, features, frozen
from qframe_rl.jit import compiled
from qframe_rl.kernel.columns import (
    AFTER,
    EQUITY,
    INSIDE,
    LIMIT,
    MARK,
    N_ACCOUNT,
    N_BAR,
    OUTSIDE,
    POSITION,
    QUANTITY,
    STANDING,
    STOP,
)
from qframe_rl.orders import slots_of
from qframe_rl.types import CLOSE, VOLUME, Bool, Float, History, Int, Segments, Single

BOUND = 10.0
"""Every number that a policy sees lies in [-BOUND, BOUND]."""
N_NUMBERS = 4_000_000
"""Most numbers of an observation."""
Parts = Sequence[tuple[History, Segments]]
"""Histories, and the rows of each that may be looked at."""
ONE_ROW = np.zeros(1, dtype=np.int64)
"""Where the only account of a `laid_out` view stands."""
ONE = np.ones(1, dtype=np.bool_)
"""That it counts."""
PANELS = {"locks": 2, "limits": 3, "resting": 3}
"""What is shown of an account where it is asked for, and how many numbers of each instrument that takes."""


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
    feature), then panels of A numbers each: exposures; flags of which instruments trade and are in the universe; with
    ``locks`` longs that protections lock, and shorts: log(1 + decisions until the lock ends), 0 = free; with ``limits``
    the three numbers of `View.limit_use`, alike for all instruments; with ``resting`` how far below and above the mark
    the nearest order rests, percent in logs, and log(1 + bars until an exit at the market), 0 = there is none.

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
    bar_ns
        Length of a bar, ns; needed where a feature is a formula, or one of coarser bars.
    panels
        Which of `PANELS` are shown.

    Raises
    ------
    UserError
        For an unknown feature, none at all, one that needs more instruments, or more than `N_NUMBERS` numbers.
    """

    def __init__(
        self,
        specs: Sequence[str],
        n_rows: int,
        n_instruments: int,
        columns: Sequence[str] = (),
        scaler: Scaler | None = None,
        bar_ns: int = 0,
        *,
        panels: Sequence[str] = (),
    ):
        if any(name.partition(":")[0] == AUTO for name in specs):
            raise UserError(
                f"the feature {AUTO!r} stands for what qframe train, evaluate and tune find on the training rows of "
                "bars; name features here, such as those that qframe features find writes down."
            )
        self.features: tuple[Feature, ...] = features(specs, columns, bar_ns)
        self.bar_ns = bar_ns
        if not self.features:
            raise UserError("an observation needs at least one feature.")
        for one in self.features:
            if one.least > n_instruments:
                raise UserError(
                    f"feature {one.name!r} compares instruments and needs {one.least} or more, but this market has "
                    f"{n_instruments}; take more, or a formula without rank, zscore and leader."
                )
        self.n_rows = n_rows
        self.n_instruments = n_instruments
        self.columns = tuple(columns)
        self.scaler = scaler or Scaler(np.zeros(len(self.features)), np.ones(len(self.features)))
        self.lookback = max(feature.lookback for feature in self.features)
        self.window = self.lookback + n_rows - 1
        self.panels = tuple(name for name in PANELS if name in panels)
        self.n_panels = 2 + sum(PANELS[name] for name in self.panels)
        self.n_numbers = n_rows * n_instruments * len(self.features) + self.n_panels * n_instruments
        if self.n_numbers > N_NUMBERS:
            raise UserError(
                f"an observation of {n_rows:,} bars, {n_instruments:,} instruments, {len(self.features):,} features "
                f"has {self.n_numbers:,} numbers, more than {N_NUMBERS:,}; lower n_rows or drop features."
            )
        self.space = spaces.Box(-BOUND, BOUND, (self.n_numbers,), np.float32)

    @property
    def dict_space(self) -> spaces.Dict:
        """Of what `parts` gives for one row."""
        n, shape = self.n_instruments, (self.n_rows, self.n_instruments, len(self.features))
        return spaces.Dict(
            market=spaces.Box(-BOUND, BOUND, shape, np.float32),
            account=spaces.Box(-BOUND, BOUND, (self.n_panels, n), np.float32),
        )

    def parts(self, rows: Single) -> dict[str, Single]:
        """Views of (B, n_numbers) rows: ``market`` (B, n_rows, A, F), ``account`` (B, P, A) the panels."""
        n, cut = self.n_instruments, self.n_numbers - self.n_panels * self.n_instruments
        return {
            "market": rows[:, :cut].reshape(len(rows), self.n_rows, n, len(self.features)),
            "account": rows[:, cut:].reshape(len(rows), self.n_panels, n),
        }

    def place(self, panels: str) -> int:
        """Column of ``locks``, ``limits`` or ``resting``, counted from the first exposure."""
        before = self.panels[: self.panels.index(panels)]
        return (2 + sum(PANELS[name] for name in before)) * self.n_instruments

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
        found = np.full((len(self.features), len(bars) - first, bars.shape[1]), np.nan)
        bars, times = frozen(bars), frozen(times)
        for feature, rows in zip(self.features, found, strict=True):
            feature.rows(bars, times, first, rows)
        return np.ascontiguousarray(found.transpose(1, 2, 0))

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
        shape = (self.n_rows, self.n_instruments, self.columns)
        return Observer(names, *shape, scaler, self.bar_ns, panels=self.panels)

    def matrix(self, history: History) -> NDArray[np.float32]:
        """Scaled features (T, A x F) of every row of a history."""
        return self.scaler(self.raw(history.values, history.time)).reshape(len(history), -1)

    def observe(self, view: View) -> NDArray[np.float32]:
        """One observation: the same bits as the row that an environment copies from `matrix`."""
        row = np.empty(self.n_numbers, dtype=np.float32)
        shown = self.scaler(self.raw(view.bars, view.times, len(view.bars) - self.n_rows))
        row[: shown.size] = shown.ravel()
        account, holding, bars = laid_out(view)
        see_rows(account, holding, bars, ONE_ROW, ONE, BOUND, shown.size, row[None])
        n, first = self.n_instruments, shown.size
        if "locks" in self.panels:
            left = np.zeros((n, 2), dtype=np.int64) if view.locks is None else np.array(view.locks)
            see_locks(left[None], ONE, first + self.place("locks"), row[None])
        if "limits" in self.panels:
            used = np.zeros(3) if view.limit_use is None else np.array(view.limit_use)
            see_use(used[None], ONE, n, first + self.place("limits"), row[None])
        if "resting" in self.panels:
            slots = np.zeros((n, 0, 0)) if view.resting is None else slots_of(view.resting)
            see_resting(slots[None], holding, ONE, first + self.place("resting"), row[None])
        return row


def laid_out(view: View) -> tuple[Float, Float, Float]:
    """A view's account, holdings and last bar as the compiled functions read them."""
    account, n = view.account, len(view.account.position)
    money, holding, bars = np.zeros((1, N_ACCOUNT)), np.empty((1, n, 2)), np.empty((1, n, N_BAR))
    money[0, EQUITY] = account.equity
    holding[0, :, POSITION], holding[0, :, MARK] = account.position, account.mark
    bars[0, :, : VOLUME + 1] = view.bars[-1, :, : VOLUME + 1]
    bars[0, :, STANDING] = np.where(view.outside, OUTSIDE, INSIDE)
    return money, holding, bars


@compiled
def see_rows(
    account: Float, holding: Float, bars: Float, row: Int, mask: Bool, bound: float, first: int, out: Single
) -> None:
    """Write what a policy sees of masked accounts: A exposures clipped to ±bound, then A flags of what can be bought.

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
                out[b, first + n + a] = 1.0 if (close == close) & (bars[t, a, STANDING] >= INSIDE) else 0.0


@compiled
def see_locks(left: Int, mask: Bool, first: int, out: Single) -> None:
    """Write what a policy sees of the locks of masked accounts: A numbers of longs, then A of shorts.

    Parameters
    ----------
    left
        (B, A, 2) decisions until each ends, as `qframe_rl.risk.protections.lock_rows` writes them; 0 = not locked.
    mask
        (B,) which accounts are written.
    first
        Column of ``out`` that the first is written to.
    out
        (B, at least first + 2 A) written: log(1 + decisions), at most `BOUND`.
    """
    n = left.shape[1]
    for b in range(len(left)):
        if mask[b]:
            for a in range(n):
                for side in range(2):
                    out[b, first + side * n + a] = min(math.log1p(float(left[b, a, side])), BOUND)


@compiled
def see_use(used: Float, mask: Bool, n: int, first: int, out: Single) -> None:
    """Write what a policy sees of the loss limits of masked accounts: each of three numbers A times, clipped to ±BOUND.

    Parameters
    ----------
    used
        (B, 3) as `qframe_rl.risk.rows.use_rows` writes them.
    mask
        (B,) which accounts are written.
    n, first
        A, and the column of ``out`` that the first is written to.
    out
        (B, at least first + 3 A) written.
    """
    for b in range(len(used)):
        if mask[b]:
            for k in range(3):
                share = min(max(used[b, k], -BOUND), BOUND)
                for a in range(n):
                    out[b, first + k * n + a] = share


@compiled
def see_resting(slots: Float, holding: Float, mask: Bool, first: int, out: Single) -> None:
    """Write what a policy sees of the orders of masked accounts that rest: A numbers each of three.

    Parameters
    ----------
    slots
        (B, A, 8, K) orders; those of quantity 0 are none.
    holding
        (B, A, 2) positions and marks.
    mask
        (B,) which accounts are written.
    first
        Column of ``out`` that the first is written to.
    out
        (B, at least first + 3 A) written: the distance of the mark's next price below, and above, 100 x log(price /
        mark), and log(1 + bars) until the first exit at the market; clipped to ±BOUND.
    """
    n = holding.shape[1]
    for b in range(len(holding)):
        if mask[b]:
            for a in range(n):
                below, above, wait = -np.inf, np.inf, np.inf
                mark = holding[b, a, MARK]
                for k in range(slots.shape[3]):
                    if slots[b, a, QUANTITY, k] != 0.0:
                        limit, stop = slots[b, a, LIMIT, k], slots[b, a, STOP, k]
                        price = stop if stop == stop else limit
                        if price != price:
                            wait = min(wait, slots[b, a, AFTER, k])
                        elif (price > 0.0) & (mark > 0.0):
                            away = 100.0 * math.log(price / mark)
                            below = max(below, away) if away <= 0.0 else below
                            above = min(above, away) if away > 0.0 else above
                out[b, first + a] = max(below, -BOUND) if below > -np.inf else 0.0
                out[b, first + n + a] = min(above, BOUND) if above < np.inf else 0.0
                out[b, first + 2 * n + a] = min(math.log1p(wait), BOUND) if wait < np.inf else 0.0
