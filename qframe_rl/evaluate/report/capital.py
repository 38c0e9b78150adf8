"""The report of a portfolio: its curve, members, exposure, limits and ledger, by the parts of a run's report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qframe_rl.amounts import money
from qframe_rl.evaluate.metrics import metrics
from qframe_rl.evaluate.promotion import amount
from qframe_rl.evaluate.provenance import mark_of
from qframe_rl.evaluate.report.chart import POINTS, Chart, ChartSeries, Report, Section, Table, plain, seconds, thinned
from qframe_rl.evaluate.report.sections import costs, curves
from qframe_rl.evaluate.report.through_time import drawdowns, through_time
from qframe_rl.evaluate.report.verdict import Colour
from qframe_rl.evaluate.tearsheet import tear_sheet
from qframe_rl.types import SECOND, Account, Fills, Float, Instrument, Int, Orders, Record, iso

_LISTED = 40
"""Rows of a table of movements, at most: the newest."""
_CLOSE = 0.8
"""Part of a limit from which on it is a reason."""


@dataclass(frozen=True)
class CapitalMaterial:
    """What the report of a portfolio is made of; tables are those of the API."""

    portfolio: Mapping[str, Any]
    risk: Mapping[str, Any]
    time: Int
    """(N,) closes, ns UTC."""
    worth: Float
    """(N,) equity without what was paid in or out."""
    gross: Float
    """(N,) positions of all members, as a share of equity."""
    positions: Sequence[Mapping[str, Any]]
    ledger: Sequence[Mapping[str, Any]]
    transfers: Sequence[Mapping[str, Any]]
    records: Mapping[str, Record]
    """Of members whose journals can be read, by name."""
    environments: Mapping[str, str]
    """Where each member's bars are from, such as production."""


def capital_report(given: CapitalMaterial) -> Report:
    """Lay out the report of a portfolio."""
    one = given.portfolio
    whole = _as_record(given)
    sections = [
        *(() if whole is None else _through(str(one["id"]), whole)), _members(given), _exposure(given), _limits(given),
        *([costs(given.records)] if given.records else []), _ledger(given),
    ]  # fmt: skip
    headline, colour = _headline(given)
    return Report(f"Portfolio {one['id']}", headline, colour, tuple(_reasons(given)), tuple(sections), _note(given))


def _as_record(given: CapitalMaterial) -> Record | None:
    """The portfolio as if it were one account that holds one thing; None where it has not moved yet."""
    kept = given.worth > 0.0
    time, worth = given.time[kept], given.worth[kept]
    if len(time) < 2:
        return None
    held = (worth * given.gross[kept])[:, None]
    account, n = Account(worth - held[:, 0], held, np.ones_like(held)), len(time)
    nothing = np.zeros((n, 1))
    fills = Fills(*(nothing,) * 9, np.zeros(n), np.zeros(n))
    bar_ns = max(int(np.median(np.diff(time))), SECOND)
    orders = Orders(nothing, np.full((n, 1), np.nan), np.full((n, 1), np.nan))
    return Record((Instrument("portfolio"),), bar_ns, time, account, orders, fills, np.zeros(n), "")


def _through(name: str, whole: Record) -> Iterator[Section]:
    sheet = tear_sheet(whole)
    text = ("The curve is of the equity of all members and what is with none, without what was paid in or out.",)
    yield Section("Equity and drawdown", text, tuple(curves({name: whole})), (drawdowns(sheet),))
    yield from through_time(name, whole, None, sheet)


def _headline(given: CapitalMaterial) -> tuple[str, Colour]:
    one = given.portfolio
    profit = one["equity"] - int(one["contributions"]) / 1e8
    said = f"{one['id']} has {amount(one['equity'])} {one['currency']}, {profit:+,.2f} on what was paid in."
    mark = _mark(given)
    if one["state"] != "ACTIVE":
        said, colour = f"{one['id']} is {one['state']}: it has {amount(one['equity'])} {one['currency']}.", "bad"
    else:
        colour = "good" if profit > 0.0 else "open"
    return (f"{mark}. {said}", "open") if mark else (said, colour)  # type: ignore[return-value]


def _reasons(given: CapitalMaterial) -> list[str]:
    one, risk = given.portfolio, given.risk
    found = [*one["why"], *risk["marked"]]
    found += [
        f"{limit['name']} is used to {limit['used']:.0%}: {limit['now']:,.4g} of {limit['bound']:,.4g}."
        for limit in risk["limits"] if limit["used"] >= _CLOSE
    ]  # fmt: skip
    members = len(one["members"])
    return [
        *found,
        f"{members} member{'' if members == 1 else 's'}; drawdown {risk['drawdown']:.2%}, gross {risk['leverage']:.0%} "
        f"of equity; unallocated {money(int(one['unallocated']))}, in transit {money(int(one['in_transit']))}.",
    ]


