"""Run the rehearsal exchange: ``python -m experiments.rehearse --help``."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, console, door, within
from experiments.screen import downloads
from experiments.settings import data_settings
from qframe_rl.config import UserError, build
from qframe_rl.feeds.data import DataConfig
from qframe_rl.rehearsal.config import RehearsalConfig, speed_of
from qframe_rl.rehearsal.faults import KINDS, PRESETS, script_of
from qframe_rl.types import iso, parse_time

if TYPE_CHECKING:
    from qframe_rl.feeds.download import Report
    from qframe_rl.rehearsal.market import ListedMarket
    from qframe_rl.rehearsal.serve import Rehearsal

DATA = {"since": None, "until": None, "seed": "data-seed", "columns": None}
MS = 1_000_000
_LOOK_S = 0.25
_WAYS = """
pointing a ccxt client at it, in Python (any language can do the first):

  addresses     from qframe_rl.rehearsal.clients import point
                client = point(ccxt.binance({"apiKey": "rehearsal", "secret": "rehearsal-secret"}),
                               "http://127.0.0.1:8765")
                client.load_time_difference()       # as with the venue, whose clock is not yours either
  real names    --tls, then trust the file of --ca and let api.binance.com, fapi.binance.com and so on lead to
                127.0.0.1: `qframe_rl.rehearsal.clients.session` does it for asynchronous clients

watching and steering it (JSON): GET /rehearsal/state, truth, log; POST /rehearsal/advance {"by": 3600000},
speed {"speed": "60x"}, faults {"faults": [{"kind": "drop-after", "at": "*.order.post"}]}, calm, maintenance
{"down": true}, skew {"ms": 15000}, halt, delist, ration, account, revoke, deposit. More in docs/rehearsal.md.
"""


def parser() -> Parser:
    """The options of this door."""
    kinds = "\n".join(f"  {kind:18} {text}" for kind, text in KINDS.items())
    made = Parser(
        "rehearse",
        "Serve recorded or made markets over the wire protocol of Binance or Bybit on 127.0.0.1: spot and perpetuals,\n"
        "REST and websockets, with accounts, a matching engine, funding, and faults on demand. Any CCXT program can\n"
        "be rehearsed against it, at any speed. Ctrl-C stops it.",
        [
            "--data synthetic:regimes --speed 3600x",
            "--symbols BTC/USDT,BTC/USDT:USDT --from 2024-01-01 --start 2024-02-01 --speed 3600x --faults storm",
            "--symbols BTC/USDT:USDT --speed step --tls --ca rehearsal-ca.pem",
            "--symbols BTC/USDT --start 2024-03-01 --now",
            "--data synthetic:ticks --speed 1x",
            "--symbols BTC/USDT:USDT --ticks --now",
        ],
        f"{_WAYS}\nkinds of faults, for --faults:\n{kinds}\n",
        first="--data --symbols --from --to --start --speed --faults --port",
    )
    _add_time(made)
    _add_doors(made)
    made.add_argument(
        "--once", action="store_true", help="leave when the last bar has closed (default: go on answering)"
    )
    made.add_fields("data", DataConfig, "data", DATA)
    made.add_fields("exchange", RehearsalConfig, "exchange", {})
    return made


def _add_time(made: Parser) -> None:
    """Options of what is served, and when it happens."""
    add = made.add_argument
    add(
        "--speed",
        default="1x",
        metavar="SPEED",
        help="virtual time: times the clock such as 3600x, step (it moves when told over /rehearsal/advance), or max "
        "(all has happened already) (default: 1x)",
    )
    add(
        "--faults",
        default="none",
        metavar="SCRIPT",
        help=f"what goes wrong: {', '.join(PRESETS)}, a file of tables [[fault]] that ends in .toml, or kinds "
        "separated by commas, each once (default: none)",
    )
    add(
        "--ticks",
        nargs="?",
        const="longest",
        metavar="RUN",
        help="serve a recorded run of ticks of one symbol instead of bars: its name, such as 20240718T2357#0, or "
        "longest (default: bars; with --data synthetic:ticks, longest)",
    )
    add("--from", dest="since", metavar="TIME", help="first bar, ISO 8601 UTC (default: all there is)")
    add("--to", dest="until", metavar="TIME", help="last bar, ISO 8601 UTC (default: all there is)")
    add(
        "--start",
        metavar="TIME",
        help="virtual time at the start, ISO 8601 UTC; what lies before it is history (default: the first bar)",
    )
    add(
        "--now",
        action="store_true",
        help="shift the tape by whole days so that its start, or a moment within a day after it, is the present "
        "(recorded ticks by whole seconds), and go on at 1x: for programs that trust their own clock (default: off)",
    )


def _add_doors(made: Parser) -> None:
    """Options of the ports."""
    add = made.add_argument
    add(
        "--port",
        type=within(int, 0, 65535),
        default=8765,
        metavar="PORT",
        help="port of plain HTTP; 0 = any free one (default: 8765)",
    )
    add("--tls", action="store_true", help="serve over TLS as well, with a throw-away authority (default: off)")
    add(
        "--tls-port",
        type=within(int, 0, 65535),
        default=8766,
        metavar="PORT",
        help="port of TLS; 0 = any free one (default: 8766)",
    )
    add(
        "--ca",
        type=Path,
        default=Path("rehearsal-ca.pem"),
        metavar="FILE",
        help="where the authority's certificate is written (default: rehearsal-ca.pem)",
    )


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Serve until stopped."""
    given = vars(parser().parse_args(argv))
    if speed_of(given["speed"]) != 1.0 and given["now"]:
        raise UserError(f"--now is the present at --speed 1x alone, not at {given['speed']}.")
    faults = script_of(given["faults"])
    exchange = {k.removeprefix("exchange."): v for k, v in given.items() if k.startswith("exchange.") and v is not None}
    config = build(RehearsalConfig, exchange, "options")
    from qframe_rl.rehearsal.serve import serve, write_ca

    out = console(to_stderr=True)
    with out.status("loading markets") as shown, downloads(shown.stop) as report:
        markets, start = _markets(given, report)
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with serve(
            markets, config, speed=given["speed"], start_ms=start, faults=faults,
            tls=given["tls"], port=given["port"], tls_port=given["tls_port"],
        ) as running:  # fmt: skip
            if given["tls"]:
                write_ca(given["ca"], running)
            _greet(out, running, given)
            result = _watch(out, running, stop, once=given["once"])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return result if given["json"] else None


