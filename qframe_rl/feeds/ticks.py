"""Recorded order books and trades: Parquet files of ticks as runs of events without a gap.

``ticks/{exchange}/{BASE}-{QUOTE}/{RUN}_depth.parquet`` has a row for each level that changed, ``_trades`` one for each
trade, ``_snapshot`` the whole book as it was asked for once; each with the exchange's stamps and the moment of arrival.
Of a run that is being recorded depth and trades are in parts, ``{RUN}_depth.00000.parquet`` and so on, and count as far
as depth has them; ``{RUN}_recording.json`` says how it was recorded. Chains of update ids are those of Binance's
streams: of USD-margined perpetuals each message names the one before it, of spot its first id follows the last.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE, Events, grid_of, joined, on_grid
from qframe_rl.book.funding import NO_DUES, FundingDues
from qframe_rl.book.tape import laid
from qframe_rl.config import UserError, nearest
from qframe_rl.feeds.listing import Listing
from qframe_rl.types import Bool, Float, Int

_MS = 1_000_000
_SECOND = 1000 * _MS
DRIFT_NS = 5 * _MS
_ENDLESS = 2**62
"""By how much the recorder's clock may run ahead or behind within a run, ns."""
SPAN_NS = 60 * _SECOND
"""Over which the least delay is looked for."""
BACK_NS = _SECOND
"""By how much the exchange's clock may step back within a run, ns."""
_FEWEST = 20
"""Levels a side before a book without a snapshot is one."""
_SETTLING_NS = 5 * _SECOND
"""For how long it must have been told."""
NO_TRADE = frozenset(("INSURANCE_FUND", "ADL"))
"""Kinds of prints that are no trades of the book."""
DROPPED = REPEATED, EMPTY, BESIDE = "repeated trades", "empty trades", "prints beside the book"
"""Why a trade is left out."""


_TRADES = ("local_ts_ns", "trade_ms", "trade_id", "price", "qty", "buyer_is_maker", "exec_type")
_SNAPSHOT = ("local_ts_ns", "last_update_id", "side", "price", "qty")


class TickRun(NamedTuple):
    """Events of one connection without a gap."""

    name: str
    """Of the file, and the number of the run in it."""
    symbol: str
    tick: float
    """Smallest step of a price, quote currency."""
    lot: float
    """Smallest step of a quantity, base units."""
    events: Events
    clock_shift_ns: int
    """What the recorder's clock was behind, ns: added to it, no event arrives before it happened."""
    ready_ns: int
    """From when on its book is whole, exchange's clock: no order before it."""
    ends: str
    """Why it ends."""
    dropped: dict[str, int]
    """Rows that were left out, by why."""
    dues: FundingDues = NO_DUES
    """Funding that falls due while it lasts; of a perpetual, where its rates are known."""


def tick_runs(
    root: Path, listing: Listing, tick: float = 0.0, lot: float = 0.0, drift_ns: int = DRIFT_NS
) -> list[TickRun]:  # fmt: skip
    """Read all runs of an instrument.

    Parameters
    ----------
    root
        Folder of the store.
    listing
        The instrument.
    tick, lot
        Smallest steps of price and quantity; 0 = the largest of 1, 2 or 5 times a power of ten that all numbers are
        multiples of.
    drift_ns
        By how much the least delay between two minutes may differ before a run is cut there: delays of another clock
        mean nothing.

    Returns
    -------
    list[TickRun]
        In the order of time.

    Raises
    ------
    UserError
        If there are none, a file lacks a column or another file, or a number is off the grid.
    """
    if not (files := _files(ticks_folder(root, listing))):
        known = {f"{p.parent.parent.name}/{p.parent.name}" for p in root.glob("ticks/*/*/*_depth.parquet")}
        asked = f"{listing.folder}/{listing.pair}"
        raise UserError(f"{root} has no ticks of {asked}{nearest(asked, known)}")
    found: list[TickRun] = []
    for path in files:
        found += _read(path, listing.symbol, tick, lot, drift_ns)
    return found


def ticks_folder(root: Path, listing: Listing) -> Path:
    """Folder of an instrument's ticks in a store."""
    return root / "ticks" / listing.folder / listing.pair


