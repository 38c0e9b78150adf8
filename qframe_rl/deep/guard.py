"""A guard for states that training never saw: nothing is traded where they are strange.

FineFT (2025) guards a trader by the density of what it saw; see `qframe_rl.estimate.density`. A listener may look on
and change nothing, and a rule of risk knows limits but no features; so the guard stands where orders are made, in
`agents.ensemble`, which takes any strategy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qframe_rl.agent import State, Task, View
from qframe_rl.config import UserError
from qframe_rl.estimate.density import ROWS, Familiar
from qframe_rl.types import Bool, Float, History, Int

_LOSS = 0.05
"""Loss on what it was entered at beyond which a position is closed."""


class Observing(Protocol):
    """What computes features, as `qframe_rl.interface.Observer` does."""

    lookback: int
    n_instruments: int

    @property
    def scaler(self) -> Any:
        """Scale (..., F) rows."""

    def raw(self, bars: Float, times: Int, first: int = 0) -> Float:
        """(T - first, A, F) features.

        Parameters
        ----------
        bars, times, first
            As `qframe_rl.interface.Observer.raw`.
        """

    def matrix(self, history: History) -> NDArray[np.float32]:
        """(T, A x F) scaled features."""


class Guard:
    """Lets nothing be traded where states are strange; it knows what positions were entered at.

    Parameters
    ----------
    observer
        Whose features are looked at.
    seed
        Of the density's fit.
    """

    def __init__(self, observer: Observing, seed: int):
        self.observer, self.seed = observer, seed
        self.window = observer.lookback + ROWS - 1
        self.entry: Float = np.full(observer.n_instruments, np.nan)
        self.familiar: Familiar | None = None

    def fit(self, task: Task) -> None:
        """Learn what is usual: a density from the rows to learn on, its ranks from those to stop by.

        Raises
        ------
        UserError
            If there are fewer than `ROWS` of the latter.
        """
        learned, kept = (
            [self._rows(history)[s.start : s.stop] for history, segments in parts for s in segments]
            for parts in (task.train, task.validation)
        )
        if max((len(rows) for rows in kept), default=0) < ROWS:
            raise UserError(f"agent.ensemble.guard needs {ROWS} bars in the tail of training; give it more bars.")
        flat = np.concatenate([rows.reshape(-1, rows.shape[-1]) for rows in learned])
        self.familiar = Familiar.fit(flat, kept, self.seed)

    def allowed(self, view: View, target: Float, wanted: Bool, before: Float) -> tuple[Float, Bool]:
        """What may be asked for.

        Parameters
        ----------
        view
            The decision instant.
        target, wanted
            (A,) exposures, and which of them to trade to.
        before
            (A,) positions at the decision before.

        Returns
        -------
        tuple[Float, Bool]
            The same, with nothing wanted where states are strange but to be flat of what lost too much.
        """
        if self.familiar is None:
            raise RuntimeError("train or restore the agent before it decides")
        self._enter(view, before)
        rows = self.observer.scaler(self.observer.raw(view.bars, view.times, len(view.bars) - ROWS))
        strange = self.familiar.strange(rows.astype(np.float64))[0]
        lost = np.sign(view.account.position) * (view.account.mark / self.entry - 1.0) < -_LOSS
        return np.where(strange & lost, 0.0, target), np.where(strange, lost, wanted)

    def state(self) -> State:
        """What it learned."""
        return self.familiar.state() if self.familiar else {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take it over."""
        self.familiar = Familiar.restored(state)

    def _enter(self, view: View, before: Float) -> None:
        """Average what was added to a position into its entry; a new one has its own."""
        now, price = view.account.position, np.where(view.fills.price > 0.0, view.fills.price, view.account.mark)
        if view.first:
            self.entry = np.where(now != 0.0, view.account.mark, np.nan)
            return
        new, more = (now != 0.0) & (before * now <= 0.0), (before * now > 0.0) & (np.abs(now) > np.abs(before))
        added = np.divide(now - before, now, out=np.zeros_like(now), where=more)
        self.entry = np.where(more, self.entry + added * (price - self.entry), self.entry)
        self.entry = np.where(new, price, np.where(now == 0.0, np.nan, self.entry))

    def _rows(self, history: History) -> Float:
        """(T, A, F) scaled features."""
        return self.observer.matrix(history).reshape(*history.final.shape, -1).astype(np.float64)
