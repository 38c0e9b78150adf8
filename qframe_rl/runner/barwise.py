"""A strategy that decides bar by bar, on bars that are all there: what a session gives, for a fraction of its time.

A live session writes, hashes and copies as it goes, since it may be cut off after any bar. A backtest need not: its
bars lie in one array as the kernel reads them, one compiled call settles a bar and notes it, a view makes its fields
when it is asked for them, and the record is hashed at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from qframe_rl.agent import Agent
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.gym.market import Market
from qframe_rl.journal.slots import slots_stacked
from qframe_rl.kernel.columns import (
    CASH,
    CASH_RATE,
    FILLS,
    LIMIT,
    MARK,
    MARKS,
    N_FILLS,
    N_ORDER,
    ORDERS,
    POSITION,
    POSITIONS,
    QUANTITY,
    ROW_ABSORBED,
    ROW_CASH,
    ROW_CASH_RATE,
    ROW_INTEREST,
    RUINED,
    STOP,
    bars_of,
    opened,
)
from qframe_rl.kernel.lanes import scratch
from qframe_rl.listeners import chain_of, met_of, record_of
from qframe_rl.members import member_channel
from qframe_rl.orders import is_plain, summed
from qframe_rl.runner.looked import Looks
from qframe_rl.runner.noted import MET, RUIN, meet_bar, warm_up
from qframe_rl.types import CLOSE, PER_INSTRUMENT, Fills, Orders, Record, SlotRecord
from qframe_rl.venues.standing import StandingOrders

SAID = 500
"""Bars from one report of the progress to the next."""
_WRONG = "orders must be {} finite quantities, got {}"


class BarWalk:
    """One account's walk along bars: to the bit what a `Session` gives with a `SimulatedVenue` and a `Journal`.

    Parameters
    ----------
    market
        Rules and cash; limits are not looked at.
    feed
        The bars; those of its window are the warm-up.

    Raises
    ------
    ValueError
        If the times of the bars do not rise.
    """

    def __init__(self, market: Market, feed: HistoryFeed):
        history, rules, n = feed.history.rows(feed.start, feed.stop), market.rules, len(feed.instruments)
        if not (np.diff(history.time, prepend=-1) > 0).all():
            raise ValueError("the times of bars must rise")
        self._looks = Looks(history, feed.window, member_channel(history.columns))
        self._market, self._time, self._shape = market, history.time, (n,)
        self._bars = bars_of(history.values, history.funding, history.final, history.cash_rate)
        # Before the first decision there is no account that could earn anything.
        self._bars[: feed.window, :, CASH_RATE] = 0.0
        self._money, self._holding = opened(market.cash, 1, rules.n_columns), np.zeros((1, n, 2))
        self._holding[0, :, MARK] = np.nan
        self._asked, fills = np.zeros((N_ORDER, n)), np.empty((1, n, N_FILLS))
        self._standing, self._met = StandingOrders(n), dict[int, SlotRecord]()
        self._row = np.zeros(1, dtype=np.int64)
        settled = (
            self._money, self._holding, np.zeros((1, n, N_ORDER)), self._bars, self._row, np.ones(1, dtype=np.bool_),
            rules.table, rules.leverage, rules.shorting, fills, scratch(n),
        )  # fmt: skip
        warm_up(feed.window, *settled)
        self._meet = self._asked, self._looks.rows, feed.window - 1, *settled
        self._looks.took[0] = Fills.of(fills[0].copy(), np.zeros(()), np.zeros(()))
        self._note(0, Orders.market(np.zeros(n)), Fills.none(n))

    def run(self, agent: Agent, on_bar: Callable[[int], None]) -> Record:
        """Let ``agent`` trade until the bars or the account end; ``on_bar`` is told of bars done, now and then.

        Raises
        ------
        ValueError
            For orders that are none, as `qframe_rl.venues.simulated.SimulatedVenue.submit`.
        """
        looks, decide, ask, meet, done, answer = self._looks, agent.decide, self._ask, self._meet, 0, MET
        member, length = looks.member, looks.length
        while answer == MET:
            view = looks.view(done)
            orders = decide(view)
            if member:
                orders = view.allowed(orders)
            plain = ask(orders)
            if done == length:  # there is no bar that they could meet
                break
            done += 1
            answer = meet_bar(*meet) if plain else self._slotted(orders, done)
            if done % SAID == 0:
                on_bar(done)
        if not np.isfinite(self._asked[QUANTITY]).all():
            raise ValueError(_WRONG.format(len(self._asked[QUANTITY]), self._asked[QUANTITY]))
        return self._record(done + 1)

    def _ask(self, orders: Orders) -> bool:
        """Take the orders for the next bar; say whether they are one per instrument."""
        quantity, limit, stop, good, after, trail, flags, group = orders
        alone = good is after is trail is flags is group is None
        usual = alone and type(quantity) is type(limit) is type(stop) is np.ndarray
        if not (usual and quantity.shape == limit.shape == stop.shape == self._shape):
            if not is_plain(orders):
                tradable = np.asarray(~np.isnan(self._bars[self._row[0], :, CLOSE]))
                self._standing.take(orders, tradable, self._market.rules)
                return False
            if not np.shape(quantity) == np.shape(limit) == np.shape(stop) == self._shape:
                raise ValueError(_WRONG.format(*self._shape, quantity))
        if self._met:
            self._standing.clear()
        asked = self._asked
        asked[QUANTITY], asked[LIMIT], asked[STOP] = quantity, limit, stop
        return True

    def _slotted(self, orders: Orders, done: int) -> int:
        """Let what stands in slots meet the next bar."""
        self._row[0] += 1
        bar = self._bars[self._row[0]][None]
        fills = self._standing.settle(self._money, self._holding, bar, self._market.rules)
        met, resting = met_of(orders, self._looks.resting.get(done - 1), fills), self._standing.orders
        assert met is not None  # there are slots
        self._met[done], self._looks.took[done] = met, fills
        if resting is not None:
            self._looks.resting[done] = resting
        self._note(done, summed(orders, fills), fills)
        return RUIN if self._money[0, RUINED] else MET

    def _note(self, done: int, orders: Orders, fills: Fills) -> None:
        """Write a row of the record."""
        row, panels = self._looks.rows[done], self._looks.panels[done]
        row[ROW_CASH], row[ROW_ABSORBED] = self._money[0, CASH], fills.absorbed
        row[ROW_INTEREST], row[ROW_CASH_RATE] = fills.interest, self._bars[self._row[0], 0, CASH_RATE]
        panels[POSITIONS], panels[MARKS] = self._holding[0, :, POSITION], self._holding[0, :, MARK]
        panels[ORDERS:FILLS], panels[FILLS:] = orders.terms, fills.sums[: len(PER_INSTRUMENT)]

    def _record(self, n: int) -> Record:
        """The first ``n`` rows as columns."""
        market, rows, first = self._market, self._looks.rows[:n], self._row[0] - n + 1
        time = self._time[first : first + n].copy()
        record = record_of(market.instruments, market.bar_ns, time, rows, chain_of(time, rows, self._met))
        if not self._met:
            return record
        slots = slots_stacked([self._met.get(k) for k in range(n)], len(market.instruments))
        return replace(record, slots=slots)
