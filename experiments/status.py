"""How a live session is doing: ``python -m experiments.status --help``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, console, door, within
from qframe_rl.config import UserError
from qframe_rl.live.standing import look, span

if TYPE_CHECKING:
    from rich.table import Table

_COLUMNS = (
    "session", "account", "process", "state", "bars", "equity", "drawdown", "position", "bar age", "decided", "drift",
    "promise", "shadows", "model", "undelivered",
)  # fmt: skip
_AT_NEED = ("account", "promise", "shadows", "model")
"""Columns that are left out where no session has anything in them."""
_WORDS = ("session", "account", "state", "position", "promise", "shadows", "model")


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "status",
        "Show live sessions: state of trading, equity, positions, age of the last bar, drift. It reads the journals\n"
        "and disturbs nobody.",
        ["runs/paper/1a2b3c4d5e6f7081-0badcafe", "runs/paper/* --every 5", "--url http://127.0.0.1:8321"],
    )
    made.add_argument("sessions", nargs="*", type=Path, metavar="FOLDER", help="folder of a session, or its journal.db")
    made.add_argument(
        "--url", metavar="URL",
        help="ask a service for its sessions instead of reading folders; its token in QFRAME_SERVICE_TOKEN",
    )  # fmt: skip
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
    if bool(given["sessions"]) == (given["url"] is not None):
        raise UserError("name folders of sessions, or the --url of a service; one of the two.")
    out = console(to_stderr=False)
    looked = partial(_asked, given["url"]) if given["url"] is not None else partial(_read, given["sessions"])
    if given["every"] is None:
        shown = looked()
        if not given["json"]:
            out.print(table(shown))
        return _complete(shown, as_json=given["json"])
    from rich.live import Live

    with Live(console=out, auto_refresh=False) as live:
        while True:
            live.update(table(looked()), refresh=True)
            time.sleep(given["every"])


def _read(places: Sequence[Path]) -> list[dict[str, Any]]:
    return [look(place) for place in places]


def _asked(url: str) -> list[dict[str, Any]]:
    """Sessions of a service, as `look` tells them."""
    from qframe_rl.service.client import ServiceClient

    with ServiceClient(url) as client:
        return [_told(one) for one in client.sessions()]


def _told(one: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"session": one.name, "id": one.id, "process": "runs" if one.running else None}
    if one.state == "broken":
        return found | {"broken": one.ill}
    found |= {"state": one.state, "alerts_waiting": one.alerts_waiting, "ill": one.ill, "account_name": one.account}
    if one.equity is None:
        return found
    now, beside = time.time_ns(), {"shadows": _shadows(one.shadows), "refit": _refit(one.model)}
    return found | {name: said for name, said in beside.items() if said} | {
        "account": {"equity": one.equity, "position": one.position}, "peak": one.peak, "symbols": one.symbols,
        "locked": one.locked, "paused": one.paused,
        "promise": None if one.promise is None else one.promise.model_dump(mode="json"),
        "bars": one.bars, "drift_bps": one.drift_bps, "bar_age_s": (now - int(one.time_ns)) / 1e9,
        "decision_age_s": (now - int(one.decided_ns)) / 1e9,
    }  # fmt: skip


def _shadows(shadows: Any) -> dict[str, Any]:
    return {name: shadow.model_dump(mode="json") for name, shadow in shadows.items()}


def _refit(model: Any) -> dict[str, Any] | None:
    """The last exchange of models, as `look` tells it."""
    if model is None:
        return None
    plain: dict[str, Any] = model.model_dump(mode="json")
    return plain | {"time": int(plain.pop("time_ns")), "until": int(plain.pop("until_ns"))}


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

    made = Table(box=None, header_style="dim", collapse_padding=True, pad_edge=False)
    rows = [_row(one) for one in sessions]
    for name in _COLUMNS:
        if name not in _AT_NEED or any(row.get(name) for row in rows):
            narrowest = None if name == "position" else len(name)
            made.add_column(name, justify="left" if name in _WORDS else "right", min_width=narrowest)
    for row in rows:
        made.add_row(*(row.get(str(column.header), "") for column in made.columns))
    return made


def _row(one: dict[str, Any]) -> dict[str, str]:
    """One session in words, by column."""
    row = {"session": Path(one["session"]).name}
    if "broken" in one:
        return row | {"state": "BROKEN"}
    row["process"] = "none" if one["process"] is None else str(one["process"])
    if "account" not in one:
        return row | {"state": one["state"]}
    equity = one["account"]["equity"]
    highest = max(equity, one["peak"])
    standing = [one["state"], *(f"{symbol} locked" for symbol in one.get("locked", ())), *one.get("paused", ())]
    held = [f"{q:+g} {s}" for s, q in zip(one["symbols"], one["account"]["position"], strict=True) if q]
    return row | {
        "account": one["account_name"] or "", "bars": str(one["bars"]), "equity": f"{equity:,.2f}",
        "state": ", ".join([*standing, *([] if one["ill"] is None else [one["ill"]])]),
        "drawdown": f"{1.0 - equity / highest if highest > 0.0 else 0.0:.1%}", "position": ", ".join(held) or "flat",
        "bar age": span(one["bar_age_s"]), "decided": span(one["decision_age_s"]),
        "drift": "" if one["drift_bps"] is None else f"{one['drift_bps']:+.1f} bps",
        "promise": one["promise"]["answer"] if one["promise"] else "",
        "shadows": ", ".join(f"{n} {'gone' if s['gone'] else s['answer']}" for n, s in one.get("shadows", {}).items()),
        "model": _model(one.get("refit") or {}), "undelivered": str(one["alerts_waiting"]),
    }  # fmt: skip


def _model(said: dict[str, Any]) -> str:
    """The last exchange of a procedure; empty before the first, and where there is none."""
    if not said:
        return ""
    from qframe_rl.types import iso

    return f"{said['number']} {said['state']}, until {iso(said['until'])[:10]}"


if __name__ == "__main__":
    sys.exit(door(main))
