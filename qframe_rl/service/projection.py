"""Equity and fills of sessions as rows: what journals say, taken out of them once and kept in the service's store.

A projection has a cursor: rows and cursor move in one transaction, so that after any end each event counts once. It is
made when somebody asks first, and goes on from there.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.journal.lock import corrupt
from qframe_rl.journal.peek import N_ROWS, Peek
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.journal.trades import trades_of
from qframe_rl.service.places import Found, plain_json
from qframe_rl.service.store import ServiceStore, Statements
from qframe_rl.types import Float, Int

_CONSUMER = "figures"
KINDS = ("started", "settled")
"""Kinds of events that say what an account holds."""
_EQUITY = "INSERT INTO equity VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_FILLS = "INSERT INTO fills VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
CURSOR = "INSERT INTO cursors VALUES (?, ?, ?) ON CONFLICT (consumer, journal) DO UPDATE SET seq = excluded.seq"
FLOW = "transferred"
"""Kind of the events that say what was paid in or out."""
_FLOWS = "INSERT INTO flows VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
NO_EVENT = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading an event raises that no session wrote."""


class Figures:
    """Equity and fills of all sessions.

    Parameters
    ----------
    store
        Where rows are kept.
    """

    def __init__(self, store: ServiceStore):
        self.store = store
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._symbols: dict[str, tuple[str, ...]] = {}

    def equity(self, found: Found, since_ns: int, until_ns: int, points: int) -> list[dict[str, Any]]:
        """Equity after each bar, thinned out to so many points.

        Of each stretch of bars the first, the lowest, the highest and the last are kept, so that no drawdown is lost.

        Parameters
        ----------
        found
            The session.
        since_ns, until_ns
            Which bars, ns UTC.
        points
            How many at most, at least 4.

        Raises
        ------
        UserError
            If the journal is corrupt.
        """
        journal = self.caught_up(found)
        rows = self.store.rows(
            "SELECT seq, time_ns, equity, cash, gross, net FROM equity WHERE journal = ? AND time_ns BETWEEN ? AND ? "
            "ORDER BY seq", (journal, since_ns, until_ns),
        )  # fmt: skip
        without = self._without_flows(journal)
        return [
            {"seq": seq, "time_ns": str(time), "equity": equity, "cash": cash, "gross": gross, "net": net}
            | without(seq, equity)
            for seq, time, equity, cash, gross, net in thinned(rows, points, 2)
        ]

    def fills(self, found: Found, after: int, limit: int) -> list[dict[str, Any]]:
        """Fills of events after one, in their order.

        Parameters
        ----------
        found
            The session.
        after
            Number of an event.
        limit
            How many at most; the fills of one event stay together.

        Raises
        ------
        UserError
            If the journal is corrupt.
        """
        journal = self.caught_up(found)
        rows = self.store.rows(
            "SELECT seq, time_ns, symbol, quantity, price, fee, cost, leg FROM fills WHERE journal = ? AND seq > ? "
            "ORDER BY seq, leg LIMIT ?", (journal, after, limit + 1),
        )  # fmt: skip
        if len(rows) > limit:
            last = rows[-1][0]
            whole = [row for row in rows if row[0] != last]
            rows = whole or self.store.rows(
                "SELECT seq, time_ns, symbol, quantity, price, fee, cost, leg FROM fills WHERE journal = ? AND seq = ? "
                "ORDER BY leg", (journal, last),
            )  # fmt: skip
        n = len(self._symbols_of(found))
        return [_fill(row, n) for row in rows]

    def newest_fills(self, found: Found, limit: int) -> list[dict[str, Any]]:
        """The last fills, newest first.

        Raises
        ------
        UserError
            If the journal is corrupt.
        """
        rows = self.store.rows(
            "SELECT seq, time_ns, symbol, quantity, price, fee, cost, leg FROM fills WHERE journal = ? "
            "ORDER BY seq DESC, leg DESC LIMIT ?", (self.caught_up(found), limit),
        )  # fmt: skip
        n = len(self._symbols_of(found))
        return [_fill(row, n) for row in rows]

    def traded(self, found: Found, symbol: str, since_ns: int, until_ns: int) -> tuple[Int, Float]:
        """When a symbol was traded between two moments, and how much: (N,) ns UTC, (N,) signed base units.

        Raises
        ------
        UserError
            If the journal is corrupt.
        """
        rows = self.store.rows(
            "SELECT time_ns, quantity FROM fills WHERE journal = ? AND symbol = ? AND time_ns BETWEEN ? AND ?",
            (self.caught_up(found), symbol, since_ns, until_ns),
        )
        return np.array([r[0] for r in rows], dtype=np.int64), np.array([r[1] for r in rows], dtype=np.float64)

    def caught_up(self, found: Found) -> int:
        """Number of a session's journal in the store, of which every event so far has its rows."""
        journal = self.store.journal(found.id, found.name)
        with self._guard:
            lock = self._locks.setdefault(found.id, threading.Lock())
        with lock, Peek(found.folder / JOURNAL) as peek:
            while self._step(found, journal, peek):
                pass
        return journal

    def _step(self, found: Found, journal: int, peek: Peek) -> bool:
        """Take the next thousand events; whether there may be more."""
        known = self.store.rows("SELECT seq FROM cursors WHERE consumer = ? AND journal = ?", (_CONSUMER, journal))
        after = int(known[0][0]) if known else 0
        ((head,),) = peek.rows("SELECT coalesce(max(seq), 0) FROM events")
        if head <= after:
            return False
        rows = peek.rows(
            "SELECT seq, kind, payload FROM events WHERE seq > ? AND seq <= ? AND kind IN (?, ?, ?) ORDER BY seq",
            (after, head, *KINDS, FLOW), N_ROWS,
        )  # fmt: skip
        # A read ends early where it takes too long; what is certain is the last row that came.
        cursor = int(rows[-1][0]) if rows else head
        made = ProjectedRows(journal, self._symbols_of(found), last_equity(self.store.rows, journal))
        for seq, kind, payload in rows:
            try:
                made.add(seq, kind, payload)
            except NO_EVENT:
                raise corrupt(found.folder / JOURNAL, f"event {seq} is not what a session writes") from None
        with self.store.writing() as database:
            made.write(database)
            database.execute(CURSOR, (_CONSUMER, journal, cursor))
        return True

    def _without_flows(self, journal: int) -> Callable[[int, float], dict[str, Any]]:
        """What was paid in by an event, and equity without it (time-weighted)."""
        flows = self.store.rows(
            "SELECT seq, units, before, after FROM flows WHERE journal = ? ORDER BY seq", (journal,)
        )
        seqs, paid, scale = [seq for seq, *_ in flows], [0], [1.0]
        for _, units, before, after in flows:
            paid.append(paid[-1] + units)
            scale.append(scale[-1] * before / after if after > 0.0 else scale[-1])

        def at(seq: int, equity: float) -> dict[str, Any]:
            k = bisect(seqs, seq)
            return {"paid": str(paid[k]), "worth": equity * scale[k]}

        return at

    def _symbols_of(self, found: Found) -> tuple[str, ...]:
        if found.id not in self._symbols:
            with Peek(found.folder / JOURNAL) as peek:
                rows = peek.rows("SELECT payload FROM events WHERE kind = 'session' ORDER BY seq LIMIT 1")
            try:
                (payload,) = rows[0]
                self._symbols[found.id] = symbols_of(payload)
            except (ValueError, LookupError, TypeError):
                raise corrupt(found.folder / JOURNAL, "it does not say what the session is") from None
        return self._symbols[found.id]


