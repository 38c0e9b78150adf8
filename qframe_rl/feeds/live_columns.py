"""Columns of a session: files that grow while it reads them, and what is said when one is late, silent or spoiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.feeds.columns import extend, name_of
from qframe_rl.feeds.exchange import Note
from qframe_rl.types import CLOSE, Bool, Float, History, iso

BLANK_BARS = 3
"""Bars without a value in a row, from which on it is said; one hour without news is ordinary."""


class _Delivered(NamedTuple):
    """The last bar that was delivered."""

    bars: History
    """One row, without these columns."""
    values: Float
    """(A, S) what the columns were."""


class LiveColumns:
    """Exogenous columns of coming bars. Their files are read anew for every bar.

    A session that runs does not end because a file is gone or spoiled: its column has no value, which is said.

    Parameters
    ----------
    specs, root
        As in `columns.extend`.
    note
        Told in one line of a file that cannot be read, of a column without values and of its return, and of values that
        came after the bar that they belong to: the bar does not have them, though a history of its time would.
    """

    def __init__(self, specs: Sequence[str], root: Path, note: Note):
        self.names = tuple(map(name_of, specs))
        self._specs, self._root, self._note = tuple(specs), root, note
        self._wrong = [""] * len(specs)
        self._blank = [0] * len(specs)
        self._last: _Delivered | None = None

    def joined(self, bars: History, *, strict: bool) -> History:
        """Bars with their columns as far as they are known by now.

        Parameters
        ----------
        bars
            (T, A, C), after those of the last call.
        strict
            Whether a file that cannot be read is an error: at the beginning of a session, when somebody looks on.

        Raises
        ------
        UserError
            If ``strict``, as in `columns.extend`.
        """
        if not self._specs or not len(bars):
            return bars
        both = bars if self._last is None else _after(self._last.bars, bars)
        parts = [self._column(k, both, strict) for k in range(len(self._specs))]
        values = np.stack(parts, axis=2)
        if self._last is not None:
            self._late(self._last, values[0])
            values = values[1:]
        self._watch(bars, values)
        self._last = _Delivered(bars.rows(len(bars) - 1, len(bars)), values[-1])
        return replace(bars, values=np.concatenate([bars.values, values], axis=2), columns=(*bars.columns, *self.names))

    def _column(self, k: int, bars: History, strict: bool) -> Float:
        """(T, A) of one specification."""
        try:
            found: Float = extend(bars, (self._specs[k],), self._root).values[:, :, -1]
        except UserError as error:
            if strict:
                raise
            if self._wrong[k] != str(error):
                self._note(f"column {self.names[k]} has no value until this is mended: {error}")
            self._wrong[k] = str(error)
            return np.full(bars.values.shape[:2], np.nan)
        if self._wrong[k]:
            self._note(f"column {self.names[k]} can be read again.")
        self._wrong[k] = ""
        return found

    def _late(self, last: _Delivered, now: Float) -> None:
        """Say what would be otherwise if the last bar came now."""
        same = (last.values == now) | (np.isnan(last.values) & np.isnan(now))
        for k, name in enumerate(self.names):
            if not self._wrong[k] and not same[:, k].all():
                a = int(np.argmin(same[:, k]))
                self._note(
                    f"column {name}: what was known at {iso(int(last.bars.time[0]))[:16]} came late; the bar had "
                    f"{last.values[a, k]:g}, and would have {now[a, k]:g} now."
                )

    def _watch(self, bars: History, values: Float) -> None:
        """Say which columns have fallen silent by the last of these bars, and which speak again."""
        traded = ~np.isnan(bars.values[:, :, CLOSE])
        silent: Bool = np.asarray((np.isnan(values) | ~traded[:, :, None]).all(axis=1))
        for k, name in enumerate(self.names):
            before = self._blank[k]
            spoken = np.flatnonzero(~silent[:, k])
            self._blank[k] = before + len(bars) if not len(spoken) else len(bars) - 1 - int(spoken[-1])
            if before < BLANK_BARS <= self._blank[k] and not self._wrong[k]:
                self._note(f"column {name} has no value, for {self._blank[k]} bars now.")
            if before >= BLANK_BARS and len(spoken) and not self._blank[k]:
                self._note(f"column {name} has values again.")


def _after(last: History, bars: History) -> History:
    """One row, and those that follow it."""
    return replace(
        bars,
        time=np.concatenate([last.time, bars.time]),
        values=np.concatenate([last.values, bars.values]),
        funding=np.concatenate([last.funding, bars.funding]),
        final=np.concatenate([last.final, bars.final]),
        cash_rate=np.zeros(1 + len(bars)),
    )
