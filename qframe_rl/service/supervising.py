"""Routes of supervised sessions: what is wanted, which the supervisor does."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header
from fastapi.responses import Response

from qframe_rl.service import shapes
from qframe_rl.service.auth import Identity
from qframe_rl.service.desired import SupervisedSession
from qframe_rl.service.problems import ApiProblem
from qframe_rl.service.wiring import It, Key, Name, Reader, Service, SessionId, Trader, once, once_more, routes, who

Match = Annotated[str | None, Header(alias="If-Match", pattern=r'^"[0-9]{1,18}"$')]
supervising = routes()


@supervising.get("/supervised")
def supervised(it: It, _: Reader) -> list[shapes.SupervisedOut]:
    """All sessions that are supervised, and how far each is."""
    return [_told(it, one) for one in it.desired.all()]


@supervising.get("/supervised/{name}")
def supervised_one(it: It, answer: Response, name: Name, _: Reader) -> shapes.SupervisedOut:
    """One of them; its revision is the ETag."""
    return _tagged(it, answer, _row(it, name))


@supervising.post("/sessions", status_code=201)
def start_session(it: It, identity: Trader, given: shapes.SupervisedIn, key: Key = None) -> shapes.SupervisedOut:
    """Let a session run: on paper or on a testnet, with a checkpoint of the list. The supervisor starts it."""
    once_more(it, identity, given.password)
    if given.spec.checkpoint not in it.places.checkpoints():
        raise ApiProblem(404, "there is no such checkpoint.")

    def add() -> shapes.SupervisedOut:
        made = it.desired.add(given.name, given.spec)
        it.store.audit(who(identity), "start", given.name, given.spec.checkpoint)
        return _told(it, made)

    return once(it, identity, key, f"start {given.name} {given.spec.model_dump_json()}", add, shapes.SupervisedOut)


@supervising.put("/supervised/{name}/desired")
def want(
    it: It, answer: Response, identity: Trader, name: Name, given: shapes.DesiredIn, match: Match = None
) -> shapes.SupervisedOut:
    """Say what is wanted of a session, by its name. If-Match has the revision that was seen."""
    return _wanted(it, answer, identity, _row(it, name), given, match)


@supervising.put("/sessions/{session}/desired")
def want_session(
    it: It, answer: Response, identity: Trader, session: SessionId, given: shapes.DesiredIn, match: Match = None
) -> shapes.SupervisedOut:
    """Say what is wanted of a session, by its id. If-Match has the revision that was seen."""
    folder = str(it.session(session).folder)
    for one in it.desired.all():
        if one.folder == folder:
            return _wanted(it, answer, identity, one, given, match)
    raise ApiProblem(404, "this session is not supervised.")


@supervising.delete("/supervised/{name}", status_code=204)
def forget(it: It, identity: Trader, name: Name) -> Response:
    """Forget a session that is stopped; its folder and journal stay."""
    _row(it, name)
    it.desired.remove(name)
    it.store.audit(who(identity), "forget", name, "done")
    return Response(status_code=204)


def _wanted(
    it: Service, answer: Response, identity: Identity, row: SupervisedSession, given: shapes.DesiredIn,
    match: str | None,
) -> shapes.SupervisedOut:  # fmt: skip
    if given.desired == "RUNNING":
        once_more(it, identity, given.password)
    if match is None:
        raise ApiProblem(428, "give the revision that you saw as If-Match.")
    try:
        done = it.desired.want(row.name, given.desired, int(match.strip('"')))
    except LookupError as error:
        raise ApiProblem(412, f"{error}; look again.") from None
    it.store.audit(who(identity), f"want {given.desired}", row.name, f"revision {done.revision}")
    return _tagged(it, answer, done)


def _row(it: Service, name: str) -> SupervisedSession:
    found = [one for one in it.desired.all() if one.name == name]
    if not found:
        raise ApiProblem(404, "no session of this name is supervised.")
    return found[0]


def _tagged(it: Service, answer: Response, row: SupervisedSession) -> shapes.SupervisedOut:
    answer.headers["etag"] = f'"{row.revision}"'
    return _told(it, row)


def _told(it: Service, row: SupervisedSession) -> shapes.SupervisedOut:
    session = next((one.id for one in it.places.sessions().values() if str(one.folder) == row.folder), None)
    return shapes.SupervisedOut(**row.told() | {"why": it.without_paths(row.why)}, session=session)
