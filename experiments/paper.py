"""Paper-trade a checkpoint: ``python -m experiments.paper --help``."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli import Parser, console, data_settings, door, program
from qframe_rl.config import UserError, build
from qframe_rl.feeds.data import DataConfig
from qframe_rl.risk.limits import Limits

OPTIONS = {"since": None, "until": None, "seed": "data-seed"}


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "paper",
        "Let a checkpoint trade on paper: the session, the kernel and the interface of its training, on bars that\n"
        "arrive as time passes. Every bar, decision and fill is in the journal before the next thing happens: after\n"
        "a crash the same command goes on where the journal ends. Ctrl-C stops it after the bar under way.",
        [
            "checkpoints/1a2b3c4d5e6f7081 --feed replay --speed max",
            "checkpoints/1a2b3c4d5e6f7081 --feed ccxt --exchange binance --symbols BTC/USDT --daily-loss 0.05",
        ],
    )
    made.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="folder of a checkpoint")
    made.add_argument(
        "--feed",
        choices=("replay", "ccxt"),
        default="replay",
        help="replay recorded bars, or follow an exchange's candles as they close (default: replay)",
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
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder of the journal (default: runs/paper/CHECKPOINT-HASH, one for each feed)",
    )
    made.add_fields("data, each instead of the checkpoint's", DataConfig, "data", OPTIONS, defaults=False)
    made.add_fields("limits of the risk engine", Limits, "limits", {})
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


def limits_of(given: dict[str, Any]) -> Limits:
    """Limits that options ask for."""
    asked = {k.removeprefix("limits."): v for k, v in given.items() if k.startswith("limits.") and v is not None}
    return build(Limits, asked, "options")


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Trade on paper."""
    given = vars(parser().parse_args(argv))
    speed, given_data, limits = speed_of(given["speed"]), data_settings(given), limits_of(given)
    from qframe_rl.checkpoint import load_checkpoint
    from qframe_rl.runner.open import opened_live, opened_replay
    from qframe_rl.runner.paper import paper
    from qframe_rl.runner.status import Line

    out = console(to_stderr=True)
    checkpoint = load_checkpoint(given["checkpoint"])
    if checkpoint.warning is not None:
        out.print(f"Warning: {checkpoint.warning}", style="yellow", highlight=False)
    if given["feed"] == "ccxt":
        opened = opened_live(given["checkpoint"], checkpoint, given_data, given["out"], given["url"], _note)
    else:
        opened = opened_replay(
            given["checkpoint"], checkpoint, given_data, given["since"], given["until"], given["out"], speed
        )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: opened.feed.stopped.set())
    with out.status("waiting for the first bar") as line:
        result = paper(
            opened.market, opened.agent, opened.feed, opened.terms, opened.folder,
            limits=limits, listeners=[Line(line.update)], process={"checkpoint": str(given["checkpoint"].absolute())},
            durable=given["feed"] == "ccxt", begun=_signals,
        )  # fmt: skip
    more = f" ({result.repeated} of them on record before)" if result.repeated else ""
    out.print(
        f"{result.state} after {result.bars} bars{more} with equity {result.final_equity:,.2f}; "
        f"journal {result.journal}\n"
        f"Run it again from its record: {program()} -m experiments.replay {result.journal}",
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


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def _signals(desk: object, ledger: object, operator: Any) -> None:
    """Kill switch: SIGUSR1 halts, SIGUSR2 closes every position and halts."""

    def leave(word: str) -> Any:
        return lambda *_: setattr(operator, "signalled", word)

    signal.signal(signal.SIGUSR1, leave("halt"))
    signal.signal(signal.SIGUSR2, leave("flatten"))


if __name__ == "__main__":
    sys.exit(door(main))
