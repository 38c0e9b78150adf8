"""Tell a live session what to do: ``python -m experiments.control --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli import Parser, console, door
from qframe_rl.config import UserError

WORDS = ("halt", "flatten", "reduce", "resume")


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "control",
        "Kill switch of a live session, and the way back. The command waits in its inbox: a session that runs obeys\n"
        "within a second or at the next bar, one that does not obeys when it is started again.",
        ["halt runs/paper/1a2b3c4d5e6f7081-0badcafe", "resume runs/paper/1a2b3c4d5e6f7081-0badcafe"],
        "the same by file: touch FOLDER/HALT; by signal: kill -USR1 (halt) or -USR2 (flatten) PROCESS\n",
    )
    made.add_argument(
        "command",
        choices=WORDS,
        metavar="COMMAND",
        help="halt: no order goes out; flatten: close everything, then halt; reduce: only close; resume: trade again",
    )
    made.add_argument("session", type=Path, metavar="FOLDER", help="folder of the session, or its journal.db")
    return made


def _left_open(journal: Path) -> str:
    """What a halt leaves open, as the session said last; empty if nothing."""
    import json

    from qframe_rl.journal.store import pulse

    said = pulse(journal)
    state = {} if said is None else json.loads(said[1])
    held = zip(state.get("symbols", ()), state.get("account", {}).get("position", ()), strict=True)
    open_now = ", ".join(f"{quantity:+g} {symbol}" for symbol, quantity in held if quantity)
    return f"; it leaves open what is held ({open_now}): flatten closes it" if open_now else ""


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Leave a command."""
    given = vars(parser().parse_args(argv))
    from qframe_rl.journal.inbox import order
    from qframe_rl.journal.lock import writer_of
    from qframe_rl.journal.store import journal_of

    path = journal_of(given["session"])
    kill_file = path.parent / "HALT"
    if given["command"] == "resume" and kill_file.exists():
        raise UserError(f"{kill_file} is there and would halt it again; remove it first.")
    order(path, given["command"])
    process = writer_of(path)
    when = f"process {process} is told" if process else "no process runs; it holds from the next start on"
    left = _left_open(path) if given["command"] == "halt" else ""
    console(to_stderr=True).print(f"{given['command']}: {when}{left}", highlight=False, soft_wrap=True)
    return {"command": given["command"], "process": process} if given["json"] else None


if __name__ == "__main__":
    sys.exit(door(main))
