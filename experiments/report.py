"""Reports of runs and checkpoints: ``python -m experiments.report --help``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, checkpoint_place, console, door, program
from experiments.screen import BarScreen, stressed
from experiments.settings import data_settings
from experiments.told import tell_boards
from qframe_rl.config import UserError
from qframe_rl.feeds.data import DataConfig
from qframe_rl.journal.store import NAME as JOURNAL

if TYPE_CHECKING:
    from qframe_rl.evaluate.report.chart import Report

OPTIONS = {"since": None, "until": None, "seed": "data-seed"}


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "report",
        "Make one web page (all in one file, nothing loaded from anywhere) and one PDF of runs and checkpoints:\n"
        "verdict, leaderboard, equity, trades, costs, windows, cross-validation, Monte Carlo, stress, regimes,\n"
        "provenance. The same charts are put where TensorBoard finds them. Of live sessions: what they earned beside\n"
        "what was forecast, equity, trades, costs, what happened, from their journals.",
        [
            "runs/1a2b3c4d5e6f7081",
            "checkpoints/1a2b3c4d5e6f7081 checkpoints/8091a2b3c4d5e6f7 --out compared",
            "runs/1a2b3c4d5e6f7081 runs/8091a2b3c4d5e6f7 --board --out compared",
            "runs/1a2b3c4d5e6f7081 runs/8091a2b3c4d5e6f7 --coverage",
            "runs/paper/1a2b3c4d5e6f7081-0badcafe --out reports/alpha",
        ],
    )
    made.add_argument(
        "places",
        nargs="+",
        type=checkpoint_place,
        metavar="RUN|CHECKPOINT|SESSION",
        help="folder of a run, a checkpoint or a live session",
    )
    made.add_argument("--out", type=Path, metavar="FOLDER", help="folder to write to (default: the first run's own)")
    made.add_argument(
        "--board",
        action="store_true",
        help="instead, put the strategies of several studies side by side: one table for each market and one picture, "
        "ranked with all trials that the ledger has by now (default: off)",
    )
    made.add_argument(
        "--coverage",
        action="store_true",
        help="instead, count over all windows of several studies how often the next one's Sharpe ratio lay in its "
        "forecast, and in the interval of the past's mean (default: off)",
    )
    made.add_argument("--title", default="", metavar="TEXT", help="heading of the board's picture (default: none)")
    made.add_argument(
        "--runs", type=Path, default=Path("runs"), help="where the runs of checkpoints are looked up (default: runs)"
    )
    made.add_own()
    made.add_ledger()
    made.add_fields("data of checkpoints, each instead of their own", DataConfig, "data", OPTIONS, defaults=False)
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Report."""
    given = vars(parser().parse_args(argv))
    data = data_settings(given)
    if given["board"] or given["coverage"]:
        if data:
            raise UserError("--board and --coverage read finished studies; --data and its like are for checkpoints.")
        return _coverage(given) if given["coverage"] else _board(given)
    if any((place / JOURNAL).is_file() for place in given["places"]):
        if data:
            raise UserError("sessions are reported by their journals; --data and its like are for checkpoints.")
        return _sessions(given["places"], given["out"], as_json=given["json"])
    with BarScreen() as screen:
        screen.begin("start up")
        from qframe_rl.runner.report import write_report

        screen.end("start up")
        done = write_report(given["places"], given["runs"], given["out"], screen, data, ledger=given["ledger"])
    board = program("tensorboard", "--logdir", done.html.parent / "tensorboard")
    return _told(done.reports, done.html, done.pdf, done.pages, board, as_json=given["json"])


def _sessions(places: Sequence[Path], out: Path | None, *, as_json: bool) -> dict[str, Any] | None:
    """Report live sessions; nothing is imported that learns."""
    from qframe_rl.evaluate.report.page import write_html
    from qframe_rl.evaluate.report.paper import write_pdf
    from qframe_rl.live.report import session_report

    reports = [session_report(place) for place in places]
    folder = out or places[0]
    folder.mkdir(parents=True, exist_ok=True)
    html, pdf = folder / "report.html", folder / "report.pdf"
    write_html(reports, html)
    return _told(reports, html, pdf, write_pdf(reports, pdf), None, as_json=as_json)


def _told(
    reports: Sequence[Report], html: Path, pdf: Path, pages: int, board: str | None, *, as_json: bool
) -> dict[str, Any] | None:
    """Say what was made, and where."""
    out = console(to_stderr=as_json)
    for one in reports:
        out.print(stressed("", one.title, f": {one.headline}"), highlight=False)
        for reason in one.reasons:
            out.print(f"  - {reason}", highlight=False)
    made = [("page", str(html)), ("PDF", f"{pdf} ({pages} pages)"), *([("charts", board)] if board else [])]
    for what, text in made:
        out.print(f"{what:7} {text}", highlight=False, soft_wrap=True)
    if not as_json:
        return None
    verdicts = [{"title": r.title, "headline": r.headline, "reasons": list(r.reasons)} for r in reports]
    return {"html": str(html), "pdf": str(pdf), "pages": pages, "reports": verdicts}


def _board(given: dict[str, Any]) -> dict[str, Any] | None:
    began = time.monotonic()
    with BarScreen() as screen:
        screen.begin("start up")
        from qframe_rl.runner.study.board import write_boards

        screen.end("start up")
        out, ledger = given["out"] or given["places"][0], given["ledger"]
        done = write_boards(given["places"], out, given["title"], screen, ledger=ledger)
    return tell_boards(done, time.monotonic() - began, as_json=given["json"])


def _coverage(given: dict[str, Any]) -> dict[str, Any] | None:
    with BarScreen() as screen:
        screen.begin("start up")
        from qframe_rl.runner.study.coverage import coverage

        screen.end("start up")
        done = coverage(given["places"], screen)
    out = console(to_stderr=given["json"])
    out.print(done.markdown(), highlight=False, soft_wrap=True)
    out.print(
        f"Left out: {done.idle} records that never traded, and {done.pauses} pairs in which nothing moved in the "
        "windows so far or in the next one.",
        highlight=False,
    )
    if not given["json"]:
        return None
    shares = [one._asdict() for one in done.shares]
    return {"level": done.level, "shares": shares, "idle": done.idle, "pauses": done.pauses}


if __name__ == "__main__":
    sys.exit(door(main))
