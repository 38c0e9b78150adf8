"""Paper trading: a checkpoint on a feed that delivers bars as time passes, with a journal on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Literal, Protocol

from qframe_rl.agent import Agent, View
from qframe_rl.feeds.feed import Feed
from qframe_rl.gym.market import Market
from qframe_rl.listeners import Journal, Listener
from qframe_rl.session import Session, run
from qframe_rl.types import Orders, iso
from qframe_rl.venues.simulated import SimulatedVenue


class Stoppable(Feed, Protocol):
    """A feed that ends when it is told to."""

    stopped: Event
    """Set it to end the feed."""


@dataclass(frozen=True)
class Result:
    """How a paper session ended."""

    state: Literal["finished", "stopped", "liquidated"]
    final_equity: float
    bars: int
    """Bars settled."""
    journal: Path
    digest: str
    """Hash of the last line of the journal."""


class Status:
    """A listener that hands one line about each bar to ``show``."""

    def __init__(self, show: Callable[[str], None]):
        self.show = show
        self.bars = 0

    def started(self, view: View) -> None:
        """Show the state before the first bar."""
        self._line(view)

    def settled(self, view: View, orders: Orders) -> None:
        """Show a bar."""
        self.bars += 1
        self._line(view)

    def ended(self, view: View) -> None:
        """Nothing more to show."""

    def _line(self, view: View) -> None:
        exposure = " ".join(f"{share:+.2f}" for share in view.account.exposure)
        self.show(f"{iso(view.time)}  bar {self.bars}  equity {float(view.account.equity):,.2f}  exposure {exposure}")


def paper(market: Market, agent: Agent, feed: Stoppable, window: int, folder: Path, *listeners: Listener) -> Result:
    """Trade until the feed ends, is stopped, or the account is gone.

    Parameters
    ----------
    market, agent
        As `qframe_rl.runner.deploy.deployed` made them.
    feed
        Where bars come from; setting its ``stopped`` ends the session after the bar under way.
    window
        Bars shown at each decision.
    folder
        ``journal.jsonl`` (one line per bar, flushed as it is written) and ``state.json`` are put here.
    *listeners
        Told of each bar.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "journal.jsonl"
    with path.open("w", encoding="utf-8") as sink:
        journal = Journal(market.instruments, market.bar_ns, sink)
        status = Status(lambda _: None)
        session = Session(feed, SimulatedVenue(market.rules, market.cash), window, journal, status, *listeners)
        view = run(session, agent)
    state: Literal["finished", "stopped", "liquidated"] = "finished"
    if view.terminated:
        state = "liquidated"
    elif feed.stopped.is_set():
        state = "stopped"
    result = Result(state, float(view.account.equity), status.bars, path, journal.digest)
    plain = {
        "state": state,
        "time": iso(view.time),
        "equity": result.final_equity,
        "cash": float(view.account.cash),
        "position": dict(zip((i.symbol for i in market.instruments), view.account.position.tolist(), strict=True)),
        "bars": status.bars,
        "hash": journal.digest,
    }
    fresh = folder / ".state.json.part"
    fresh.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    fresh.replace(folder / "state.json")
    return result
