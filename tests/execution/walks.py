"""Minutes, a strategy on quarters of an hour that asks for what it is told, and what a session makes of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qframe_rl.agent import State, View
from qframe_rl.config import Ref
from qframe_rl.deploy import venue_of
from qframe_rl.execution import ParentOrder, Worked, plan_of
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.gym.market import Market, MarketConfig, market
from qframe_rl.listeners import Journal
from qframe_rl.session import Session, run
from qframe_rl.types import MINUTE, History, Orders, Record, Segment
from tests.markets import START, panel

OWN = 15 * MINUTE
WINDOW = 2
FIRST = WINDOW * 15
"""Rows of the warm-up."""


class Asks:
    """Asks for quantities, one row after the other, again and again.

    Parameters
    ----------
    rows
        (N, A) signed base units.
    """

    window = WINDOW

    def __init__(self, rows: Any):
        self.rows = np.asarray(rows, dtype=np.float64)
        self.n = 0
        self.views: list[View] = []

    def decide(self, view: View) -> Orders:
        self.views.append(view)
        self.n += 1
        return Orders.market(self.rows[(self.n - 1) % len(self.rows)].copy())

    def carried(self) -> State:
        return {"n": np.array([self.n])}

    def carry(self, memory: State) -> None:
        self.n = int(memory["n"][0])


def minutes(
    n_bars: int, n: int = 1, seed: int = 0, *, volume: float = 1.0, kind: str = "perpetual", **more: Any
) -> History:
    """Minutes that begin with a whole quarter of an hour."""
    made = panel(n_bars, n, seed, volatility=2e-3, kind=kind, **{"ragged": False, "column": False, **more})
    values = made.values.copy()
    values[:, :, 4] *= volume
    begin = -(-START // OWN) * OWN
    return replace(made, bar_ns=MINUTE, time=begin + MINUTE * np.arange(1, n_bars + 1), values=values)


def ruled(history: History, **rules: Any) -> History:
    """The same bars of instruments with other rules."""
    return replace(history, instruments=tuple(replace(i, **rules) for i in history.instruments))


def traded(history: History, **more: Any) -> Market:
    """A market for them, in which nothing is too dear."""
    return market(
        "test", MarketConfig(features=("log_return:1",), cash=1e6, actions=Ref(name="simplex"), **more),
        history.instruments, history.columns, history.bar_ns, leverage=10.0, shorting=True,
    )  # fmt: skip


def working(agent: Any, way: str, history: History) -> tuple[Worked, list[ParentOrder]]:
    """The agent with its orders worked, and where what became of them comes."""
    made, told = Worked(agent, plan_of(way), history.instruments, OWN, MINUTE, WINDOW), list[ParentOrder]()
    made.told = told.append
    return made, told


def walked(agent: Any, history: History, one: Market, stop: int | None = None) -> Record:
    """What a session of the agent comes to."""
    journal = Journal(one.instruments, one.bar_ns)
    feed = HistoryFeed(history, Segment(FIRST, len(history) if stop is None else stop), FIRST)
    run(Session(feed, venue_of(one), FIRST, journal), agent)
    return journal.record()


def decided(agent: Any, history: History, one: Market, seen: Callable[[View, Orders], None]) -> None:
    """Walk, and tell each decision with what was seen."""
    session = Session(HistoryFeed(history, Segment(FIRST, len(history)), FIRST), venue_of(one), FIRST)
    view = session.start()
    while not view.over:
        orders = agent.decide(view)
        seen(view, orders)
        view = session.step(orders)


def sums(record: Record, parent: ParentOrder, times: Sequence[int]) -> float:
    """What a session ordered between two decisions of the strategy and filled, base units."""
    after = next((t for t in times if t > parent.time), 2**62)
    rows = (record.time > parent.time) & (record.time <= after)
    return float(record.fills.quantity[rows, parent.instrument].sum())
