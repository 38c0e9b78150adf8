"""Records live order books and trades of some markets into a store, run after run.

A process may be killed at any moment and started again: what was written stays as it is, and a new run begins. A run
goes on in another file once an hour, or once it has so many rows; that one begins with the book as it stood.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl.book.state import BUY, SELL
from qframe_rl.feeds import store
from qframe_rl.feeds.exchange import MarketDataClient, Note, Stopped
from qframe_rl.feeds.listing import Listing, listings
from qframe_rl.feeds.parquet import alone
from qframe_rl.feeds.tick_chain import RowsTold, RunBegins, RunEnds, TickChain
from qframe_rl.feeds.tick_files import RunFiles, tidied
from qframe_rl.feeds.tick_stream import TickStream
from qframe_rl.feeds.tick_wire import LIMITED, BookPicture, DepthMessage, TradeMessage, is_raw
from qframe_rl.feeds.ticks import ticks_folder

STOPPED = "the recording was stopped"
FULL = "the next file goes on"
_NS = 1_000_000_000
_LOOK_S, _DRAIN_S = 0.1, 60.0


class FileSizes(NamedTuple):
    """When files are written."""

    part_s: float = 10.0
    """Longest time for which rows wait, seconds by the recorder's clock: so much a kill may lose."""
    part_rows: int = 100_000
    """Most rows that wait."""
    run_s: float = 3600.0
    """Longest time that a file spans, seconds."""
    run_rows: int = 20_000_000
    """Most rows of a file."""


class RecordedTicks(NamedTuple):
    """How far the recording of one market is."""

    symbol: str
    folder: Path
    rows: int
    """Levels that were told, those that still wait among them."""
    trades: int
    runs: int
    """Files that were begun."""
    nbytes: int
    """That are written."""
    seconds: float
    """Since it began."""
    clock_shift_ns: int
    """What the recorder's clock is behind."""
    ends: dict[str, int]
    """Why runs ended, but for files that were full."""
    repaired: int
    """Runs that an earlier recording left cut short."""
    connected: bool
    """Whether a run is under way."""

    @property
    def bytes_a_day(self) -> float:
        """Disk that a day takes at this rate; a day has 86,400 s."""
        return self.nbytes / max(self.seconds, 1e-9) * 86_400.0


class TickRecorder:
    """Writes what one stream tells.

    Parameters
    ----------
    stream
        The stream.
    folder
        Of the instrument.
    stated
        What manifests say of how it is recorded.
    sizes
        When files are written.
    """

    def __init__(self, stream: TickStream, folder: Path, stated: dict[str, Any], sizes: FileSizes):
        self._stream, self._folder, self._stated, self._sizes = stream, folder, stated, sizes
        self._begun = time.monotonic()
        self._files: RunFiles | None = None
        self._before: RunFiles | None = None
        """The file before, until trades that are late have come."""
        self._next: BookPicture | None = None
        """With what the next file begins, once this one is full."""
        self._begins_ns = 0
        self._since = self._part_since = 0
        self._rows = self._trades = self._runs = self._nbytes = 0
        self._shift, self._ends = 0, Counter[str]()
        self._writing = asyncio.Lock()
        self._repaired = tidied(folder)

    def so_far(self) -> RecordedTicks:
        """How far it is."""
        open_ = [files.nbytes for files in (self._files, self._before) if files is not None]
        return RecordedTicks(
            self._stream.listing.symbol, self._folder, self._rows, self._trades, self._runs,
            self._nbytes + sum(open_), time.monotonic() - self._begun, self._shift,
            dict(self._ends), self._repaired, self._files is not None,
        )  # fmt: skip

    async def run(self) -> None:
        """Write for ever.

        Raises
        ------
        UserError
            As `TickStream.told`, or if a file cannot be written.
        """
        async with aclosing(self._stream.told()) as everything:
            async for told in everything:
                async with self._writing:
                    if isinstance(told, RunBegins):
                        self._begin(told.picture, {"tick": told.tick, "lot": told.lot})
                    elif isinstance(told, RunEnds):
                        self._ends[told.why] += 1
                        await self._end(told.why)
                    else:
                        await self._take(told)

    async def stop(self, running: asyncio.Task[None]) -> None:
        """Stop, with everything written that came.

        Parameters
        ----------
        running
            The task that runs `run`; it is not stopped while it writes.
        """
        if self._stream.finish():
            await asyncio.wait((running,), timeout=_DRAIN_S)
        while not running.done():
            # Once is not always enough: CCXT's own waits may take it for theirs.
            async with self._writing:
                running.cancel()
            await asyncio.wait((running,), timeout=_LOOK_S)
        await self._end(STOPPED)

    def _begin(self, picture: BookPicture, grid: dict[str, float]) -> RunFiles:
        self._next, self._files = None, RunFiles(self._folder, picture, self._stated | grid)
        self._since = self._part_since = picture.local_ns
        self._runs += 1
        return self._files

    async def _take(self, told: RowsTold) -> None:
        files, message, chain = self._files, told.message, self._stream.chain
        assert files is not None and chain is not None
        self._shift, at = told.clock_shift_ns, message.local_ns
        if isinstance(message, TradeMessage):
            self._trades += 1
            # A trade that travelled slower than the first message of depth of a file belongs into the one before.
            before = self._before if message.exchange_ns < self._begins_ns else None
            (before or files).add(message)
        else:
            self._rows += len(told.events.tick)
            if self._next is not None:
                await self._end_before()
                self._before, self._begins_ns = files, message.exchange_ns
                files = self._begin(self._next, {"tick": chain.tick, "lot": chain.lot})
            files.add(message)
            full = at - self._since >= self._sizes.run_s * _NS
            full |= files.rows + files.waiting >= self._sizes.run_rows
            self._next = standing_picture(chain, message) if full else None
        if files.waiting >= self._sizes.part_rows or at - self._part_since >= self._sizes.part_s * _NS:
            self._part_since = at
            await self._end_before()
            await asyncio.to_thread(files.write, self._said())

    async def _end_before(self) -> None:
        """End the file before, to which nothing comes any more."""
        before, self._before = self._before, None
        if before is not None:
            await self._ended(before, FULL)

    async def _end(self, why: str) -> None:
        await self._end_before()
        files, self._files, self._next = self._files, None, None
        if files is not None:
            await self._ended(files, why)

    async def _ended(self, files: RunFiles, why: str) -> None:
        await asyncio.to_thread(files.end, why, self._said())
        self._nbytes += files.nbytes

    def _said(self) -> dict[str, Any]:
        """What a manifest says of the run by now."""
        chain = self._stream.chain
        counted = {} if chain is None else {"left_out": dict(chain.dropped), "uncrossed": chain.uncrossed}
        return {"clock_shift_ns": self._shift, **counted}


