"""Sessions whose quotes go to the rehearsal exchange, which serves a tape of made-up ticks over Binance's wire."""

from __future__ import annotations

import json
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE, Events, joined
from qframe_rl.feeds.client import client
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.synthetic_ticks import synthetic_ticks
from qframe_rl.feeds.ticks import TickRun
from qframe_rl.gym.replay.packed import whole_run
from qframe_rl.journal.store import read
from qframe_rl.live.paper_quoting import QuotingReplay, QuotingResult, replay_quoter, run_quoter
from qframe_rl.live.permit import exchange_book
from qframe_rl.live.quoting_terms import QuotingTerms
from qframe_rl.live.tapes import ReplayTape, StatedRun, TapePart
from qframe_rl.live.tick_tape import StreamTape
from qframe_rl.rehearsal import Rehearsal, RehearsalConfig, serve
from qframe_rl.rehearsal.ticks import tick_market
from tests.live.books import COIN, ENV, Restless, book, session, ticks

OF = Listing("binance", COIN.symbol)
_MADE = 30_000
"""Messages that are made; more are these again."""
CONFIG = RehearsalConfig(cash=10_000.0)


@contextmanager
def exchange(n_messages: int = 120_000, seed: int = 3, **more: Any) -> Iterator[Rehearsal]:
    """A market that moves as fast as the clock; it lasts a minute and a half for 60,000 messages."""
    warmed()
    with serve([tick_market(market_of(n_messages, seed), COIN)], CONFIG, speed="1x", **more) as running:
        yield running


