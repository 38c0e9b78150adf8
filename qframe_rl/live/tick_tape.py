"""The tape of a session on a live market: rows as they come over ccxt.pro, written to files before anything is decided.

The files are those of ``qframe download --ticks``: the folder of a session is a store whose ticks can be trained on. A
part of them counts for the session once its digest is in the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from qframe_rl.book.events import Events, joined
from qframe_rl.config import UserError
from qframe_rl.feeds.exchange import MarketDataClient, Note
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.panel import settled
from qframe_rl.feeds.tick_chain import RowsTold, RunBegins, RunEnds, Told
from qframe_rl.feeds.tick_files import RunFiles, tidied
from qframe_rl.feeds.tick_stream import TickStream
from qframe_rl.feeds.ticks import run_of_file, ticks_folder
from qframe_rl.live.settled_rates import SettledRates
from qframe_rl.live.tapes import LOOK_S, StatedRun, TapePart
from qframe_rl.types import SECOND, Instrument

AGAIN = "the process was started again"
STOPPED = "the session was stopped"
FULL = "the file is full"
_FILE_S = 3600.0


class StreamTape:
    """A live market.

    Parameters
    ----------
    exchange, listing
        The market.
    root
        Folder of the session, in which the tape's files are put.
    instrument
        Whose steps the stream must have.
    url, sandbox
        As in `qframe_rl.feeds.client.client`.
    part_s
        Length of a part, seconds: so long a command may wait, and so much a kill may lose.
    settling_s
        How long a run is watched before the first decision, seconds: by then is known how far the recorder's clock is
        behind.
    wall
        The recorder's clock, ns UTC.
    note
        Told in one line of every run that ends.
    """

    def __init__(
        self, exchange: str, listing: Listing, root: Path, instrument: Instrument, *, url: str | None = None,
        sandbox: bool = False, part_s: float = 2.0, settling_s: float = 5.0,
        wall: Callable[[], int] = time.time_ns, note: Note = lambda text: None,
    ):  # fmt: skip
        self.stopped = threading.Event()
        self._folder, self._listing, self._instrument = ticks_folder(root, listing), listing, instrument
        self._part_s, self._settling_ns = part_s, round(settling_s * SECOND)
        self._stream: Callable[[], TickStream] = lambda: TickStream(
            exchange, listing, url=url, sandbox=sandbox, clock=wall, note=note
        )
        self._stated = {"exchange": listing.exchange, "symbol": listing.symbol, "how": "the tape of a session on paper"}
        self._read: tuple[str, Events] | None = None
        self._rates: SettledRates | None = None
        if listing.kind != "spot":
            asking = _Asking(exchange, listing, url, sandbox=sandbox)
            self._rates = SettledRates(asking, wall, note)

    def rows(self, run: str, first: int, n: int) -> Events:
        """Rows of a run that is in the files."""
        if self._read is None or self._read[0] != run:
            depth = self._folder / f"{run}_depth.parquet"
            self._read = run, run_of_file(depth, self._listing.symbol).events
        return self._read[1].where(slice(first, first + n))

    def parts(self, run: StatedRun | None, n: int, *, ended: bool) -> Iterator[TapePart | None]:
        """As `qframe_rl.live.tapes.TapeSource.parts`; a run that was under way is over."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._read = None
        tidied(self._folder)
        if self._rates is not None:
            self._rates.start()
        if run is not None and not ended:
            yield TapePart(run, n, _none(), AGAIN)
        try:
            while not self.stopped.is_set():
                for part in self._connected():
                    told = part is not None and self._rates is not None
                    yield part._replace(dues=tuple(self._rates.came())) if told else part  # type: ignore[union-attr]
        finally:
            if self._rates is not None:
                self._rates.stop()

    def _connected(self) -> Iterator[TapePart | None]:
        """One subscription, until its file is full."""
        heard: queue.SimpleQueue[Told | BaseException] = queue.SimpleQueue()
        listening = _Listening(self._stream(), heard)
        listening.start()
        run, begun = _Run(self._instrument, self._settling_ns), time.monotonic()
        due = begun + self._part_s
        try:
            left = -1
            while left:
                # Once it is stopped, what had come by then is the rest.
                left = left - 1 if left > 0 else heard.qsize() if self.stopped.is_set() else -1
                told = _next(heard) if left else None
                ends = told.why if isinstance(told, RunEnds) else None
                if isinstance(told, RunBegins):
                    run = _Run(self._instrument, self._settling_ns)
                    run.begin(
                        RunFiles(self._folder, told.picture, self._stated | {"tick": told.tick, "lot": told.lot}), told
                    )
                elif isinstance(told, RowsTold):
                    run.add(told)
                if ends is None and time.monotonic() < due:
                    continue
                if ends is None and time.monotonic() - begun > _FILE_S:
                    ends = FULL
                yield run.part(ends)
                # What came meanwhile is taken before the next decision: one on old rows would be late itself.
                due = time.monotonic() + self._part_s
                if ends == FULL:
                    return
            yield run.part(STOPPED)
        finally:
            listening.stop()
            run.close(STOPPED)


