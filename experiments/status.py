"""How a live session is doing: ``python -m experiments.status --help``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, console, door, within
from qframe_rl.config import Unavailable, UserError

if TYPE_CHECKING:
    from rich.table import Table


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "status",
        "Show live sessions: state of trading, equity, positions, age of the last bar, drift. It reads the journals\n"
        "and disturbs nobody.",
        ["runs/paper/1a2b3c4d5e6f7081-0badcafe", "runs/paper/* --every 5"],
    )
    made.add_argument("sessions", nargs="+", type=Path, metavar="FOLDER", help="folder of a session, or its journal.db")
    made.add_argument(
        "--every",
        type=within(float, 0.1, 1e6),
        metavar="SECONDS",
        help="show again and again until Ctrl-C (default: once)",
    )
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Show."""
    given = vars(parser().parse_args(argv))
    out = console(to_stderr=False)
    if given["every"] is None:
        shown = [look(place) for place in given["sessions"]]
        if not given["json"]:
            out.print(table(shown))
        return _complete(shown, as_json=given["json"])
    from rich.live import Live

    with Live(console=out, auto_refresh=False) as live:
        while True:
            live.update(table([look(place) for place in given["sessions"]]), refresh=True)
            time.sleep(given["every"])


def _complete(shown: Sequence[dict[str, Any]], *, as_json: bool) -> dict[str, Any] | None:
    """What is returned; with sessions that could not be read it is an error, after all that could be was shown."""
    broken = [one["broken"] for one in shown if "broken" in one]
    if broken:
        if as_json:
            print(json.dumps({"sessions": shown}))
        raise UserError(f"{len(broken)} of {len(shown)} sessions cannot be read: {' '.join(broken)}")
    return {"sessions": list(shown)} if as_json else None


def look(place: Path) -> dict[str, Any]:
    """What a session's journal says now; ``broken`` says why it cannot be read."""
    try:
        return _looked(place)
    except (UserError, Unavailable) as error:
        return {"session": str(place), "broken": str(error)}


def _looked(place: Path) -> dict[str, Any]:
    from qframe_rl.journal.lock import beat_of, writer_of
    from qframe_rl.journal.store import journal_of, pulse, waiting

    path = journal_of(place)
    said, beat, now = pulse(path), beat_of(path), time.time_ns()
    found: dict[str, Any] = {"session": str(path.parent), "process": writer_of(path), "alerts_waiting": waiting(path)}
    found["beat_age_s"] = None if beat is None else (now - beat) / 1e9
    if said is None:
        return found | {"state": "no decision yet"}
    written, state = said[0], _state(path, said[1])
    ages = {"bar_age_s": (now - state["time"]) / 1e9, "decision_age_s": (now - written) / 1e9}
    return found | state | ages | {"ill": _ill(path, found, ages["bar_age_s"])}


def _state(path: Path, text: str) -> dict[str, Any]:
    """What the writer said last; it lies outside the chain of hashes, so it is looked at closely."""
    from qframe_rl.journal.shapes import said_last

    return said_last(path, text)


def _ill(path: Path, found: dict[str, Any], bar_age_s: float) -> str | None:
    """What is wrong with a session that runs on an exchange's bars, by the defaults of `paper`; else None."""
    from qframe_rl.alerts.config import AlertConfig
    from qframe_rl.journal.lock import corrupt
    from qframe_rl.journal.shapes import parsed
    from qframe_rl.journal.store import read

    begun = next((event for event in read(path) if event.kind == "session"), None)
    if begun is None:
        raise corrupt(path, "it does not say what the session is")
    terms, limits = parsed(path, begun.seq, begun.kind, begun.payload), AlertConfig()
    if found["process"] is None or terms["source"].get("environment") not in ("production", "testnet"):
        return None
    late_s = bar_age_s - terms["bar_ns"] / 1e9
    if found["beat_age_s"] > limits.beat_s:
        return f"silent for {span(found['beat_age_s'])}"
    return f"{span(late_s)} late" if late_s > limits.late_s else None


def table(sessions: Sequence[dict[str, Any]]) -> Table:
    """Lay sessions out, one a row."""
    from rich.table import Table

    made = Table(box=None, header_style="dim")
    for name in ("session", "process", "state", "bars", "equity", "drawdown", "position", "bar age", "decided"):
        made.add_column(name, justify="left" if name in ("session", "state", "position") else "right")
    for name in ("drift", "undelivered"):
        made.add_column(name, justify="right")
    for one in sessions:
        made.add_row(*_row(one))
    return made


def _row(one: dict[str, Any]) -> list[str]:
    """One session in words."""
    name = Path(one["session"]).name
    if "broken" in one:
        return [name, "", "BROKEN"]
    process = "none" if one["process"] is None else str(one["process"])
    if "account" not in one:
        return [name, process, one["state"]]
    equity, peak = one["account"]["equity"], one["peak"]
    held = [f"{q:+g} {s}" for s, q in zip(one["symbols"], one["account"]["position"], strict=True) if q]
    return [
        name, process, one["state"] if one["ill"] is None else f"{one['state']}, {one['ill']}", str(one["bars"]),
        f"{equity:,.2f}", f"{1.0 - equity / max(equity, peak):.1%}", ", ".join(held) or "flat",
        span(one["bar_age_s"]), span(one["decision_age_s"]),
        "" if one["drift_bps"] is None else f"{one['drift_bps']:+.1f} bps", str(one["alerts_waiting"]),
    ]  # fmt: skip


def span(seconds: float) -> str:
    """A time as people say it: ``42 s``, ``3.5 h``."""
    for length, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2.0 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(door(main))
