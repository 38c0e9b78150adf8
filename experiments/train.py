"""Train, evaluate, choose: ``python -m experiments.train --help``."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, called, console, door, program, shown
from experiments.screen import stressed, working
from experiments.settings import PRESETS, asked_book, locate_data, roster, settings
from experiments.told import luck_line
from experiments.train_arena import add_options, meant, trained
from qframe_rl import catalog
from qframe_rl.config import UserError, build, nearest
from qframe_rl.feeds.data import DataConfig
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.experiment import Experiment

if TYPE_CHECKING:
    from rich.console import Console

    from qframe_rl.runner.books.train import BookOutcome
    from qframe_rl.runner.train import Outcome

DATA_OPTIONS = {"since": "from", "until": "to"}


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "train",
        "Train strategies on market data, compare them on validation bars, choose one by what is surely there and\n"
        "judge it once on test bars beside holding cash, buying and holding, and trading by chance. Without options\n"
        "it does so on the embedded default market, whose optimal policy is known.",
        [
            "",
            "--symbols BTC/USDT --timeframe 1h --agents ppo,momentum,mean_reversion",
            "--data prices.csv --symbols BTC/USDT --agents ppo --seeds 5 --set agent.ppo.total_steps=2000000",
            "--preset quick --set env.half_spread_bps=2 --set split.gap=48",
            "--env crowd --roles maker=ppo,taker=ppo,execution=twap",
            "--env book_making --symbols BTC/USDT:USDT --agents ppo,glft --set env.every=200ms",
            "--describe ppo",
        ],
        _known(),
        first="--preset --data --symbols --timeframe --from --to --agents --env --seeds --set",
    )
    made.add_argument(
        "--describe", metavar="NAME", help="print the parameters of an agent or market of the catalogue, and stop"
    )
    made.add_argument("--preset", metavar="NAME", help="settings from experiments/presets/NAME.toml, or a .toml file")
    made.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="assignments",
        help="any setting by its dotted key: env.*, agent.NAME.*, split.*, data.*, risk.* (repeatable)",
    )
    made.add_fields("data", DataConfig, "data", DATA_OPTIONS | {"seed": "data-seed"})
    made.add_fields(
        "experiment", Experiment, "", {"data": None, "agent": None, "risk": None, "promote_anyway": None},
        taken={"agents": roster("train")},
    )  # fmt: skip
    made.add_fields("limits of the risk engine, in every training and backtest", Limits, "risk", {})
    made.add_argument(
        "--promote-anyway",
        nargs="?",
        const="best",
        metavar="AGENT",
        help="deploy AGENT, or without a name the one that ranks first, even if it fails the test for it; the "
        "checkpoint says so (default: off)",
    )
    add_options(made)
    made.add_own("env")
    made.add_on()
    made.add_track()
    made.add_ledger()
    _add_places(made)
    return made


def _add_places(made: Parser) -> None:
    """Where it leaves what it made, and takes up what an interrupted run left."""
    places = made.add_argument_group("places")
    places.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs (default: runs)")
    places.add_argument(
        "--checkpoints", type=Path, default=Path("checkpoints"), help="folder of chosen agents (default: checkpoints)"
    )
    places.add_argument(
        "--resume", action="store_true", help="take finished trainings of an interrupted run of the same settings over"
    )


def _known() -> str:
    presets = sorted(path.stem for path in PRESETS.glob("*.toml"))
    return "\n".join(
        f"{what}: {', '.join(names)}"
        for what, names in (
            ("agents", catalog.bar_agents()),
            ("agents for order books", (*catalog.quoters(), "ppo")),
            ("markets of bars", catalog.bar_markets()),
            ("order books", catalog.order_books()),
            ("problems, see experiments.solve", catalog.problems()),
            ("markets of many agents", catalog.games()),
            ("presets", presets),
        )
    )


def describe(name: str) -> None:
    """Print what can be set of an agent or a market."""
    envs, agents = catalog.names("envs"), catalog.names("agents")
    if name not in (*envs, *agents) and "." not in name:
        raise UserError(f"no agent and no market is called {name!r}{nearest(name, (*envs, *agents))}")
    kind: catalog.Kind = "envs" if name in envs else "agents"
    module = catalog.load(kind, name)
    prefix = "env" if kind == "envs" else f"agent.{name}"
    print(f"{name}: {' '.join((module.__doc__ or '').split())}\n\nset with --set {prefix}.NAME=VALUE:")
    for field, info in module.Config.model_fields.items():
        text = " ".join((info.description or "").split())
        print(f"  {field} = {shown(info.get_default(call_default_factory=True))}\n      {text}")


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Train."""
    given = vars(parser().parse_args(argv))
    began = time.monotonic()
    name = given.pop("describe")
    if name is not None:
        describe(name)
        return None
    own = {
        name: given.pop(name)
        for name in ("json", "preset", "assignments", "runs", "checkpoints", "resume", "on", "track", "ledger")
    }
    if meant(given, own):
        return trained(given, own, began)
    tree: dict[str, Any] = settings(Experiment, own["preset"], own["assignments"], given)
    tree = {"agents": _roster(tree)} | tree
    locate_data(tree)
    if asked_book(tree):
        from qframe_rl.feeds.tick_load import MADE

        tree["data"].setdefault("data", MADE)
    experiment = build(Experiment, tree, "settings" if own["preset"] is None else f"preset {own['preset']}")
    if experiment.env.name in catalog.problems():
        raise UserError(f"env {experiment.env.name!r} has no bars; python -m experiments.solve trains on it.")
    if experiment.env.name in catalog.order_books():
        return _on_book(experiment, own, began)
    with working(own["track"], own["on"]) as (screen, executor):
        from qframe_rl.runner.train import train

        screen.end("start up")
        outcome = train(
            experiment, own["runs"], own["checkpoints"], screen, resume=own["resume"], executor=executor,
            ledger=own["ledger"],
        )  # fmt: skip
    from qframe_rl.feeds.columns import name_of
    from qframe_rl.feeds.gauge import gauges

    seconds = time.monotonic() - began
    report(console(to_stderr=own["json"]), outcome, experiment.level, seconds)
    if not own["json"]:
        return None
    rows = [dict(row) for row in outcome.leaderboard]
    return {
        "checkpoint": str(outcome.checkpoint),
        "leaderboard": rows,
        "hash": outcome.digest,
        "seconds": round(seconds, 3),
        "choice": outcome.choice.describe(),
        "judged": outcome.judged,
        "data": outcome.history.describe(),
        "columns": [gauge.plain() for gauge in gauges(outcome.history, list(map(name_of, experiment.data.columns)))],
    }


