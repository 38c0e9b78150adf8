"""Routes that show: sessions, events, runs, checkpoints, the catalogue, bars."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any

from fastapi import Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.live.cost_basis import CostBasis, write_csv
from qframe_rl.service import shapes
from qframe_rl.service.candles import POINTS, candles
from qframe_rl.service.guard import token_of
from qframe_rl.service.known import commands_of
from qframe_rl.service.places import Found, manifest_of, newest, shown_json
from qframe_rl.service.problems import ApiProblem
from qframe_rl.service.projection import alerts_of, of_kinds
from qframe_rl.service.stream import HEARTBEAT_S, Cursor, StreamListener, block
from qframe_rl.service.wiring import (
    LATEST_NS,
    After,
    It,
    Limit,
    Moment,
    Name,
    Reader,
    Service,
    SessionId,
    Words,
    routes,
    service_of,
    there,
    who,
)  # fmt: skip

STREAMS = 20
"""Open streams of one token or user, at most."""
_ASKED_S = 5.0
"""Time between two looks whether the token of a stream still opens anything."""
_IN_MEMORY, _PIECE = 4 << 20, 64 << 10
"""Bytes of a CSV that are not put on the disk, and letters of it that are sent at once."""
_RUN_FILES = ("choice.json", "leaderboard.json", "study.json", "tune.json", "board.json", "data.json")
_ORDERS = ("decision", "outcome", "resolved", "cancelled", "swept", "exchange", "held")
reading = routes()


@reading.get("/sessions")
def sessions(it: It, _: Reader) -> list[shapes.SessionSummary]:
    """All sessions below the folders, newest first."""
    return [shapes.SessionSummary(**it.known.summary(found)) for found in newest(it.places.sessions())]


@reading.get("/sessions/{session}", response_model=shapes.SessionSummary)
async def session(request: Request, session: SessionId, _: Reader) -> Response:
    """One session."""
    it = service_of(request)
    kept = it.known.kept(session)
    if kept is None:
        kept = await asyncio.to_thread(lambda: it.known.ready(it.session(session)))
    return Response(kept, media_type="application/json")


@reading.get("/sessions/{session}/equity")
def equity(
    it: It, _: Reader, session: SessionId, since: Moment = 0, until: Moment = LATEST_NS,
    points: Annotated[int, Query(ge=4, le=POINTS)] = 2000,
) -> list[shapes.EquityPoint]:  # fmt: skip
    """Equity after each bar; where there are more than ``points``, each stretch's first, lowest, highest and last."""
    return [shapes.EquityPoint(**row) for row in it.figures.equity(it.session(session), since, until, points)]


@reading.get("/sessions/{session}/fills")
def fills(
    it: It, _: Reader, session: SessionId, after: After = 0, limit: Limit = 500, newest: bool = False
) -> list[shapes.Fill]:
    """Fills of events after one, in their order, those of one event together; or the newest, newest first."""
    found = it.session(session)
    rows = it.figures.newest_fills(found, limit) if newest else it.figures.fills(found, after, limit)
    return [shapes.Fill(**row) for row in rows]


@reading.get(
    "/sessions/{session}/fills.csv", response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)  # fmt: skip
def fills_csv(it: It, _: Reader, session: SessionId) -> StreamingResponse:
    """All fills with cost basis and realised profit, first in, first out, and what else moved money; CSV."""
    book = CostBasis(it.session(session).folder / JOURNAL)
    file = SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8", errors="replace", newline="")  # noqa: SIM115
    try:
        # Whole before it is sent: a journal that proves corrupt in its midst is answered as one.
        write_csv(book.rows(), file)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    named = {"content-disposition": f'attachment; filename="fills-{session}.csv"'}
    return StreamingResponse(_pieces(file), media_type="text/csv", headers=named)


def _pieces(file: Any) -> Iterator[str]:
    with file:
        while text := file.read(_PIECE):
            yield text


@reading.get("/sessions/{session}/decisions")
def decisions(it: It, _: Reader, session: SessionId, before: After = 0, limit: Limit = 100) -> list[shapes.Event]:
    """What the agent asked for, newest first."""
    return _events(it.session(session), ("decision",), before, limit, newest=True)


@reading.get("/sessions/{session}/orders")
def orders(it: It, _: Reader, session: SessionId, before: After = 0, limit: Limit = 100) -> list[shapes.Event]:
    """What was asked for and what became of it on the exchange, newest first."""
    return _events(it.session(session), _ORDERS, before, limit, newest=True)


@reading.get("/sessions/{session}/alerts")
def alerts(it: It, _: Reader, session: SessionId, limit: Limit = 100) -> list[shapes.AlertOut]:
    """Messages of a session, newest first."""
    return [shapes.AlertOut(**row) for row in alerts_of(it.session(session).folder, limit)]


@reading.get("/sessions/{session}/events")
def events(
    it: It, _: Reader, session: SessionId, after: After = 0, limit: Limit = 500, kinds: Words = "",
    newest: bool = False,
) -> list[shapes.Event]:  # fmt: skip
    """Events after one, in their order; with ``newest`` those before it, newest first, 0 = from the end."""
    return _events(it.session(session), tuple(_named(kinds)), after, limit, newest=newest)


@reading.get("/sessions/{session}/commands")
def commands(it: It, _: Reader, session: SessionId) -> list[shapes.CommandOut]:
    """What the session was told: asked, and obeyed at which bar; newest first."""
    return [shapes.CommandOut(**one) for one in commands_of(it.session(session))]


