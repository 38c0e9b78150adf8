"""The report of a live session, from its journal alone: as a page and as a PDF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qframe_rl.amounts import money
from qframe_rl.config import UserError
from qframe_rl.evaluate.inference.sequential import Promise
from qframe_rl.evaluate.report.chart import Report
from qframe_rl.evaluate.report.live_session import LiveMaterial, live_report
from qframe_rl.journal.shapes import parsed, said_last
from qframe_rl.journal.store import journal_of, pulse, read, verify
from qframe_rl.kernel.dust import dust
from qframe_rl.live.record import journal_record
from qframe_rl.live.standing import terms_of

_SHOWN = ("state", "command", "locked", "paused", "transferred", "alert", "process")


def session_report(place: Path) -> Report:
    """Lay out the report of a session.

    Parameters
    ----------
    place
        Its folder, or its journal.

    Raises
    ------
    UserError
        If there is none, it is corrupt, or not one bar was settled.
    """
    path = journal_of(place)
    head = verify(path, pages=False)
    record, terms, said = journal_record(path), terms_of(path), pulse(path)
    if len(record) < 2 or said is None:
        raise UserError(f"{path} has no bar yet that was decided on: there is nothing to report.")
    last = said_last(path, said[1])
    account = record.account
    left = [str(one) for one in dust(record.instruments, account.position[-1], account.mark[-1])]
    return live_report(
        LiveMaterial(
            path.parent.name, record, terms, last | {"liquidated": bool(account.equity[-1] <= 0.0)},
            _promise(last.get("promise")), (head.seq, head.hash.hex()), _events(path), left,
        )
    )  # fmt: skip


def _promise(said: Mapping[str, Any] | None) -> Promise | None:
    return None if said is None else Promise(**{name: said.get(name) for name in Promise._fields})  # type: ignore[arg-type]


def _events(path: Path) -> dict[str, Sequence[Mapping[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _SHOWN}
    for event in read(path):
        if event.kind in found:
            plain = parsed(path, event.seq, event.kind, event.payload) | {"written_ns": event.time}
            if event.kind == "transferred":
                plain["amount"] = money(int(plain["units"]))
            found[event.kind].append(plain)
    return dict(found)
