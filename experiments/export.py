"""Take out of a session's journal what others compute with: ``python -m experiments.export --help``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli import Parser, console, door

_CENT = "0.01"


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "export",
        "Write the fills of a session as CSV, each with cost basis and realised profit of what it closed: lots\n"
        "first in, first out, long and short, fees in the basis; funding and interest in rows of their own. It reads\n"
        "the journal alone, checks its chain of hashes, and says whether the rows come to the account's equity.",
        ["runs/paper/1a2b3c4d5e6f7081-0badcafe --fills fills.csv"],
    )
    made.add_argument("session", type=Path, metavar="SESSION", help="folder of a session, or its journal.db")
    made.add_argument(
        "--fills", type=Path, required=True, metavar="FILE", help="file to write; one that is there is replaced"
    )
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Export."""
    given = vars(parser().parse_args(argv))
    from decimal import Decimal

    from qframe_rl.config import UserError
    from qframe_rl.journal.store import journal_of, verify
    from qframe_rl.live.cost_basis import CostBasis, plain_text, write_csv

    path, file = journal_of(given["session"]), given["fills"]
    if file.is_dir() or (file.resolve().parent == path.resolve().parent and file.name.startswith(path.name)):
        raise UserError(f"--fills {file}: name a file of its own, such as fills.csv.")
    if not file.absolute().parent.is_dir():
        raise UserError(f"--fills {file}: {file.parent} is no folder; make it, or name another one.")
    verify(path, pages=False)
    book, fresh = CostBasis(path), file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with fresh.open("w", encoding="utf-8", newline="") as written:
            write_csv(book.rows(), written)
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
    sums, out = book.sums(), console(to_stderr=given["json"])
    out.print(
        f"{file}: {sums.fills:,} fills, realised {sums.realised:,.2f}, open {sums.open:+,.2f}, funding paid "
        f"{sums.funding:,.2f}, interest {sums.other:,.2f}, paid in {sums.transfers:,.2f}; "
        f"the account's equity changed by {sums.change:+,.2f}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if abs(sums.unexplained) >= Decimal(_CENT):
        out.print(
            f"{sums.unexplained:+,.2f} of that no row explains, such as a deposit, or a fee in another coin",
            style="yellow", highlight=False, soft_wrap=True,
        )  # fmt: skip
    if not given["json"]:
        return None
    names = ("realised", "open", "funding", "other", "transfers", "change", "unexplained")
    return {"file": str(file), "fills": sums.fills} | {name: plain_text(getattr(sums, name)) for name in names}


if __name__ == "__main__":
    sys.exit(door(main))
