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
from qframe_rl.config import UserError, build
from qframe_rl.feeds.data import DataConfig
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.study.plan import Study

if TYPE_CHECKING:
    from qframe_rl.evaluate.inference.bootstrap import Interval
    from qframe_rl.runner.protections import Effect, PooledEffect

LEVEL = 0.9


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "protections",
        "Walk rules over all bars without protections and with each of them alone, and say what it does: log growth\n"
        "a year with it less that without, from pairs of bars, with its interval; drawdowns; and what is traded. Each\n"
        "setting is a trial on the ledger. Numbers of a protection stand instead of the usual ones. Several symbols\n"
        "are one account, or one each (--each), whose effects are put together bar by bar.",
        [
            "momentum --each --symbols BTC/USDT:USDT,ETH/USDT:USDT --timeframe 1h --set env.name=perp",
            "momentum mean_reversion --symbols BTC/USDT:USDT --timeframe 1h --set env.name=perp",
            "grid --symbols ETH/USDT --from 2021-01-01 --drawdown-pause 0.05 --cooldown-bars 12",
        ],
    )
    made.add_argument("what", nargs="+", metavar="AGENT", help="name of a strategy that needs no training")
    made.add_argument("--each", action="store_true", help="an account for every symbol, and what they say together")
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
        from qframe_rl.runner.protections import Pair, configs_of, effects, pooled

        screen.end("start up")
        agents, ledger = configs_of(config.agents, config.agent), Trials.opened(given["ledger"], given["runs"])
        found, counted, level = list[Pair](), 0, given["level"]
        for data in _each(config.data) if given["each"] else [config.data]:
            history = load(data)
            found += effects(agents, config.env, history, limits, level=level, screen=screen, ledger=ledger)
            counted += ledger.luck(history).trials
        together = pooled(found, level=level) if given["each"] else []
    if given["json"]:
        more = {"pooled": [_plain(one) for one in together]} if given["each"] else {}
        return {"effects": [_plain(one.effect) for one in found], **more, "trials": counted}
    if together:
        _tell_pooled(together, level)
    _tell([one.effect for one in found], counted, level, time.monotonic() - began)
    return None


def _each(data: DataConfig) -> list[DataConfig]:
    """The same, with one symbol each."""
    if not data.symbols or data.universe is not None:
        raise UserError("--each takes the symbols that --symbols names, and no --universe.")
    return [data.model_copy(update={"symbols": (symbol,)}) for symbol in data.symbols]


def _plain(one: Effect | PooledEffect) -> dict[str, Any]:
    growth = one.growth
    return {**one._asdict(), "growth": growth.estimate, "growth_low": growth.low, "growth_high": growth.high}


def _tell_pooled(together: Sequence[PooledEffect], level: float) -> None:
    out = console(to_stderr=False)
    out.print(f"| strategy | protection | log growth a year, with less without, mean of all ({level:.0%}) | surely |")
    out.print("|---|---|---|---|")
    for one in together:
        said = f"{one.better} better, {one.worse} worse of {one.n}"
        out.print(f"| {one.agent} | {one.protection} | {_interval(one.growth)} | {said} |")
    out.print("")


def _tell(found: Sequence[Effect], trials: int, level: float, seconds: float) -> None:
    out = console(to_stderr=False)
    out.print(
        f"| strategy | on | protection | log growth a year, with less without ({level:.0%}) | drawdown | traded |"
    )
    out.print("|---|---|---|---|---|---|")
    for one in found:
        deep = f"{one.drawdown:.0%}, without {one.drawdown_without:.0%}"
        what = f"| {one.agent} | {one.symbols} | {one.protection} | {_interval(one.growth)}"
        out.print(f"{what} | {deep} | x {one.turnover:.2f} |")
    out.print(f"{trials} trials on the ledger. done in {seconds:.0f} s")


def _interval(growth: Interval) -> str:
    return f"{growth.estimate:+.3f} ({growth.low:+.3f} to {growth.high:+.3f})"


if __name__ == "__main__":
    sys.exit(door(main))