def _fill(row: tuple[Any, ...], n: int) -> dict[str, Any]:
    """A fill of a session with n instruments; legs from n on are forced closings."""
    *rest, leg = row
    names = ("seq", "time_ns", "symbol", "quantity", "price", "fee", "cost")
    return dict(zip(names, rest, strict=True)) | {"time_ns": str(row[1]), "forced": leg >= n}


class ProjectedRows:
    """Equity, fills and transfers of some events of one journal, in their order.

    Parameters
    ----------
    journal
        Its number in the store.
    symbols
        Of the session.
    last
        Equity before the first of them.
    """

    def __init__(self, journal: int, symbols: Sequence[str], last: float):
        self._journal, self._symbols, self._last = journal, symbols, last
        self._equity: list[tuple[Any, ...]] = []
        self._fills: list[tuple[Any, ...]] = []
        self._flows: list[tuple[Any, ...]] = []

    def add(self, seq: int, kind: str, payload: str) -> None:
        """Take one of `KINDS`, or of `FLOW`; raises one of `NO_EVENT` if it is not what a session writes."""
        plain = json.loads(payload)
        if kind == FLOW:
            self._flows += [(self._journal, seq, *flow) for flow in flows_of(plain, self._last)]
        else:
            self._equity.append((self._journal, seq, *figures_of(plain)))
        self._last = float(plain["account"]["equity"])
        at = int(plain["time"])
        self._fills += [
            (self._journal, seq, one.leg, at, one.symbol, one.quantity, one.price, one.fee, one.cost)
            for one in trades_of(plain, self._symbols)
        ]

    def write(self, database: Statements) -> None:
        """Write them, those that are there already left out."""
        database.executemany(_EQUITY, self._equity)
        database.executemany(_FLOWS, self._flows)
        database.executemany(_FILLS, self._fills)


