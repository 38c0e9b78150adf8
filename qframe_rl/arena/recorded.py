"""The crowd's market as a recording: its messages as ticks, so that what reads recorded books reads it, too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.arena.sight import STEP_NS, BookSight
from qframe_rl.book import core
from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE, Events
from qframe_rl.book.state import AT, BUY, FILLED, SELL, TAKER_SIDE, Books, empty_books
from qframe_rl.config import Ref, UserError
from qframe_rl.feeds.ticks import TickRun
from qframe_rl.gym.make import make_book
from qframe_rl.gym.replay.packed import whole_run
from qframe_rl.types import Instrument, Int

START = 1_700_000_000_000_000_000
"""When a recording begins, ns UTC: any time will do."""
_STEPS, _SEED = 1_500, 1 << 41
_COLUMNS = 7
"""Of a row: both stamps, kind, side, tick, lots, message."""
_INSTRUMENT = Instrument("CROWD/TICK:TICK", "perpetual", tick=1.0, lot=1.0)


def book_params(config: CrowdConfig) -> dict[str, Any]:
    """Parameters of ``book_making`` in which a maker acts, and is paid, as one in the crowd does.

    A step is a tenth of a second, ``reach_ticks`` the farthest quote, ``lots`` a whole quote.
    """
    penalty = config.inventory_penalty * config.lots * 1e9 / STEP_NS
    return {
        "every": "100ms", "n_rows": 1, "actions": "quotes", "nearest": 0.5, "farthest": float(config.reach_ticks),
        "size": config.lots, "limit": config.position_limit // config.lots, "inventory_penalty": penalty,
    }  # fmt: skip


def sight_of(config: CrowdConfig) -> BookSight:
    """How makers see where the population trades alone; fitted as ``book_making`` is, to a recording of it.

    Parameters
    ----------
    config
        The market.
    """
    alone = {"maker_sees": "seat", "makers": 1, "takers": 0, "executions": 0}
    return _fitted(config.model_copy(update={**alone, "episode_steps": _STEPS, "warmup_steps": 0}))


@cache
def _fitted(config: CrowdConfig) -> BookSight:
    """The same of the population alone."""
    run = recorded(config, _SEED)
    book = make_book(Ref(name="book_making", params=book_params(config)), _INSTRUMENT).fit([whole_run(run)])
    if book.interface.micro is None:
        raise UserError("env book_making: its features have no micro-price by default any more.")
    return BookSight(book.interface.scaler, book.interface.micro)


def recorded(config: CrowdConfig, seed: int) -> TickRun:
    """An episode of a market in which agents do nothing, as an exchange would have told it.

    Parameters
    ----------
    config
        Without a warm-up, which nobody sees.
    seed
        Of the market.

    Raises
    ------
    UserError
        If there is a warm-up.
    """
    if config.warmup_steps:
        raise UserError("a recording begins with the first message; set warmup_steps to 0.")
    crowd, everyone = Crowd(config, 1), np.ones(1, np.bool_)
    crowd.keep_log()
    crowd.seed_with(seed)
    crowd.reset(everyone)
    sent, nothing = [0], crowd.idle()
    for _ in range(config.episode_steps):
        crowd.step(nothing, everyone)
        sent.append(len(crowd.log()))
    return run_of(crowd, sent)


def run_of(crowd: Crowd, sent: list[int]) -> TickRun:
    """A market's messages as ticks.

    Parameters
    ----------
    crowd
        Whose log has all messages of its first market's episode.
    sent
        How many messages there were before the first step, 0, and after each.

    Raises
    ------
    UserError
        If none of them made a book.
    """
    log = crowd.log()
    at = np.concatenate([
        START + k * STEP_NS + np.arange(1, last - first + 1) * (STEP_NS // (last - first + 1))
        for k, (first, last) in enumerate(pairwise(sent))
    ])  # fmt: skip
    books = empty_books(1, crowd.books.n_prices, crowd.books.n_places)
    rows = list(_rows(books, log, at))
    if not rows:
        raise UserError("env crowd: the population makes no book that makers could see; set noise or quoters.")
    columns = np.array(rows, np.int64).T
    exchange, local, kind, side, tick, lots, message = columns
    events = Events(exchange, local, kind.astype(np.int8), side.astype(np.int8), tick, lots, message)
    return TickRun("crowd", _INSTRUMENT.symbol, 1.0, 1.0, events, 0, START, "the episode was over", {})


def _rows(books: Books, log: Int, at: Int) -> Iterator[tuple[int, ...]]:
    """Rows of all messages: trades first, then levels that changed."""
    before: tuple[dict[int, int], dict[int, int]] = ({}, {})
    kind = SNAPSHOT
    for k, one in enumerate(log):
        now, fills = int(at[k]), core.match(books, one[None]).fills
        for fill in fills[fills[:, FILLED] > 0]:
            yield now, now, TRADE, int(fill[TAKER_SIDE]), int(fill[AT]), int(fill[FILLED]), k
        after = tuple(dict(side.tolist()) for side in core.levels(books))
        for side in (BUY, SELL):
            for tick in sorted(before[side].keys() | after[side].keys()):
                lots = after[side].get(tick, 0)
                if lots != before[side].get(tick, 0):
                    yield now, now, kind, side, tick, lots, k
        if any(after):
            kind = DEPTH
        before = (after[BUY], after[SELL])
