"""Rows of quoting as text for a screen of 100 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qframe_rl.evaluate.quoting import QuotingRow

if TYPE_CHECKING:
    from rich.console import Group

SMALL = "Minutes of one day are an anecdote: the interval is about these minutes, not about other days."
"""What stands below every table of so little time."""


def render_quoting(rows: Sequence[QuotingRow], title: str, unit: str, level: float, *, block: bool) -> Group:
    """Lay rows out: what they came to, and under it how they quoted.

    Parameters
    ----------
    rows
        The leaderboard.
    title
        Line above the tables.
    unit
        Quote currency.
    level
        Of the rows' intervals, for the heading.
    block
        Whether blocks were done, which are scored by what they saved.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table

    first, second = (
        Table(title=t or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
        for t in (title, "")
    )
    score = "saved, bp" if block else f"profit, {unit}"
    trades = "trades only" if not block else "trades only, bp"
    for table, names in (
        (first, ("minutes", score, f"{level:.0%} interval", trades, "DSR", "turnover, bp", f"fees, {unit}")),
        (second, ("fills", "fill rate", "msgs/fill", "spread, bp", "1 s later", "inventory", "most", "ahead")),
    ):
        table.add_column("agent", overflow="fold")
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        first.add_row(
            row["agent"], f"{row['minutes']:.1f}", _signed(row["score"]),
            f"{_signed(row['low'])} {_signed(row['high'])}", _signed(row["score_trades"]),
            f"{row['dsr']:.3f}", _told(row["bps"], "+.2f"), f"{row['fees']:.4g}",
        )  # fmt: skip
        second.add_row(
            row["agent"], f"{row['fills']:,}", _told(row["fill_rate"], ".1%"), _told(row["order_to_trade"], ".1f"),
            _told(row["spread_bps"], "+.2f"), _told(row["markout_1s"], "+.1f"), f"{row['mean_inventory']:.2f}",
            f"{row['most_inventory']:.2f}", _told(row["ahead"], ".0%"),
        )  # fmt: skip
    return Group(first, second)


def _signed(value: float) -> str:
    return f"{value:+.4g}" if value else "0"


def _told(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
