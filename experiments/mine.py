"""Search for formulas and judge them year by year: ``python -m experiments.mine --help``."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, console, door
from experiments.screen import BarScreen
from experiments.settings import data_settings
from qframe_rl.config import UserError, build
from qframe_rl.feeds.data import DataConfig

if TYPE_CHECKING:
    from rich.console import Console

    from qframe_rl.runner.alpha_study import AlphaStudy, AlphaStudyPlan

_OPTIONS = {
    "search": ("NAME", "random, genetic, policy or risk (default: genetic)"),
    "n_formulas": ("N", "distinct formulas that each year's pool is made from (default: 1000)"),
    "n_years": ("N", "calendar years, the last of the bars, each judged by what was mined before it (default: 4)"),
    "horizon_bars": ("N", "bars that a label looks ahead and a decision is held (default: a day of hours, five days)"),
    "judged_by": ("NAME", "what a formula is paid for: net, after costs, or ic (default: net)"),
    "weighing": ("NAME", "how a pool is weighed: ridge, nonnegative or l1 (default: ridge)"),
    "n_largest": ("N", "coins that are ranked, by turnover (default: all)"),
    "leader": ("BOOL", "whether formulas may read the coin of the largest turnover beside each coin (default: false)"),
    "cost_bps": ("BP", "fee and half-spread of what is traded (default: 10)"),
    "n_null": ("N", "searches on shuffled returns, for each year and each of two shuffles (default: 5; 0 = none)"),
    "seed": ("N", "root of all randomness (default: 0)"),
}
_NAMES = {"n_formulas": "formulas", "n_years": "years", "horizon_bars": "horizon", "n_largest": "largest",
          "n_null": "nulls"}  # fmt: skip


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "mine",
        "Mine a pool of formulas on all bars before each of the last years, and judge it on that year, once: its\n"
        "information coefficient, and its long and short book after costs, beside factors that anyone knows, and\n"
        "beside what the same search finds where returns were shuffled. A study that is broken off goes on with the\n"
        "years that it has. The language is in docs/alphas.md; qframe train --agents alpha trades such pools.",
        [
            "--symbols BTC/USDT,ETH/USDT,... --timeframe 1d",
            "--data synthetic:correlated,n_instruments=12 --timeframe 1d --bars 2000 --years 2 --formulas 200",
            "--symbols BTC/USDT --timeframe 1h --search risk --nulls 20",
        ],
    )
    group = made.add_argument_group("what is mined, and how it is judged")
    for field, (metavar, text) in _OPTIONS.items():
        name = _NAMES.get(field, field).replace("_", "-")
        group.add_argument(f"--{name}", dest=field, metavar=metavar, help=text)
    made.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs (default: runs)")
    made.add_ledger()
    made.add_fields("data", DataConfig, "data", {"since": "from", "until": "to", "seed": "data-seed"})
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Mine and judge."""
    given, began = vars(parser().parse_args(argv)), time.monotonic()
    from qframe_rl.evaluate.alpha_plot import alpha_figure
    from qframe_rl.evaluate.painted import write_png
    from qframe_rl.evaluate.provenance import marked
    from qframe_rl.runner.alpha_study import AlphaStudyPlan, alpha_study

    own = {field: given[field] for field in _OPTIONS if given[field] is not None}
    plan = _plan(AlphaStudyPlan, {"data": data_settings(given), **own})
    with BarScreen() as screen:
        screen.begin("mine")
        study = alpha_study(
            plan, given["runs"], lambda what, done, total: screen.advance("mine", done, total, what), given["ledger"]
        )
        screen.end("mine", f"{len(study.years)} years")
        for line in study.history.notes:
            screen.say(line)
    picture = study.folder / "study.png"
    values = {one.year: one.value for one in study.years}
    nulls = {one.year: [value for null in one.nulls for value in null.train] for one in study.years}
    title = f"{marked(study.history.source)}Pools of {plan.n_formulas:,} formulas ({plan.search}), judged year by year"
    write_png(alpha_figure(study.courses, values, nulls, title), picture)
    said = {**study.plain(), "folder": str(study.folder), "picture": str(picture), "verdict": verdict(study)}
    _tell(console(to_stderr=given["json"]), plan, study, picture, time.monotonic() - began)
    return said if given["json"] else None


