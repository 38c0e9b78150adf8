"""An agent round an agent: decisions on coarser bars, their orders worked on finer ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from qframe_rl.agent import Agent, Portable, State, View
from qframe_rl.coarser import coarse_bars, offset_of
from qframe_rl.config import UserError
from qframe_rl.execution.children import Parents
from qframe_rl.execution.plan import ExecutionPlan
from qframe_rl.execution.tally import FillsTally
from qframe_rl.orders import alone
from qframe_rl.times import timeframe_name
from qframe_rl.types import Float, Instrument, Int, Orders

_OWN, _INNER = "execution/", "strategy/"


class ParentOrder(NamedTuple):
    """What became of one parent until the strategy's next decision."""

    time: int
    """When it was ordered, ns UTC."""
    instrument: int
    """Which of the A instruments."""
    quantity: float
    """Signed base units, whole lots."""
    arrival: float
    """Last close when it was ordered, quote currency."""
    filled: float
    """Signed base units."""
    price: float
    """Average of the fills; 0 where nothing filled."""
    fee: float
    """Quote currency."""
    end: float
    """Last close before the next decision."""


class Worked:
    """A strategy whose orders are worked.

    It is shown bars of its own length, made of the finer ones, and asked when one has closed; where the finer bar that
    would close it is missing, at the next there is. Its next decision replaces what is left of the last. Market orders
    are worked by the plan. An order with a limit or a stop has a price of its own: it stands, whole, in every finer bar
    until it is filled or the strategy decides anew.

    Parameters
    ----------
    inner
        The strategy.
    plan
        How its market orders are worked.
    instruments
        The A instruments.
    bar_ns, fine_ns
        Length of the strategy's bars, and of those of the session.
    window
        Bars of its own that the strategy is shown.

    Raises
    ------
    UserError
        If its bars are not several whole ones of the session, or the plan does not fit into one.
    """

    def __init__(
        self,
        inner: Agent,
        plan: ExecutionPlan,
        instruments: Sequence[Instrument],
        bar_ns: int,
        fine_ns: int,
        window: int,
    ):
        if bar_ns % fine_ns or bar_ns <= fine_ns:
            raise UserError(
                f"execute: orders of a strategy on bars of {timeframe_name(bar_ns)} are worked on finer ones of which "
                f"it has several whole; {timeframe_name(fine_ns)} are not: say which with --timeframe, such as 1m."
            )
        self.inner, self.plan = inner, plan
        self.slices = plan.slices(bar_ns, fine_ns)
        self.window = window * (bar_ns // fine_ns)
        self.told: Callable[[ParentOrder], None] = lambda parent: None
        """Told of each parent once the next decision has come."""
        self._window, self._bar_ns, self._fine_ns, self._offset = window, bar_ns, fine_ns, offset_of(bar_ns)
        self._instruments = tuple(instruments)
        self._asked, self._first = -1, True
        self._forget()

    def decide(self, view: View) -> Orders:
        """Children for the next bar, after asking the strategy if a bar of its own has closed."""
        if view.first:
            self._forget()
        else:
            self._tally.add(view.fills, view.cash_rate)
            self._parents.absorb(view.fills)
        past = view.time - self._offset
        if self._asked < 0 and past % self._bar_ns:
            self._asked = past // self._bar_ns  # begun in the midst of a bar: it is asked when that one has closed
        if past // self._bar_ns > self._asked:
            self._ask(view)
        if self.plan.way == "pov":
            self._parents.see(view.bars[-1])
        k = (view.time - self._parents.begun) // self._fine_ns + 1
        return self._parents.children(self.plan, self.slices, k, view.bars[-1], view.account.position)

    def carried(self) -> State | None:
        """Parents, what became of them, and what the strategy remembers; None if that cannot say."""
        inner = self.inner.carried() if isinstance(self.inner, Portable) else None
        if inner is None:
            return None
        own = self._parents.carried() | {
            "asked": np.array([self._asked, self._first]), "arrival": self._arrival.copy(),
            "sums": self._tally.sums.copy(), "sizes": self._tally.sizes.copy(), "rest": self._tally.rest.copy(),
        }  # fmt: skip
        return {_OWN + name: value for name, value in own.items()} | {_INNER + name: v for name, v in inner.items()}

    def carry(self, memory: State) -> None:
        """Take over what `carried` returned."""
        own, inner = (
            {name.removeprefix(start): value for name, value in memory.items() if name.startswith(start)}
            for start in (_OWN, _INNER)
        )
        self._parents.carry(own)
        self._asked, self._first, self._arrival = int(own["asked"][0]), bool(own["asked"][1]), own["arrival"].copy()
        self._tally.sums, self._tally.sizes, self._tally.rest = (own[n].copy() for n in ("sums", "sizes", "rest"))
        if isinstance(self.inner, Portable):
            self.inner.carry(inner)

    def _forget(self) -> None:
        """Begin anew."""
        n = len(self._instruments)
        self._parents, self._tally, self._arrival = Parents(self._instruments), FillsTally(n), np.full(n, np.nan)
        self._asked, self._first = -1, True

    def _ask(self, view: View) -> None:
        """Have the strategy decide on its own bars, and take its orders as the new parents."""
        times, bars = self._shown(view)
        number = int((times[-1] - self._offset) // self._bar_ns)
        if number <= self._asked:  # no bar of its own closed: there was none
            return
        self._report(view)
        locks = None if view.locks is None else -(-view.locks * self._fine_ns // self._bar_ns)
        orders = self.inner.decide(
            replace(
                view, time=int(times[-1]), times=times, bars=bars, fills=self._tally.fills(self._parents.unworked()),
                first=self._first, cash_rate=self._tally.cash_rate, locks=locks, resting=None,
            )
        )  # fmt: skip
        self._asked, self._first = number, False
        self._arrival, self._tally = view.account.mark.copy(), FillsTally(len(self._instruments))
        self._parents.begin(view.time, alone(orders, "a strategy whose orders are worked (--execute)"))

    def _shown(self, view: View) -> tuple[Int, Float]:
        """(W,) closes and (W, A, C) channels of the strategy's own bars that have closed."""
        bars, times = view.bars[-self.window :], view.times[-self.window :]
        coarse, ends = coarse_bars(bars, times, self._bar_ns)
        last = int(np.searchsorted(ends, view.time, side="right"))
        shown = slice(max(0, last - self._window), last)
        coarse.flags.writeable = ends.flags.writeable = False
        return ends[shown], coarse[shown]

    def _report(self, view: View) -> None:
        """Tell what became of each parent."""
        filled = self._tally.fills(self._parents.unworked())
        for a in np.flatnonzero(self._parents.whole).tolist():
            self.told(
                ParentOrder(
                    self._parents.begun, a, float(self._parents.whole[a]), float(self._arrival[a]),
                    float(filled.quantity[a]), float(filled.price[a]), float(filled.fee[a]),
                    float(view.account.mark[a]),
                )
            )  # fmt: skip
