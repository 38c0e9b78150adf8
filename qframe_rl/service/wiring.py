"""The parts of a service, and what routes ask for: the service itself, who asks, and what stands in addresses."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, TypeVar
from weakref import WeakValueDictionary

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool

from qframe_rl.journal.peek import N_ROWS
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.service import problems, shapes
from qframe_rl.service.aside import SideProcess
from qframe_rl.service.auth import Doorkeeper, Identity, Scope
from qframe_rl.service.booking import MemberRow
from qframe_rl.service.curves import Curves
from qframe_rl.service.desired import Desired
from qframe_rl.service.guard import asks, needs
from qframe_rl.service.jobs import Jobs
from qframe_rl.service.known import KnownSessions, named
from qframe_rl.service.membership import is_of
from qframe_rl.service.places import Found, Places
from qframe_rl.service.portfolios import Portfolios
from qframe_rl.service.problems import ApiProblem
from qframe_rl.service.projection import Figures
from qframe_rl.service.reports import Reports
from qframe_rl.service.schemas import Schemas
from qframe_rl.service.store import ServiceStore
from qframe_rl.service.stream import EventHub
from qframe_rl.service.tapes import Tapes

API = "/api/v1"
LATEST_NS = 2**63 - 1
_KEPT_S = 7 * 86_400
"""For how long an Idempotency-Key is known."""
Shape = TypeVar("Shape", bound=shapes.Out)
Limit = Annotated[int, Query(ge=1, le=N_ROWS)]
After = Annotated[int, Query(ge=0, le=2**62)]
Moment = Annotated[int, Query(ge=0, le=LATEST_NS)]
SessionId = Annotated[str, InPath(pattern=r"^[0-9a-f]{16}$")]
Name = Annotated[str, InPath(pattern=r"^[0-9a-z_-]{1,64}$")]
PortfolioId = Annotated[str, InPath(pattern=r"^[0-9a-z_-]{1,64}$")]
Key = Annotated[str | None, Header(alias="Idempotency-Key", pattern=r"^[\x21-\x7e]{1,128}$")]
Words = Annotated[str, Query(max_length=4000, description="names, with commas between them; empty = all")]


@dataclass
class Service:
    """All that answers are made of."""

    places: Places
    store: ServiceStore
    keeper: Doorkeeper
    hub: EventHub
    known: KnownSessions
    figures: Figures
    data: Path | str | None
    desired: Desired
    jobs: Jobs
    portfolios: Portfolios
    reports: Reports
    schemas: Schemas = field(default_factory=Schemas)
    tapes: Tapes = field(default_factory=Tapes)
    aside: SideProcess = field(default_factory=SideProcess)
    curves: Curves = field(default_factory=Curves)
    backtests: dict[tuple[str, int], Any] = field(default_factory=dict)
    """The last backtest that was made of a session, by its id and its last bar."""
    streams: dict[str, int] = field(default_factory=dict)
    keyed: WeakValueDictionary[tuple[str, str], Any] = field(default_factory=WeakValueDictionary)
    """Locks of requests with an Idempotency-Key that are under way, by token and key."""
    keyed_lock: Any = field(default_factory=Lock)

    @classmethod
    def of(
        cls,
        roots: list[Path],
        state: Path,
        allow: tuple[Scope, ...] = (),
        data: Path | str | None = None,
        store: str | None = None,
    ) -> Service:
        """Join the parts.

        Parameters
        ----------
        roots
            Folders that are shown.
        state
            Folder of ``service.db``.
        allow
            Scopes that the service allows beside reading.
        data
            Folder of a Parquet store, or address of a database; None = no bars are shown.
        store
            As ``url`` of `ServiceStore`.
        """
        places, kept = Places(roots), ServiceStore(state, store)
        hub = EventHub(places, kept)
        keeper, known = Doorkeeper(kept, allow), KnownSessions(hub)
        return cls(
            places, kept, keeper, hub, known, Figures(kept), data, Desired(kept), Jobs(kept), Portfolios(kept),
            Reports(state),
        )  # fmt: skip

    def without_paths(self, text: str) -> str:
        """A sentence of the library, with names in place of paths."""
        text = named(text, [*self.places.sessions().values(), *self.places.runs().values()])
        text = text.replace(self.store.place, "the store")
        for root in (*self.places.roots, self.store.folder, *([self.data] if self.data is not None else [])):
            text = text.replace(str(root), "")
        return text

    def session(self, session: str) -> Found:
        """A session by its id; raises a `ApiProblem` if there is none."""
        return there(self.places.sessions().get(session), "session")


async def _it(request: Request) -> Service:
    return service_of(request)


def service_of(request: Request) -> Service:
    """The service that a request is for."""
    service: Service = request.app.state.service
    return service


def scope(wanted: Scope) -> Callable[[Request], Awaitable[Identity]]:
    """A dependency: who asks, if he has this scope."""

    async def check(request: Request) -> Identity:
        keeper = service_of(request).keeper
        identity = await asks(keeper, request)
        needs(wanted, identity, keeper.allowed)
        if identity.portfolios is not None:
            await run_in_threadpool(within_reach, service_of(request), identity, request)
        return identity

    check.scope = wanted  # type: ignore[attr-defined]
    return check


def within_reach(it: Service, identity: Identity, request: Request) -> None:
    """Refuse a token that is for some portfolios alone whatever is of no portfolio, or of another one.

    What is of another one is not there for it: that would tell that there is one. Raises an `ApiProblem`.
    """
    assert identity.portfolios is not None
    named = request.path_params
    if "portfolio" in named:
        if named["portfolio"] not in identity.portfolios:
            raise ApiProblem(404, "there is no such portfolio.")
    elif "session" in named:
        found = it.places.sessions().get(named["session"])
        its = [one for one in it.portfolios.members() if one.portfolio in identity.portfolios]
        if found is None or found not in sessions_of(it, its).values():
            raise ApiProblem(404, "there is no such session.")
    elif (request.method, request.url.path) != ("GET", f"{API}/portfolios"):
        raise ApiProblem(403, "this token is for portfolios alone: it may see and do nothing else.")


def sessions_of(it: Service, members: list[MemberRow]) -> dict[str, Found]:
    """Sessions of members, by name; a folder that has a member's name alone is none."""
    shown = list(it.places.sessions().values())
    return {
        row.name: one for row in members for one in shown
        if one.folder.name == row.name and is_of(one.folder / JOURNAL, row)
    }  # fmt: skip


