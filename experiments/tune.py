"""Search for a strategy's parameters, window by window: ``python -m experiments.tune --help``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Interrupted, Parser, called, console, door
from experiments.screen import BarScreen, stressed, working
from experiments.settings import asked_book, locate_data, roster, settings
from experiments.told import luck_line
from experiments.told_contest import tell_contest
from qframe_rl import catalog
from qframe_rl.config import UserError, build, listed
from qframe_rl.feeds.data import DataConfig
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.tune.contest_plan import ALL, Contest
from qframe_rl.runner.tune.plan import Tune

if TYPE_CHECKING:
    from rich.console import Console

    from qframe_rl.runner.books.tune import TunedBook
    from qframe_rl.runner.tune.found import Tuned
    from qframe_rl.runner.tune.tune import TunedBars

DATA_OPTIONS = {"since": "from", "until": "to", "seed": "data-seed"}


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "tune",
        "Search for the parameters of a strategy with Optuna, anew in every walk-forward window on its own training\n"
        "bars, and judge what each window chose on the bars that follow. Fields and their ranges are declared in the\n"
        "strategy's own file. Every setting tried is a row of the ledger of trials that deflates the Sharpe ratio.\n\n"
        "With --agent all, or several names, strategies, features and parameters are chosen together: in every window\n"
        "they compete on its training bars, the worse half is left after each round, the survivors are also tried as\n"
        "an ensemble, and what is best is judged once on the bars that follow.",
        [
            "--agent mean_reversion --symbols BTC/USDT --from 2019-01-01 --budget 1000",
            "--agent momentum --space lookback_bars=24:2000:log,band=0:0.5 --sampler cmaes",
            "--agent ppo --set params.total_steps=100000 --budget 30m --on ray",
            "--agent momentum --sampler nsga2 --walk-forward 4",
            "--agent all --features auto --minutes 30 --symbols BTC/USDT",
            "--agent momentum,ppo --set params.ppo.total_steps=100000 --budget 60",
            "--env book_making --agent glft --symbols BTC/USDT:USDT --walk-forward 2 --budget 64",
        ],
        first="--agent --space --budget --sampler --data --symbols --from --walk-forward --env --set",
    )
    made.add_fields("data", DataConfig, "data", DATA_OPTIONS)
    made.add_fields(
        "search", Tune, "", {"data": None, "env": None, "params": None, "risk": None, "promote_anyway": None},
        taken={"agent": roster("tune")[0]},
    )  # fmt: skip
    made.add_fields("limits of the risk engine, in every training and backtest", Limits, "risk", {})
    _add_own(made)
    made.add_on()
    made.add_ledger()
    places = made.add_argument_group("places")
    places.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs (default: runs)")
    places.add_argument(
        "--checkpoints", type=Path, default=Path("checkpoints"), help="folder of chosen agents (default: checkpoints)"
    )
    places.add_argument("--resume", action="store_true", help="go on with an interrupted search of the same settings")
    return made


def _add_own(made: Parser) -> None:
    """Options that no table of settings has."""
    made.add_argument("--env", metavar="VALUE", help="market of the catalogue (default: auto)")
    made.add_argument(
        "--features", metavar="usual|auto[:N]",
        help="what learners see: the market's usual features, or those found in each window among N formulas; of "
        "several strategies each learner is tried with both then (default: usual)",
    )  # fmt: skip
    made.add_argument(
        "--minutes", metavar="N", help="the budget in minutes, as --budget Nm says it too (default: as --budget)"
    )
    made.add_argument(
        "--survivors", metavar="VALUE",
        help="of several strategies: how many survive the rounds and are tried as an ensemble (default: 3)",
    )  # fmt: skip
    made.add_argument(
        "--promote-anyway", action="store_true", default=None,
        help="deploy what was found even if it fails the test for it; the checkpoint says so (default: off)",
    )  # fmt: skip
    made.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="assignments",
        help="any setting by its dotted key: env.*, params.*, data.*, risk.* (repeatable)",
    )


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Tune."""
    given = vars(parser().parse_args(argv))
    began = time.monotonic()
    own = {name: given.pop(name) for name in ("json", "assignments", "runs", "checkpoints", "resume", "on", "ledger")}
    several = _several(given)
    tree = settings(Contest if several else Tune, None, own["assignments"], given)
    book = asked_book(tree)
    if several:
        return _contest(tree, own, book, began)
    tree.setdefault("agent", _default(book))
    locate_data(tree)
    if book:
        from qframe_rl.feeds.tick_load import MADE

        tree["data"].setdefault("data", MADE)
    config = build(Tune, tree, "settings")
    with BarScreen() as screen:
        screen.begin("start up")
        from qframe_rl.runner.books.tune import TunedBook, tune_books
        from qframe_rl.runner.executors import executor_of
        from qframe_rl.runner.tune.tune import tune

        with executor_of(own["on"]) as executor:
            screen.end("start up", executor.where)
            try:
                done: TunedBars | TunedBook = (tune_books if book else tune)(
                    config,
                    own["runs"],
                    own["checkpoints"],
                    screen,
                    executor,
                    resume=own["resume"],
                    ledger=own["ledger"],
                )
            except KeyboardInterrupt:
                screen.say("Settings that were scored are kept; the same command with --resume goes on.")
                raise Interrupted(None) from None
    seconds = time.monotonic() - began
    if isinstance(done, TunedBook):
        report_book_search(console(to_stderr=own["json"]), done, config, seconds)
    else:
        report(console(to_stderr=own["json"]), done, config, seconds)
    if not own["json"]:
        return None
    facts = {key: done.facts[key] for key in ("leaderboard", "windows", "promotion", "luck", "data")}
    return {"run": str(done.folder), "checkpoint": str(done.checkpoint), "seconds": round(seconds, 3), **facts}