def parts_of(depth: Path) -> list[Path]:
    """Files of depth of a run: the one, or as long as it grows its parts."""
    return [depth] if depth.exists() else sorted(depth.parent.glob(depth.name.replace(".parquet", ".[0-9]*.parquet")))


def beside(depth: Path, what: str) -> Path:
    """File of a run's trades or snapshot, or a part of it, beside that of its depth."""
    return depth.with_name(depth.name.replace("_depth.", f"_{what}."))


def _files(folder: Path) -> list[Path]:
    """Files of depth, also of runs that grow, whose files will be there."""
    growing = {part.with_name(part.name.replace(".00000.", ".")) for part in folder.glob("*_depth.00000.parquet")}
    return sorted({*folder.glob("*_depth.parquet"), *growing})


def run_of_file(depth: Path, symbol: str) -> TickRun:
    """Read the run of a file of depth, or of its parts as long as it grows.

    It is read whole: whether the recorder's clock drifted was judged as the run was recorded, when nobody knew yet what
    comes of its last minute.

    Parameters
    ----------
    depth
        Where the file is, or will be.
    symbol
        Whose it is.

    Raises
    ------
    UserError
        If it is not there, or holds other than one run.
    """
    if not parts_of(depth):
        raise UserError(f"{depth} is not there: restore the files of the tape.")
    runs = _read(depth, symbol, 0.0, 0.0, _ENDLESS)
    if len(runs) != 1:
        raise UserError(f"{depth} holds {len(runs)} runs, and one is wanted: restore the files of the tape.")
    return runs[0]


class _Depth(NamedTuple):
    """Rows of a depth file."""

    exchange_ns: Int
    local_ns: Int
    first: Int
    final: Int
    previous: Int
    side: Int
    price: Float
    quantity: Float


def _read(path: Path, symbol: str, tick: float, lot: float, drift_ns: int) -> list[TickRun]:
    parts = parts_of(path)
    try:
        depth = _depth(path, parts)
        trades = _columns([beside(part, "trades") for part in parts], _TRADES)
    except UserError:
        if path in parts or not path.exists():
            raise
        # While it was read its recording ended, and its parts became one file.
        return _read(path, symbol, tick, lot, drift_ns)
    kept, dropped = _real(trades)
    trades = {name: column[kept] for name, column in trades.items()}
    stated = _stated(path)
    tick, lot = tick or stated.tick, lot or stated.lot
    tick = tick or grid_of(np.concatenate([depth.price, trades["price"].astype(np.float64)]))
    lot = lot or grid_of(np.concatenate([depth.quantity, trades["qty"].astype(np.float64)]))
    before, depth = _snapshot(path, depth, tick, lot, dropped)
    told = _depth_events(path, depth, tick, lot)
    heard = _trade_events(path, trades, tick, lot, int(told.message[-1]) + 1)
    name = path.name.removesuffix("_depth.parquet")
    found: list[TickRun] = []
    cuts = _cuts(depth)
    for k, (start, stop, why) in enumerate(cuts):
        part = told.where(slice(start, stop))
        own = heard.exchange_ns >= part.exchange_ns[0]
        if k < len(cuts) - 1:
            own &= heard.exchange_ns <= part.exchange_ns[-1]
        whole = before if k == 0 else None
        events = joined([*([] if whole is None else [whole]), part, heard.where(own)])
        events = events.where(np.lexsort((events.message, events.local_ns)))
        events = events._replace(message=np.cumsum(np.append(0, np.diff(events.message) != 0)))
        why = stated.ends or why if k == len(cuts) - 1 else why
        run = TickRun(name, symbol, tick, lot, events, 0, _ready(part, whole is not None), why, dropped)
        found += _steady(run, drift_ns)
    return [run._replace(name=f"{name}#{k}") for k, run in enumerate(found)]


class _Stated(NamedTuple):
    """What a recording says of itself; nothing of files that are none."""

    tick: float = 0.0
    lot: float = 0.0
    ends: str = ""


def _stated(path: Path) -> _Stated:
    place = path.with_name(path.name.replace("_depth.parquet", "_recording.json"))
    if not place.exists():
        return _Stated()
    try:
        told = json.loads(place.read_text(encoding="utf-8"))
        return _Stated(float(told["tick"]), float(told["lot"]), str(told["ends"]))
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{place} does not say tick, lot and ends ({error}); remove it, or restore it.") from None


