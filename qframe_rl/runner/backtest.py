"""One strategy on one stretch of bars, through the same session and venue as paper trading."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from qframe_rl.agent import Agent
from qframe_rl.deploy import venue_of
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.gym.market import Market
from qframe_rl.journal.slots import slots_padded
from qframe_rl.listeners import Journal
from qframe_rl.runner.barwise import SAID, BarWalk
from qframe_rl.session import Session
from qframe_rl.types import Account, Fills, Float, History, Orders, Record, Segment, SlotRecord

OnBar = Callable[[int, int], None]
"""Told of bars done and bars in all, now and then."""


def backtest(
    market: Market,
    agent: Agent,
    history: History,
    segment: Segment,
    window: int,
    on_bar: OnBar | None = None,
) -> Record:
    """Let ``agent`` trade the bars of ``segment``.

    Parameters
    ----------
    market
        Rules, cash and interface; and limits of the risk engine in front of the venue: after a halt nothing is traded.
    agent
        The strategy.
    history
        Bars; those before the segment serve as warm-up.
    segment
        Rows in which orders settle.
    window
        Bars shown at each decision; from `window_of`, over all agents that are to be compared.
    on_bar
        Told of the progress.

    Raises
    ------
    UserError
        If the period is shorter than the window.
    """
    feed = HistoryFeed(history, segment, window)
    total, tell = feed.stop - feed.start - window, on_bar or _nobody
    looked_at = market.limits.binding or market.rules.detail_ns > 0
    record = (_watched if looked_at else _free)(market, agent, feed, lambda done: tell(done, total))
    tell(total, total)
    return record


def _nobody(done: int, total: int) -> None:
    """Nobody is told."""


def _free(market: Market, agent: Agent, feed: HistoryFeed, on_bar: Callable[[int], None]) -> Record:
    """Without limits, each bar in one step."""
    return BarWalk(market, feed).run(agent, on_bar)


def _watched(market: Market, agent: Agent, feed: HistoryFeed, on_bar: Callable[[int], None]) -> Record:
    """Behind a risk engine, which looks at each bar, or with finer bars: through a session."""
    journal = Journal(market.instruments, market.bar_ns)
    session = Session(feed, venue_of(market), feed.window, journal)
    view, done = session.start(), 0
    while not view.over:
        view = session.step(agent.decide(view))
        done += 1
        if done % SAID == 0:
            on_bar(min(done, feed.stop - feed.start - feed.window))
    return journal.record()


def joined(records: Sequence[Record]) -> Record:
    """Lay records of consecutive periods end to end, each begun with the equity that the one before ended with.

    Money and quantities of a later record are scaled to that equity. What is held at a joint is counted as closed by
    the venue at its mark, without cost; the next period pays for its own entry.
    """
    first, *rest = records
    for after in rest:
        first = _closed(first)
        scale = float(first.account.equity[-1] / after.account.equity[0])
        money = (scale, scale, 1.0)
        first = replace(
            first,
            time=np.concatenate([first.time, after.time[1:]]),
            account=Account(*_laid(first.account, after.account, money)),
            orders=Orders(*_laid(first.orders.terms, after.orders.terms, (scale, 1.0, 1.0))),
            fills=Fills.made(_laid(first.fills.sums, after.fills.sums, (scale, 1.0, *(scale,) * 6, 1.0, scale, scale))),
            slots=_slots_laid(first, after, scale),
            cash_rate=np.concatenate([first.cash_rate, after.cash_rate[1:]]),
            skipped=first.skipped + after.skipped + int(after.time[0]) - int(first.time[-1]),
            digest=hashlib.sha256(f"{first.digest}{after.digest}".encode()).hexdigest(),
        )
    return first


def part(record: Record, start: int, stop: int) -> Record:
    """What the bars after row ``start`` did to the account as it was then; the digest is that of the whole record.

    Parameters
    ----------
    record
        The whole.
    start, stop
        First and last row, both among them.
    """
    after, at = slice(start + 1, stop + 1), slice(start, stop + 1)

    def met(field: Float) -> Float:
        return np.concatenate([field[:1], field[after]])

    slots = None if record.slots is None else SlotRecord(*(met(field) for field in record.slots))
    return replace(
        record, time=record.time[at], account=Account(*(field[at] for field in record.account)),
        orders=Orders(*map(met, record.orders.terms)), fills=Fills.made(map(met, record.fills.sums)), slots=slots,
        cash_rate=met(record.cash_rate), flow=record.flow[:0] if not record.flow.any() else met(record.flow), skipped=0,
    )  # fmt: skip


def _closed(record: Record) -> Record:
    """The record with what it holds at its end sold to the venue at the mark."""
    cash, position, mark = (field.copy() for field in record.account)
    forced, price = record.fills.forced.copy(), record.fills.forced_price.copy()
    held = position[-1] != 0.0
    cash[-1] = record.account.equity[-1]
    forced[-1, held], price[-1, held] = -position[-1, held], mark[-1, held]
    position[-1] = 0.0
    fills = record.fills._replace(forced=forced, forced_price=price)
    return replace(record, account=Account(cash, position, mark), fills=fills)


def _slots_laid(first: Record, after: Record, scale: float) -> SlotRecord | None:
    """The slots of both, as many as the one with more has."""
    if first.slots is None and after.slots is None:
        return None
    k = max(record.slots.orders.shape[-1] for record in (first, after) if record.slots is not None)
    one, two = (slots_padded(record.slots, len(record), len(record.instruments), k) for record in (first, after))
    two.orders[:, :, 0] *= scale
    two.fills[:, :, [0, 2]] *= scale
    return SlotRecord(*(np.concatenate([a, b[1:]]) for a, b in zip(one, two, strict=True)))


def _laid(one: Sequence[Float], two: Sequence[Float], scales: Sequence[float]) -> list[Float]:
    return [np.concatenate([a, b[1:] * s]) for a, b, s in zip(one, two, scales, strict=True)]
