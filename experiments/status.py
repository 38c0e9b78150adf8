"""How a live session is doing: ``python -m experiments.status --help``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, console, door

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
        "--every", type=float, metavar="SECONDS", help="show again and again until Ctrl-C (default: once)"
    )
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Show."""
    given = vars(parser().parse_args(argv))
    out = console(to_stderr=False)
    if given["every"] is None:
        shown = [look(place) for place in given["sessions"]]
        if given["json"]:
            return {"sessions": shown}
        out.print(table(shown))
        return None
    from rich.live import Live

    with Live(console=out, auto_refresh=False) as live:
        while True:
            live.update(table([look(place) for place in given["sessions"]]), refresh=True)
            time.sleep(given["every"])


def look(place: Path) -> dict[str, Any]:
    """What a session's journal says now.

    Raises
    ------
    UserError
        If there is none.
    """
    import json

    from qframe_rl.journal.store import journal_of, pulse, waiting, writer_of

    path = journal_of(place)
    said = pulse(path)
    found: dict[str, Any] = {"session": str(path.parent), "process": writer_of(path), "alerts_waiting": waiting(path)}
    if said is None:
        return found | {"state": "no decision yet"}
    written, text = said
    now = time.time_ns()
    state: dict[str, Any] = json.loads(text)
    return found | state | {"bar_age_s": (now - state["time"]) / 1e9, "decision_age_s": (now - written) / 1e9}


def table(sessions: Sequence[dict[str, Any]]) -> Table:
    """Lay sessions out, one a row."""
    from rich.table import Table

    made = Table(box=None, header_style="dim")
    for name in ("session", "process", "state", "bars", "equity", "drawdown", "position", "bar age", "decided"):
        made.add_column(name, justify="left" if name in ("session", "state", "position") else "right")
    made.add_column("drift", justify="right")
    made.add_column("alerts", justify="right")
    for one in sessions:
        process = "none" if one["process"] is None else str(one["process"])
        if "account" not in one:
            made.add_row(Path(one["session"]).name, process, one["state"])
            continue
        equity, peak = one["account"]["equity"], one["peak"]
        held = [f"{q:+g} {s}" for s, q in zip(one["symbols"], one["account"]["position"], strict=True) if q]
        drift = "" if one["drift_bps"] is None else f"{one['drift_bps']:+.1f} bps"
        made.add_row(
            Path(one["session"]).name,
            process,
            one["state"],
            str(one["bars"]),
            f"{equity:,.2f}",
            f"{1.0 - equity / max(equity, peak):.1%}",
            ", ".join(held) or "flat",
            span(one["bar_age_s"]),
            span(one["decision_age_s"]),
            drift,
            str(one["alerts_waiting"]),
        )
    return made


def span(seconds: float) -> str:
    """A time as people say it: ``42 s``, ``3.5 h``."""
    for length, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2.0 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(door(main))
