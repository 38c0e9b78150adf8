"""Run a recorded session again: ``python -m experiments.replay --help``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli import Parser, console, door
from experiments.paper_books import replayed
from qframe_rl.config import UserError


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "replay",
        "Run a session again from its journal, through the same order router, kernel and agent, and say whether every\n"
        "decision, fill and account comes out the same to the last bit, or where the first one does not. Nothing is\n"
        "written.",
        ["runs/paper/1a2b3c4d5e6f7081-0badcafe/journal.db", "journal.db --verify"],
    )
    made.add_argument("journal", type=Path, metavar="JOURNAL", help="journal.db of a session, or its folder")
    made.add_argument("--verify", action="store_true", help="check the chain of hashes only (default: off)")
    made.add_argument(
        "--checkpoint", type=Path, metavar="FOLDER", help="the checkpoint, if it is not where it was (default: there)"
    )
    made.add_argument(
        "--data", metavar="FOLDER", help="ticks of a session on recorded order books, if not where they were"
    )
    made.add_own()
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Replay."""
    given = vars(parser().parse_args(argv))
    from qframe_rl.journal.lock import writer_of
    from qframe_rl.journal.store import journal_of, verify

    out = console(to_stderr=False)
    path = journal_of(given["journal"])
    # Pages of a live journal were checked when its writer began, and one long read would make its log grow.
    head = verify(path, pages=writer_of(path) is None)
    out.print(f"{path}: {head.seq} events, the chain holds, head {head.hash.hex()}", highlight=False, soft_wrap=True)
    if given["verify"]:
        return {"events": head.seq, "head": head.hash.hex()} if given["json"] else None
    from qframe_rl.journal.ledger import Differs
    from qframe_rl.live.open import reopened
    from qframe_rl.live.paper import replay
    from qframe_rl.live.status import drift_said
    from qframe_rl.runner.books.paper import quotes

    result: dict[str, Any] = {"events": head.seq, "head": head.hash.hex(), "identical": True, "differs": None}
    try:
        if quotes(path):
            told = replayed(path, given["checkpoint"], given["data"], out)
            return result | told if given["json"] else None
        if given["data"] is not None:
            raise UserError("--data is for sessions on recorded order books; the bars of this one are in its journal.")
        market, agent, terms = reopened(path, given["checkpoint"])
        again = replay(market, agent, terms, path)
    except Differs as error:
        if given["json"]:
            print(json.dumps(result | {"identical": False, "differs": str(error)}))
        raise
    out.print(
        f"identical: {again.bars} bars, equity {again.final_equity:,.2f}, hash {again.digest}",
        highlight=False,
        soft_wrap=True,
    )
    if again.foreign:
        out.print(f"{again.foreign} snapshots were made by other code: their content was not compared", highlight=False)
    if drift := drift_said(again.drift_bps, again.drift_fills):
        out.print(drift, highlight=False)
    if not given["json"]:
        return None
    result |= {"drift_bps": again.drift_bps, "drift_fills": again.drift_fills, "snapshots_not_compared": again.foreign}
    return result | {"bars": again.bars, "final_equity": again.final_equity, "journal_hash": again.digest}


if __name__ == "__main__":
    sys.exit(door(main))
