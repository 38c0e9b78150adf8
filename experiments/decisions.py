"""Take decisions that are made elsewhere: ``python -m experiments.decisions --help``."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from experiments.cli import Parser, console, door, within
from qframe_rl.config import UserError, listed


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "decisions",
        "Receive target exposures that a program of yours decides, over a local socket or a POST on 127.0.0.1, and\n"
        "write those that count into a file: signed, in time, each once, in range. The file is a column of a session\n"
        "while it grows, and of a backtest later: --columns target=decisions:FILE with the strategy external.",
        [
            "model.jsonl --socket /run/user/1000/model.sock --symbols BTC/USDT,ETH/USDT",
            "model.jsonl --port 8345 --largest 2",
        ],
        "the key of signatures is taken from QFRAME_DECISIONS_KEY\n",
    )
    add = made.add_argument
    add("file", type=Path, metavar="FILE", help="what counts is appended to it, a line each")
    add("--socket", type=Path, metavar="PLACE", help="unix socket: a message a line, an answer a line (default: none)")
    add(
        "--port", type=within(int, 0, 65_535), metavar="PORT",
        help="port of 127.0.0.1 for POST /decisions; 0 = any (default: none)",
    )  # fmt: skip
    add(
        "--largest", type=within(float, 1e-6, 1e6), default=1.0, metavar="SUM",
        help="sizes of a message's targets come to no more than this; say the same in the column (default: 1)",
    )  # fmt: skip
    add(
        "--symbols", type=listed, default=[], metavar="SYMBOL,...",
        help="what is traded: a message that names anything else is refused, as one that is late is (default: any)",
    )  # fmt: skip
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Receive until stopped."""
    given = vars(parser().parse_args(argv))
    if given["socket"] is None and given["port"] is None:
        raise UserError("decisions wants --socket PLACE or --port PORT: where messages come from.")
    from qframe_rl.feeds.decision_receiver import DecisionRecord, on_port, on_socket
    from qframe_rl.feeds.decisions import key_of_environment

    out, stop = console(to_stderr=True), threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with ExitStack() as stack:
            record = DecisionRecord(given["file"], key_of_environment(), given["largest"], symbols=given["symbols"])
            stack.callback(record.close)
            servers: list[Any] = []
            if given["socket"] is not None:
                servers.append(on_socket(record, given["socket"]))
                stack.callback(given["socket"].unlink, missing_ok=True)
                out.print(f"socket {given['socket']}", highlight=False, soft_wrap=True)
            if given["port"] is not None:
                servers.append(on_port(record, given["port"]))
                out.print(f"POST http://127.0.0.1:{servers[-1].server_address[1]}/decisions", highlight=False)
            for server in servers:
                stack.callback(server.server_close)
                stack.callback(server.shutdown)
                threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    out.print(f"{record.taken} taken, {record.refused} refused; {given['file']}", highlight=False, soft_wrap=True)
    return {"taken": record.taken, "refused": record.refused} if given["json"] else None


if __name__ == "__main__":
    sys.exit(door(main))