def _several(given: dict[str, Any]) -> bool:
    """Whether several strategies are asked for; what is short for something else is put in its place."""
    minutes, features = given.pop("minutes"), given.pop("features")
    if minutes is not None:
        if given["budget"] is not None:
            raise UserError("--minutes and --budget say the same; give one of them.")
        given["budget"] = f"{minutes}m"
    several = given["agent"] is not None and (given["agent"] == ALL or "," in given["agent"])
    if several:
        given["features"] = features
    elif given.pop("survivors") is not None:
        raise UserError("--survivors is for several strategies: --agent all, or names between commas.")
    elif features not in (None, "usual"):
        given["env.features"] = features
    return several


def _contest(
    tree: dict[str, Any], own: dict[str, Any], book: str, began: float
) -> dict[str, Any] | None:  # fmt: skip
    """Let several strategies compete."""
    if book:
        raise UserError(f"--agent {tree['agent']}: strategies are chosen among on bars alone; name one for {book}.")
    named = [] if tree["agent"] == ALL else listed(tree["agent"])
    tree |= {"agents": named or list(roster("contest")), "strict": bool(named)}
    locate_data(tree)
    config = build(Contest, tree, "settings")
    kept = "Settings that were scored are kept; the same command with --resume goes on."
    with working((), own["on"], kept) as (screen, executor):
        from qframe_rl.runner.tune.contest import contest

        screen.end("start up", executor.where)
        done = contest(
            config, own["runs"], own["checkpoints"], screen, executor, resume=own["resume"], ledger=own["ledger"]
        )  # fmt: skip
    seconds = time.monotonic() - began
    tell_contest(console(to_stderr=own["json"]), done, config, seconds)
    if not own["json"]:
        return None
    shown = ("leaderboard", "windows", "promotion", "luck", "left_out", "features", "data")
    facts = {key: done.facts[key] for key in shown}
    return {"run": str(done.folder), "checkpoint": str(done.checkpoint), "seconds": round(seconds, 3), **facts}


def _default(book: str) -> str:
    """Strategy that is searched where none is named: of an order book the first that follows a rule."""
    if not book:
        return roster("tune")[0]
    return next(name for name in (*roster(book), *catalog.quoters()) if name in catalog.quoters())


def report_book_search(out: Console, done: TunedBook, config: Tune, seconds: float) -> None:
    """Print what each window of ticks chose, how the choices quoted, and what can be done next."""
    from qframe_rl.evaluate.provenance import marked
    from qframe_rl.evaluate.quoting_table import SMALL, render_quoting

    out.print(_windows(done, config))
    one, block = done.history.instrument, done.market.ends
    title = f"{marked(done.history.source)}Ticks of all {len(done.windows)} windows: {one.symbol}"
    out.print(render_quoting(done.rows, title, one.quote, config.level, block=block))
    out.print(luck_line(done.luck, "these ticks"), highlight=False)
    out.print(SMALL, highlight=False)
    _tell_rest(out, done, seconds)


def report(out: Console, done: TunedBars, config: Tune, seconds: float) -> None:
    """Print what each window chose, how the choices did, and what can be done next."""
    from qframe_rl.evaluate.provenance import marked
    from qframe_rl.evaluate.table import AHEAD, render

    out.print(_windows(done, config))
    title = f"{marked(done.history)}Test bars of all {len(done.windows)} windows: {', '.join(done.history.symbols)}"
    out.print(render(done.rows, title, config.level))
    out.print(AHEAD, highlight=False)
    _tell_rest(out, done, seconds)


def _tell_rest(out: Console, done: Tuned[Any, Any, Any], seconds: float) -> None:
    out.print(stressed("Deployed: ", done.deployed, f"; {done.reason}."), highlight=False)
    tried = sum(one["settings"] for one in done.facts["windows"])
    lost = sum(one["given_up"] for one in done.facts["windows"])
    out.print(
        f"{tried} settings were tried, {lost} of them given up early; {done.luck.trials} trials were ever scored on "
        "these data.", highlight=False,
    )  # fmt: skip
    if done.facts["promotion"]["forced"]:
        out.print(f"Warning: {done.deployed} is deployed although it failed the test for it.", style="yellow")
    out.print()
    for what, text in (
        ("run", done.folder),
        ("pictures", ", ".join(sorted(path.name for path in done.folder.glob("*.png")))),
        ("checkpoint", done.checkpoint),
        ("evaluate", called("evaluate", done.checkpoint)),
    ):
        out.print(f"{what:11} {text}", highlight=False, soft_wrap=True)
    out.print(f"done in {seconds:.0f} s", style="dim", highlight=False)


def _windows(done: Tuned[Any, Any, Any], config: Tune) -> Any:
    from rich import box
    from rich.table import Table

    names = list(done.windows[0].best.params)
    table = Table(title=f"{config.agent}: what each window chose", title_justify="left", title_style="bold",
                  box=box.SIMPLE_HEAD)  # fmt: skip
    for heading in ("judged from", *names, "Sharpe before", "after"):
        table.add_column(heading, justify="right")
    for one in done.facts["windows"]:
        values = [_short(one["params"][name]) for name in names]
        before, after = one["in_sample"]["sharpe"], one["out_of_sample"]
        table.add_row(one["test"][0][0][:10], *values, f"{before:+.2f}", f"{after:+.2f}")
    return table


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(door(main))
