"""Copies of other hosts' journals in the store: every event, and equity and fills of them, moved with a cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qframe_rl.config import UserError, canonical
from qframe_rl.journal.lock import Head
from qframe_rl.journal.store import JournalEvent, link
from qframe_rl.relay.events import CursorMoved, LinkedEvent
from qframe_rl.service.client import ServiceClient
from qframe_rl.service.projection import CURSOR, FLOW, KINDS, NO_EVENT, ProjectedRows, last_equity, symbols_of
from qframe_rl.service.store import ServiceStore, Statements

CONSUMER = "copy"
_SEQ = "SELECT seq FROM cursors WHERE consumer = ? AND journal = ?"


class EventCopies:
    """Where a sink writes.

    Parameters
    ----------
    store
        Its tables ``events``, ``equity`` and ``fills``.
    """

    def __init__(self, store: ServiceStore):
        self.store, self.place = store, store.place
        self._numbers: dict[str, int] = {}
        self._symbols: dict[int, tuple[str, ...]] = {}

    def cursor(self, session: str, name: str) -> Head:
        """The last event that is there."""
        number = self._numbers[session] = self.store.journal(session, name)
        known = self.store.rows(_SEQ, (CONSUMER, number))
        if not known or not known[0][0]:
            return Head(0, b"\0" * 32)
        seq = int(known[0][0])
        ((digest,),) = self.store.rows("SELECT hash FROM events WHERE journal = ? AND seq = ?", (number, seq))
        return Head(seq, bytes(digest))

    def write(self, session: str, events: Sequence[LinkedEvent], pulse: Mapping[str, Any] | None) -> None:
        """Rows and cursor, in one transaction.

        Raises
        ------
        Unavailable
            If the database does not answer.
        CursorMoved
            If another sink was faster.
        UserError
            If an event is not what a session writes.
        """
        number = self._numbers[session]
        with self.store.writing() as database:
            known = database.execute(_SEQ, (CONSUMER, number)).fetchone()
            if (known[0] if known else 0) != events[0].event.seq - 1:
                raise CursorMoved
            database.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)",
                [(number, e.seq, e.kind, e.time, e.payload, digest) for e, digest in events],
            )
            self._project(database, number, [event for event, _ in events])
            database.execute(CURSOR, (CONSUMER, number, events[-1].event.seq))

    def _project(self, database: Statements, number: int, events: Sequence[JournalEvent]) -> None:
        """Equity, fills and transfers of them, as the service's own projection has them."""
        told = [event for event in events if event.kind in (*KINDS, FLOW)]
        if not told:
            return
        last = last_equity(lambda query, given: database.execute(query, given).fetchall(), number)
        seq = told[0].seq
        try:
            made = ProjectedRows(number, self._symbols_of(database, number), last)
            for event in told:
                seq = event.seq
                made.add(seq, event.kind, event.payload)
        except NO_EVENT:
            raise UserError(f"event {seq} is not what a session writes; nothing more is copied.") from None
        made.write(database)

    def _symbols_of(self, database: Statements, number: int) -> tuple[str, ...]:
        """Symbols of a session, by its first event, which is there by now."""
        if number not in self._symbols:
            query = "SELECT payload FROM events WHERE journal = ? AND kind = 'session' ORDER BY seq LIMIT 1"
            self._symbols[number] = symbols_of(database.execute(query, (number,)).fetchone()[0])
        return self._symbols[number]


class ApiEvents:
    """Events of journals on another host, by the API of its service: where a stream has gaps.

    Parameters
    ----------
    client
        Of that service.
    url
        Its address, for messages.
    """

    def __init__(self, client: ServiceClient, url: str):
        self.client, self.place = client, url

    def after(self, session: str, head: Head, n: int) -> list[LinkedEvent]:
        """At most ``n`` events after one. Their hashes are reckoned anew, so what is chained to them proves them."""
        found, digest = [], head.hash
        for one in self.client.page(session, head.seq, n):
            event = JournalEvent(one.seq, int(one.time_ns), one.kind, canonical(one.data))
            digest = link(digest, *event)
            found.append(LinkedEvent(event, digest))
        return found
