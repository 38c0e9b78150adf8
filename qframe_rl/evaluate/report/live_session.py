"""The report of a live session: what it earned beside what was forecast, and what a run's report shows of a record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qframe_rl.evaluate.inference.sequential import AGAINST, FEWEST, Promise, SequentialTest
from qframe_rl.evaluate.metrics import returns
from qframe_rl.evaluate.promotion import amount
from qframe_rl.evaluate.provenance import mark_of
from qframe_rl.evaluate.report.chart import POINTS, Chart, ChartSeries, Report, Section, Table, plain, seconds, thinned
from qframe_rl.evaluate.report.sections import costs, curves, positions
from qframe_rl.evaluate.report.through_time import drawdowns, through_time
from qframe_rl.evaluate.report.verdict import Colour
from qframe_rl.evaluate.tearsheet import tear_sheet
from qframe_rl.types import DAY, Record, iso, timeframe_name

_NORMAL = 1.959963984540054
_LISTED = 40
"""Rows of a table of events, at most: the newest."""


@dataclass(frozen=True)
class LiveMaterial:
    """What the report of a session is made of."""

    name: str
    record: Record
    terms: Mapping[str, Any]
    """Of the session, as its journal has them."""
    pulse: Mapping[str, Any]
    """What its writer said last."""
    promise: Promise | None
    head: tuple[int, str]
    """Number and hash of the last event."""
    events: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """By kind: state, command, transferred, alert, limits, process."""
    dust: Sequence[str] = ()
    """What no order can sell, in words."""


def live_report(given: LiveMaterial) -> Report:
    """Lay out the report of a session."""
    sheet, record = tear_sheet(given.record), given.record
    test, lines = _tested(given)
    headline, colour = _headline(given, test)
    sections = [
        *([] if test is None else [_promise(given, test, lines)]),
        Section(
            "Equity and drawdown", text=_paid(record), charts=tuple(curves({given.name: record})),
            tables=(drawdowns(sheet),),
        ),
        *through_time(given.name, record, None, sheet),
        positions(given.name, record, given.dust),
        costs({given.name: record}),
        _happened(given),
        _origin(given),
    ]  # fmt: skip
    return Report(given.name, headline, colour, tuple(_reasons(given, test)), tuple(sections), _note(given))


def _tested(given: LiveMaterial) -> tuple[SequentialTest | None, list[tuple[int, float, float]]]:
    """The test after the last bar; rows, Sharpe ratios so far and the evidence after each."""
    if given.promise is None:
        return None, []
    test, found = SequentialTest(given.promise, given.record.bar_ns), []
    scale = math.sqrt(test.per_year)
    for row, rate in enumerate(returns(given.record.worth), start=1):
        test.add(np.array([rate]))
        if test.n >= FEWEST and test.known[0]:
            found.append((row, float(test.ratio[0]) * scale, float(test.evidence[0])))
    return test, found


def _headline(given: LiveMaterial, test: SequentialTest | None) -> tuple[str, Colour]:
    worth = given.record.worth
    mark = mark_of(str(given.terms["source"].get("environment", given.terms["source"].get("feed", "unknown"))))
    ended = f"{amount(float(worth[-1]))} of {amount(float(worth[0]))}"
    if given.pulse.get("liquidated"):
        said, colour = f"{given.name} lost its account: {ended} is left.", "bad"
    elif test is None:
        said, colour = f"{given.name} has {ended}; its checkpoint forecast nothing to hold that against.", "open"
    else:
        said, colour = {
            "inside": (f"{given.name} earns what its checkpoint's scores forecast: it has {ended}.", "good"),
            "below": (f"{given.name} earns less than its checkpoint's scores forecast: it has {ended}.", "bad"),
            "too early": (
                f"It is too early to tell whether {given.name} earns what its checkpoint's scores forecast: it has "
                f"{ended}.", "open",
            ),
        }[test.answer]  # fmt: skip
    return (f"{mark}. {said}", "open") if mark else (said, colour)  # type: ignore[return-value]


def _reasons(given: LiveMaterial, test: SequentialTest | None) -> list[str]:
    record, pulse = given.record, given.pulse
    days = (record.time[-1] - record.time[0]) / DAY
    found = [
        f"{len(record) - 1:,} bars of {timeframe_name(record.bar_ns)} over {days:,.1f} days; orders: "
        f"{given.terms['orders']}."
    ]
    if test is not None:
        told = test.plain()
        sharpe = "not known yet" if told["sharpe"] is None else f"{told['sharpe']:+.2f} a year"
        found.append(
            f"Sharpe ratio {sharpe}; forecast {test.promise.centre:+.2f}, the next window's from "
            f"{test.promise.low:+.2f} to {test.promise.high:+.2f}."
        )
    if (state := str(pulse.get("state", "ACTIVE"))) != "ACTIVE":
        found.append(f"Trading is {state}.")
    if pulse.get("drift_bps") is not None:
        found.append(
            f"Real books cost {pulse['drift_bps']:+.1f} bps more than the backtest's rule, mean of "
            f"{pulse['drift_fills']:,} fills."
        )
    return found


def _promise(given: LiveMaterial, test: SequentialTest, lines: Sequence[tuple[int, float, float]]) -> Section:
    promise, told = test.promise, test.plain()
    text = (
        "The null hypothesis is the forecast: a true Sharpe ratio round its centre, and returns that have it. After "
        "every bar it is asked how much likelier what was earned is under lower ratios; where that reaches 20, it is "
        "below, which happens to at most one of 20 sessions that keep the promise, however often one looks. It is too "
        "early while a session that earns nothing could not be told from the forecast.",
    )
    sharpe = "-" if told["sharpe"] is None else f"{told['sharpe']:+.2f}"
    fall = "-" if promise.drawdown is None else f"{promise.drawdown:.1%}"
    odds = f"{math.exp(min(told['log_evidence'], 50.0)):,.2g} times"
    rows = (
        ("answer", told["answer"], "Sharpe ratio forecast", f"{promise.centre:+.2f}"),
        ("bars", f"{told['bars']:,}", "of the next window", f"{promise.low:+.2f} to {promise.high:+.2f}"),
        ("Sharpe ratio so far", sharpe, "deviation of the true one", f"{promise.spread:.2f}"),
        ("likelier if lower", odds, "deepest fall of the bars judged", fall),
    )
    table = Table("Earned and forecast, a year", ("", "", "", ""), rows)
    return Section("What was forecast", text, _ratio_charts(given, test, lines), (table,))


def _ratio_charts(
    given: LiveMaterial, test: SequentialTest, lines: Sequence[tuple[int, float, float]]
) -> tuple[Chart, ...]:
    if len(lines) < 2:
        return ()
    at, ratio, evidence = (np.array(column) for column in zip(*lines, strict=True))
    kept, shown = thinned(ratio, POINTS)
    where = at[kept].astype(np.int64)
    x = seconds(given.record.time[where])
    reach = _NORMAL * np.sqrt(test.promise.spread**2 + test.per_year / where)
    band = ChartSeries(
        "95 % of sessions that keep the promise", x, plain(test.promise.centre - reach), "band",
        plain(test.promise.centre + reach), 5, opacity=0.35,
    )  # fmt: skip
    odds = np.clip(evidence[kept], -7.0, 12.0) / math.log(10.0)
    return (
        Chart(
            "Sharpe ratio so far", (ChartSeries("so far", x, plain(shown), width=1.8), band), y_label="a year",
            lines=((test.promise.centre, ""), (0.0, "")),
        ),
        Chart(
            "Evidence that it is below: it is from 1.3 on, which is 20 times likelier",
            (ChartSeries("", x, plain(odds), colour=1),), y_label="powers of ten", height=0.6,
            lines=((math.log10(AGAINST), ""), (0.0, "")),
        ),
    )  # fmt: skip


def _paid(record: Record) -> tuple[str, ...]:
    if not len(record.flow) or not record.flow.any():
        return ()
    paid = float(record.flow.sum())
    way = "paid in" if paid >= 0.0 else "paid out"
    return (f"The curve is without what was {way} meanwhile, {amount(abs(paid))} together: neither profit nor loss.",)


def _happened(given: LiveMaterial) -> Section:
    tables = []
    for kind, title, columns in (
        ("state", "States of trading", ("state", "reasons")), ("command", "Commands", ("word", "by")),
        ("locked", "Locked instruments", ("symbols", "reasons")), ("paused", "Locks of protections", ("locks",)),
        ("transferred", "Transfers", ("id", "amount", "state")), ("alert", "Alerts", ("rule", "text")),
        ("process", "Processes", ("says", "pid")),
    ):  # fmt: skip
        rows = given.events.get(kind, ())
        if rows:
            more = f", the last {_LISTED} of {len(rows):,}" if len(rows) > _LISTED else ""
            shown = tuple((_when(one), *(_cell(one.get(name)) for name in columns)) for one in rows[-_LISTED:])
            tables.append(Table(f"{title}{more}", ("written, UTC", *columns), shown, left=1 + len(columns)))
    text = () if tables else ("Nothing out of the ordinary.",)
    return Section("What happened", text, (), tuple(tables))


def _when(event: Mapping[str, Any]) -> str:
    return iso(int(event["written_ns"]))


def _cell(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def _origin(given: LiveMaterial) -> Section:
    terms, record = given.terms, given.record
    source = terms["source"]
    rows = [
        (name, str(value)) for name, value in (
            ("strategy", terms["name"]), ("checkpoint", str(terms.get("model", "-"))[:16]),
            ("account", terms.get("account") or "-"),
            *((key, source[key]) for key in ("feed", "exchange", "environment", "data") if key in source),
            ("timeframe", timeframe_name(record.bar_ns)), ("symbols", ", ".join(i.symbol for i in record.instruments)),
            ("first", iso(int(record.time[0]))), ("last", iso(int(record.time[-1]))),
            ("fills by", terms.get("fills", "bar")), ("events", f"{given.head[0]:,}"), ("head", given.head[1][:32]),
        )
    ]  # fmt: skip
    text = ("Every event of the journal was checked against its chain of hashes.",)
    return Section("Where the figures are from", text, (), (Table("Journal", ("", ""), tuple(rows), left=2),))


def _note(given: LiveMaterial) -> str:
    record, source = given.record, given.terms["source"]
    mark = mark_of(str(source.get("environment", source.get("feed", "unknown"))))
    symbols = ", ".join(i.symbol for i in record.instruments[:4])
    more = f" and {len(record.instruments) - 4} more" if len(record.instruments) > 4 else ""
    return (
        f"{mark + '. ' if mark else ''}Source: {source.get('exchange', source.get('feed'))}, {symbols}{more}, "
        f"{timeframe_name(record.bar_ns)} bars, {iso(int(record.time[0]))[:16]} to {iso(int(record.time[-1]))[:16]} "
        f"UTC, orders {given.terms['orders']}. Journal at event {given.head[0]:,}, {given.head[1][:16]}."
    )
