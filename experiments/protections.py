"""What each protection does to a strategy: ``python -m experiments.protections --help``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, console, door, within
from experiments.screen import BarScreen
from experiments.settings import data_settings, given_under, settings
from qframe_rl.config import build
from qframe_rl.feeds.data import DataConfig
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.study.plan import Study

if TYPE_CHECKING:
    from qframe_rl.runner.protections import Effect

LEVEL = 0.9


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "protections",
        "Walk rules over all bars without protections and with each of them alone, and say what it does: log growth\n"
        "a year with it less that without, from pairs of bars, with its interval; drawdowns; and what is traded. Each\n"
        "setting is a trial on the ledger. Numbers of a protection stand instead of the usual ones.",
        [
            "momentum mean_reversion --symbols BTC/USDT:USDT --timeframe 1h --set env.name=perp",
            "grid --symbols ETH/USDT --from 2021-01-01 --drawdown-pause 0.05 --cooldown-bars 12",
        ],
    )
    made.add_argument("what", nargs="+", metavar="AGENT", help="name of a strategy that needs no training")
    made.add_argument("--from", dest="since", metavar="TIME", help="start of the period, ISO 8601 UTC")
    made.add_argument("--to", dest="until", metavar="TIME", help="end of the period, ISO 8601 UTC")
    made.add_argument(
        "--level", type=within(float, 1e-6, 1.0 - 1e-6), default=LEVEL, help=f"of the intervals (default: {LEVEL})"
    )
    made.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="assignments",
        help="any setting by its dotted key: env.*, agent.NAME.* (repeatable)",
    )  # fmt: skip
    made.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs of studies (default: runs)")
    made.add_ledger()
    made.add_fields("data", DataConfig, "data", {"since": None, "until": None, "seed": "data-seed"}, defaults=False)
    made.add_fields("limits and protections", Limits, "risk", {}, defaults=False)
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Compare."""
    given, began = vars(parser().parse_args(argv)), time.monotonic()
    tree = settings(Study, None, given["assignments"], {})
    tree["data"] = {**tree.get("data", {}), **data_settings(given)}
    tree["data"] |= {key: given[key] for key in ("since", "until") if given[key] is not None}
    tree["agents"] = tuple(given["what"])
    limits = build(Limits, given_under(given, "risk"), "risk")
    config = build(Study, tree, "settings")
    with BarScreen() as screen:
        screen.begin("start up")
        from qframe_rl.evaluate.trials import Trials
        from qframe_rl.feeds.load import load
        from qframe_rl.runner.protections import configs_of, effects

        screen.end("start up")
        agents = configs_of(config.agents, config.agent)
        history, ledger = load(config.data), Trials.opened(given["ledger"], given["runs"])
        found = effects(agents, config.env, history, limits, level=given["level"], screen=screen, ledger=ledger)
        counted = ledger.luck(history).trials
    if given["json"]:
        return {"effects": [_plain(one) for one in found], "trials": counted}
    _tell(found, counted, given["level"], time.monotonic() - began)
    return None


def _plain(one: Effect) -> dict[str, Any]:
    growth = one.growth
    return {**one._asdict(), "growth": growth.estimate, "growth_low": growth.low, "growth_high": growth.high}


def _tell(found: Sequence[Effect], trials: int, level: float, seconds: float) -> None:
    out = console(to_stderr=False)
    out.print(f"| strategy | protection | log growth a year, with less without ({level:.0%}) | drawdown | traded |")
    out.print("|---|---|---|---|---|")
    for one in found:
        growth = f"{one.growth.estimate:+.3f} ({one.growth.low:+.3f} to {one.growth.high:+.3f})"
        deep = f"{one.drawdown:.0%}, without {one.drawdown_without:.0%}"
        out.print(f"| {one.agent} | {one.protection} | {growth} | {deep} | x {one.turnover:.2f} |")
    out.print(f"{trials} trials on the ledger. done in {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(door(main))
