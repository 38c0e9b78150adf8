"""What an evaluation prints: scores of checkpoints, a study, and boards of studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.cli import called, console
from experiments.screen import stressed
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.study.plan import Study

if TYPE_CHECKING:
    from rich.console import Console

    from qframe_rl.evaluate.luck import Luck
    from qframe_rl.runner.books.evaluate import BookEvaluation
    from qframe_rl.runner.evaluate import Evaluation
    from qframe_rl.runner.study.board import Boards
    from qframe_rl.runner.study.study import Studied


def luck_line(luck: Luck, where: str) -> str:
    """One line: how many trials were counted, and what they are worth."""
    from qframe_rl.evaluate.table import FORM

    worth = "" if luck.effective is None else f", worth {luck.effective:.1f} independent ones"
    counted = f"{luck.trials} trials ({luck.trainings} trainings) were ever scored on {where}{worth}"
    return f"Luck: {counted}; DSR and PSR are of the form of {FORM}."


def tell_quoting(done: BookEvaluation, level: float, *, to_stderr: bool) -> None:
    """Print what quoting came to, with markouts and fills by cause of each."""
    from qframe_rl.evaluate.provenance import marked
    from qframe_rl.evaluate.quoting import causes, mean_markouts
    from qframe_rl.evaluate.quoting_table import SMALL, render_quoting

    out, one = console(to_stderr=to_stderr), done.history.instrument
    title = f"{marked(done.history.source)}{one.symbol} from {done.history.source.origin}"
    out.print(render_quoting(done.rows, title, one.quote, level, block=done.market.ends))
    for name, records in done.records.items():
        lots = ", ".join(f"{cause} {n:,}" for cause, n in causes(records).items())
        later = ", ".join(
            f"{horizon:g} s {'-' if m is None else format(m, '+.1f')}" for horizon, m in mean_markouts(records).items()
        )
        out.print(stressed("", name, f"  lots by cause: {lots}; ticks beyond fills after {later}"), highlight=False)
    out.print(luck_line(done.luck, "these ticks"), highlight=False)
    out.print(SMALL, highlight=False)
    out.print(f"written     {done.folder}", highlight=False, soft_wrap=True)


def tell_scores(done: Evaluation, level: float, *, to_stderr: bool) -> None:
    """Print the table and all figures of each checkpoint."""
    from qframe_rl.evaluate.metrics import metrics
    from qframe_rl.evaluate.table import AHEAD, cash_line, render, unfilled
    from qframe_rl.kernel.dust import dust_of
    from qframe_rl.types import iso

    out = console(to_stderr=to_stderr)
    history, segment = done.history, done.segment
    first = iso(int(history.time[segment.start]) - history.bar_ns)[:16]
    last = iso(int(history.time[segment.stop - 1]))[:16]
    title = f"{', '.join(history.symbols)} from {history.source.origin}, {first} to {last}"
    out.print(render([one.row for one in done.scored], title, level))
    out.print(cash_line(done.scored[0].record), highlight=False)
    out.print(AHEAD, highlight=False)
    for line in unfilled(one.row for one in done.scored):
        out.print(line, style="yellow", highlight=False)
    _tell_shortfalls(out, done)
    for one in done.scored:
        if one.checkpoint is not None:
            out.print(one.name, style="bold", highlight=False)
            figures = metrics(one.record)
            for name in figures.__slots__:
                value = getattr(figures, name)
                out.print(f"  {name:20} {value:,.6g}" if isinstance(value, float) else f"  {name:20} {value}")
            for left in dust_of(one.record):
                out.print(f"  {left}", highlight=False)
    _tell_limits(out, done.limits)
    if done.changed:
        out.print(
            "The bars are not those that the checkpoint was made with: the data have changed since.", style="yellow"
        )
    if done.stand_in:
        out.print(
            "These bars stand in for those that the checkpoint was made with, which --data FOLDER reads.",
            style="yellow",
        )
    if history.source.environment != "production":
        out.print(
            f"The data are {history.source.environment}: these figures say nothing about a real market.", style="yellow"
        )
    out.print(f"journals and picture in {done.folder}", highlight=False)


def _tell_shortfalls(out: Console, done: Evaluation) -> None:
    """Print what working orders cost, less what it costs to send them whole on the next bar."""
    if not done.shortfalls:
        return
    level = next(iter(done.shortfalls.values())).difference.level
    out.print(
        "Shortfall: fills, fees and what was missed against the price when it was decided, basis points of an order's\n"
        "value; less that of now, by pairs of orders at the same time to the same side. Growth: log, a year.\n"
        f"| agent | orders | pairs | filled | now | less now ({level:.0%}) | growth less now ({level:.0%}) |\n"
        "|---|---|---|---|---|---|---|",
        highlight=False,
    )  # fmt: skip
    for name, one in done.shortfalls.items():
        cost, grown = one.difference, one.growth
        out.print(
            f"| {name} | {one.parents:,} | {one.trades:,} | {one.filled:.1%} | {one.other:+.2f} | {cost.estimate:+.2f} "
            f"({cost.low:+.2f} to {cost.high:+.2f}) | {grown.estimate:+.4f} ({grown.low:+.4f} to {grown.high:+.4f}) |",
            highlight=False, soft_wrap=True,
        )  # fmt: skip


def tell_study(out: Console, done: Studied, config: Study, seconds: float) -> None:
    """Print the leaderboard, the verdict, and what can be done next."""
    from qframe_rl.evaluate.provenance import marked
    from qframe_rl.evaluate.report.verdict import verdict
    from qframe_rl.evaluate.table import render, unfilled

    windows = f"{done.facts['config']['walk_forward']} windows"
    windows += "" if config.refit is None else f", refitted every {config.refit}, one account"
    title = f"{marked(done.history)}Walk-forward, {windows}: {', '.join(done.history.symbols)}"
    out.print(render(done.rows, title, config.level))
    for line in unfilled(done.rows):
        out.print(line, style="yellow", highlight=False)
    _tell_limits(out, config.risk)
    for name, left in done.facts["dust"].items():
        out.print(f"{name} ends with {len(left)} position(s) that it cannot sell: {'; '.join(left)}", highlight=False)
    found = verdict(done.facts)
    out.print(found.headline, style="bold", highlight=False)
    for line in found.reasons:
        out.print(f"  - {line}", highlight=False)
    for name, recipe in done.facts.get("procedure", {}).get("recipes", {}).items():
        begin, hashed = done.facts["procedure"]["from"], done.facts["procedure"]["hashes"][name]
        out.print(f"{name}: recipe {recipe[:16]}, from {begin[:16]}, hash {hashed}", highlight=False, soft_wrap=True)
    out.print(f"\nrun     {done.folder}", highlight=False, soft_wrap=True)
    out.print(f"report  {called('report', done.folder)}", highlight=False, soft_wrap=True)
    out.print(f"done in {seconds:.0f} s", style="dim", highlight=False)


def tell_boards(done: Boards, seconds: float, *, as_json: bool) -> dict[str, Any] | None:
    """Print the boards and where they are; the JSON object where one is asked for."""
    from qframe_rl.evaluate.table import render
    from qframe_rl.runner.study.board import plain

    out = console(to_stderr=as_json)
    for board in done.boards:
        out.print(render(board.rows, f"{board.market}. {board.span}"))
    for what, path in (("tables", done.text), ("picture", done.picture), ("figures", done.facts)):
        out.print(f"{what:8} {path}", highlight=False, soft_wrap=True)
    out.print(f"done in {seconds:.0f} s", style="dim", highlight=False)
    if not as_json:
        return None
    boards = [plain(board) for board in done.boards]
    return {"text": str(done.text), "picture": str(done.picture), "boards": boards}


def _tell_limits(out: Console, limits: Limits) -> None:
    named = ", ".join(f"{name} = {value}" for name, value in limits.model_dump(exclude_defaults=True).items())
    if named:
        out.print(f"Every row, the baselines too, was held to limits of the risk engine: {named}.", highlight=False)
