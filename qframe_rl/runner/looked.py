"""Views of a backtest: each makes a field when it is asked for it, from what the backtest keeps as columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from qframe_rl.agent import View
from qframe_rl.kernel.columns import (
    FILLS,
    MARKS,
    N_HEAD,
    N_PANELS,
    N_TAIL,
    POSITIONS,
    ROW_ABSORBED,
    ROW_CASH,
    ROW_CASH_RATE,
    ROW_INTEREST,
)
from qframe_rl.types import Account, Fills, History, Int, Orders

_BLOCK = 4096
"""Windows that show parts of one array."""


class Looks:
    """What views of one backtest are made from.

    Parameters
    ----------
    history
        The bars, those of the warm-up first.
    window
        Bars that a view shows.
    member
        As in `View`.
    """

    def __init__(self, history: History, window: int, member: int):
        n, self.length = len(history.instruments), len(history) - window
        self.member = member
        self.rows = np.zeros((self.length + 1, N_HEAD + N_PANELS * n + N_TAIL))
        """(N + 1, ...) rows of the record, written as far as the backtest is."""
        self.panels = self.rows[:, N_HEAD:-N_TAIL].reshape(self.length + 1, N_PANELS, n)
        self.took: dict[int, Fills] = {}
        """What bars did of which a row does not say all."""
        self.resting: dict[int, Orders] = {}
        """What stood in slots after a bar."""
        self._held, self._cash = self.panels[:, POSITIONS : MARKS + 1], self.rows[:, ROW_CASH]
        self._times, self._values, self._before = history.time, history.values, window - 1
        self._start = self._stop = 0
        self._own = self._seen = history.values[:0]

    def view(self, row: int) -> View:
        """What is known once row ``row`` of the record is written."""
        last = row + self._before
        if not self._start + self._before <= last < self._stop:
            self._begin(last)
        # Bars are copied on the way, so that no array that a view hands out lies in memory beside bars to come.
        self._own[last - self._start] = self._values[last]
        held = self._held[row].copy()
        made = _new(Look)
        _set_looks(made, self)
        _set_row(made, row)
        # Nearly every strategy looks at these, and to make them at once is cheaper than to be asked.
        _set_bars(made, self._seen[row - self._start])
        _set_account(made, _tuple(Account, (np.array(self._cash[row]), held[0], held[1])))
        return made

    def _begin(self, row: int) -> None:
        """Make room for windows, of which the first ends with ``row``."""
        self._start = row - self._before
        self._stop = min(len(self._values), row + _BLOCK)
        self._own = np.empty((self._stop - self._start, *self._values.shape[1:]))
        self._own[: self._before] = self._values[self._start : row]
        self._seen = np.moveaxis(sliding_window_view(self._own, self._before + 1, axis=0), -1, 1)

    def times(self, row: int) -> Int:
        """Closes of the window's bars."""
        times = self._times[row : row + self._before + 1].copy()
        times.flags.writeable = False
        return times

    def time(self, row: int) -> int:
        """Close of a bar, ns UTC."""
        return int(self._times[row + self._before])

    def cash_rate(self, row: int) -> float:
        """What idle cash earned over a bar."""
        return float(self.rows[row, ROW_CASH_RATE])

    def fills(self, row: int) -> Fills:
        """What a bar did."""
        if row in self.took:
            return self.took[row]
        numbers, columns = self.rows[row], self.panels[row, FILLS:].T.copy()
        return Fills.of(columns, np.array(numbers[ROW_ABSORBED]), np.array(numbers[ROW_INTEREST]))


class Look(View):
    """A `View` whose fields are made when they are asked for; one of a bar that the account and the data outlived."""

    __slots__ = ("_looks", "_row")
    _looks: Looks
    _row: int

    def __new__(cls, *args: Any, **fields: Any) -> Any:
        """What is made of fields, as by `dataclasses.replace`, is a view that has them."""
        return View(*args, **fields)

    def __reduce__(self) -> tuple[Any, ...]:
        return View, tuple(getattr(self, field.name) for field in dataclasses.fields(View))

    def __getattr__(self, name: str) -> Any:
        # Python comes here for a slot that nothing was put into yet.
        if name not in _MADE:
            raise AttributeError(f"a view has no {name!r}")
        value = _MADE[name](self._looks, self._row)
        object.__setattr__(self, name, value)
        return value

    exhausted, terminated, locks, limit_use = False, False, None, None
    first = property(lambda self: self._row == 0)
    member = property(lambda self: self._looks.member)
    resting = property(lambda self: self._looks.resting.get(self._row))


_new, _tuple = object.__new__, tuple.__new__
_set_bars, _set_account = View.__dict__["bars"].__set__, View.__dict__["account"].__set__
_set_looks, _set_row = Look.__dict__["_looks"].__set__, Look.__dict__["_row"].__set__
_MADE: Mapping[str, Callable[[Looks, int], Any]] = {
    "time": Looks.time,
    "times": Looks.times,
    "fills": Looks.fills,
    "cash_rate": Looks.cash_rate,
}
