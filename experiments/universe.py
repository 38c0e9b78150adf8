"""Who is in a universe when, and what a list made today pretends: ``python -m experiments.universe --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, console, door, within
from experiments.settings import data_settings
from qframe_rl.config import UserError, build
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.universe_rule import universe_rule
from qframe_rl.times import iso, parse_time

if TYPE_CHECKING:
    from rich.console import Console

    from qframe_rl.feeds.universe import MembershipChange
    from qframe_rl.runner.hindsight import HindsightRow


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "universe",
        "Say who may be bought by a rule of what was known, by name: who joined and who left when, what was listed\n"
        "and delisted. Then the price of foresight: what equal shares became, made equal again at each renewal,\n"
        "on the members as they were known then, and on the list that the same rule makes at the end.",
        [
            "top:10:volume30d --timeframe 1d --period 2019-01-01:2025-01-01 --period 2022-01-01:2025-01-01",
            "top:20:volume30d,age:90d,deny:USDC/USDT,renew:weekly --exchange binance --from 2023-01-01",
        ],
    )
    made.add_argument("rule", metavar="RULE", help="the universe, such as top:20:volume30d; see --universe of train")
    made.add_argument(
        "--period", metavar="FROM:TO", action="append", default=[],
        help="a period of which the price of foresight is told, days (repeatable; default: all bars)",
    )  # fmt: skip
    made.add_argument(
        "--cost-bps",
        type=within(float, 0.0, 999.0),
        default=10.0,
        metavar="BP",
        help="fee of what is traded (default: 10)",
    )
    fields = {"since": "from", "until": "to", "seed": "data-seed", "universe": None}
    made.add_fields("data", DataConfig, "data", fields)
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Say who is in."""
    given = vars(parser().parse_args(argv))
    rule = universe_rule(given["rule"])
    periods: list[tuple[int | None, int | None]] = [_period(text) for text in given["period"]] or [(None, None)]
    given["data.universe"] = given["rule"]
    config = build(DataConfig, data_settings(given), "options")
    from qframe_rl.feeds.load import load
    from qframe_rl.feeds.universe import changes
    from qframe_rl.runner.hindsight import hindsight

    history = load(config)
    found = changes(history, rule)
    ahead, rows = hindsight(history, rule, periods, given["cost_bps"] / 1e4)
    out = console(to_stderr=given["json"])
    _tell(out, found, rows, ahead)
    out.print(
        f"{len(history.symbols)} candidates, {iso(int(history.time[0]))[:10]} to {iso(int(history.time[-1]))[:10]}"
    )
    return {"rule": rule.text, "candidates": list(history.symbols), "data": history.fingerprint,
            "changes": [{"time": iso(one.time), **_named(one)} for one in found], "ahead": list(ahead),
            "periods": [{**row._asdict(), "since": iso(row.since), "until": iso(row.until)} for row in rows],
            } if given["json"] else None  # fmt: skip


def _period(text: str) -> tuple[int | None, int | None]:
    since, _, until = text.partition(":")
    if not since or not until:
        raise UserError(f"--period {text!r} is not FROM:TO in days, such as 2022-01-01:2025-01-01.")
    first, last = parse_time(since), parse_time(until)
    if first >= last:
        raise UserError(f"--period {text!r}: it ends before it begins, or with it.")
    return first, last


def _named(change: MembershipChange) -> dict[str, list[str]]:
    """What changed, without what did not."""
    return {what: list(names) for what, names in change._asdict().items() if what != "time" and names}


def _tell(out: Console, found: list[MembershipChange], rows: list[HindsightRow], ahead: Sequence[str]) -> None:
    from rich import box
    from rich.table import Table

    for one in found:
        said = "; ".join(f"{what} {', '.join(names)}" for what, names in _named(one).items())
        out.print(f"{iso(one.time)[:16]}  {said}", highlight=False, soft_wrap=True)
    table = Table(title="Equal shares, renewed", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for heading in ("from", "to", "as known then", "list of the end"):
        table.add_column(heading, justify="left" if heading in ("from", "to") else "right")
    for row in rows:
        table.add_row(iso(row.since)[:10], iso(row.until)[:10], f"x{row.known:.3g}", f"x{row.ahead:.3g}")
    out.print(table)
    out.print(f"The list of the end: {', '.join(ahead) or 'nobody'}.", highlight=False)


if __name__ == "__main__":
    sys.exit(door(main))