def standing_picture(chain: TickChain, last: DepthMessage) -> BookPicture:
    """The book as it stands, as the beginning of another file.

    Parameters
    ----------
    chain
        The run.
    last
        Its last message of depth.
    """
    bids, asks = (
        [(on_step(tick, chain.tick), on_step(lots, chain.lot)) for tick, lots in sorted(chain.book.sides[side].items())]
        for side in (BUY, SELL)
    )
    return BookPicture(last.local_ns, last.final, bids[::-1], asks)


def on_step(n: int, step: float) -> float:
    """So many steps, as the nearest number to their decimal text."""
    parts = round(1.0 / step)
    return n / parts if parts and abs(parts * step - 1.0) < 1e-12 else n * step


def record_ticks(
    exchange: str,
    symbols: Sequence[str],
    root: Path,
    *,
    url: str | None = None,
    sandbox: bool = False,
    seconds: float | None = None,
    stop: threading.Event | None = None,
    sizes: FileSizes | None = None,
    stale_s: float = 30.0,
    clock: Callable[[], int] = time.time_ns,
    report: Callable[[Sequence[RecordedTicks]], None] = lambda so_far: None,
    note: Note = lambda text: None,
) -> tuple[RecordedTicks, ...]:
    """Record until told to stop.

    Parameters
    ----------
    exchange, symbols
        As in `store.load_store`.
    root
        Folder of the store; made where there is none.
    url, sandbox
        As in `client.client`.
    seconds
        For how long; None = until ``stop``.
    stop
        Ends it.
    sizes
        When files are written; None = as usual.
    stale_s
        Longest silence of a book, seconds, before it is subscribed to again.
    clock
        The recorder's, ns UTC.
    report
        Told ten times a second how far each market is.
    note
        Told in one line of every run that ends.

    Returns
    -------
    tuple of RecordedTicks
        One for each symbol; none if it was told to stop before the exchange had answered.

    Raises
    ------
    UserError
        For an unknown exchange or symbol, a folder with data of another environment or one that another process writes
        into, an exchange without such streams, or a file that cannot be written. What came before is written.
    Unavailable
        If the exchange cannot be reached to begin with.
    """
    stopped = stop or threading.Event()
    markets = listings(exchange, symbols)
    kinds = dict.fromkeys(market.kind for market in markets)
    try:
        lines = {kind: MarketDataClient(exchange, kind, url, sandbox, stopped=stopped, note=note) for kind in kinds}
    except Stopped:
        return ()
    for kind, line in lines.items():
        chosen = [market for market in markets if market.kind == kind]
        for market in chosen:
            line.check_symbol(market)
        store.store_instruments(root, chosen[0].folder, [line.instrument(one) for one in chosen], line.environment)
    with ExitStack() as held:
        for market in markets:
            folder = ticks_folder(root, market)
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(alone(folder, wait=False))

        async def main() -> tuple[RecordedTicks, ...]:
            made = []
            for market in markets:
                stated = _stated(market, lines[market.kind].environment)
                stream = TickStream(
                    exchange, market, url=url, sandbox=sandbox, stale_s=stale_s, clock=clock, note=note
                )  # fmt: skip
                made.append(TickRecorder(stream, ticks_folder(root, market), stated, sizes or FileSizes()))
            return await _together(made, seconds, stopped, report)

        return asyncio.run(main())


async def _together(
    recorders: Sequence[TickRecorder], seconds: float | None, stopped: threading.Event,
    report: Callable[[Sequence[RecordedTicks]], None],
) -> tuple[RecordedTicks, ...]:  # fmt: skip
    """Run all until told to stop, or until one fails."""
    end = None if seconds is None else time.monotonic() + seconds
    tasks = [asyncio.create_task(recorder.run()) for recorder in recorders]
    try:
        while not stopped.is_set() and (end is None or time.monotonic() < end):
            await asyncio.wait(tasks, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    await task
            report([recorder.so_far() for recorder in recorders])
    finally:
        for recorder, task in zip(recorders, tasks, strict=True):
            await recorder.stop(task)
    return tuple(recorder.so_far() for recorder in recorders)


def _stated(market: Listing, environment: str) -> dict[str, str]:
    """What manifests say of how a market is recorded."""
    import ccxt

    if is_raw(market):
        how = "changes of the book with the exchange's update ids, and each trade"
    else:
        how = (
            f"books of {LIMITED} levels a side, compared with each other: update ids are ours, a level that left "
            "the window keeps what was last told of it, and an id of a trade that is no number is its digest"
        )
    who = {"exchange": market.exchange, "symbol": market.symbol, "environment": environment}
    return {**who, "how": how, "ccxt": ccxt.__version__}
