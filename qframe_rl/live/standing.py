"""How a session stands, by its journal: what its writer said last, and what is wrong with it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from qframe_rl.alerts.config import AlertConfig
from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.lock import beat_of, corrupt, writer_of
from qframe_rl.journal.shapes import parsed, said_last
from qframe_rl.journal.store import journal_of, pulse, read, waiting


def look(place: Path) -> dict[str, Any]:
    """What a session's journal says now; ``broken`` says why it cannot be read."""
    try:
        return _looked(place)
    except (UserError, Unavailable) as error:
        return {"session": str(place), "broken": str(error)}


def _looked(place: Path) -> dict[str, Any]:
    path = journal_of(place)
    said, beat, now = pulse(path), beat_of(path), time.time_ns()
    found: dict[str, Any] = {"session": str(path.parent), "process": writer_of(path), "alerts_waiting": waiting(path)}
    found["beat_age_s"] = None if beat is None else (now - beat) / 1e9
    if said is None:
        return found | {"state": "no decision yet"}
    written, state = said[0], said_last(path, said[1])
    terms = terms_of(path)
    found |= {"account_name": terms.get("account"), "promise": None}
    ages = {"bar_age_s": (now - state["time"]) / 1e9, "decision_age_s": (now - written) / 1e9}
    return found | state | ages | {"ill": _ill(terms, found, ages["bar_age_s"])}


def terms_of(path: Path) -> dict[str, Any]:
    """What a session is, by the first event of its journal that says so.

    Raises
    ------
    UserError
        If none does, or it cannot be read.
    """
    empty = True
    for event in read(path):
        if event.kind == "session":
            return parsed(path, event.seq, event.kind, event.payload)
        empty = False
    if empty:
        raise UserError(f"{path} has nothing in it yet: its session is beginning; try again once that trades.")
    raise corrupt(path, "it does not say what the session is")


def symbols_of(path: Path) -> list[str]:
    """What a session trades, by its journal; errors as in `terms_of`."""
    terms = terms_of(path)
    try:
        return [str(one["symbol"]) for one in terms["instruments"]]
    except (LookupError, TypeError):
        raise corrupt(path, "it does not say what the session trades") from None


def _ill(terms: dict[str, Any], found: dict[str, Any], bar_age_s: float) -> str | None:
    """What is wrong with a session that runs on an exchange's bars, by the defaults of `paper`; else None."""
    limits = AlertConfig()
    if found["process"] is None or terms["source"].get("environment") not in ("production", "testnet"):
        return None
    late_s = bar_age_s - terms["bar_ns"] / 1e9
    if found["beat_age_s"] > limits.beat_s:
        return f"silent for {span(found['beat_age_s'])}"
    return f"{span(late_s)} late" if late_s > limits.late_s else None


def span(seconds: float) -> str:
    """A time as people say it: ``42 s``, ``3.5 h``."""
    for length, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2.0 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
