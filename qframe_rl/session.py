"""The path that backtests, paper trading and replays share: bar in, money settled, decision out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from qframe_rl.agent import Agent, View
from qframe_rl.config import UserError
from qframe_rl.feeds.feed import Feed
from qframe_rl.listeners import Listener
from qframe_rl.members import member_channel
from qframe_rl.types import Bar, Fills, Float, Int, Orders
from qframe_rl.venues.venue import Protected, Slotted, Venue

_CHUNK = 4096


class Unready(UserError):
    """The feed ended before the first decision."""

    def __init__(self, n_bars: int, needed: int):
        super().__init__(f"the feed ended after {n_bars} bars; {needed} are needed before trading.")
        self.n_bars, self.needed = n_bars, needed


class Session:
    """One account's walk along a feed.

    Parameters
    ----------
    feed
        Where bars come from.
    venue
        Where orders become fills.
    window
        Bars shown at each decision; as many are taken from the feed before the first one.
    listeners
        Told of every bar; they can change nothing.
    """

    def __init__(self, feed: Feed, venue: Venue, window: int, *listeners: Listener):
        self.feed = feed
        self.venue = venue
        self._resting = venue if isinstance(venue, Slotted) else None
        self.listeners = listeners
        self._window = _Window(window, len(feed.instruments), 5 + len(feed.columns))
        self._bars: Iterator[Bar] = iter(())
        self._view: View | None = None
        self._cash_rate = 0.0
        self._member = member_channel(feed.columns)
        self._protected = venue if isinstance(venue, Protected) else None

    def start(self) -> View:
        """Take the bars of the warm-up and return the first view.

        Raises
        ------
        Unready
            If the feed ends before the window is full.
        """
        self._bars = iter(self.feed)
        for n in range(self._window.n_bars):
            # Before the first decision there is no account that could earn anything.
            fills = self._settle(self._awaited(n)._replace(cash_rate=0.0))
        self._view = self._look(self._window.time, fills, first=True)
        for listener in self.listeners:
            listener.started(self._view)
        return self._view

    def resume(self, bars: Iterable[Bar], fills: Fills) -> View:
        """Go on after a bar that was settled already, instead of `start`; return the view of that bar.

        Parameters
        ----------
        bars
            The last bars, as many as the window has.
        fills
            What the last of them did.
        """
        self._bars = iter(self.feed)
        for bar in bars:
            self._window.append(bar)
            self._cash_rate = bar.cash_rate
        self._view = self._look(self._window.time, fills)
        return self._view

    def step(self, orders: Orders) -> View:
        """Submit orders, wait for the next bar to close, settle it, and return what is then known.

        Of what is outside the universe no more than closing parts are submitted, as the kernel does for environments.
        When the feed has no further bar, the orders are dropped and the last view returns with ``exhausted`` set.
        """
        if self._view is None:
            raise RuntimeError("call start() before step()")
        orders = self._view.allowed(orders)
        self.venue.submit(orders)
        bar = next(self._bars, None)
        if bar is None:
            self._view = self._look(self._view.time, self._view.fills, exhausted=True)
            for listener in self.listeners:
                listener.ended(self._view)
            return self._view
        self._view = self._look(bar.time, self._settle(bar))
        for listener in self.listeners:
            listener.settled(self._view, orders)
        if self._view.terminated:
            for listener in self.listeners:
                listener.ended(self._view)
        return self._view

    def _awaited(self, n: int) -> Bar:
        bar = next(self._bars, None)
        if bar is None:
            raise Unready(n, self._window.n_bars)
        return bar

    def _settle(self, bar: Bar) -> Fills:
        if bar.time <= self._window.time:
            raise ValueError(f"a bar of {bar.time} came after one of {self._window.time}")
        fills = self.venue.advance(bar)
        self._window.append(bar)
        self._cash_rate = bar.cash_rate
        return fills

    def _look(self, time: int, fills: Fills, *, first: bool = False, exhausted: bool = False) -> View:
        times, bars = self._window.show()
        resting = None if self._resting is None else self._resting.resting
        locks = None if self._protected is None else self._protected.locks
        limit_use = None if self._protected is None else self._protected.limit_use
        return View(
            time, times, bars, self.venue.account, fills, first, exhausted, self.venue.terminated, self._cash_rate,
            self._member, locks, resting, limit_use,
        )  # fmt: skip


def run(session: Session, agent: Agent, view: View | None = None) -> View:
    """Let ``agent`` trade, from ``view`` on if the session was resumed, until data or account end.

    Parameters
    ----------
    session
        Where it trades.
    agent
        Asked once a bar.
    view
        What the session resumes from; None = it starts.

    Returns
    -------
    View
        The last one.
    """
    view = view or session.start()
    while not view.over:
        view = session.step(agent.decide(view))
    return view


class _Window:
    """The last ``n_bars`` bars as one array that is never written again once it was shown."""

    def __init__(self, n_bars: int, n_instruments: int, n_channels: int):
        self.n_bars = n_bars
        self.time = -1
        self._next = 0
        self._times = np.empty(n_bars + _CHUNK, dtype=np.int64)
        self._values = np.empty((n_bars + _CHUNK, n_instruments, n_channels))

    def append(self, bar: Bar) -> None:
        if self._next == len(self._times):
            keep = slice(self._next - self.n_bars, self._next)
            times, values = np.empty_like(self._times), np.empty_like(self._values)
            times[: self.n_bars], values[: self.n_bars] = self._times[keep], self._values[keep]
            self._times, self._values, self._next = times, values, self.n_bars
        self._times[self._next], self._values[self._next] = bar.time, bar.values
        self._next += 1
        self.time = bar.time

    def show(self) -> tuple[Int, Float]:
        part = slice(self._next - self.n_bars, self._next)
        times, values = self._times[part], self._values[part]
        times.flags.writeable = values.flags.writeable = False
        return times, values
