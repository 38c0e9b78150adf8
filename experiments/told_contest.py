"""What a search among several strategies prints: what each window chose, the leaderboard, and the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.cli import called
from experiments.told import luck_line
from qframe_rl.runner.tune.contest_plan import Contest

if TYPE_CHECKING:
    from rich.console import Console

    from qframe_rl.runner.tune.contest import Contested

_MOST_SCORES = 4


def tell_contest(out: Console, done: Contested, config: Contest, seconds: float) -> None:
    """Print it."""
    from qframe_rl.evaluate.provenance import marked
    from qframe_rl.evaluate.table import AHEAD, render

    out.print(_windows(done))
    title = f"{marked(done.history)}Test bars of all {len(done.windows)} windows: {', '.join(done.history.symbols)}"
    out.print(render(done.rows, title, config.level))
    out.print(AHEAD, highlight=False)
    for name, reason in done.left_out.items():
        out.print(f"Left out: {name}: {reason}", highlight=False)
    out.print(verdict(done, config.level), style="bold", highlight=False)
    out.print(luck_line(done.luck, "these data"), highlight=False)
    if done.facts["promotion"]["forced"]:
        out.print("Warning: it is deployed although it failed the test for it.", style="yellow")
    out.print()
    for what, text in (
        ("run", done.folder),
        ("checkpoint", done.checkpoint),
        ("evaluate", called("evaluate", done.checkpoint)),
        ("paper", called("paper", done.checkpoint, "--feed", "replay", "--speed", "max")),
    ):
        out.print(f"{what:11} {text}", highlight=False, soft_wrap=True)
    out.print(f"done in {seconds:.0f} s", style="dim", highlight=False)


def verdict(done: Contested, level: float) -> str:
    """One sentence: what the choices came to on bars that they had not seen, and whether that is more than luck."""
    row, promotion = next(row for row in done.rows if row["agent"] == "automl"), done.facts["promotion"]
    settings = sum(one.settings for one in done.windows)
    return (
        f"Verdict: what {settings} settings chose has a Sharpe ratio of {row['sharpe']:+.2f} a year on bars that it "
        f"had not seen ({level:.0%} interval {row['sharpe_low']:+.2f} to {row['sharpe_high']:+.2f}); "
        f"{promotion['reason']}."
    )


def _windows(done: Contested) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title="What each window chose", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for heading in ("judged from", "chosen", "Sharpe before", "after", "settings"):
        table.add_column(heading, justify="right")
    table.add_column("arms, best bound first", overflow="fold")
    for one, fact in zip(done.windows, done.facts["windows"], strict=True):
        before, after = fact["in_sample"]["sharpe"], fact["out_of_sample"]
        scores = [f"{name} {score:+.2f}" for name, score in list(one.scores.items())[:_MOST_SCORES]]
        figures = (f"{before:+.2f}", f"{after:+.2f}", str(one.settings))
        table.add_row(fact["test"][0][0][:10], one.arm.title, *figures, ", ".join(scores))
    return table