def _columns(paths: Sequence[Path], names: Sequence[str]) -> dict[str, np.ndarray]:
    from qframe_rl.feeds.parquet import table

    read = [table(path, names) for path in paths]
    return {name: np.concatenate([part.column(name).to_numpy() for part in read]) for name in names}


def _depth(path: Path, parts: Sequence[Path]) -> _Depth:
    names = (
        "local_ts_ns", "event_ms", "transact_ms", "first_update_id", "final_update_id", "prev_final_update_id", "side",
        "price", "qty",
    )  # fmt: skip
    local, event, transact, first, final, previous, side, price, quantity = _columns(parts, names).values()
    if not len(local):
        raise UserError(f"{path} has no row.")
    if not np.isin(side, (1, -1)).all():
        raise UserError(f"{path}: side is 1 for bids and -1 for asks; row {int(np.argmax(np.abs(side) != 1))} is not.")
    stamp = np.where(transact >= 0, transact, event).astype(np.int64) * _MS
    return _Depth(stamp, local, first, final, previous, np.where(side == 1, 0, 1), price, quantity)


def _real(trades: dict[str, np.ndarray]) -> tuple[Bool, dict[str, int]]:
    """Which prints are trades of the book, and how many are not, by why."""
    n = len(trades["trade_id"])
    again = np.ones(n, dtype=bool)
    again[np.unique(trades["trade_id"], return_index=True)[1]] = False
    empty = ~(trades["qty"] > 0.0) | ~(trades["price"] > 0.0)
    foreign = np.isin(trades["exec_type"].astype(str), tuple(NO_TRADE))
    said = {REPEATED: again, EMPTY: empty, BESIDE: foreign}
    return ~(again | empty | foreign), {why: int(mask.sum()) for why, mask in said.items()}


def _snapshot(
    path: Path, depth: _Depth, tick: float, lot: float, dropped: dict[str, int]
) -> tuple[Events | None, _Depth]:
    """The whole book as it was asked for, and the depth from the message on that it belongs to."""
    place = beside(path, "snapshot")
    if not place.exists():
        return None, depth
    local, last, side, price, quantity = _columns([place], _SNAPSHOT).values()
    if not len(last) or len(np.unique(last)) != 1:
        raise UserError(f"{place}: a snapshot has one last_update_id.")
    chained = depth.previous[0] >= 0
    newest = int(last[0]) + (0 if chained else 1)
    keep = depth.final >= newest
    first = int(np.argmax(keep))
    if not keep.any() or not (depth.first[first] <= newest or depth.previous[first] == last[0]):
        raise UserError(f"{place}: no message of {path.name} goes on from its update {last[0]}; ask for it anew.")
    dropped["depth before the snapshot"] = int((~keep).sum())
    depth = _Depth._make(field[keep] for field in depth)
    n = len(price)
    events = Events(
        np.full(n, depth.exchange_ns[0]), np.minimum(local, depth.local_ns[0]), np.full(n, SNAPSHOT, np.int8),
        np.where(side == 1, 0, 1).astype(np.int8), on_grid(price, tick, f"{place}: price"),
        on_grid(quantity, lot, f"{place}: qty"), np.zeros(n, np.int64),
    )  # fmt: skip
    return events, depth


def _depth_events(path: Path, depth: _Depth, tick: float, lot: float) -> Events:
    begins = np.append(True, depth.final[1:] != depth.final[:-1])
    return Events(
        depth.exchange_ns, depth.local_ns, np.full(len(begins), DEPTH, np.int8), depth.side.astype(np.int8),
        on_grid(depth.price, tick, f"{path}: price"), on_grid(depth.quantity, lot, f"{path}: qty"), np.cumsum(begins),
    )  # fmt: skip


def _trade_events(
    path: Path, trades: dict[str, np.ndarray], tick: float, lot: float, first: int
) -> Events:  # fmt: skip
    place, n = beside(path, "trades"), len(trades["trade_id"])
    return Events(
        trades["trade_ms"].astype(np.int64) * _MS, trades["local_ts_ns"], np.full(n, TRADE, np.int8),
        trades["buyer_is_maker"].astype(np.int8), on_grid(trades["price"], tick, f"{place}: price"),
        on_grid(trades["qty"], lot, f"{place}: qty"), first + np.arange(n),
    )  # fmt: skip


