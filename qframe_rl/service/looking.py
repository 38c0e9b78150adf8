"""Routes of one session's page: its bars, what happened at one of them, its chain; and the alerts of all sessions."""

from __future__ import annotations

import heapq
from typing import Annotated, Any

import numpy as np
from fastapi import Query

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.lock import writer_of
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.journal.store import verify
from qframe_rl.service import page_shapes
from qframe_rl.service.candles import POINTS
from qframe_rl.service.inspecting import inspected
from qframe_rl.service.places import newest
from qframe_rl.service.projection import alerts_of
from qframe_rl.service.tapes import counted
from qframe_rl.service.wiring import LATEST_NS, It, Limit, Moment, Reader, SessionId, routes

looking = routes()
Symbol = Annotated[str | None, Query(max_length=64)]


@looking.get("/sessions/{session}/bars")
def session_bars(
    it: It, _: Reader, session: SessionId, symbol: Symbol = None, since: Moment = 0, until: Moment = LATEST_NS,
    points: Annotated[int, Query(ge=1, le=POINTS)] = 2000,
) -> page_shapes.SessionBars:  # fmt: skip
    """Bars that a session lived through, by columns; several in one with true highs and lows where there are more."""
    found = it.session(session)
    told = it.tapes.bars(found, symbol, since, until, points)
    ends = np.array([int(t) for t in told["time_ns"]], dtype=np.int64)
    when, quantity = it.figures.traded(found, told["symbol"], since, until)
    sides = {"bought": np.fmax(quantity, 0.0), "sold": np.fmax(-quantity, 0.0)}
    return page_shapes.SessionBars(**told, **{name: counted(ends, when, q).tolist() for name, q in sides.items()})


@looking.get("/sessions/{session}/inspect")
def inspect(it: It, _: Reader, session: SessionId, at: Moment) -> page_shapes.InspectedBar:
    """The last bar that closed by ``at``: what the agent asked for, what was cut and why, what filled by which rule."""
    return page_shapes.InspectedBar(**inspected(it.tapes, it.session(session), at))


@looking.get("/sessions/{session}/check")
def check(it: It, _: Reader, session: SessionId) -> page_shapes.ChainCheck:
    """Check the chain of hashes of a session's journal, from its first event to its last."""
    found = it.session(session)
    path = found.folder / JOURNAL
    try:
        head = verify(path, pages=writer_of(path) is None)
    except UserError as error:
        return page_shapes.ChainCheck(holds=False, why=it.without_paths(str(error)))
    return page_shapes.ChainCheck(holds=True, events=head.seq, head=head.hash.hex())


@looking.get("/alerts")
def alerts(it: It, _: Reader, limit: Limit = 100) -> list[page_shapes.SessionAlert]:
    """Messages of all sessions, newest first; a session whose journal cannot be read has one that says so."""
    told: list[dict[str, Any]] = []
    for found in newest(it.places.sessions()):
        about = {"session": found.id, "name": found.name}
        try:
            told += [about | one for one in alerts_of(found.folder, limit)]
        except (UserError, Unavailable) as error:
            now = {"id": 0, "time_ns": str(LATEST_NS), "rule": "broken", "tries": 0, "sent_ns": None}
            told.append(about | now | {"text": it.without_paths(str(error))})
    first = heapq.nlargest(limit, told, key=lambda one: int(one["time_ns"]))
    return [page_shapes.SessionAlert(**one) for one in first]
