"""Score checkpoints, or study strategies through time: ``python -m experiments.evaluate --help``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli import Parser, checkpoint_place, console, door, within
from experiments.screen import BarScreen, working
from experiments.settings import data_settings, given_under, locate_data, read_preset, settings
from experiments.told import tell_boards, tell_quoting, tell_scores, tell_study
from qframe_rl.config import UserError, build
from qframe_rl.feeds.data import DataConfig
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.study.plan import Study
from qframe_rl.runner.study.series import BoardPlan

OPTIONS = {"since": None, "until": None, "seed": "data-seed"}
STUDY = {"data": None, "agents": None, "agent": None, "risk": None, "level": None}
BASELINES, LEVEL = "buy_and_hold,flat", 0.9
BEGIN = ("study.walk_forward", "study.cpcv", "study.monte_carlo", "study.refit")
"""Options that make a study of it."""
WAYS = {
    "plan": "a plan of studies: add --preset, such as --preset board",
    "study": "studies: add --walk-forward, --refit, --cpcv or --monte-carlo",
    "score": "checkpoints",
}
STUDIED = ("plan", "study")
READERS = {
    "only": ("plan",),
    "document": ("plan",),
    "baselines": ("score",),
    "execute": ("score",),
    "out": ("plan", "score"),
    "assignments": STUDIED,
    "resume": STUDIED,
    "on": STUDIED,
    "track": STUDIED,
}
"""Options that not every way of evaluating reads, and which do."""


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "evaluate",
        "Score one checkpoint, or several side by side, through the same session and kernel as paper trading. Without\n"
        "further options on the bars of the first checkpoint's own test period; --data FOLDER alone says where they\n"
        "lie.\n\n"
        "With --walk-forward, --cpcv or --monte-carlo, study strategies instead: names of the catalogue, or the\n"
        "strategy of a checkpoint with its parameters. It is fitted and tuned anew in every window, judged on what\n"
        "follows, and the first one named is taken apart. experiments.report makes pages of the run's folder. With\n"
        "--refit it is trained anew at a cadence, one account through all windows: what paper --refit then trades.\n\n"
        "With --preset board, run the studies of a plan, every strategy on every market that it can trade, and put\n"
        "them side by side: one table for each market and one picture. It takes hours; --resume goes on where it\n"
        "stopped.",
        [
            "checkpoints/1a2b3c4d5e6f7081",
            "checkpoints/1a2b3c4d5e6f7081 checkpoints/8091a2b3c4d5e6f7 --symbols ETH/USDT --from 2023-01-01",
            "mean_reversion --symbols BTC/USDT --from 2019-01-01 --walk-forward 8 --cpcv 6,2 --monte-carlo 1000",
            "ppo momentum --symbols ETH/USDT --walk-forward 8 --set agent.ppo.total_steps=400000",
            "--preset board --only ETH,days --out compared --resume",
        ],
        first="--data --symbols --from --to --walk-forward --monte-carlo --preset --set --resume --out",
    )
    made.add_argument(
        "what", nargs="*", metavar="AGENT|CHECKPOINT", help="name of a strategy, or folder of a checkpoint"
    )
    _add_plan(made)
    _add_scoring(made)
    made.add_fields("data, each instead of the first checkpoint's", DataConfig, "data", OPTIONS, defaults=False)
    made.add_fields(
        "limits of the risk engine, in studies too, each instead of the first checkpoint's",
        Limits,
        "risk",
        {},
        defaults=False,
    )
    _add_studies(made)
    return made


def _add_scoring(made: Parser) -> None:
    """Options of what is scored on which bars."""
    made.add_argument("--from", dest="since", metavar="TIME", help="start of the period, ISO 8601 UTC")
    made.add_argument("--to", dest="until", metavar="TIME", help="end of the period, ISO 8601 UTC")
    made.add_argument(
        "--baselines",
        metavar="NAMES",
        help=f"strategies that need no training to run beside (default: {BASELINES})",
    )
    made.add_execute()
    made.add_argument(
        "--level",
        type=within(float, 1e-6, 1.0 - 1e-6),
        help=f"share of resamples inside the intervals (default: {LEVEL}, or the plan's)",
    )
    made.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder for journals and picture (default: runs/evaluate/CHECKPOINT)"
    )


def _add_studies(made: Parser) -> None:
    """Options of studies, and where they leave what they made."""
    made.add_fields("study", Study, "study", STUDY)
    made.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="assignments",
        help="any setting of a study by its dotted key: env.*, agent.NAME.*, risk.* (repeatable)",
    )
    made.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs of studies (default: runs)")
    made.add_on()
    made.add_track()
    made.add_own()
    made.add_ledger()
    made.add_argument("--resume", action="store_true", help="take over what an interrupted study finished")


def _add_plan(made: Parser) -> None:
    plan = made.add_argument_group("plan of studies")
    plan.add_argument(
        "--preset", metavar="NAME", help="the plan: experiments/presets/NAME.toml, or a .toml file (such as: board)"
    )
    plan.add_argument(
        "--only", default="", metavar="MARKETS", help="names of the plan's markets to study (default: all)"
    )
    plan.add_argument(
        "--document",
        type=Path,
        metavar="FILE",
        help="Markdown file whose tables, between <!-- board --> and <!-- end -->, and picture are written anew",
    )


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Evaluate."""
    given = vars(parser().parse_args(argv))
    way = (
        "plan" if given["preset"] is not None else "study" if any(given[key] is not None for key in BEGIN) else "score"
    )
    _refuse_unread(given, way)
    if way == "plan":
        return _series(given)
    if not given["what"]:
        raise UserError("nothing to evaluate: name strategies or checkpoints, or give --preset board; see --help.")
    return _study(given) if way == "study" else _score([_folder(text) for text in given["what"]], given)