async def anybody(request: Request) -> Identity:
    """A dependency: who asks, whatever he may do."""
    return await asks(service_of(request).keeper, request)


Reader = Annotated[Identity, Depends(scope("read"))]
Employer = Annotated[Identity, Depends(scope("jobs"))]
Trader = Annotated[Identity, Depends(scope("trade"))]
Operator = Annotated[Identity, Depends(scope("operate"))]
Admin = Annotated[Identity, Depends(scope("admin"))]
Anybody = Annotated[Identity, Depends(anybody)]
It = Annotated[Service, Depends(_it)]  # no thread is asked for it
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": problems.TITLES[status], "content": {problems.TYPE: {}}}
    for status in (400, 401, 403, 404, 413, 422, 429, 503)
}


def routes() -> APIRouter:
    """Routes of one kind, each of which may answer with a problem."""
    return APIRouter(prefix=API, responses=ERRORS)


def there(found: Found | None, what: str) -> Found:
    """What was found; raises a `ApiProblem` where nothing was."""
    if found is None:
        raise ApiProblem(404, f"there is no such {what}.")
    return found


def who(identity: Identity) -> str:
    """Name of a user, or of a program's token."""
    return identity.owner or identity.name


def tried(it: Service, *who: str) -> None:
    """Count a try to give a password; raises an `ApiProblem` where there were too many."""
    wait = it.keeper.wait_s(*who)
    if wait:
        problem = ApiProblem(429, f"too many tries; wait {wait:.0f} s.")
        problem.headers["retry-after"] = str(int(wait) + 1)
        raise problem


def once_more(it: Service, identity: Identity, password: str | None) -> None:
    """Refuse a browser that raises risk without its user's password; raises an `ApiProblem`.

    Wrong ones count as at a login: who has a cookie does not guess the password with it.
    """
    if not identity.cookie:
        return
    if identity.owner is not None and password is not None:
        again = f"again {identity.owner}"
        tried(it, again)
        if it.keeper.right_password(identity.owner, password):
            it.keeper.forgive(again)
            return
    raise ApiProblem(403, "this may raise risk: give your password again.", needs="password")


def once(
    it: Service, identity: Identity, key: str | None, asked: str, ask: Callable[[], Shape], shape: type[Shape]
) -> Shape:
    """What is asked for, done once for each key of a token; who sends it meanwhile waits for the same answer."""
    if key is None:
        return ask()
    with it.keyed_lock:
        turn = it.keyed.setdefault((identity.id, key), Lock())
    with turn:
        return _once(it, identity, key, asked, ask, shape)


def _once(it: Service, identity: Identity, key: str, asked: str, ask: Callable[[], Shape], shape: type[Shape]) -> Shape:
    digest = hashlib.sha256(asked.encode()).hexdigest()
    known = it.store.rows("SELECT asked, body FROM replies WHERE key = ? AND token = ?", (key, identity.id))
    if known:
        if known[0][0] != digest:
            raise ApiProblem(422, "this Idempotency-Key was given with another request.")
        return shape(**json.loads(known[0][1]))
    done, now = ask(), time.time_ns()
    with it.store.writing() as database:
        database.execute("DELETE FROM replies WHERE time_ns < ?", (now - _KEPT_S * 10**9,))
        database.execute(
            "INSERT INTO replies VALUES (?, ?, ?, 202, ?, ?) ON CONFLICT DO NOTHING",
            (key, identity.id, digest, done.model_dump_json(), now),
        )
    return done
