"""How a live session is doing: ``python -m experiments.status --help``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, console, door, within
from qframe_rl.config import UserError
from qframe_rl.watch.standing import look, span

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


if __name__ == "__main__":
    sys.exit(door(main))