def _refuse_unread(given: dict[str, Any], way: str) -> None:
    """Refuse options that this way does not read: who gives one expects something of it."""
    readers = READERS | {key: STUDIED for key in given if key.startswith("study.")}
    for name, ways in readers.items():
        if given[name] not in (None, "", [], False) and way not in ways:
            option = {"assignments": "set"}.get(name, name.removeprefix("study.").replace("_", "-"))
            raise UserError(f"--{option} is for {', or '.join(WAYS[one] for one in ways)}.")


def _folder(text: str) -> Path:
    place = checkpoint_place(text)
    if not place.is_dir() and "/" not in text:
        raise UserError(
            f"{text!r} is not a folder: give checkpoints to score, or --walk-forward, --refit, --cpcv or --monte-carlo "
            "to study a strategy by name."
        )
    return place


def _study(given: dict[str, Any]) -> dict[str, Any] | None:
    began = time.monotonic()
    options = {key.removeprefix("study."): value for key, value in given.items() if key.startswith("study.")}
    tree = settings(Study, None, given["assignments"], options | {"level": given["level"]})
    tree["data"] = {**_mapping(tree.get("data")), **data_settings(given)}
    for key, name in (("since", "since"), ("until", "until")):
        if given[key] is not None:
            tree["data"][name] = given[key]
    tree["risk"] = {**_mapping(tree.get("risk")), **given_under(given, "risk")}
    locate_data(tree)
    tree["agents"] = tuple(_named(text, tree) for text in given["what"])
    config = build(Study, tree, "settings")
    with working(given["track"], given["on"]) as (screen, executor):
        from qframe_rl.runner.study.study import study

        screen.end("start up")
        done = study(config, given["runs"], screen, resume=given["resume"], executor=executor, ledger=given["ledger"])
    seconds = time.monotonic() - began
    tell_study(console(to_stderr=given["json"]), done, config, seconds)
    if not given["json"]:
        return None
    told = ("significance", "overfitting", "superiority", "luck", "data", *(["procedure"] if config.refit else []))
    facts = {key: done.facts[key] for key in told}
    return {"run": str(done.folder), "leaderboard": done.facts["leaderboard"], "seconds": round(seconds, 3), **facts}


def _series(given: dict[str, Any]) -> dict[str, Any] | None:
    began = time.monotonic()
    if given["what"]:
        raise UserError(f"the plan {given['preset']} names its strategies itself; leave {given['what'][0]} out.")
    if given["since"] is not None or given["until"] is not None:
        raise UserError("a plan says from when to when each of its markets is studied; leave --from and --to out.")
    only = tuple(name for name in given["only"].split(",") if name)
    if only and given["document"] is not None:
        raise UserError("--document takes the tables of all markets; leave --only out.")
    plan = build(BoardPlan, read_preset(given["preset"]), f"preset {given['preset']}")
    options = {key.removeprefix("study."): value for key, value in given.items() if key.startswith("study.")}
    changed = settings(Study, None, given["assignments"], options)
    if given["level"] is not None:
        changed["level"] = given["level"]
    changed["data"] = {**_mapping(changed.get("data")), **given_under(given, "data")}
    changed["risk"] = {**_mapping(changed.get("risk")), **given_under(given, "risk")}
    asked = list(plan.studies(only, changed, locate_data))
    kept = "What is finished is kept; the same command with --resume goes on from there."
    with working(given["track"], given["on"], kept) as (screen, executor):
        from qframe_rl.runner.study.board import run_series

        screen.end("start up")
        done = run_series(
            asked, plan.title, given["runs"], given["out"] or given["runs"] / "board", screen, resume=given["resume"],
            executor=executor, document=given["document"], ledger=given["ledger"],
        )  # fmt: skip
    return tell_boards(done, time.monotonic() - began, as_json=given["json"])


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {} if value is None else {"data": value}


