"""Hold agents against markets whose optimum is known: ``python -m experiments.solve --help``."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Interrupted, Parser, console, door, within
from experiments.screen import BarScreen
from experiments.settings import roster
from qframe_rl import catalog
from qframe_rl.config import UserError, build, nearest

if TYPE_CHECKING:
    from rich.console import Console

    from qframe_rl.runner.solve.gates import Case, GateResult, GateTrainings, Trained

CASES = Path(__file__).resolve().parent / "solve.toml"


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "solve",
        "Train agents on markets whose optimal policy is known, with several seeds each, and compare what they reach\n"
        "with the optimum on common random numbers; search for formulas where one is planted.\n"
        "Finished trainings are kept and taken over by the next run of the same configuration and code; what was\n"
        "interrupted goes on.",
        ["", "ar1_signal execution --seeds 5", "garleanu_pedersen --agents sb3,sb3:sac,sb3:td3"],
        f"markets: {', '.join(_read(CASES))}\nagents: {', '.join(catalog.names('agents'))}; variants: see {CASES.name}",
    )
    made.add_argument("markets", nargs="*", metavar="MARKET", help="markets of the file of cases (default: all)")
    made.add_argument(
        "--agents",
        metavar="NAMES",
        help="agents of the catalogue, or their variants in the file of cases (default: those of rosters.toml)",
    )
    made.add_argument(
        "--seeds", type=within(int, 1, 1000), default=1, metavar="N", help="trainings of each agent (default: 1)"
    )
    made.add_argument(
        "--seed", type=within(int, 0, 2**63 - 1), default=0, metavar="N", help="root of all seeds (default: 0)"
    )
    made.add_argument(
        "--episodes",
        type=within(int, 1, 1e7),
        default=2000,
        metavar="N",
        help="episodes that a policy is measured on (default: 2000)",
    )
    made.add_on()
    made.add_track()
    made.add_argument("--cases", type=Path, default=CASES, metavar="FILE", help="TOML of cases (default: the house's)")
    made.add_argument(
        "--out", type=Path, default=Path("runs/solve"), metavar="FOLDER",
        help="folder for trainings and pictures (default: runs/solve)",
    )  # fmt: skip
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Solve."""
    given = vars(parser().parse_args(argv))
    results: list[GateResult] = []
    with BarScreen(track=given["track"]) as screen:
        screen.begin("start up")
        from qframe_rl.runner.executors import executor_of
        from qframe_rl.runner.solve.gates import GateTrainings

        cases = load_cases(given["cases"])
        plan = planned(cases, given["markets"], given["agents"])
        screen.end("start up", f"{sum(map(len, plan.values())) * given['seeds']} trainings")
        with executor_of(given["on"]) as executor:
            trainings = GateTrainings(cases, given["out"], screen, given["seed"], given["episodes"], executor)
            try:
                for market, labels in plan.items():
                    results += solve(trainings, market, labels, given["seeds"], given["out"])
            except KeyboardInterrupt:
                screen.say("Finished trainings are kept, the interrupted one goes on: give the same command again.")
                report(console(to_stderr=given["json"]), results, given["out"])
                raise Interrupted(_result(results) if given["json"] else None) from None
    report(console(to_stderr=given["json"]), results, given["out"])
    return _result(results) if given["json"] else None


def load_cases(path: Path) -> dict[str, Case]:
    """Read a file of cases.

    Raises
    ------
    UserError
        If it is missing, broken or empty.
    """
    from qframe_rl.runner.solve.gates import Case

    cases = {name: build(Case, table, f"{path.name}: {name}") for name, table in _read(path).items()}
    if not cases:
        raise UserError(f"{path} has no market; each is a table, as in {CASES.name}.")
    return cases


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not TOML: {error}.") from None


def planned(cases: Mapping[str, Case], markets: Sequence[str], agents: str | None) -> dict[str, list[str]]:
    """Labels of the agents to train on each market. A variant runs where the file of cases has it.

    Raises
    ------
    UserError
        For an unknown market or agent.
    """
    from qframe_rl.alpha.search import SEARCHES
    from qframe_rl.runner.solve.gates import can_solve

    known = {*catalog.names("agents"), *(label for case in cases.values() for label in case.agents)}
    for name in markets:
        if name not in cases:
            raise UserError(f"unknown market {name!r}{nearest(name, cases)}")
    if agents is None:
        agents_too = catalog.names("agents")  # one of them has the name of a search
        labels = [name for name in roster("solve") if can_solve(name)]
        labels += [name for name in SEARCHES if name not in agents_too and name in known]
    else:
        labels = [name for name in dict.fromkeys(agents.split(",")) if name]
    for label in labels:
        if label not in known:
            raise UserError(f"unknown agent {label!r}{nearest(label, known)}")
    plan = {}
    for market in dict.fromkeys(markets or cases):
        here = [label for label in labels if cases[market].takes(label)]
        if here:
            plan[market] = here
    if not plan:
        raise UserError(f"--agents {agents}: none of them is in the file of cases for {', '.join(markets or cases)}.")
    return plan


def solve(trainings: GateTrainings, market: str, labels: Sequence[str], seeds: int, folder: Path) -> list[GateResult]:
    """Train and judge all agents on one market, and draw their policies."""
    from qframe_rl.evaluate.painted import write_png
    from qframe_rl.runner.solve.gates import SolveJob, optimum, verdict
    from qframe_rl.runner.solve.portrait import policy_figure

    trained: dict[str, list[Trained]] = {label: [] for label in labels}
    for one in trainings.train([SolveJob(market, label, run) for label in labels for run in range(seeds)]):
        trained[one.job.label].append(one)
    found = [verdict(trainings.cases[market], runs) for runs in trained.values()]
    shares = ", ".join(f"{one.agent} {one.share:.2%}" for one in found)
    portraits = {label: [one.curves for one in runs] for label, runs in trained.items()}
    figure = policy_figure(market, optimum(trainings.cases[market]), portraits, f"share of the optimum: {shares}")
    folder.mkdir(parents=True, exist_ok=True)
    write_png(figure, folder / f"{market}.png")
    return found


def report(out: Console, results: Sequence[GateResult], folder: Path) -> None:
    """Print the table."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not results:
        return
    table = Table(title="Share of the optimal value", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for heading in ("market", "agent"):
        table.add_column(heading, overflow="fold")
    for heading in ("seeds", "share", "95 % interval", "gate", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in results:
        verdict = Text("passed", "green") if one.passed else Text("missed", "red")
        interval = f"{one.low:.2%} … {one.high:.2%}" if one.seeds > 1 else "-"
        share = f"{one.share:.2%}"
        table.add_row(one.market, one.agent, str(one.seeds), share, interval, f"{one.gate:.1%}", verdict)
    out.print(table)
    out.print(f"pictures and trainings in {folder}", highlight=False)


def _result(results: Sequence[GateResult]) -> dict[str, Any]:
    return {"results": [one._asdict() for one in results]}


if __name__ == "__main__":
    sys.exit(door(main))
