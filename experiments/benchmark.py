"""How fast it is: environments, training, backtests and start-up, against the machine's limits and peers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, console, door, within
from experiments.screen import BarScreen
from qframe_rl.config import UserError, nearest

if TYPE_CHECKING:
    from qframe_rl.bench.measure import BenchmarkRow

SUITES = {
    "env": "steps of one instrument, windows copied or indices handed out; ratio to a bare row copy",
    "portfolio": "steps of sixteen perpetuals with margin and funding",
    "protections": "steps with limits, and with every protection beside them; ratio to the same without",
    "train": "PPO end to end; ratio to matrix products alone and to Stable-Baselines3, on optima too (half an hour)",
    "cuda": "PPO on an accelerator; ratio to this machine's cores and to plain PyTorch, difference from the CPU",
    "offline": "the rows of train for agents that learn from recorded steps; ratio to Stable-Baselines3's DQN",
    "gradient": "one gradient step on one thread; ratio to automatic differentiation, and of products to BLAS",
    "backtest": "one setting of a rule over 100,000 bars, stated ahead and bar by bar",
    "sweep": "1,000 settings over 100,000 bars; 10,000 over five years of forty coins, with the memory it takes",
    "policy": "decisions of trained networks for many accounts side by side; ratio to one account by itself",
    "fan": "jobs on a Ray cluster begun here, two workers; ratio to the same without overhead, and memory of a worker",
    "study": "a walk-forward study of strategies by rules over six years of hours; a minute and more",
    "paper": "one live session of 100,000 bars: decision, journal, growth of memory, restart; run once, some minutes",
    "service": "ten sessions alone and under 200 clients, bars to clients, requests, the kill of all; some minutes",
    "book": "order books: messages matched, a maker on a recorded market; ratio to bourse and hftbacktest",
    "alpha": "formulas' values and ICs, and how fast they are written; ratio to PyTorch, gplearn and MaskablePPO",
    "arena": "markets made by their traders: steps of agents in a batch, and through the doors of PettingZoo",
    "slots": "bars of accounts with eight orders each, in the kernel; ratio to one order",
    "growth": "what a step costs as accounts, windows, instruments and rules grow; --plot draws it",
    "memory": "bytes of one more environment",
    "startup": "seconds of --help, and to the first step",
}


def parser() -> Parser:
    """The command line."""
    more = "\nsuites:\n" + "\n".join(f"  {name:10} {text}" for name, text in SUITES.items())
    made = Parser(
        "benchmark",
        __doc__ or "",
        ("env portfolio", "train --repeats 3 --json", "sweep --peers .venv-peers/bin/python"),
        more,
    )
    made.add_argument("suites", nargs="*", metavar="SUITE", help="what to measure (default: all)")
    made.add_argument(
        "--repeats",
        type=within(int, 1, 1e6),
        default=5,
        metavar="N",
        help="rounds in which all take turns (default: 5)",
    )
    made.add_argument(
        "--peers", type=Path, metavar="PYTHON",
        help="interpreter of an environment with gym-trading-env, torchtrade, vectorbt, backtesting, gplearn, and "
        "freqtrade, hftbacktest and bourse below it, which then take turns with ours; make peers makes one (default: "
        "none)",
    )  # fmt: skip
    made.add_argument("--plot", type=Path, metavar="FILE", help="PNG to draw the suite growth to (default: none)")
    made.add_argument("--small", action="store_true", help="little work, to see that it runs (default: off)")
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Measure and print."""
    given = parser().parse_args(argv)
    for name in given.suites:
        if name not in SUITES:
            raise UserError(f"no suite {name!r}{nearest(name, SUITES)}")
    if given.plot is not None and given.suites and "growth" not in given.suites:
        raise UserError("--plot draws the suite growth; name it, or leave --plot out.")
    if given.plot is not None:
        if given.plot.is_dir():
            raise UserError(f"--plot {given.plot} is a folder; name a file in it.")
        given.plot.parent.mkdir(parents=True, exist_ok=True)
    from qframe_rl.bench.measure import machine
    from qframe_rl.bench.peers import Peers

    peers = Peers(given.peers) if given.peers is not None else None
    found: list[BenchmarkRow] = []
    try:
        with BarScreen() as screen:
            for name in given.suites or _all(screen):
                found += _suite(name)(given.small, given.repeats, peers, screen)
    finally:
        if peers is not None:
            peers.close()
    if given.plot is not None:
        _draw(found, given.plot)
    stated = machine() | (peers.versions if peers is not None else {})
    if given.json:
        return {"results": [row._asdict() for row in found], "machine": stated}
    _print(found, stated)
    return None


def _draw(found: list[BenchmarkRow], to: Path) -> None:
    from qframe_rl.bench.growth import picture
    from qframe_rl.evaluate.painted import write_png

    write_png(picture(found), to)


def _all(screen: BarScreen) -> list[str]:
    """Every suite that this machine has what it takes for."""
    from qframe_rl.bench.cuda import MISSING, available

    if available():
        return [*SUITES]
    screen.say(f"left out: {MISSING}")
    return [name for name in SUITES if name != "cuda"]


def _suite(name: str) -> Any:
    from qframe_rl.bench import (
        alpha,
        arena,
        book,
        cuda,
        executors,
        gradient,
        growth,
        offline,
        paper,
        policies,
        service,
        settings,
        slots,
        startup,
        steps,
        study,
        training,
    )

    return {
        "env": steps.env,
        "portfolio": steps.portfolio,
        "protections": steps.protections,
        "growth": growth.growth,
        "memory": steps.memory,
        "slots": slots.slots,
        "train": training.train,
        "cuda": cuda.cuda,
        "offline": offline.offline,
        "gradient": gradient.gradient,
        "backtest": settings.backtest,
        "sweep": settings.sweep_settings,
        "policy": policies.policy,
        "fan": executors.fan,
        "study": study.study,
        "paper": paper.session,
        "service": service.service,
        "book": book.book,
        "alpha": alpha.alpha,
        "arena": arena.arena,
        "startup": startup.startup,
    }[name]


def _print(found: list[BenchmarkRow], stated: dict[str, str]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for title, side in (
        ("", "left"),
        ("batch", "right"),
        ("value", "right"),
        ("", "left"),
        ("ratio", "right"),
        ("to", "left"),
    ):
        table.add_column(title, justify=side)  # type: ignore[arg-type]
    for row in found:
        ratio = "" if row.ratio is None else f"{row.ratio:,.2f}x"
        table.add_row(row.name, f"{row.batch:,}", _number(row.value), row.unit, ratio, row.ratio_to)
    out = console(to_stderr=False)
    out.print(table)
    out.print(", ".join(f"{name} {value}" for name, value in stated.items()), style="dim", highlight=False)


def _number(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:,.2f} {letter}"
    return f"{value:,.3g}"


if __name__ == "__main__":
    sys.exit(door(main))