def _named(text: str, tree: dict[str, Any]) -> str:
    """Name of a strategy; of a checkpoint, the strategy's, with its parameters, market, data and limits.

    What is given goes before what the checkpoint says.
    """
    if "/" not in text and not Path(text).is_dir():
        return text
    from qframe_rl.checkpoint import load_checkpoint
    from qframe_rl.deploy import config_of, data_for

    found = load_checkpoint(Path(text))
    config_of(found)
    name = str(found.agent["name"])
    agent = tree.setdefault("agent", {})
    agent[name] = {**found.agent["params"], **agent.get(name, {})}
    tree.setdefault("env", found.env)
    tree["data"] = data_for(found, tree["data"]).model_dump(mode="json")
    # Checkpoints written before there were limits in backtests do not name any.
    tree["risk"] = {**found.provenance.get("risk", {}), **tree["risk"]}
    return name


def _score(places: list[Path], given: dict[str, Any]) -> dict[str, Any] | None:
    given_data = data_settings(given)
    named = BASELINES if given["baselines"] is None else given["baselines"]
    baselines = [name for name in named.split(",") if name]
    level = LEVEL if given["level"] is None else given["level"]
    folder = given["out"] or Path("runs") / "evaluate" / "+".join(place.name for place in places)
    if _of_book(places):
        return _score_book(places, given, folder, level)
    with BarScreen() as screen:
        screen.begin("start up")
        from qframe_rl.evaluate.trials import Trials
        from qframe_rl.runner.evaluate import evaluate

        screen.end("start up")
        done = evaluate(
            places,
            given_data,
            given["since"],
            given["until"],
            baselines,
            folder,
            screen,
            risk=given_under(given, "risk"),
            execute=given["execute"],
            level=level,
            ledger=Trials.opened(given["ledger"], given["runs"]),
        )
    tell_scores(done, level, to_stderr=given["json"])
    if not given["json"]:
        return None
    return {"results": [_result(one, done) for one in done.scored]}


def _of_book(places: list[Path]) -> bool:
    """Whether the checkpoints quote in order books; raises UserError if some do."""
    from qframe_rl.checkpoint import load_checkpoint

    kinds = [load_checkpoint(place).of_book for place in places]
    if any(kinds) and not all(kinds):
        raise UserError(f"{places[kinds.index(True)]} quotes in an order book and cannot stand beside traders of bars.")
    return all(kinds)


def _score_book(places: list[Path], given: dict[str, Any], folder: Path, level: float) -> dict[str, Any] | None:
    data = data_settings(given) | {key: given[key] for key in ("since", "until") if given[key] is not None}
    if given["baselines"] is not None or given_under(given, "risk"):
        raise UserError("order books have yardsticks and limits of their own; leave --baselines and limits out.")
    if given["execute"] is not None:
        raise UserError(
            f"--execute is of strategies on bars; {places[0]} quotes, and says itself how it rests and takes."
        )
    with BarScreen() as screen:
        screen.begin("start up")
        from qframe_rl.evaluate.trials import Trials
        from qframe_rl.runner.books.evaluate import evaluate_books

        screen.end("start up")
        ledger = Trials.opened(given["ledger"], given["runs"])
        done = evaluate_books(places, data, folder, screen, level, ledger)
    tell_quoting(done, level, to_stderr=given["json"])
    return {"results": [dict(row) for row in done.rows]} if given["json"] else None


def _result(one: Any, done: Any) -> dict[str, Any]:
    from qframe_rl.kernel.dust import dust_of

    return {
        **one.row,
        **({"shortfall": done.shortfalls[one.name].plain()} if one.name in done.shortfalls else {}),
        "dust": [left._asdict() for left in dust_of(one.record)],
        "checkpoint": None if one.checkpoint is None else str(one.checkpoint),
        "bars": len(one.record) - 1,
        "journal": str(one.journal),
        "journal_hash": one.record.digest,
    }


if __name__ == "__main__":
    sys.exit(door(main))
