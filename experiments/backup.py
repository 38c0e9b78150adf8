"""Copy journals, runs and rows as they are now, whatever runs: ``python -m experiments.backup --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli import Parser, console, door
from qframe_rl.config import UserError

_USUAL = ("runs", "checkpoints")
_STATE = Path("state/qframe-rl")


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "backup",
        "Copy sessions, runs, checkpoints, the service's rows and the user's state into a new folder, consistently\n"
        "and while sessions trade: nobody waits for it. Every journal of the copy is checked. To restore, copy it to\n"
        "its place and give the same commands again (docs/deploy.md).",
        ["backups/2026-11-29", "/mnt/backup/today --root runs --root checkpoints"],
        "what else is to be saved: rows in PostgreSQL, by pg_dump; exchange keys, which are nowhere in the copy\n",
    )
    made.add_argument("target", type=Path, metavar="TARGET", help="folder that is made")
    made.add_argument(
        "--root", type=Path, action="append", default=[], metavar="FOLDER",
        help="folder to copy (may be repeated; default: runs, checkpoints and the user's state, as far as they are "
        "there)",
    )  # fmt: skip
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Copy."""
    given = vars(parser().parse_args(argv))
    from qframe_rl.journal.backup import back_up

    roots, target = _roots(given["root"]), given["target"]
    done = back_up(roots, target)
    if done.corrupt:
        raise UserError(f"{target} is made, and in it lies what is corrupt: {' '.join(done.corrupt.values())}")
    if given["json"]:
        ends = {name: {"seq": head.seq, "hash": head.hash.hex()} for name, head in done.journals.items()}
        return {"folder": str(target), "files": done.files, "bytes": done.n_bytes, "journals": ends}
    console(to_stderr=False).print(
        f"{target}: {', '.join(roots)}; {done.n_bytes / 1e6:,.1f} MB, {len(done.journals)} journals, each checked",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return None


def _roots(given: Sequence[Path]) -> dict[str, Path]:
    """What is copied, by its path in the copy."""
    from qframe_rl.home import user_state

    if not given:
        usual = {name: Path(name) for name in _USUAL} | {str(_STATE): user_state()}
        found = {name: path for name, path in usual.items() if path.is_dir()}
        if set(found) <= {str(_STATE)}:
            raise UserError("neither runs nor checkpoints lie here; name what is to be copied by --root FOLDER.")
        return found
    named: dict[str, Path] = {}
    for root in given:
        name = root.resolve().name if root.is_absolute() or ".." in root.parts else str(root)
        if named.setdefault(name, root) is not root:
            raise UserError(f"--root: {named[name]} and {root} would both be {name} in the copy; make two copies.")
    return named


if __name__ == "__main__":
    sys.exit(door(main))