@cache
def market_of(n_messages: int, seed: int) -> TickRun:
    """A run of at least so many messages; it comes again and again, for to make a minute takes seconds."""
    made = synthetic_ticks(seed, min(n_messages, _MADE))
    return made._replace(events=repeated(made.events, -(-n_messages // _MADE)))


def repeated(events: Events, times: int) -> Events:
    """Events so many times, each time but the first after a message that tells the first book again."""
    again = joined([_told_again(events), events.where(events.kind != SNAPSHOT)])
    lasts = int(max(events.exchange_ns[-1], events.local_ns.max()) - events.exchange_ns[0]) + 4_000_000
    n = int(events.message[-1]) + 1
    return joined([events, *(_later(again, k * lasts, k * n) for k in range(1, times))])


def _told_again(events: Events) -> Events:
    """A message of the first moment after which the book is the first one, whatever the last rows told."""
    rows = zip(*map(np.ndarray.tolist, events[2:6]), strict=True)
    left = {(side, tick): 0 for kind, side, tick, lots in rows if kind != TRADE and lots}
    first = zip(*map(np.ndarray.tolist, events.where(events.kind == SNAPSHOT)[3:6]), strict=True)
    left |= {(side, tick): lots for side, tick, lots in first}
    side, tick = np.array(list(left), np.int64).T
    at, zero = np.full(len(left), events.exchange_ns[0]), np.zeros(len(left), np.int64)
    kind, lots = np.full(len(left), DEPTH, np.int8), np.array(list(left.values()), np.int64)
    return Events(at, at, kind, side.astype(np.int8), tick, lots, zero)


def _later(events: Events, ns: int, messages: int) -> Events:
    return events._replace(
        exchange_ns=events.exchange_ns + ns, local_ns=events.local_ns + ns, message=events.message + messages
    )


def terms(**more: Any) -> QuotingTerms:
    source = {"feed": "ticks", "exchange": "binance", "environment": "testnet", "symbols": [COIN.symbol]}
    given: dict[str, Any] = {"orders": "testnet", "rates": ((300, 10 * 10**9),)} | more
    return QuotingTerms("restless", "0" * 64, source, ENV.model_dump(mode="json"), COIN, 10_000.0, 0, **given)


def keyed(url: str) -> Any:
    made = client("binance", "perpetual", url, keys={"apiKey": CONFIG.api_key, "secret": CONFIG.secret})
    made.load_markets()
    made.load_time_difference()
    return made


class Until(StreamTape):
    """A tape that is stopped once enough has happened, however busy the machine is; at last after ten minutes."""

    enough: Callable[[], bool] = staticmethod(lambda: False)

    def parts(self, run: StatedRun | None, n: int, *, ended: bool) -> Iterator[TapePart | None]:
        """All of them."""
        latest = time.monotonic() + 600.0
        for part in super().parts(run, n, ended=ended):
            yield part
            if self.enough() or time.monotonic() > latest:
                self.stopped.set()


def traded(url: str, folder: Path, enough: Callable[[], bool], quoter: Any = None, **more: Any) -> QuotingResult:
    """Quote until enough has happened."""
    tape = Until("binance", OF, folder, COIN, url=url, part_s=0.2, settling_s=0.3)
    tape.enough = enough  # type: ignore[method-assign]
    own = terms(**{name: more.pop(name) for name in ("rates",) if name in more})
    account = exchange_book(book(), own, keyed(url), print)
    return run_quoter(book(), quoter or Restless(), tape, own, folder, account=account, **more)


@cache
def warmed() -> None:
    """Have all that is compiled be compiled before a market begins to move."""
    with tempfile.TemporaryDirectory() as folder:
        session(Path(folder), ReplayTape([whole_run(ticks(1, 400).runs[0])], part_rows=100))


def again(folder: Path, quoter: Any = None, **more: Any) -> QuotingReplay:
    """Run it again from its record; no exchange is asked."""
    tape, own = StreamTape("binance", OF, folder, COIN), terms(**more)
    path = folder / "journal.db"
    return replay_quoter(book(), quoter or Restless(), tape, own, path, exchange_book(book(), own, None))


def truth(url: str) -> dict[str, Any]:
    """What the exchange has of the account."""
    with urllib.request.urlopen(f"{url}/rehearsal/truth") as answer:
        found: dict[str, Any] = json.load(answer)["accounts"]["rehearsal"]
    return found


def events(folder: Path, *kinds: str) -> list[dict[str, Any]]:
    return [json.loads(e.payload) for e in read(folder / "journal.db") if e.kind in kinds]


def fills(folder: Path) -> int:
    """Own fills on record."""
    return sum(len(one["fills"]) for one in events(folder, "lived")) if (folder / "journal.db").exists() else 0


def has(folder: Path, kind: str, n: int = 1) -> bool:
    """Whether so many events of a kind are on record."""
    path = folder / "journal.db"
    return path.exists() and sum(e.kind == kind for e in read(path)) >= n


def once(folder: Path, url: str) -> dict[str, Any]:
    """Hold the journal against the exchange: each order that was accepted is there once, and no other.

    Raises
    ------
    AssertionError
        If an order was lost or doubled, one rests, or what is held is not what the journal says.
    """
    has = truth(url)
    orders = has["orders"]["usdm"]
    names = [order["client"] for order in orders]
    said = events(folder, "outcome") + [one for poll in events(folder, "polled") for one in poll.get("resolved", ())]
    accepted = {one["name"] for one in said if one["status"] == "accepted"}
    intended = {one["name"] for one in events(folder, "intent")}
    assert len(names) == len(set(names)), "an order was doubled"
    assert accepted <= set(names) <= intended, "an order was lost, or was never intended"
    unclear = set(names) - accepted - {one["name"] for one in said if one["status"] == "refused"}
    assert not unclear, f"orders of which the session does not know: {unclear}"
    resting = [order for order in orders if order["status"] in ("NEW", "PARTIALLY_FILLED")]
    assert not resting, "an order rests"
    lots = [(fill[1], fill[3]) for lived in events(folder, "lived") for fill in lived["fills"]]
    counted = sum(n if side == 0 else -n for side, n in lots)
    held = round(float(has["usdm"]["positions"].get("MADEUSDT", "0")) / COIN.lot)
    assert held == counted == events(folder, "lived")[-1]["truth"][1], (held, counted)
    wallet, entry = (float(has["usdm"][name].get(of, "0")) for name, of in (("wallet", "USDT"), ("entry", "MADEUSDT")))
    cash = events(folder, "lived")[-1]["account"]["cash"]
    assert abs(wallet - entry - cash) < 1e-7, f"the exchange has {wallet - entry} in cash, the journal {cash}"
    return {"orders": len(names), "fills": len(lots), "held": held, "has": has}
