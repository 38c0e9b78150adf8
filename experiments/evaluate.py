"""Score checkpoints on any bars: ``python -m experiments.evaluate --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import BarScreen, Parser, console, data_settings, door
from qframe_rl.feeds.data import DataConfig

if TYPE_CHECKING:
    from qframe_rl.runner.evaluate import Evaluation

OPTIONS = {"since": None, "until": None, "seed": "data-seed"}


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "evaluate",
        "Score one checkpoint, or several side by side, through the same session and kernel as paper trading. Without\n"
        "further options on the bars of the first checkpoint's own test period.",
        [
            "checkpoints/1a2b3c4d5e6f7081",
            "checkpoints/1a2b3c4d5e6f7081 checkpoints/8091a2b3c4d5e6f7 --symbols ETH/USDT --from 2023-01-01",
        ],
    )
    made.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help="folder of a checkpoint")
    made.add_argument("--from", dest="since", metavar="TIME", help="start of the period, ISO 8601 UTC")
    made.add_argument("--to", dest="until", metavar="TIME", help="end of the period, ISO 8601 UTC")
    made.add_argument(
        "--baselines",
        default="buy_and_hold,flat",
        metavar="NAMES",
        help="strategies that need no training to run beside (default: buy_and_hold,flat)",
    )
    made.add_argument("--level", type=float, default=0.9, help="share of resamples inside the intervals (default: 0.9)")
    made.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder for journals and picture (default: runs/evaluate/CHECKPOINT)"
    )
    made.add_fields("data, each instead of the first checkpoint's", DataConfig, "data", OPTIONS, defaults=False)
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Evaluate."""
    given = vars(parser().parse_args(argv))
    given_data = data_settings(given)
    baselines = [name for name in given["baselines"].split(",") if name]
    folder = given["out"] or Path("runs") / "evaluate" / "+".join(place.name for place in given["checkpoints"])
    with BarScreen() as screen:
        screen.begin("start up")
        from qframe_rl.runner.evaluate import evaluate

        screen.end("start up")
        done = evaluate(
            given["checkpoints"],
            given_data,
            given["since"],
            given["until"],
            baselines,
            folder,
            screen,
            level=given["level"],
        )
    report(done, given["level"], to_stderr=given["json"])
    if not given["json"]:
        return None
    return {"results": [_result(one) for one in done.scored]}


def _result(one: Any) -> dict[str, Any]:
    return {
        **one.row,
        "checkpoint": None if one.checkpoint is None else str(one.checkpoint),
        "bars": len(one.record) - 1,
        "journal": str(one.journal),
        "journal_hash": one.record.digest,
    }


def report(done: Evaluation, level: float, *, to_stderr: bool) -> None:
    """Print the table and all figures of each checkpoint."""
    from qframe_rl.evaluate.metrics import metrics
    from qframe_rl.evaluate.table import render
    from qframe_rl.types import iso

    out = console(to_stderr=to_stderr)
    history, segment = done.history, done.segment
    first = iso(int(history.time[segment.start]) - history.bar_ns)[:16]
    last = iso(int(history.time[segment.stop - 1]))[:16]
    title = f"{', '.join(history.symbols)} from {history.source.origin}, {first} to {last}"
    out.print(render([one.row for one in done.scored], title, level))
    for one in done.scored:
        if one.checkpoint is not None:
            out.print(f"[bold]{one.name}[/bold]", highlight=False)
            figures = metrics(one.record)
            for name in figures.__slots__:
                value = getattr(figures, name)
                out.print(f"  {name:20} {value:,.6g}" if isinstance(value, float) else f"  {name:20} {value}")
    if done.changed:
        out.print(
            "The bars are not those that the checkpoint was made with: the data have changed since.", style="yellow"
        )
    if history.source.environment != "production":
        out.print(
            f"The data are {history.source.environment}: these figures say nothing about a real market.", style="yellow"
        )
    out.print(f"journals and picture in {done.folder}", highlight=False)


if __name__ == "__main__":
    sys.exit(door(main))