def last_equity(rows: Callable[[str, Sequence[object]], list[Any]], journal: int) -> float:
    """Equity by the last row of a session, be it of a bar or of a transfer; ``rows`` answers a query."""
    found = rows(
        "SELECT seq, equity FROM equity WHERE journal = ? UNION SELECT seq, after FROM flows WHERE journal = ? "
        "ORDER BY 1 DESC LIMIT 1", (journal, journal),
    )  # fmt: skip
    return float(found[0][1]) if found else 0.0


def flows_of(plain: Mapping[str, Any], before: float) -> Iterator[tuple[Any, ...]]:
    """Units, equity before and after of a transfer that was settled."""
    after = float(plain["account"]["equity"])
    if plain["state"] == "SETTLED":
        yield int(plain["units"]), before, after


def thinned(rows: Sequence[tuple[Any, ...]], points: int, column: int) -> list[tuple[Any, ...]]:
    """Rows of which no more are left than asked for: first, lowest, highest and last of each stretch.

    Parameters
    ----------
    rows
        In their order.
    points
        At least 4.
    column
        Whose lowest and highest are kept.
    """
    if len(rows) <= points:
        return list(rows)
    n = max(1, points // 4)
    kept = []
    for k in range(n):
        start, stop = k * len(rows) // n, (k + 1) * len(rows) // n
        part = range(start, stop)
        low, high = (pick(part, key=lambda i: rows[i][column]) for pick in (min, max))
        kept += [rows[i] for i in sorted({start, low, high, stop - 1})]
    return kept


def symbols_of(payload: str) -> tuple[str, ...]:
    """Symbols of a session, from its first event; raises ValueError, LookupError or TypeError if it is none."""
    return tuple(str(one["symbol"]) for one in plain_json(payload)["instruments"])


def figures_of(plain: Mapping[str, Any]) -> tuple[Any, ...]:
    """Time, equity, cash, gross and net exposure of an account, from what an event says of it."""
    account = plain["account"]
    equity, cash = float(account["equity"]), float(account["cash"])
    worth = [
        float(q) * float(m) if q and m is not None else 0.0
        for q, m in zip(account["position"], account["mark"], strict=True)
    ]
    scale = 1.0 / equity if equity > 0.0 else 0.0
    return int(plain["time"]), equity, cash, sum(map(abs, worth)) * scale, sum(worth) * scale


def of_kinds(
    folder: Path, kinds: Sequence[str], after: int, limit: int, *, newest: bool = False
) -> list[dict[str, Any]]:
    """Events of some kinds, all of them if none is named; for people, so the chain is not checked.

    Parameters
    ----------
    folder
        Of the session.
    kinds
        Names of kinds.
    after
        Number of an event: later ones are given, or with ``newest`` earlier ones; 0 = from the beginning, or the end.
    limit
        How many at most.
    newest
        The newest first.

    Raises
    ------
    UserError
        If the journal is corrupt.
    """
    marks = ", ".join("?" * len(kinds))
    where = [f"kind IN ({marks})"] if kinds else []
    if after or not newest:
        where.append("seq < ?" if newest else "seq > ?")
    order = "DESC" if newest else "ASC"
    only = f"WHERE {' AND '.join(where)}" if where else ""
    query = f"SELECT seq, time, kind, payload FROM events {only} ORDER BY seq {order}"
    found: list[dict[str, Any]] = []
    path = folder / JOURNAL
    with Peek(path) as peek:
        for seq, written, kind, payload in peek.rows(query, (*kinds, *([after] if after or not newest else [])), limit):
            try:
                found.append({"seq": seq, "time_ns": str(int(written)), "kind": str(kind), "data": plain_json(payload)})
            except (ValueError, TypeError, RecursionError):
                raise corrupt(path, f"event {seq} is not what a session writes") from None
    return found


def alerts_of(folder: Path, limit: int) -> list[dict[str, Any]]:
    """The newest messages of a session's outbox, newest first.

    Raises
    ------
    UserError
        If the journal is corrupt.
    """
    with Peek(folder / JOURNAL) as peek:
        rows = peek.rows("SELECT id, time, rule, text, tries, sent FROM outbox ORDER BY id DESC", n=limit)
    return [
        {"id": i, "time_ns": str(time), "rule": str(rule), "text": str(text), "tries": tries,
         "sent_ns": None if sent is None else str(sent)}
        for i, time, rule, text, tries, sent in rows
    ]  # fmt: skip