@reading.get("/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def stream(
    request: Request, identity: Reader, sessions: Words = "", kinds: Words = "",
    last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=64_000)] = None,
) -> StreamingResponse:  # fmt: skip
    """Events as they are written, as server-sent events: of all sessions in one stream.

    ``event: journal`` is an event of a journal; ``hello`` says where the stream begins, ``reset`` that what was missed
    is more than is sent again: read anew what you show. A comment comes every 15 s.
    """
    it, name = service_of(request), identity.owner or identity.id
    try:
        cursor = None if not last else Cursor.of(last)
    except ValueError:
        cursor = Cursor("?")
    if it.streams.get(name, 0) >= STREAMS:
        raise ApiProblem(429, f"{STREAMS} streams are open for {who(identity)} already; close one.")
    it.streams[name] = it.streams.get(name, 0) + 1
    listener = StreamListener(frozenset(_named(sessions)), frozenset(_named(kinds)), lambda: None)
    told = _blocks(it, name, listener, cursor, token_of(request)[0])
    return StreamingResponse(told, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def _blocks(
    it: Service, name: str, listener: StreamListener, cursor: Cursor | None, token: str
) -> AsyncIterator[bytes]:  # fmt: skip
    task, asked = asyncio.current_task(), time.monotonic()
    assert task is not None
    listener.end = task.cancel
    try:
        missed = it.hub.begin(listener, cursor)
        if missed is None:
            it.hub.begin(listener, None)
            yield b"retry: 2000\n" + block("reset", {"v": 1}, it.hub.cursor())
        else:
            if cursor is None:
                yield b"retry: 2000\n" + block("hello", {"v": 1}, it.hub.cursor())
            if missed:
                yield b"".join(missed)
        while not listener.dropped:
            if time.monotonic() - asked >= _ASKED_S:
                if not await _opens(it, token):
                    return
                asked = time.monotonic()
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await listener.more.wait()
            except TimeoutError:
                yield b": here\n\n"
                continue
            listener.more.clear()
            ready = b"".join(listener.blocks)
            listener.blocks.clear()
            if ready:
                yield ready
    finally:
        it.hub.listeners.discard(listener)
        it.streams[name] -= 1


async def _opens(it: Service, token: str) -> bool:
    """Whether a token that opened a stream still does: it may be deleted, or too old, by now."""
    try:
        return (it.keeper.at_hand(token) or await asyncio.to_thread(it.keeper.identity, token)) is not None
    except Unavailable:
        return False


@reading.get("/runs/{run}/report")
def report(it: It, _: Reader, run: Name) -> dict[str, Any]:
    """What a run came to: its files of figures, by their names."""
    found = there(it.places.runs().get(run), "run")
    told = {name.removesuffix(".json"): shown_json(found.folder / name) for name in _RUN_FILES if _has(found, name)}
    return {"id": found.id, "kind": found.kind, **told}


@reading.get("/checkpoints")
def checkpoints(it: It, _: Reader) -> list[shapes.CheckpointOut]:
    """Checkpoints below the folders, newest first."""
    return [_checkpoint(found) for found in newest(it.places.checkpoints())]


@reading.get("/checkpoints/{checkpoint}")
def checkpoint(it: It, _: Reader, checkpoint: Name) -> dict[str, Any]:
    """The manifest of a checkpoint: agent, market, data, scores and verdict."""
    return manifest_of(there(it.places.checkpoints().get(checkpoint), "checkpoint"))


@reading.get("/strategies")
def strategies(it: It, _: Reader) -> list[dict[str, Any]]:
    """Strategies of the catalogue, with the JSON Schema of their parameters."""
    return it.schemas.of("agents")


@reading.get("/markets")
def markets(it: It, _: Reader) -> list[dict[str, Any]]:
    """Markets and problems of the catalogue, with the JSON Schema of their parameters."""
    return it.schemas.of("envs")


@reading.get("/bars")
def bars(
    it: It, _: Reader, symbol: Annotated[str, Query(max_length=64)], timeframe: Annotated[str, Query(max_length=8)],
    exchange: Annotated[str, Query(pattern=r"^[0-9a-z_]{1,32}$")] = "binance",
    since: Moment = 0, until: Moment = LATEST_NS, points: Annotated[int, Query(ge=1, le=POINTS)] = 1000,
) -> list[shapes.BarOut]:  # fmt: skip
    """Bars of the service's store; where there are more than ``points``, several in one with true highs and lows."""
    if it.data is None:
        raise ApiProblem(404, "the service has no market data; start it with --data FOLDER.")
    return [shapes.BarOut(**one) for one in candles(it.data, exchange, symbol, timeframe, since, until, points)]


def _events(found: Found, kinds: tuple[str, ...], at: int, limit: int, *, newest: bool = False) -> list[shapes.Event]:
    return [shapes.Event(**row) for row in of_kinds(found.folder, kinds, at, limit, newest=newest)]


def _checkpoint(found: Found) -> shapes.CheckpointOut:
    try:
        told = manifest_of(found)
        return shapes.CheckpointOut(
            id=found.id, name=found.name, agent=told["agent"]["name"], market=told["env"]["name"],
            symbols=[one["symbol"] for one in told["instruments"]], bar_ns=str(told["bar_ns"]),
            promoted=told["provenance"].get("promotion", {}).get("promoted"),
        )  # fmt: skip
    except (UserError, LookupError, TypeError, AttributeError, ValueError):
        return shapes.CheckpointOut(id=found.id, name=found.name, broken="its checkpoint.json is not one.")


def _has(found: Found, name: str) -> bool:
    path = found.folder / name
    return path.is_file() and not path.is_symlink()


def _named(words: str) -> list[str]:
    return [word for word in words.split(",") if word]