def _data(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the data, with the span."""
    tree: dict[str, Any] = data_settings(given)
    if not tree:
        raise UserError("no market is named; give --symbols, or --data synthetic:regimes.")
    return tree | {"since": given["since"], "until": given["until"]}


def _markets(given: Mapping[str, Any], report: Report) -> tuple[tuple[ListedMarket, ...], int | None]:
    """What is served, and when virtual time begins; None = with it."""
    from qframe_rl.feeds.tick_load import MADE
    from qframe_rl.rehearsal.load import LONGEST, markets_of, tick_market_of

    config = build(DataConfig, _data(given), "options")
    start = None if given["start"] is None else parse_time(given["start"]) // MS
    run = given["ticks"] or (LONGEST if config.data == MADE else None)
    markets = markets_of(config, report) if run is None else (tick_market_of(config, run),)
    return _now(markets, start) if given["now"] else (markets, start)


def _now(markets: tuple[ListedMarket, ...], start: int | None) -> tuple[tuple[ListedMarket, ...], int]:
    """Markets whose tape is at the present, and the present."""
    from qframe_rl.rehearsal.market import present

    now = time.time_ns() // MS
    return present(markets, min(m.begins_ms for m in markets) if start is None else start, now), now


def _greet(out: Any, running: Rehearsal, given: Mapping[str, Any]) -> None:
    state = running.state()
    lines = [f"{running.url} lists {', '.join(state['symbols'])}"]
    if running.tls_url:
        lines.append(f"{running.tls_url} with the authority of {given['ca']}")
    lines.append(f"from {iso(state['time'] * MS)} to {iso(state['ends'] * MS)} UTC, speed {given['speed']}")
    lines.append(f"key {running.config.api_key}, secret {running.config.secret}")
    out.print("\n".join(lines), highlight=False, soft_wrap=True)


def _watch(out: Any, running: Rehearsal, stop: threading.Event, *, once: bool) -> dict[str, Any]:
    """Show what goes on until it ends; return the last state."""
    with out.status("serving") as line:
        while True:
            state = running.state()
            hits = sum(fault["count"] for fault in state["faults"])
            late = f", {state['behind'] / 1000.0:.0f} s behind" if state["behind"] > 1000 else ""
            counts = f"{state['requests']} requests, {state['sockets']} sockets, {hits} faults"
            line.update(f"{iso(state['time'] * MS)}{late}: {counts}")
            if stop.wait(_LOOK_S) or (once and state["time"] >= state["ends"]):
                break
    state = running.state()
    for fault in sorted(state["faults"], key=lambda f: -f["count"]):
        out.print(f"{fault['count']:6}  {fault['kind']} at {fault['at']}", highlight=False)
    return state | {"url": running.url, "digest": running.truth()["digest"]}


if __name__ == "__main__":
    sys.exit(door(main))
