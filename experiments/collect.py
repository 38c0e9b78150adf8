"""Write what strategies live as a Minari dataset: ``python -m experiments.collect --help``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, called, checkpoint_place, console, door
from experiments.screen import BarScreen
from experiments.settings import locate_data, settings
from qframe_rl import catalog
from qframe_rl.config import build
from qframe_rl.feeds.data import DataConfig
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.collection import Collection

if TYPE_CHECKING:
    from qframe_rl.runner.collect import Collected

DATA_OPTIONS = {"since": "from", "until": "to", "seed": "data-seed"}


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "collect",
        "Let the known optimum, chance, strategies or checkpoints walk a problem or a market, alone or by turns, and\n"
        "write every step as a Minari dataset, from which agents iql and cql learn and other libraries may. Its\n"
        "environment is made again from the dataset; equal commands write equal steps. What learns from bars must not\n"
        "know those that judge it: end the bars with --to where training ends.",
        [
            "--env ar1_signal --mix oracle=.6,random=.4",
            "--env ar1_signal --mix oracle:cost:0,oracle:cost:8 --by step --share .6 --id qframe/ar1_signal/sixty-v0",
            "--symbols BTC/USDT --to 2023-01-01 --mix momentum=.5,random=.5 --steps 50000",
            "--env spot --mix checkpoints/FOLDER --set env.episode_bars=168",
        ],
        f"problems: {', '.join(catalog.problems())}\n"
        f"markets: {', '.join(catalog.bar_markets())}\n"
        "datasets lie in MINARI_DATASETS_PATH, or in ~/.minari/datasets; docs/offline.md says more",
        first="--env --mix --by --share --steps --seed --id --set",
    )
    made.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="assignments",
        help="any setting by its dotted key: env.*, data.*, risk.* (repeatable)",
    )  # fmt: skip
    made.add_fields("collection", Collection, "", {"data": None, "risk": None})
    made.add_argument(
        "--overwrite", action="store_true", help="put it in the place of a dataset of that id (default: off)"
    )
    made.add_fields("data", DataConfig, "data", DATA_OPTIONS)
    made.add_fields("limits of the risk engine", Limits, "risk", {})
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Collect."""
    given = vars(parser().parse_args(argv))
    began = time.monotonic()
    own = {name: given.pop(name) for name in ("json", "assignments", "overwrite")}
    tree = settings(Collection, None, own["assignments"], given)
    if isinstance(tree.get("env"), dict):
        tree["env"].setdefault("name", "auto")
    locate_data(tree)
    asked = build(Collection, tree, "settings")
    with BarScreen() as screen:
        screen.begin("start up")
        from qframe_rl.runner.collect import collect

        screen.end("start up")
        done = collect(asked, screen, checkpoint_place, overwrite=own["overwrite"])
    report(done, asked, time.monotonic() - began, to_stderr=own["json"])
    return _result(done) if own["json"] else None


def report(done: Collected, asked: Collection, seconds: float, *, to_stderr: bool) -> None:
    """Print what was written, and what can be done with it."""
    out = console(to_stderr=to_stderr)
    out.print(f"{done.steps:,} steps in {done.episodes:,} episodes, walked by {done.mix}", highlight=False)
    worth = "" if done.share is None else f", {done.share:.1%} of the optimum"
    out.print(f"mean reward {done.reward:.4g} a step{worth}", highlight=False)
    learn = called("train", "--agents", "iql", "--set", f"agent.iql.dataset={done.dataset}")
    for what, text in (
        ("dataset", done.dataset),
        ("folder", done.folder),
        ("hash", done.digest),
        *([("learn", learn)] if done.share is None else []),
    ):
        out.print(f"{what:8} {text}", highlight=False, soft_wrap=True)
    out.print(f"done in {seconds:.0f} s", style="dim", highlight=False)


def _result(done: Collected) -> dict[str, Any]:
    return {**done._asdict(), "folder": str(done.folder)}


if __name__ == "__main__":
    sys.exit(door(main))