class _Asking:
    """Asks an exchange for settlements, over a connection of its own that is made when it is first needed."""

    def __init__(self, exchange: str, listing: Listing, url: str | None, *, sandbox: bool):
        self._listing = listing
        self._made: Callable[[], MarketDataClient] = lambda: MarketDataClient(
            exchange, "perpetual", url, sandbox, tries=1
        )
        self._client: MarketDataClient | None = None

    def __call__(self, since: int) -> list[tuple[int, float]]:
        """Settlements at and after a moment."""
        self._client = self._client or self._made()
        found = self._client.rates(self._listing, since)
        return list(zip(settled(found).tolist(), found.values[:, 0].tolist(), strict=True))


class _Run:
    """A run under way."""

    def __init__(self, instrument: Instrument, settling_ns: int):
        self._instrument, self._settling_ns = instrument, settling_ns
        self._files: RunFiles | None = None
        self._rows: list[Events] = []
        self._stated: StatedRun | None = None
        self._n = self._shift = self._ready = self._first_ns = 0

    def begin(self, files: RunFiles, told: RunBegins) -> None:
        """A whole book."""
        one = self._instrument
        if (told.tick, told.lot) != (one.tick, one.lot):
            raise UserError(
                f"{told.symbol} moves in ticks of {told.tick:g} and lots of {told.lot:g} now, and the strategy was "
                f"trained with {one.tick:g} and {one.lot:g}; train it again."
            )
        self._files, self._rows = files, [told.events]
        self._ready, self._first_ns = int(told.events.exchange_ns[0]), told.picture.local_ns

    def add(self, told: RowsTold) -> None:
        """A message."""
        assert self._files is not None
        self._files.add(told.message)
        self._shift, at = told.clock_shift_ns, told.message.local_ns
        if len(told.events.tick):
            self._rows.append(told.events)
        if self._stated is None and at - self._first_ns >= self._settling_ns:
            name = self._files.depth.name.removesuffix("_depth.parquet")
            self._stated = StatedRun(name, self._shift, self._ready, at + self._shift, 2**62)

    def part(self, ends: str | None) -> TapePart | None:
        """What came since the part before, once it is in the files; None before the run has settled."""
        files = self._files
        if files is None:
            return None
        if self._stated is None:
            if ends is not None:
                self.close(ends)
            return None
        events = joined(self._rows) if self._rows else _none()
        files.write({"clock_shift_ns": self._shift})
        part = TapePart(self._stated, self._n, events, ends)
        self._n, self._rows = self._n + len(events.tick), []
        if ends is not None:
            self.close(ends)
        return part if len(events.tick) or ends is not None else None

    def close(self, why: str) -> None:
        """No more comes."""
        files, self._files = self._files, None
        if files is not None:
            files.end(why, {"clock_shift_ns": self._shift})


class _Listening(threading.Thread):
    """A thread that hears a stream."""

    def __init__(self, stream: TickStream, heard: queue.SimpleQueue[Told | BaseException]):
        super().__init__(name="ticks", daemon=True)
        self._stream, self._heard = stream, heard
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._ready = threading.Event()

    def run(self) -> None:
        """Hear until told to stop."""
        try:
            self._loop.run_until_complete(self._hear())
        finally:
            self._loop.close()

    async def _hear(self) -> None:
        self._task = asyncio.ensure_future(self._all())
        self._ready.set()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _all(self) -> None:
        try:
            async with contextlib.aclosing(self._stream.told()) as everything:
                async for told in everything:
                    self._heard.put(told)
        except Exception as error:
            self._heard.put(error)

    def stop(self) -> None:
        """End it, and wait for that."""
        self._ready.wait()
        task = self._task
        if self.is_alive() and task is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself, and its loop is closed
                self._loop.call_soon_threadsafe(task.cancel)
        self.join()


def _next(heard: queue.SimpleQueue[Told | BaseException]) -> Told | None:
    """What was told next; None if nothing was for a moment."""
    try:
        told = heard.get(timeout=LOOK_S)
    except queue.Empty:
        return None
    if isinstance(told, BaseException):
        raise told
    return told


def _none() -> Events:
    """No row."""
    n, kind = np.zeros(0, np.int64), np.zeros(0, np.int8)
    return Events(n, n, kind, kind, n, n, n)
