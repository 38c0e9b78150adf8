"""The rows that a search may see, what followed each of them, and how formulas do on them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from qframe_rl.alpha.cross import universe
from qframe_rl.alpha.grammar import Vocabulary
from qframe_rl.alpha.net import moves
from qframe_rl.alpha.operators import LEAST_LED, LEAST_MEMBERS
from qframe_rl.alpha.panel import Evaluator
from qframe_rl.alpha.score import dates_of, labels
from qframe_rl.config import UserError, fingerprint
from qframe_rl.types import CLOSE, DAY, OPEN, Bool, Float, History, Int

N_PERIODS = 4
"""Equal parts of a ground by which steadiness is judged."""
WARM_UP = 800
"""Rows before a ground that formulas may look back to; more than the longest one that a search writes needs."""
LEAST_DATES = 40


def usual_ahead(bar_ns: int) -> int:
    """Bars that a label looks ahead where nobody says how many: a day of bars that are shorter than one, else five."""
    return max(1, DAY // bar_ns) if bar_ns < DAY else 5


class WhatFollowed(NamedTuple):
    """What followed each row of a ground."""

    label: Float
    """(N, A) what was earned over the rows that a label looks ahead, fractions, funding taken off; NaN = none."""
    moves: Float
    """(N, A) of single bars, as `qframe_rl.alpha.net.moves` has them."""


@dataclass(frozen=True, eq=False)
class Ground:
    """Rows of bars with their labels.

    Formulas are computed from rows up to each one's own, and looked at on rows ``start`` to ``stop``; what followed is
    told by rows before ``stop`` alone. No row from ``stop`` on is ever read.

    Parameters
    ----------
    bars
        (T, A, C) channels.
    times
        (T,) closes, ns UTC.
    bar_ns
        Length of a bar, ns.
    columns
        Names of the channels after the first five.
    members
        (T, A) the universe.
    n_ahead
        Bars of the label, h.
    cost
        Fee and half-spread, as a fraction of what is traded.
    start, stop
        Rows of the segment; its last h + 1 rows have no label.
    funding
        (T, A) rates of perpetuals that fall due in each bar, taken off label and book; None = no funding.
    instead
        What is said to have followed, in place of what did: a test of luck.
    leads
        Whether formulas may read the market's leader.

    Raises
    ------
    UserError
        If fewer than `LEAST_DATES` rows have a label.
    """

    bars: Float
    times: Int
    bar_ns: int
    columns: tuple[str, ...]
    members: Bool
    n_ahead: int
    cost: float
    start: int
    stop: int
    funding: Float | None = None
    instead: WhatFollowed | None = None
    leads: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= len(self.bars):
            raise ValueError(f"rows {self.start} to {self.stop} are not among {len(self.bars)}")
        if self.n_dates < LEAST_DATES:
            raise UserError(
                f"a search for formulas needs {LEAST_DATES} bars with what followed them; of {self.stop - self.start} "
                f"bars, the last {self.n_ahead + 1} without, there are {max(0, self.n_dates)}. Take a longer period."
            )

    @classmethod
    def of(
        cls, history: History, n_ahead: int, cost: float, n_largest: int = 0, start: int = 0, stop: int | None = None
    ) -> Ground:
        """Rows of a history, begun with the first one in which enough instruments can be ranked.

        Parameters
        ----------
        history
            The bars; the funding of its perpetuals is taken off labels and book.
        n_ahead
            Bars of the label, h.
        cost
            Fee and half-spread, as a fraction of what is traded.
        n_largest
            As `qframe_rl.alpha.cross.universe` has it.
        start, stop
            Rows; all where none are named.

        Raises
        ------
        UserError
            As `Ground`.
        """
        stop = len(history) if stop is None else stop
        members = universe(history.values[:stop], n_largest)
        begin = start + _first_ranked(members[start:])
        bars, times = history.values[:stop], history.time[:stop]
        plain = (bars, times, history.bar_ns, history.columns, members, n_ahead, cost)
        return cls(*plain, begin, stop, funding_rates(history)[:stop])

    @classmethod
    def joined(cls, histories: Sequence[History], n_ahead: int, cost: float, n_largest: int = 0) -> Ground:
        """Pieces of a history, one after the other, as one ground.

        Parameters
        ----------
        histories
            In the order of time, of the same instruments. What followed the end of a piece is not told by the next one;
            formulas that look back beyond its beginning see the end of the one before.
        n_ahead, cost, n_largest
            As `of` has them.

        Raises
        ------
        UserError
            As `Ground`.
        """
        if len(histories) == 1:
            return cls.of(histories[0], n_ahead, cost, n_largest)
        one, rates = histories[0], [funding_rates(history) for history in histories]
        bars, times = np.concatenate([h.values for h in histories]), np.concatenate([h.time for h in histories])
        members = universe(bars, n_largest)
        begin = _first_ranked(members)
        each = [followed(h.values, n_ahead, paid) for h, paid in zip(histories, rates, strict=True)]
        instead = WhatFollowed(*(np.concatenate(part)[begin:] for part in zip(*each, strict=True)))
        plain = (bars, times, one.bar_ns, one.columns, members, n_ahead, cost)
        return cls(*plain, begin, len(bars), np.concatenate(rates), instead)

    @property
    def n_dates(self) -> int:
        """Rows that may have a label."""
        return self.stop - self.start - self.n_ahead - 1

    @property
    def first(self) -> int:
        """First row that formulas are computed from."""
        return max(0, self.start - WARM_UP)

    @property
    def crosses(self) -> bool:
        """Whether there are enough instruments to compare them."""
        return int(self.bars.shape[1]) >= LEAST_MEMBERS

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What a search may write here: bars and columns; what followed has no name in it."""
        return Vocabulary(self.columns, crosses=self.crosses, leads=self.leads and self.bars.shape[1] >= LEAST_LED)

    @cached_property
    def seen(self) -> Bool:
        """(N, A) the universe of the ground's rows."""
        return np.ascontiguousarray(self.members[self.start : self.stop])

    @cached_property
    def followed(self) -> WhatFollowed:
        """What followed each of its rows."""
        if self.instead is not None:
            return self.instead
        funding = None if self.funding is None else self.funding[: self.stop]
        return followed(self.bars[: self.stop], self.n_ahead, funding, self.start)

    @cached_property
    def bounds(self) -> Int:
        """(N_PERIODS + 1,) rows of the ground at which its equal parts begin and end."""
        return np.linspace(0, self.n_dates, N_PERIODS + 1).astype(np.int64)

    def evaluator(self, most_bytes: int = 2**28) -> Evaluator:
        """What computes formulas over these rows and the warm-up before them."""
        rows = slice(self.first, self.stop)
        return Evaluator(self.bars[rows], self.times[rows], self.bar_ns, self.columns, self.members[rows], most_bytes)

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of all that the result of a search depends on here."""
        rows, made = slice(self.first, self.stop), hashlib.sha256()
        for part in (self.bars[rows], self.times[rows], self.members[rows], *self.followed):
            made.update(np.ascontiguousarray(part).tobytes())
        plain = (self.bar_ns, self.columns, self.n_ahead, self.cost, self.start - self.first)
        return fingerprint(made.hexdigest(), *plain, *(["leader"] if self.leads else []))


def followed(bars: Float, n_ahead: int, funding: Float | None = None, start: int = 0) -> WhatFollowed:
    """What followed each row from ``start`` on; of the last h + 1 rows nothing is known.

    Parameters
    ----------
    bars
        (T, A, C) channels.
    n_ahead
        Bars of the label, h.
    funding
        (T, A) rates that fall due in each bar; None = no funding.
    start
        First row.
    """
    label = labels(bars, n_ahead, start)
    if funding is not None:
        label -= carried(bars, funding, n_ahead)
    return WhatFollowed(np.ascontiguousarray(label[start:]), np.ascontiguousarray(moves(bars, funding)[start:]))


def _first_ranked(members: Bool) -> int:
    """First row in which enough instruments can be ranked; 0 where there is none."""
    ranked = np.flatnonzero(dates_of(members))
    return int(ranked[0]) if len(ranked) else 0


def funding_rates(history: History) -> Float:
    """Give the funding of a history's perpetuals as rates.

    Parameters
    ----------
    history
        The bars.

    Returns
    -------
    Float
        (T, A) what fell due in each bar, as a fraction of the close before it; above 0 longs pay; 0 without funding.
    """
    before = np.concatenate([history.values[:1, :, OPEN], history.values[:-1, :, CLOSE]])
    rates: Float = np.nan_to_num(history.funding / before, posinf=0.0, neginf=0.0)
    return rates


def carried(bars: Float, funding: Float, n_ahead: int) -> Float:
    """Funding that a long pays while a label's position is held.

    Bought at the open of row t + 1 it pays first in row t + 2, since funding falls due before a bar's orders.

    Parameters
    ----------
    bars
        (T, A, C) channels.
    funding
        (T, A) rates that fall due in each bar, from `funding_rates`.
    n_ahead
        Bars of the label, h.

    Returns
    -------
    Float
        (T, A) fractions of what was bought; NaN in the last h + 1 rows, which have no label.
    """
    mark = np.concatenate([bars[:1, :, OPEN], bars[:-1, :, CLOSE]])
    due = np.nan_to_num(funding * mark, posinf=0.0, neginf=0.0)
    total = np.concatenate([np.zeros((1, due.shape[1])), np.cumsum(due, axis=0)])
    out = np.full(due.shape, np.nan)
    n = len(bars) - n_ahead - 1
    out[:n] = (total[n_ahead + 2 :][:n] - total[2:][:n]) / bars[1 : n + 1, :, OPEN]
    return out
