"""What is known of a session, kept as ready bytes until something moves."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from qframe_rl.amounts import money
from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.inbox import Adoption, adoption_of, left, transfer_of
from qframe_rl.journal.peek import Peek
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.journal.store import pulse
from qframe_rl.live.standing import look, terms_of
from qframe_rl.service.places import Found, plain_json
from qframe_rl.service.shapes import SessionSummary
from qframe_rl.service.stream import EventHub

_FRESH_S = 1.0
_AT_REST_S = 30.0
_COMMANDS = 100


class _Kept(NamedTuple):
    moved: tuple[int, str | None]
    at: float
    plain: dict[str, Any]
    ready: bytes


class KnownSessions:
    """Summaries of sessions.

    Parameters
    ----------
    hub
        Knows when a session has moved.
    """

    def __init__(self, hub: EventHub):
        self.hub = hub
        self._kept: dict[str, _Kept] = {}
        self._terms: dict[str, dict[str, Any]] = {}

    def summary(self, found: Found) -> dict[str, Any]:
        """How it stands.

        What no event says, as that its process lives, may be a second old; half a minute where none ran: one that
        begins writes an event.
        """
        return self._known(found).plain

    def ready(self, found: Found) -> bytes:
        """The same as JSON."""
        return self._known(found).ready

    def kept(self, session: str) -> bytes | None:
        """The same if it is fresh already, without a look at any file."""
        kept = self._kept.get(session)
        return None if kept is None or not self._fresh(session, kept) else kept.ready

    def _known(self, found: Found) -> _Kept:
        kept, moved = self._kept.get(found.id), self._moved(found.id)
        if kept is None or not self._fresh(found.id, kept):
            text = json.dumps(SessionSummary(**self._looked(found)).model_dump(mode="json"))
            kept = self._kept[found.id] = _Kept(moved, time.monotonic(), plain_json(text), text.encode())
        return kept

    def _fresh(self, session: str, kept: _Kept) -> bool:
        longest = _FRESH_S if kept.plain["running"] or kept.plain["state"] == "broken" else _AT_REST_S
        return kept.moved == self._moved(session) and time.monotonic() - kept.at <= longest

    def _moved(self, session: str) -> tuple[int, str | None]:
        return self.hub.moved.get(session, 0), self.hub.broken.get(session)

    def _looked(self, found: Found) -> dict[str, Any]:
        said = look(found.folder)
        broken = self.hub.broken.get(found.id) or said.get("broken")
        plain: dict[str, Any] = {"id": found.id, "name": found.name, "running": said.get("process") is not None}
        if broken is not None:
            return plain | {"state": "broken", "ill": _named(broken, found)}
        try:
            if found.id not in self._terms:
                self._terms[found.id] = terms_of(found.folder / JOURNAL)
            terms = self._terms[found.id]
            written = pulse(found.folder / JOURNAL)
            plain |= {
                "agent": str(terms.get("name")), "orders": str(terms.get("orders")),
                "account": _text(terms.get("account")),
                "environment": str(terms["source"].get("environment", terms["source"].get("feed", "unknown"))),
                "symbols": [str(i["symbol"]) for i in terms.get("instruments", ())], "bar_ns": str(terms["bar_ns"]),
                "alerts_waiting": said["alerts_waiting"], "state": said["state"], "ill": said.get("ill"),
            }  # fmt: skip
        except (UserError, Unavailable, LookupError, TypeError, AttributeError) as error:
            return plain | {"state": "broken", "ill": _named(str(error), found)}
        if "account" in said and written is not None:
            plain |= {
                "position": said["account"]["position"], "equity": _finite(said["account"]["equity"]),
                "peak": _finite(said["peak"]), "bars": said["bars"], "time_ns": str(said["time"]),
                "decided_ns": str(written[0]), "drift_bps": said["drift_bps"], "symbols": said["symbols"],
                "promise": said.get("promise"),
                "day_start": said.get("day_start"), "locked": said.get("locked", []),
                "paused": said.get("paused", []), **_beside(said),
            }  # fmt: skip
        return plain


def _beside(said: dict[str, Any]) -> dict[str, Any]:
    """Who follows a session, and which model it goes on with."""
    shadows = {
        name: {field: one[field] for field in ("answer", "bars", "mean", "low", "high", "gone")}
        for name, one in said.get("shadows", {}).items()
    }
    model = said.get("refit")
    if model is not None:
        model = {
            "number": model["number"], "state": model["state"], "time_ns": str(model["time"]),
            "until_ns": str(model["until"]), "digest": model.get("digest", ""), "reason": model.get("reason", ""),
        }  # fmt: skip
    return {"shadows": shadows, "model": model}


def commands_of(found: Found) -> list[dict[str, Any]]:
    """The last commands to a session: asked, and, once the journal says so, obeyed at which bar; newest first.

    Transfers and adoptions are among them, with why they were refused.

    Raises
    ------
    UserError
        If the journal is corrupt.
    """
    path = found.folder / JOURNAL
    obeyed: list[dict[str, Any]] = []
    with Peek(path) as peek:
        rows = peek.rows(
            "SELECT seq, kind, payload, (SELECT payload FROM events b WHERE b.seq < e.seq AND b.kind = 'bar' "
            "ORDER BY b.seq DESC LIMIT 1) FROM events e WHERE kind IN ('command', 'transfer', 'adopt') "
            "ORDER BY seq DESC", n=_COMMANDS,
        )  # fmt: skip
        moved = peek.rows("SELECT payload FROM events WHERE kind = 'transferred' ORDER BY seq DESC", n=_COMMANDS)
    refused = {one["id"]: one.get("why") for (payload,) in moved for one in (plain_json(payload),)}
    for seq, kind, payload, bar in rows:
        plain = plain_json(payload)
        at = json.loads(bar)["time"] if bar is not None else None
        obeyed.append(
            {"number": str(plain.get("number", 0)), "word": _worded(kind, plain), "asked_ns": None,
             "by": str(plain["by"]), "obeyed": seq, "obeyed_at_ns": None if at is None else str(at),
             "refused": refused.get(plain.get("id"))}
        )  # fmt: skip
    asked = {str(number): (str(when), word) for number, when, word in left(path)}
    for one in obeyed:
        when, _ = asked.pop(one["number"], (None, ""))
        one["asked_ns"] = when
    last = max((int(one["number"]) for one in obeyed), default=0)
    waiting = [
        {"number": number, "word": _left(word), "asked_ns": when, "by": None, "obeyed": None, "obeyed_at_ns": None}
        for number, (when, word) in asked.items() if int(number) > last
    ]  # fmt: skip
    return [*waiting[::-1], *obeyed][:_COMMANDS]


def _worded(kind: str, plain: dict[str, Any]) -> str:
    """A command as people say it, by its event."""
    if kind == "command":
        symbol = plain.get("symbol")
        return str(plain["word"]) if symbol is None else f"{plain['word']} {symbol}"
    return _moving(kind, Adoption(plain["id"], plain["units"], plain.get("symbol"), plain.get("price", 0)))


def _left(word: str) -> str:
    """The same by the word in the inbox."""
    transfer, adoption = transfer_of(word), adoption_of(word)
    if transfer is not None:
        return _moving("transfer", Adoption(*transfer))
    return word if adoption is None else _moving("adopt", adoption)


def _moving(kind: str, one: Adoption) -> str:
    at = "" if one.symbol is None else f" {one.symbol} at {money(one.price)}"
    return f"{kind} {money(one.units)}{at}"


def named(text: str, founds: Sequence[Found]) -> str:
    """An error with names of sessions in place of paths."""
    for found in founds:
        text = _named(text, found)
    return text


def _named(text: str, found: Found) -> str:
    return text.replace(str(found.folder), found.name)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
