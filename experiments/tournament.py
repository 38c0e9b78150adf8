"""Rate agents in the seats of a market of many agents: ``python -m experiments.tournament --help``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, console, door
from experiments.screen import BarScreen
from experiments.settings import settings
from qframe_rl import catalog
from qframe_rl.config import UserError, build
from qframe_rl.runner.arena.tournament_plan import TournamentPlan

if TYPE_CHECKING:
    from rich.console import Console

    from qframe_rl.runner.arena.tournament import TournamentOutcome


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "tournament",
        "Let all agents that can sit in the seats of a role meet in pairs, and rate them by who earned more: ratings\n"
        "of Bradley and Terry on the scale of Elo, with intervals.",
        [
            "",
            "--role execution",
            "--checkpoints runs/1a2b3c4d5e6f7081/agents/maker --episodes 256",
            "--agents glft,imbalance --set agent.glft.aversion=0.1 --roles taker=idle",
        ],
        f"markets of many agents: {', '.join(catalog.games())}",
    )
    made.add_fields("who meets whom", TournamentPlan, "", {"agent": None})
    made.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="assignments",
        help="any setting by its dotted key: env.*, agent.NAME.* (repeatable)",
    )  # fmt: skip
    made.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs (default: runs)")
    made.add_argument("--resume", action="store_true", help="take over the pairs that an interrupted one had")
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Rate."""
    given = vars(parser().parse_args(argv))
    began = time.monotonic()
    as_json, assignments, runs, resume = (given.pop(name) for name in ("json", "assignments", "runs", "resume"))
    plan = build(TournamentPlan, settings(TournamentPlan, None, assignments, given), "settings")
    if plan.env.name in catalog.names("envs") and plan.env.name not in catalog.games():
        raise UserError(f"env {plan.env.name} is no market of many agents; those are {', '.join(catalog.games())}.")
    with BarScreen() as screen:
        from qframe_rl.runner.arena.tournament import tournament

        outcome = tournament(plan, runs, screen, resume=resume)
    tell(console(to_stderr=as_json), plan, outcome, time.monotonic() - began)
    if not as_json:
        return None
    return {
        "run": str(outcome.folder), "ratings": [one._asdict() for one in outcome.ratings], "hash": outcome.digest,
        "seconds": round(time.monotonic() - began, 3),
    }  # fmt: skip


def tell(out: Console, plan: TournamentPlan, outcome: TournamentOutcome, seconds: float) -> None:
    """Print the ratings."""
    from rich.table import Table

    table = Table(title=f"Ratings as {plan.role} of {plan.env.name}")
    for name in ("agent", "Elo", f"{plan.level:.0%}", "won", "mean return"):
        table.add_column(name, justify="left" if name == "agent" else "right")
    for one in outcome.ratings:
        interval = rf"\[{one.low:.0f}, {one.high:.0f}]"
        table.add_row(one.agent, f"{one.elo:.0f}", interval, f"{one.score:.1%}", f"{one.mean_return:.2f}")
    out.print(table)
    for what, text in (("hash", outcome.digest), ("ratings", outcome.folder / "ratings.json"),
                       ("picture", outcome.folder / "ratings.png")):  # fmt: skip
        out.print(f"{what:11} {text}", highlight=False, soft_wrap=True)
    out.print(f"done in {seconds:.0f} s", style="dim", highlight=False)


if __name__ == "__main__":
    sys.exit(door(main))