def _roster(tree: Mapping[str, Any]) -> tuple[str, ...]:
    """Strategies that are taken where none is named: those of the order book that is asked for, or of bars."""
    return roster(asked_book(tree) or "train")


def _on_book(experiment: Experiment, own: Mapping[str, Any], began: float) -> dict[str, Any] | None:
    """Train on recorded ticks."""
    with working(own["track"], own["on"]) as (screen, executor):
        from qframe_rl.runner.books.train import train_books

        screen.end("start up")
        outcome = train_books(
            experiment, own["runs"], own["checkpoints"], screen, resume=own["resume"], executor=executor,
            ledger=own["ledger"],
        )  # fmt: skip
    seconds = time.monotonic() - began
    report_book(console(to_stderr=own["json"]), outcome, experiment.level, seconds)
    if not own["json"]:
        return None
    return {
        "checkpoint": str(outcome.checkpoint),
        "leaderboard": [dict(row) for row in outcome.rows],
        "hash": outcome.digest,
        "seconds": round(seconds, 3),
        "choice": {"agent": outcome.chosen, "forced": outcome.forced, "reason": outcome.reason},
        "data": outcome.history.describe(),
    }


def report_book(out: Console, outcome: BookOutcome, level: float, seconds: float) -> None:
    """Print what quoting came to, what was chosen and why, and what can be done next."""
    from qframe_rl.evaluate.provenance import marked
    from qframe_rl.evaluate.quoting_table import SMALL, render_quoting

    mark, unit, block = marked(outcome.history.source), outcome.history.instrument.quote, outcome.market.ends
    titles = ("Validation: all agents", "Test: what was chosen, and the yardsticks")
    for part, title in zip(("validation", "test"), titles, strict=True):
        rows = [row for row in outcome.rows if row["split"] == part]
        out.print(render_quoting(rows, f"{mark}{title}", unit, level, block=block))
    out.print(stressed("Chosen: ", outcome.chosen, f"; {outcome.reason}."), highlight=False)
    out.print(luck_line(outcome.luck, "these ticks"), highlight=False)
    out.print(SMALL, highlight=False)
    if outcome.forced:
        out.print(f"Warning: {outcome.chosen} is deployed although it failed the test for it.", style="yellow")
    if mark:
        out.print("The ticks are made up: these figures say nothing about a real market.", style="yellow")
    _tell_done(
        out, outcome.digest, seconds,
        {
            "run": outcome.folder,
            "checkpoint": outcome.checkpoint,
            "all agents": outcome.folder / "agents",
            "pictures": f"{outcome.folder / 'quoting.png'}, {outcome.folder / 'leaderboard.png'}",
            "curves": _curves(outcome.folder),
            "evaluate": called("evaluate", outcome.checkpoint),
            "report": called("report", outcome.folder),
            **({} if outcome.market.ends else {"paper": called("paper", outcome.checkpoint)}),
        },
    )  # fmt: skip


