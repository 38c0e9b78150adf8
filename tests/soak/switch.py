"""Every fault of the rehearsal exchange x every command: how long until a session whose orders go out has obeyed.

``python -m tests.soak.switch --record FILE --document docs/operations.md`` writes the tables of that document. What is
in FILE is not run again, but for what failed: so it goes on where it was interrupted. ``--kinds drop-after,500 --places
order`` runs a part of it. A session holds two contracts and rests an order in each; then one fault stays, in one of
four places, and the commands come one after the other:

order
    one of two orders gets the fault for an answer, and so does whoever asks for it: it stays unknown;
account
    wallet, positions and trades: the bar that closed cannot be settled;
market
    candles and books: the next bar does not come;
stream
    websockets.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from experiments import train
from experiments.cli import door
from qframe_rl.agent import Agent, Memoryless, View
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.feeds.download import download
from qframe_rl.journal.inbox import order
from qframe_rl.journal.store import pulse, read
from qframe_rl.live.open import opened_live
from qframe_rl.live.operator import Operator
from qframe_rl.live.paper import paper
from qframe_rl.live.permit import exchange_venue
from qframe_rl.rehearsal import Fault, Rehearsal, RehearsalConfig, listed, serve
from qframe_rl.rehearsal.faults import AFTER, BEFORE, DIALS, STREAMS
from qframe_rl.risk.limits import Limits
from qframe_rl.types import HOUR, Orders
from tests.markets import START, panel
from tests.soak.times import SLOW_S, Cell, Times, document

N_BARS = 900
SYMBOLS = ("C0/USDT:USDT", "C1/USDT:USDT")
FIRST = (START + (N_BARS - 100) * HOUR) // 1_000_000
SPEED = 240.0
"""Bars of an hour last fifteen seconds, in half of which an order must have gone out, on a busy machine too."""
PLACES: dict[str, tuple[str, ...]] = {
    "order": ("usdm.order.get", "usdm.allOrders"),
    "account": ("usdm.positionRisk", "usdm.account", "usdm.balance", "usdm.userTrades"),
    "market": ("usdm.klines", "usdm.depth", "usdm.time"),
}
WORDS = ("halt", "reduce", "flatten", "HALT", "SIGUSR1", "SIGUSR2")
STATES = {"halt": "HALTED", "HALT": "HALTED", "SIGUSR1": "HALTED", "reduce": "REDUCE_ONLY", "flatten": "FLATTEN",
          "SIGUSR2": "FLATTEN"}  # fmt: skip


class Resting(Memoryless):
    """Buys two of everything once, then rests an order for one more far below the market."""

    window = 2

    def decide(self, view: View) -> Orders:
        n = len(view.account.position)
        if not view.account.position.any():
            return Orders.market(np.full(n, 2.0))
        far = np.round(view.bars[-1, :, 3] * 0.6, 2)
        return Orders(np.full(n, 1.0), far, np.full(n, np.nan))


def markets() -> Any:
    """Two perpetuals."""
    return listed(panel(N_BARS, 2, seed=5, volatility=0.01, ragged=False, column=False, kind="perpetual"))


def trained(folder: Path) -> Path:
    """A checkpoint for them; its agent is not used."""
    with serve(markets(), speed="max") as exchange:
        root = folder / "store"
        stop = START + (N_BARS - 1) * HOUR
        download("binance", SYMBOLS, "1h", START - HOUR, stop, root=root, url=exchange.url, pause_s=0.0)
    argv = ["--data", str(root), "--symbols", ",".join(SYMBOLS), "--agents", "flat", "--set", "env.cash=100000"]
    if door(train.main, [*argv, "--runs", str(folder / "runs"), "--checkpoints", str(folder / "checkpoints")]) != 0:
        raise SystemExit("the training failed")
    return next((folder / "runs").glob("*/agents/flat-0-0"))


class Running:
    """A session in a thread, seen from outside."""

    def __init__(self, exchange: Rehearsal, folder: Path):
        self.exchange, self.folder = exchange, folder
        self.operator: Operator | None = None
        self.error: BaseException | None = None

    @property
    def journal(self) -> Path:
        return self.folder / "journal.db"

    def own(self) -> dict[str, Any]:
        found: dict[str, Any] = self.exchange.truth()["accounts"]["rehearsal"]
        return found

    def held(self) -> dict[str, str]:
        positions: dict[str, str] = self.own()["usdm"]["positions"]
        return positions

    def rests(self) -> int:
        return sum(one["status"] in ("NEW", "PARTIALLY_FILLED") for one in self.own()["orders"]["usdm"])

    def states(self) -> list[str]:
        return [event.payload for event in read(self.journal) if event.kind == "state"]

    def bars(self) -> int:
        return sum(event.kind == "bar" for event in read(self.journal))

    def until(self, what: Callable[[], bool], seconds: float, why: str) -> float:
        """Seconds until something is so."""
        begun = time.monotonic()
        while not what():
            if self.error is not None:
                raise self.error
            if time.monotonic() - begun > seconds:
                raise AssertionError(f"not within {seconds:g} s: {why}")
            time.sleep(0.01)
        return time.monotonic() - begun

    def say(self, word: str) -> None:
        """Give a command in one of the ways there are."""
        assert self.operator is not None
        if word == "HALT":
            (self.folder / "HALT").touch()
        elif word.startswith("SIG"):
            # What the handlers of the command line do.
            self.operator.signalled = "halt" if word == "SIGUSR1" else "flatten"
        else:
            order(self.journal, word)

    def obeyed(self, word: str, seconds: float = 20.0) -> float:
        """Give a command; seconds until its state is on record, no order that it forbids rests, and all is flat."""
        n = len(self.states())
        flat = STATES[word] == "FLATTEN"

        def done() -> bool:
            on_record = any(STATES[word] in text for text in self.states()[n:])
            return on_record and not self.rests() and not (flat and any(float(q) for q in self.held().values()))

        self.say(word)
        return self.until(done, seconds, word)

    def resumed(self) -> None:
        (self.folder / "HALT").unlink(missing_ok=True)
        n = len(self.states())
        order(self.journal, "resume")
        self.until(lambda: any("ACTIVE" in text for text in self.states()[n:]), 20.0, "resume")


@contextmanager
def running(place: Path, folder: Path, seed: int = 0, agent: Agent | None = None) -> Iterator[Running]:
    """A session that holds two contracts and rests two orders, unless another agent is given."""
    config = RehearsalConfig(prints=4, cash=100_000.0, seed=seed)
    with serve(markets(), config, speed=f"{SPEED:g}x", start_ms=FIRST + 5_000) as exchange:
        os.environ |= {"BINANCE_API_KEY": config.api_key, "BINANCE_SECRET": config.secret}
        made = Running(exchange, folder)
        opened = opened_live(
            place, load_checkpoint(place), {"exchange": "binance", "symbols": SYMBOLS}, folder, exchange.url,
            lambda text: None, orders="testnet", speed=SPEED,
        )  # fmt: skip
        venue = exchange_venue(opened.feed, opened.terms, exchange.url, lambda text: None)

        def begun(router: Any, ledger: Any, operator: Operator) -> None:
            made.operator = operator

        def trade() -> None:
            try:
                paper(
                    opened.market, agent or Resting(), opened.feed, opened.terms, folder, quotes=opened.quotes,
                    durable=False, venue=venue, limits=Limits(filters=True), begun=begun,
                )  # fmt: skip
            except BaseException as error:
                made.error = error

        thread = threading.Thread(target=trade)
        thread.start()
        try:
            made.until(lambda: made.journal.exists() and pulse(made.journal) is not None, 60.0, "the first decision")
            made.until(lambda: len(made.held()) == 2, 90.0, "two positions")
            yield made
        finally:
            exchange.calm()
            opened.feed.stopped.set()
            thread.join(30.0)
            assert not thread.is_alive(), f"the session does not stop: {_at(thread)}"
        if made.error is not None:
            raise made.error


def _at(thread: threading.Thread) -> str:
    """Where a thread is, in the names of its functions."""
    frame = sys._current_frames().get(thread.ident or 0)
    return " > ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_stack(frame)[-6:])


def spoiled(session: Running, kind: str, where: str) -> None:
    """Let a fault stay, and wait until the session has met it."""
    if where == "order":
        # It hits the next of two orders that go out at the same time.
        faults = [Fault(kind=kind, at="usdm.order.post", seconds=30.0)]
        faults += [Fault(kind=kind, at=at, times=None, seconds=30.0) for at in PLACES[where]]
        session.exchange.inject(*faults)
        session.until(
            lambda: session.exchange.hits().get((kind, "usdm.order.post"), 0) > 0, 90.0, "an order that is hit"
        )
        time.sleep(0.3)
        return
    session.until(lambda: session.rests() == 2, 90.0, "two resting orders")
    names = PLACES.get(where, ("*.dial.*",) if kind in DIALS else ("usdm.kline", "usdm.depth", "usdm.user"))
    session.exchange.inject(*(Fault(kind=kind, at=at, times=None, seconds=30.0) for at in names))
    if where == "account":
        n = session.bars()
        session.until(lambda: session.bars() > n, 90.0, "a bar that is not settled")
    time.sleep(0.3)


def cell(
    place: Path, folder: Path, kind: str, where: str, words: Sequence[str], took: dict[str, float] | None = None
) -> dict[str, float]:
    """Seconds to obey each of some commands, given one after the other while a fault stays; put into ``took``."""
    took = {} if took is None else took
    with running(place, folder) as session:
        spoiled(session, kind, where)
        for word in words:
            took[word] = session.obeyed(word)
            session.resumed()
    return took


def kinds_of(where: str) -> Sequence[str]:
    """Faults that can stay in a place."""
    return [*DIALS, *STREAMS] if where == "stream" else [*BEFORE, *AFTER]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", help="faults, separated by commas (default: all)")
    parser.add_argument("--places", default="order,account,market,stream")
    parser.add_argument("--words", default=",".join(WORDS))
    parser.add_argument("--record", type=Path, help="file of what was measured, one cell a line; goes on where it ends")
    parser.add_argument("--document", type=Path, help="Markdown file to write the tables into")
    given = parser.parse_args()
    words, places = given.words.split(","), given.places.split(",")
    times = Times(given.record)
    todo = [
        (where, kind, k % len(words))
        for where in places
        for k, kind in enumerate(kinds_of(where))
        if (not given.kinds or kind in given.kinds.split(",")) and not times.has(where, kind)
    ]
    with tempfile.TemporaryDirectory() as text:
        place = trained(Path(text)) if todo else Path(text)
        for where, kind, turn in todo:
            took: dict[str, float] = {}
            failed = ""
            try:
                cell(place, Path(text) / f"{where}-{kind}", kind, where, [*words[turn:], *words[:turn]], took)
            except Exception as error:
                failed = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            times.add(Cell(where, kind, took, failed, os.getloadavg()[0]))
            shown = (f"{word} {took[word]:.2f}" for word in words if word in took)
            print(f"{where:8} {kind:17}", *shown, f"FAILED {failed}" if failed else "", flush=True)
    table = times.table([*PLACES, "stream"], words)
    print(f"\n{table}")
    if given.document is not None:
        document(given.document, table)
    if any(seconds > SLOW_S for one in times.cells for seconds in one.took.values()) or not all(
        times.has(where, kind) for where, kind, _ in todo
    ):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