def _members(given: CapitalMaterial) -> Section:
    rows, figures = [], []
    for one in given.portfolio["members"]:
        state = one["mark"] or one["state"]
        ramp = "" if one.get("ramp") is None else f"{one['ramp']['share']:.0%} of it"
        share = "-" if one["share"] is None else f"{one['share']:.1%}"
        rows.append(
            (one["name"], f"{one['equity']:,.2f}", f"{one['weight']:.1%}", share, ramp, state,
             money(int(one["settled"])))
        )  # fmt: skip
        if (record := given.records.get(one["name"])) is not None:
            of = metrics(record)
            figures.append(
                (one["name"], f"{of.total_return:+.1%}", f"{of.sharpe:+.2f}", f"{of.max_drawdown:.1%}",
                 f"{of.volatility:.1%}", f"{of.trades:,}", f"{of.costs:,.2f}")
            )  # fmt: skip
    head = ("member", "equity", "weight", "share", "ramp", "state", "given to it")
    tables = [Table("Members", head, tuple(rows))]
    if figures:
        head = ("member", "return", "Sharpe", "max drawdown", "volatility", "fills", "costs")
        tables.append(Table("What each earned since it began, without what was paid in or out", head, tuple(figures)))
    charts = (_beside(given.records),) if given.records else ()
    return Section("Members", (), charts, tuple(tables), tables_first=True)


def _beside(records: Mapping[str, Record]) -> Chart:
    """Members' worth, each over its first."""
    lines = []
    for k, (name, record) in enumerate(records.items()):
        worth = record.worth
        rows, values = thinned(worth / worth[0] if worth[0] > 0.0 else np.zeros_like(worth), POINTS)
        lines.append(ChartSeries(name, seconds(record.time[rows]), plain(values), colour=k))
    return Chart("Members, first equity = 1", tuple(lines), y_label="times the first", lines=((1.0, ""),))


def _exposure(given: CapitalMaterial) -> Section:
    charts: tuple[Chart, ...] = ()
    if len(given.time) >= 2:
        rows, values = thinned(given.gross, POINTS)
        line = ChartSeries("", seconds(given.time[rows]), plain(values), "step")
        charts = (Chart("Gross exposure", (line,), y="percent", y_label="of equity", height=0.7),)
    held = tuple(
        (one["member"], one["pair"], f"{one['value']:+,.2f}", f"{one['weight']:+.1%}") for one in given.positions
    )
    net = tuple((pair, f"{worth:+,.2f}") for pair, worth in given.risk["net"].items() if worth)
    tables = [
        Table("Positions, none netted with another's", ("member", "pair", "value", "of equity"), held, left=2),
        Table("Net over all members", ("pair", "value"), net),
    ]
    text = () if held else ("Nothing is held.",)
    return Section("Exposure", text, charts, tuple(tables) if held else ())


def _limits(given: CapitalMaterial) -> Section:
    limits = given.risk["limits"]
    rows = tuple((one["name"], f"{one['now']:,.4g}", f"{one['bound']:,.4g}", f"{one['used']:.0%}") for one in limits)
    heat = tuple((None, None, None, -min(max(one["used"], 0.0), 1.0)) for one in limits)
    if not limits:
        return Section("Limits", ("No limit binds all members together; sessions have their own.",))
    return Section("Limits", (), (), (Table("All members together", ("limit", "now", "bound", "used"), rows, heat),))


def _ledger(given: CapitalMaterial) -> Section:
    one = given.portfolio
    balances = [
        ("contributions", money(int(one["contributions"]))), ("unallocated", money(int(one["unallocated"]))),
        ("in transit", money(int(one["in_transit"]))),
        *((f"given to {member['name']}", money(int(member["settled"]))) for member in one["members"]),
    ]  # fmt: skip
    booked = tuple(
        (iso(int(row["time_ns"])), row["kind"], money(int(row["units"])), row["source"], row["target"], row["who"])
        for row in given.ledger[-_LISTED:]
    )
    asked = tuple(
        (iso(int(row["asked_ns"])), row["member"] or "-", money(int(row["units"])), row["state"], row["why"])
        for row in list(given.transfers)[:_LISTED]
    )
    tables = [Table("Balances", ("", ""), tuple(balances))]
    if booked:
        more = f", the last {_LISTED} of {len(given.ledger):,}" if len(given.ledger) > _LISTED else ""
        head = ("booked, UTC", "kind", "amount", "from", "to", "by")
        tables.append(Table(f"Postings{more}", head, booked, left=2))
    if asked:
        what = ("asked, UTC", "member", "amount", "state", "why")
        tables.append(Table("Transfers, newest first", what, asked, left=2))
    text = ("Double entry, in units of 1e-8: contributions = unallocated + in transit + settled transfers, exactly.",)
    return Section("Ledger", text, (), tuple(tables))


def _mark(given: CapitalMaterial) -> str:
    """What its members' bars are, where they are not all an exchange's own."""
    found = sorted({name for name in given.environments.values() if name != "production"})
    return mark_of(" and ".join(found)) if found else ""


def _note(given: CapitalMaterial) -> str:
    one, mark = given.portfolio, _mark(given)
    looked = "never looked at" if one["looked_ns"] is None else f"looked at {iso(int(one['looked_ns']))} UTC"
    where = ", ".join(f"{name} ({what})" for name, what in list(given.environments.items())[:6])
    return (
        f"{mark + '. ' if mark else ''}Portfolio {one['id']} at revision {one['revision']}, {looked}. Bars of its "
        f"members: {where or 'none yet'}."
    )