def _cuts(depth: _Depth) -> list[tuple[int, int, str]]:
    """First and last row of each run, and why it ends."""
    begins = np.flatnonzero(np.append(True, depth.final[1:] != depth.final[:-1]))
    final, first, previous = (field[begins] for field in (depth.final, depth.first, depth.previous))
    chained = previous[1:] >= 0
    broken = np.where(chained, previous[1:] != final[:-1], first[1:] != final[:-1] + 1)
    back = np.diff(depth.exchange_ns[begins]) < -BACK_NS
    cuts: list[tuple[int, int, str]] = []
    start = 0
    for k in np.flatnonzero(broken | back):
        why = "update ids have a gap" if broken[k] else "the exchange's clock steps back"
        cuts.append((start, int(begins[k + 1]), why))
        start = int(begins[k + 1])
    return [*cuts, (start, len(depth.final), "the file ends")]


def _ready(told: Events, whole: bool) -> int:
    """From when on a book is whole: at once after a snapshot, else once twenty levels a side were told for 5 s."""
    if whole:
        return int(told.exchange_ns[0])
    enough = []
    for side in (0, 1):
        rows = np.flatnonzero((told.side == side) & (told.lots > 0))
        firsts = np.sort(rows[np.unique(told.tick[rows], return_index=True)[1]])
        enough.append(int(told.exchange_ns[firsts[_FEWEST - 1]]) if len(firsts) >= _FEWEST else 2**63 - 1)
    return max(*enough, int(told.exchange_ns[0]) + _SETTLING_NS)


def _steady(run: TickRun, drift_ns: int) -> list[TickRun]:
    """Parts of a run within which the recorder's clock goes evenly, each with what it was behind.

    A part after the first begins with the book as it stood.
    """
    events = run.events
    stamped = events.kind != SNAPSHOT
    delay, at = (events.local_ns - events.exchange_ns)[stamped], events.local_ns[stamped]
    edges = [int(at[0]), *_drifts(at, delay, drift_ns)]
    place = np.append(np.searchsorted(events.local_ns, edges), len(stamped))
    place[0] = 0
    parts = []
    for k, (start, stop) in enumerate(itertools.pairwise(place)):
        some = events.where(slice(int(start), int(stop)))
        late = (some.local_ns - some.exchange_ns)[some.kind != SNAPSHOT]
        ready = run.ready_ns
        if k:
            some = joined([standing(events.where(slice(0, int(start))), some), some])
            ready = max(ready, int(some.exchange_ns[0]))
        why = run.ends if stop == len(stamped) else "the recorder's clock drifts"
        shift = max(0, -int(late.min())) + _MS
        parts.append(run._replace(events=some, clock_shift_ns=shift, ready_ns=ready, ends=why))
    return parts


def _drifts(at: Int, delay: Int, most_ns: int) -> list[int]:
    """Moments from which on the least delay of a minute is another than before, by more than so much."""
    span = (at - at[0]) // SPAN_NS
    starts = np.flatnonzero(np.append(True, span[1:] != span[:-1]))
    found, low, high = [], math.inf, -math.inf
    for start, value in zip(starts, np.minimum.reduceat(delay, starts), strict=True):
        low, high = min(low, float(value)), max(high, float(value))
        if high - low > most_ns:
            found.append(int(at[start]))
            low = high = float(value)
    return found


def standing(past: Events, coming: Events) -> Events:
    """The book that events left, as the snapshot with which others begin."""
    told = past.where(past.kind != TRADE)
    _, book = laid(told)
    order = np.lexsort((book.tick, book.side))
    order = order[book.lots[order] > 0]
    n, first = len(order), int(coming.exchange_ns.min())
    return Events(
        np.full(n, first), np.full(n, int(coming.local_ns[0])), np.full(n, SNAPSHOT, np.int8), book.side[order],
        book.tick[order], book.lots[order], np.full(n, int(past.message.min()) - 1),
    )  # fmt: skip
