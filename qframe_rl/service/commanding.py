"""Routes that command sessions."""

from __future__ import annotations

from typing import Any

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.inbox import order
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.service import shapes
from qframe_rl.service.guard import needs
from qframe_rl.service.known import named
from qframe_rl.service.places import Found
from qframe_rl.service.problems import ApiProblem
from qframe_rl.service.wiring import It, Key, Operator, SessionId, once, once_more, routes, who

commanding = routes()


@commanding.post("/sessions/{session}/commands", status_code=202)
def command(
    it: It, identity: Operator, session: SessionId, given: shapes.CommandIn, key: Key = None
) -> shapes.CommandOut:
    """Tell a session to halt, flatten, reduce or resume: asked when this answers, obeyed when its journal says so."""
    if given.word == "resume":
        needs("trade", identity, it.keeper.allowed)
        once_more(it, identity, given.password)
    found = it.session(session)

    def ask() -> shapes.CommandOut:
        done = ordered(found, given.word)
        it.store.audit(who(identity), given.word, found.id, f"asked as {done['number']}")
        return shapes.CommandOut(**done)

    asked = f"{session} {given.word}"
    return once(it, identity, key, asked, ask, shapes.CommandOut)


@commanding.post("/kill", status_code=202)
def kill(it: It, identity: Operator, key: Key = None) -> shapes.Killed:
    """Tell every session to halt."""

    def ask() -> shapes.Killed:
        told: list[dict[str, Any]] = []
        for found in it.places.sessions().values():
            try:
                told.append({"session": found.id, **ordered(found, "halt")})
            except (UserError, Unavailable) as error:
                told.append({"session": found.id, "failed": named(str(error), [found])})
        for one in told:  # only then: a disk that is full lets all be told
            it.store.audit(who(identity), "halt", one["session"], one.get("failed") or f"asked as {one['number']}")
        return shapes.Killed(told=told)

    return once(it, identity, key, "kill", ask, shapes.Killed)


def ordered(found: Found, word: str) -> dict[str, Any]:
    """Leave a command in a session's inbox; raises an `ApiProblem` where a file would undo it."""
    if word == "resume" and (found.folder / "HALT").exists():
        raise ApiProblem(409, "the file HALT in the session's folder would halt it again; remove it first.")
    number = order(found.folder / JOURNAL, word)
    return {"number": str(number), "word": word, "asked_ns": str(number)}
