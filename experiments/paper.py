"""Paper-trade a checkpoint: ``python -m experiments.paper --help``."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli import Parser, console, data_settings, door
from qframe_rl.config import UserError
from qframe_rl.feeds.data import DataConfig

OPTIONS = {"since": None, "until": None, "seed": "data-seed"}


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "paper",
        "Let a checkpoint trade on paper: the session, the kernel and the interface of its training, on bars that\n"
        "arrive as time passes. Ctrl-C stops it after the bar under way; a bar is in the journal once it is settled.",
        [
            "checkpoints/1a2b3c4d5e6f7081 --feed replay --speed max",
            "checkpoints/1a2b3c4d5e6f7081 --feed ccxt --exchange binance --symbols BTC/USDT",
        ],
    )
    made.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="folder of a checkpoint")
    made.add_argument(
        "--feed",
        choices=("replay", "ccxt"),
        default="replay",
        help="replay recorded bars, or poll an exchange for candles as they close (default: replay)",
    )
    made.add_argument(
        "--speed",
        default="max",
        metavar="SPEED",
        help="of a replay: max, or times the clock such as 60x (default: max)",
    )
    made.add_argument("--from", dest="since", metavar="TIME", help="start of a replay, ISO 8601 UTC")
    made.add_argument("--to", dest="until", metavar="TIME", help="end of a replay, ISO 8601 UTC")
    made.add_argument("--url", metavar="URL", help="send every request of --feed ccxt there, such as a test exchange")
    made.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder of the journal (default: runs/paper/CHECKPOINT)"
    )
    made.add_fields("data, each instead of the checkpoint's", DataConfig, "data", OPTIONS, defaults=False)
    return made


def speed_of(text: str) -> float:
    """``max`` or a number of times the clock.

    Raises
    ------
    UserError
        For anything else.
    """
    if text == "max":
        return math.inf
    number = text.removesuffix("x")
    try:
        speed = float(number)
    except ValueError:
        speed = math.nan
    if not 0.0 < speed < math.inf:
        raise UserError(f"--speed {text!r} is neither max nor a number of times the clock, such as 60x.")
    return speed


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Trade on paper."""
    given = vars(parser().parse_args(argv))
    speed, given_data = speed_of(given["speed"]), data_settings(given)
    from qframe_rl.checkpoint import load_checkpoint
    from qframe_rl.runner.paper import Status, paper

    out = console(to_stderr=True)
    checkpoint = load_checkpoint(given["checkpoint"])
    if checkpoint.warning is not None:
        out.print(f"Warning: {checkpoint.warning}", style="yellow", highlight=False)
    live = given["feed"] == "ccxt"
    market, agent, feed, window = (
        _live(checkpoint, given, given_data) if live else _replay(checkpoint, given, given_data, speed)
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: feed.stopped.set())
    folder = given["out"] or Path("runs") / "paper" / given["checkpoint"].name
    with out.status("waiting for the first bar") as line:
        result = paper(market, agent, feed, window, folder, Status(line.update))
    out.print(
        f"{result.state} after {result.bars} bars with equity {result.final_equity:,.2f}; journal {result.journal}",
        highlight=False,
        soft_wrap=True,
    )
    if not given["json"]:
        return None
    return {
        "final_equity": result.final_equity,
        "bars": result.bars,
        "journal": str(result.journal),
        "journal_hash": result.digest,
        "state": result.state,
    }


def _replay(checkpoint: Any, given: dict[str, Any], given_data: dict[str, Any], speed: float) -> tuple[Any, ...]:
    from qframe_rl.feeds.history import HistoryFeed
    from qframe_rl.feeds.load import load
    from qframe_rl.runner.backtest import window_of
    from qframe_rl.runner.deploy import deployed
    from qframe_rl.runner.evaluate import data_for, period_of
    from qframe_rl.types import Segment

    history = load(data_for(checkpoint, given_data))
    market, agent = deployed(
        checkpoint, history.instruments, history.columns, history.bar_ns, history.source.origin, history.theory
    )
    whole = given_data and given["since"] is None and given["until"] is None
    segment = Segment(0, len(history)) if whole else period_of(checkpoint, history, given["since"], given["until"])
    window = window_of(market, agent)
    return market, agent, HistoryFeed(history, segment, window, speed), window


def _live(checkpoint: Any, given: dict[str, Any], given_data: dict[str, Any]) -> tuple[Any, ...]:
    from qframe_rl.feeds.load import live
    from qframe_rl.runner.backtest import window_of
    from qframe_rl.runner.deploy import deployed
    from qframe_rl.runner.evaluate import data_for

    config = data_for(checkpoint, {"symbols": tuple(i.symbol for i in checkpoint.instruments)} | given_data)
    market, agent = deployed(
        checkpoint, checkpoint.instruments, checkpoint.columns, checkpoint.bar_ns, "the checkpoint itself"
    )
    window = window_of(market, agent)
    feed = live(config, window, given["url"], note=lambda text: print(text, file=sys.stderr))
    market, agent = deployed(checkpoint, feed.instruments, feed.columns, feed.bar_ns, feed.source.origin)
    return market, agent, feed, window


if __name__ == "__main__":
    sys.exit(door(main))