def report(out: Console, outcome: Outcome, level: float, seconds: float) -> None:
    """Print the leaderboards, what was chosen and why, and what can be done next."""
    from qframe_rl.evaluate.provenance import marked
    from qframe_rl.evaluate.table import AHEAD, cash_line, render, unfilled

    rows, chosen = outcome.leaderboard, outcome.choice.agent
    mark = marked(outcome.history)
    for part, title in (("validation", "Validation: all agents"), ("test", "Test: what was chosen, and the baselines")):
        out.print(render([row for row in rows if row["split"] == part], f"{mark}{title}", level))
    for line in unfilled(rows):
        out.print(line, style="yellow", highlight=False)
    out.print(stressed("Chosen: ", chosen, f"; {outcome.choice.reason}."), highlight=False)
    out.print(luck_line(outcome.choice.luck, "these data"), highlight=False)
    out.print(cash_line(outcome.records[outcome.judged]), highlight=False)
    out.print(AHEAD, highlight=False)
    if outcome.choice.forced:
        out.print(f"Warning: {chosen} is deployed although it failed the test for it.", style="yellow")
    share = next(row["share_of_optimal"] for row in rows if row["agent"] == outcome.judged and row["split"] == "test")
    if share is not None:
        out.print(f"On the test bars it reached {share:.1%} of the optimal policy's growth.", highlight=False)
    if mark:
        kind = outcome.history.source.environment
        out.print(f"The data are {kind}: these figures say nothing about a real market.", style="yellow")
    _tell_done(
        out, outcome.digest, seconds,
        {
            "run": outcome.folder,
            "checkpoint": outcome.checkpoint,
            "all agents": outcome.folder / "agents",
            "curves": _curves(outcome.folder),
            "evaluate": called("evaluate", outcome.checkpoint),
            "paper": called("paper", outcome.checkpoint, "--feed", "replay", "--speed", "max"),
        },
    )  # fmt: skip


def _curves(folder: Path) -> str:
    """The command that shows a run's curves."""
    return program("tensorboard", "--logdir", folder / "tensorboard")


def _tell_done(out: Console, digest: str, seconds: float, places: Mapping[str, object]) -> None:
    """Print a run's hash, where things lie, what can be done next, and how long it took."""
    out.print()
    for what, text in {"hash": digest, **places}.items():
        out.print(f"{what:11} {text}", highlight=False, soft_wrap=True)
    out.print(f"done in {seconds:.0f} s", style="dim", highlight=False)


if __name__ == "__main__":
    sys.exit(door(main))
