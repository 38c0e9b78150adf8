"""Sessions on order books for tests: a made-up market, and strategies that do much."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.config import Ref
from qframe_rl.feeds.synthetic_ticks import synthetic_ticks
from qframe_rl.feeds.tick_load import TickHistory
from qframe_rl.feeds.ticks import TickRun
from qframe_rl.gym.make import make_book
from qframe_rl.gym.replay.market import BookMarket
from qframe_rl.gym.replay.packed import whole_run
from qframe_rl.live.paper_quoting import QuotingResult, run_quoter
from qframe_rl.live.quoting_terms import QuotingTerms
from qframe_rl.live.tapes import ReplayTape, StatedRun, TapePart, TapeSource
from qframe_rl.quoter import BookView, Wishes, wishes
from qframe_rl.types import Instrument, Source

COIN = Instrument("MADE/USDT:USDT", "perpetual", lot=0.001, tick=0.1, maker_fee=2e-4, taker_fee=5e-4, maintenance=0.01)
ENV = Ref(name="book_making", params={"every": "50ms", "features": ("spread", "ofi:500ms", "imbalance:2"), "n_rows": 3})


@cache
def ticks(n_runs: int = 2, n_messages: int = 4_000) -> TickHistory:
    """Made-up runs."""
    runs = tuple(_later(synthetic_ticks(seed, n_messages), 3600 * seed) for seed in range(n_runs))
    return TickHistory(COIN, runs, Source("synthetic", "synthetic", "made"))


def _later(run: TickRun, seconds: int) -> TickRun:
    """The same some time later, as it arrives."""
    ns, events = seconds * 10**9, run.events
    order = np.argsort(events.local_ns, kind="stable")
    events = events._replace(exchange_ns=events.exchange_ns + ns, local_ns=events.local_ns + ns).where(order)
    return run._replace(events=events, ready_ns=run.ready_ns + ns, ends="it was made so long")


@cache
def book(**params: Any) -> BookMarket:
    """A market for makers, fitted."""
    env = ENV.model_copy(update={"params": {**ENV.params, **params}})
    return make_book(env, COIN).fit([whole_run(run) for run in ticks().runs])


class Restless:
    """Quotes near the best prices, changes its mind now and then, and takes a little: all drawn from what it sees."""

    window = 2

    def quote(self, view: BookView) -> Wishes:
        """Any."""
        word = hashlib.sha256(
            repr((view.time // 100_000_000, view.position > 30, view.position < -30)).encode()
        ).digest()
        away, lots = [int(w % 3) for w in word[:2]], [(0, 4, 9)[w % 3] for w in word[2:4]]
        lots = [0 if view.position * sign > 30 else n for n, sign in zip(lots, (1, -1), strict=True)]
        bid, ask = int(view.best[0, 0]) - away[0], int(view.best[1, 0]) + away[1]
        sells = view.position > 0
        take = (int(sells), 3, bid - 4 if sells else ask + 4) if word[4] < 70 else (0, 0, 0)
        return wishes((bid, lots[0]), (ask, lots[1]), take)


def tape(history: TickHistory | None = None, **more: Any) -> ReplayTape:
    """All runs."""
    return ReplayTape([whole_run(run) for run in (history or ticks()).runs], **more)


class Told(ReplayTape):
    """All runs, and something that happens before each part.

    Parameters
    ----------
    part_rows
        As in `ReplayTape`.
    more
        What a kind of it needs.
    """

    def __init__(self, part_rows: int = 300, **more: Any):
        super().__init__([whole_run(run) for run in ticks().runs], part_rows=part_rows)
        vars(self).update(more)

    def part(self, n: int) -> None:
        """Before the n-th part of this process."""

    def parts(self, run: StatedRun | None, n: int, *, ended: bool) -> Iterator[TapePart | None]:
        """All of them."""
        for k, part in enumerate(super().parts(run, n, ended=ended)):
            self.part(k)
            yield part


def terms(**more: Any) -> QuotingTerms:
    """Of a session."""
    given = {"hold_ns": 10**9, "rates": (), "cash": 10_000.0} | more
    return QuotingTerms("restless", "0" * 64, {"feed": "replay"}, ENV.model_dump(mode="json"), COIN, **given)


def session(folder: Path, source: TapeSource | None = None, quoter: Any = None, **more: Any) -> QuotingResult:
    """Run a session to its end."""
    given = {name: more.pop(name) for name in ("hold_ns", "rates", "cash") if name in more}
    market = more.pop("market", None) or book()
    source = tape(part_rows=300) if source is None else source
    return run_quoter(market, quoter or Restless(), source, terms(**given), folder, durable=False, **more)