def _plan(kind: type[AlphaStudyPlan], values: Mapping[str, Any]) -> AlphaStudyPlan:
    """The study that the options ask for; a wrong one is named as it was given."""
    try:
        return build(kind, values, "options")
    except UserError as error:
        for field in _OPTIONS:
            if str(error).startswith(said := f"options: {field}"):
                name = _NAMES.get(field, field).replace("_", "-")
                raise UserError(f"--{name}{str(error).removeprefix(said)}") from None
        raise


def verdict(study: AlphaStudy) -> str:
    """What came of it, in words."""
    rows = {row.name: row for row in study.rows}
    pool, known = rows["pool"], [row for row in study.rows if row.name not in ("pool", "best single")]
    best = max(known, key=lambda row: row.sharpe)
    ranks = "tells returns apart" if pool.t > 2.0 else "cannot be told from chance"
    earns = "earns" if pool.sharpe > 2.0 * pool.error else "cannot be told from nothing earned"
    better = "above" if pool.sharpe > best.sharpe + pool.error else "not above"
    worst = max((null.p for one in study.years for null in one.nulls), default=math.nan)
    luck = "" if math.isnan(worst) else f"; the worst p against shuffled returns is {worst:.2f}"
    return (
        f"On years that it had not seen the pool's IC of {pool.ic:+.3f} (t {pool.t:+.1f}) {ranks}; after costs its "
        f"book has a Sharpe ratio of {pool.sharpe:+.2f} ± {pool.error:.2f} and {earns}, {better} {best.name} "
        f"({best.sharpe:+.2f}){luck}."
    )


def _tell(out: Console, plan: AlphaStudyPlan, study: AlphaStudy, picture: Path, seconds: float) -> None:
    out.print(_rows(study))
    out.print(_years(study))
    last = study.years[-1]
    for one in last.members:
        out.print(f"{one.weight:+.4f}  {one.text}", highlight=False)
    out.print(f"The pool mined before {last.year}, with its weights.", style="dim", highlight=False)
    out.print()
    out.print(verdict(study), style="bold", highlight=False)
    ahead = plan.ahead(study.history.bar_ns)
    text = f"The IC is the mean correlation of ranks with the return over the next {ahead} bars, t by Newey and West."
    if study.history.source.environment == "production":
        text += " The coins are those whose files survived: the dead are missing, which flatters every row."
    out.print(text, highlight=False)
    for what, place in (("study", study.folder / "study.json"), ("picture", picture)):
        out.print(f"{what:11} {place}", highlight=False, soft_wrap=True)
    out.print(f"done in {seconds:.0f} s", style="dim", highlight=False)


def _rows(study: AlphaStudy) -> Any:
    from rich import box
    from rich.table import Table

    years = [one.year for one in study.years]
    table = Table(
        title=f"{len(study.history.symbols)} instruments, {years[0]} to {years[-1]}", title_justify="left",
        title_style="bold", box=box.SIMPLE_HEAD,
    )  # fmt: skip
    table.add_column("")
    for heading in ("IC", "t", "rank IC", "net Sharpe", *map(str, years), "turn./y"):
        table.add_column(heading, justify="right")
    for row in study.rows:
        rank = "-" if math.isnan(row.rank_ic) else f"{row.rank_ic:+.3f}"
        each = [f"{row.by_year[year]:+.2f}" for year in years]
        figures = [f"{row.ic:+.3f}", f"{row.t:+.1f}", rank, f"{row.sharpe:+.2f} ± {row.error:.2f}"]
        table.add_row(row.name, *figures, *each, f"{row.turnover:.0f}")
    return table


def _years(study: AlphaStudy) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title="Each search", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("before")
    for heading in ("IC there", "J there", "tried", "calls", "worth", "p coins", "p blocks", "IC less luck"):
        table.add_column(heading, justify="right")
    for one in study.years:
        by = {null.shuffle: null for null in one.nulls}
        luck = [f"{by[name].p:.2f}" if name in by else "-" for name in ("coins", "blocks")]
        less = f"{min(null.deflated_ic for null in one.nulls):+.3f}" if one.nulls else "-"
        counts = [f"{one.distinct:,}", f"{one.calls:,}", f"{one.n_effective:.0f}"]
        table.add_row(str(one.year), f"{one.ic:+.3f}", f"{one.value:+.3f}", *counts, *luck, less)
    return table


if __name__ == "__main__":
    sys.exit(door(main))
