"""Routes that command sessions."""

from __future__ import annotations

from typing import Any

from qframe_rl.journal.inbox import KILL_FILE, locking_word, order
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.live.kill import is_shadow, tell
from qframe_rl.live.standing import symbols_of
from qframe_rl.service import shapes
from qframe_rl.service.guard import needs
from qframe_rl.service.known import named
from qframe_rl.service.places import Found
from qframe_rl.service.problems import ApiProblem
from qframe_rl.service.wiring import It, Key, Operator, SessionId, once, once_more, routes, who

commanding = routes()
LEFT = "left by the service's POST /kill; a resume over the service removes it\n"
"""What stands in a file HALT that may be removed here: one that a person left stays."""


@commanding.post("/sessions/{session}/commands", status_code=202)
def command(
    it: It, identity: Operator, session: SessionId, given: shapes.CommandIn, key: Key = None
) -> shapes.CommandOut:
    """Tell a session to halt, flatten, reduce or resume: asked when this answers, obeyed when its journal says so.

    With a symbol, flatten closes and locks one instrument, and resume releases it.
    """
    if given.word == "resume":
        needs("trade", identity, it.keeper.allowed)
        once_more(it, identity, given.password)
    found = it.session(session)

    def ask() -> shapes.CommandOut:
        done = ordered(found, given.word) if given.symbol is None else _locked(found, given.word, given.symbol)
        it.store.audit(who(identity), done["word"], found.id, f"asked as {done['number']}")
        return shapes.CommandOut(**done)

    asked = f"{session} {given.word}" if given.symbol is None else f"{session} {given.word} {given.symbol}"
    return once(it, identity, key, asked, ask, shapes.CommandOut)


@commanding.post("/kill", status_code=202)
def kill(it: It, identity: Operator, key: Key = None) -> shapes.Killed:
    """Tell every session to halt, by inbox, file and signal: each is enough."""

    def ask() -> shapes.Killed:
        told = [_halted(found) for found in it.places.sessions().values() if not is_shadow(found.folder)]
        for one in told:  # only then: a disk that is full lets all be told
            ways = ", ".join(one["ways"])
            it.store.audit(who(identity), "halt", one["session"], f"told by {ways}" if ways else one["failed"])
        return shapes.Killed(told=told)

    return once(it, identity, key, "kill", ask, shapes.Killed)


def _halted(found: Found) -> dict[str, Any]:
    """Tell a session to halt in every way; raises nothing, so that all the others are told."""
    done = tell(found.folder, "halt", said=LEFT)
    said: dict[str, Any] = {"session": found.id, "ways": list(done.ways)}
    if done.number is not None:
        said |= {"number": str(done.number), "word": "halt", "asked_ns": str(done.number)}
    return said if done.ways else said | {"failed": named("; ".join(done.failed), [found])}


def ordered(found: Found, word: str) -> dict[str, Any]:
    """Leave a command in a session's inbox; raises an `ApiProblem` where a file would undo it.

    A resume removes a file HALT that a kill from here left.
    """
    if word == "resume":
        _freed(found)
    number = order(found.folder / JOURNAL, word)
    return {"number": str(number), "word": word, "asked_ns": str(number)}


def _locked(found: Found, word: str, symbol: str) -> dict[str, Any]:
    """Leave a command about one instrument in a session's inbox; raises an `ApiProblem` where it is none of its."""
    if word not in ("flatten", "resume"):
        raise ApiProblem(422, f"{word} is for the whole session: leave the symbol out, or say flatten or resume.")
    traded = symbols_of(found.folder / JOURNAL)
    if symbol not in traded:
        raise ApiProblem(422, f"the session does not trade {symbol}; it trades {', '.join(traded)}.")
    said = locking_word(word, symbol)
    number = order(found.folder / JOURNAL, said)
    return {"number": str(number), "word": said, "asked_ns": str(number)}


def _freed(found: Found) -> None:
    path = found.folder / KILL_FILE
    try:
        if path.read_text(encoding="utf-8", errors="replace") == LEFT:
            path.unlink()
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise ApiProblem(409, f"the file HALT in the session's folder stays ({error.strerror}); remove it.") from None
    raise ApiProblem(409, "the file HALT in the session's folder would halt it again; remove it first.")
