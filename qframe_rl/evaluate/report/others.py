"""The sections of a report that a study alone has: windows, tuning, cross-validation, other histories, regimes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from qframe_rl.evaluate.report.chart import Chart, ChartSeries, Section, Table, plain

_HEAT = 2.0


def beneath(facts: Mapping[str, Any]) -> Iterator[Section]:
    """Sections for what the facts hold."""
    if facts.get("folds"):
        yield _folds(facts)
    if facts.get("overfitting"):
        yield _overfitting(facts["overfitting"])
    if facts.get("superiority"):
        yield _superiority(facts["superiority"])
    if facts.get("cpcv"):
        yield _cross(facts["cpcv"])
    if facts.get("monte_carlo"):
        yield _monte_carlo(facts["monte_carlo"], facts["significance"]["sharpe"]["estimate"])
    if facts.get("stress"):
        yield _stress(facts["stress"])
    if facts.get("periods"):
        yield _periods(facts["periods"])
    if facts.get("influence"):
        yield _influence(facts["influence"])


def _folds(facts: Mapping[str, Any]) -> Section:
    rows, names = [], list(facts["folds"][0]["params"])
    for one in facts["folds"]:
        inside = "-" if one["in_sample"] is None else f"{one['in_sample']:+.2f}"
        rows.append(
            (
                str(one["fold"] + 1), f"{one['train'][0][0][:10]} to {one['train'][-1][1][:10]}",
                f"{one['test'][0][0][:10]} to {one['test'][-1][1][:10]}", *(_text(one["params"][n]) for n in names),
                inside, f"{one['out_of_sample']:+.2f}", f"{one['total_return']:+.1%}", f"{one['trades']:,}",
            )
        )  # fmt: skip
    head = ("window", "trained on", "judged on", *names, "Sharpe before", "Sharpe after", "return after", "fills")
    tables = [Table("Fitted and tuned anew in every window", head, tuple(rows), left=3 + len(names))]
    labels = [str(one["fold"] + 1) for one in facts["folds"]]
    after = ChartSeries(
        "on the bars that followed", labels, plain([one["out_of_sample"] for one in facts["folds"]]), "bars"
    )
    series = [after]
    if all(one["in_sample"] is not None for one in facts["folds"]):
        before = plain([one["in_sample"] for one in facts["folds"]])
        series.insert(0, ChartSeries("where it was chosen", labels, before, "bars", colour=5))
    chart = Chart(
        "Sharpe ratio of the chosen setting",
        tuple(series),
        x="category",
        x_label="window",
        height=0.8,
        lines=((0.0, ""),),
    )
    text = []
    if len(series) == 2:
        before_mean, after_mean = (float(np.mean(one.y)) for one in series)
        share = f", {after_mean / before_mean:.0%} of it" if before_mean > 0.0 and after_mean > 0.0 else ""
        text.append(f"Mean Sharpe ratio {before_mean:+.2f} where settings were chosen, {after_mean:+.2f} after{share}.")
    if facts.get("settings"):
        tables.append(_stability(facts["settings"]))
        picks = sum(one["chosen"] > 0 for one in facts["settings"])
        text.append(f"{picks} of {len(facts['settings'])} settings were chosen in at least one window.")
    return Section("Walk-forward", tuple(text), (chart,), tuple(tables))


def _stability(settings: Sequence[Mapping[str, Any]]) -> Table:
    ranked = sorted(settings, key=lambda one: -one["sharpe"])
    n = len(ranked[0]["folds"])
    rows, heat = [], []
    for one in ranked:
        name = ", ".join(f"{key} {_text(value)}" for key, value in one["params"].items())
        rows.append((name, str(one["chosen"]), f"{one['sharpe']:+.2f}", *(f"{value:+.2f}" for value in one["folds"])))
        heat.append((None, None, _heat(one["sharpe"]), *(_heat(value) for value in one["folds"])))
    head = ("setting", "chosen", "all", *(str(k + 1) for k in range(n)))
    return Table("Sharpe ratio of every setting on the bars after each window", head, tuple(rows), tuple(heat))


def _overfitting(found: Mapping[str, Any]) -> Section:
    edges, counts = np.array(found["histogram"]["edges"]), found["histogram"]["counts"]
    middle = (edges[1:] + edges[:-1]) / 2.0
    chart = Chart(
        "Where the best setting of one half ranks in the other",
        (ChartSeries("splits", plain(middle), plain(counts), "bars", colour=0),), x="number",
        x_label="logit of the rank: above zero = upper half, zero or below = overfitted", y_label="splits", height=0.9,
        marks=((0.0, "median"),),
    )  # fmt: skip
    text = (
        f"Probability of backtest overfitting {found['probability']:.3f}: in so many of the {found['splits']:,} ways "
        f"to halve {found['blocks']} blocks of time the setting that was best in one half lies in the lower half in "
        f"the other. On pure noise it is one half on average. In {found['loss']:.0%} of them the choice lost money.",
    )
    return Section("Probability of backtest overfitting", text, (chart,))


def _superiority(found: Mapping[str, Any]) -> Section:
    rows = tuple(
        (what, f"{one['spa']:.3f}", f"{one['spa_lower']:.3f}", f"{one['reality_check']:.3f}", str(one["block"]))
        for what, one in (("cash", found["cash"]), ("buying and holding", found["buy_and_hold"]))
    )
    tables = [
        Table(
            f"p-values: does any of {found['strategies']} settings beat ...",
            ("benchmark", "SPA", "lower", "reality check", "block, days"), rows,
        )
    ]  # fmt: skip
    best = found["confidence_set"]
    if best is not None:
        body = tuple((n, f"{p:.3f}", "yes" if n in best["included"] else "no") for n, p in best["p"].items())
        title = f"Model confidence set: may be the best with probability {1.0 - best['size']:.0%}"
        tables.append(Table(title, ("strategy", "p", "in the set"), body))
    return Section("Superior to what was searched for?", tables=tuple(tables))


def _cross(found: Mapping[str, Any]) -> Section:
    grid = np.linspace(0.0, 1.0, len(found["curves"][0]))
    series = tuple(
        ChartSeries(f"path {k + 1}, Sharpe {found['sharpe'][k]:+.2f}", plain(grid), plain(curve), colour=k)
        for k, curve in enumerate(found["curves"])
    )
    chart = Chart(
        f"{len(series)} paths through time", series, x="number", y_label="growth of 1",
        x_label=f"share of the time from {found['from'][:10]} to {found['to'][:10]}", lines=((1.0, ""),),
    )  # fmt: skip
    text = (
        f"{found['splits']} splits of {found['groups']} groups, {found['tested']} tested in each, training bars purged "
        "and embargoed; every group is judged by settings that were chosen without it, before and after it in time.",
    )
    return Section("Combinatorial purged cross-validation", text, (chart,))


def _monte_carlo(found: Mapping[str, Any], ratio: float) -> Section:
    charts, rows = [], []
    titles = {
        "bootstrap": "The record's own returns, resampled in blocks",
        "rebuilt": "The strategy on price paths rebuilt from resampled moves",
        "trades": "The record's trades in other orders",
    }
    for key, title in titles.items():
        charts.append(_fan(found[key], title))
        rows.append(_spread(title, found[key]))
    rows += [_spread(f"Null: {null['text']}", null) for null in found["nulls"].values() if null["paths"]]
    charts.append(_nulls(found["nulls"], ratio))
    head = ("what", "paths", "Sharpe 5 %", "median", "95 %", "return a year, median", "max drawdown 5 %", "gained")
    text = [
        "Bars' moves are resampled, never prices; rebuilt paths keep instruments together and blocks of "
        f"{found['rebuilt']['block']:,.0f} bars whole. The record's own figures are drawn in black."
    ]
    if found["rebuilt"]["paths"] < found["rebuilt"]["asked"]:
        text.append(
            f"The strategy must be walked bar by bar, so {found['rebuilt']['paths']} of {found['rebuilt']['asked']} "
            "paths were walked."
        )
    return Section("Monte Carlo", tuple(text), tuple(charts), (Table("Spreads", head, tuple(rows)),))


def _fan(found: Mapping[str, Any], title: str) -> Chart:
    fan = found["fan"]
    low, lower, middle, upper, high = fan["quantiles"]
    real = [ChartSeries("record", fan["at"], fan["real"], colour=-1, width=1.8)] if fan["real"] is not None else []
    series = [
        *real,
        ChartSeries("median", fan["at"], middle, colour=0),
        *(ChartSeries("", fan["at"], path, colour=-2, width=0.5, opacity=0.5) for path in fan["shown"][:6]),
        ChartSeries("25 to 75 %", fan["at"], lower, "band", upper, 0, opacity=0.35),
        ChartSeries("5 to 95 %", fan["at"], low, "band", high, 5, opacity=0.35),
    ]
    return Chart(
        title, tuple(series), x="number", x_label="share of the time", y_label="growth of 1", log=_wide(fan), height=0.9
    )


def _wide(fan: Mapping[str, Any]) -> bool:
    low, high = min(fan["quantiles"][0]), max(fan["quantiles"][-1])
    return bool(low > 1e-6 and high / low > 10.0)


def _nulls(nulls: Mapping[str, Any], ratio: float) -> Chart:
    series = []
    for k, (name, null) in enumerate(nulls.items()):
        if null["paths"]:
            edges = np.array(null["histogram"]["edges"])
            share = np.array(null["histogram"]["counts"]) / null["paths"] / (edges[1] - edges[0])
            series.append(
                ChartSeries(
                    f"{name}, p = {null['p']:.3f}",
                    plain((edges[1:] + edges[:-1]) / 2.0),
                    plain(share),
                    "line",
                    colour=k,
                )
            )
    return Chart(
        "Sharpe ratios where nothing can be known", tuple(series), x="number", x_label="Sharpe ratio a year",
        y_label="density", height=0.9, marks=((ratio, "record"),),
    )  # fmt: skip


def _spread(name: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    ratio = found["sharpe"]
    return (
        name, f"{found['paths']:,}", *(f"{ratio[k]:+.2f}" for k in ("low", "median", "high")),
        f"{found['annual_return']['median']:+.1%}", f"{found['max_drawdown']['low']:.1%}",
        f"{found['total_return']['positive']:.0%}",
    )  # fmt: skip


def _stress(rows: Sequence[Mapping[str, Any]]) -> Section:
    shown = [row for row in rows if row["group"] != "missing"]
    missing = [row for row in rows if row["group"] == "missing"]
    if missing:
        ratios = [row["sharpe"] for row in missing]
        shown.append(
            {
                "name": f"1 % of bars missing (mean of {len(missing)})", "group": "missing",
                "sharpe": float(np.mean(ratios)),
                "total_return": float(np.mean([row["total_return"] for row in missing])),
                "max_drawdown": float(np.mean([row["max_drawdown"] for row in missing])),
            }
        )  # fmt: skip
    base = rows[0]["sharpe"]
    body = tuple(
        (row["name"], f"{row['sharpe']:+.2f}", f"{row['total_return']:+.1%}", f"{row['max_drawdown']:.1%}")
        for row in shown
    )
    heat = tuple((None, _heat(row["sharpe"] - base), None, None) for row in shown)
    return Section(
        "Stress",
        ("The walk-forward record replayed with one thing changed; colours show the change in the Sharpe ratio.",),
        tables=(Table("Costs, delay, missing bars, parameters", ("", "Sharpe", "return", "max drawdown"), body, heat),),
    )


def _periods(found: Mapping[str, Any]) -> Section:
    titles = {
        "years": "By calendar year", "crises": "In named crises",
        "regimes": "By regime: sign of the market's return over 200 days, tercile of its volatility over 30 days",
    }  # fmt: skip
    tables = [_cells(found[key], title) for key, title in titles.items() if found[key]]
    text = (
        "± is one standard error. A star marks what stands out after Bonferroni's correction over its table's cells.",
    )
    return Section("Years, crises, regimes", text, tables=tuple(tables))


def _cells(cells: Sequence[Mapping[str, Any]], title: str) -> Table:
    head = ("", "bars", "return", "market", "Sharpe", "worst day", "days that gained")
    rows = tuple(
        (
            cell["name"], f"{cell['bars']:,}", f"{cell['total_return']:+.1%}", f"{cell['market_return']:+.1%}",
            f"{cell['sharpe']:+.2f} ± {cell['error']:.2f}{' *' if cell['stands_out'] else ''}", f"{cell['worst']:+.1%}",
            f"{cell['positive']:.0%}",
        )
        for cell in cells
    )  # fmt: skip
    heat = tuple((None, None, None, None, _heat(cell["sharpe"]), None, None) for cell in cells)
    return Table(title, head, rows, heat)


def _influence(found: Sequence[Mapping[str, Any]]) -> Section:
    rows = tuple(
        (
            one["time"], f"{one['rate']:+.2%}", f"{one['sharpe_without']:+.2f}", f"{one['total_without']:+.1%}",
            f"{one['errors']:.2f}", "decides the result" if one["decides"] else "",
        )
        for one in found
    )  # fmt: skip
    head = (
        "close of the bar",
        "its return",
        "Sharpe without it",
        "total return without it",
        "standard errors moved",
        "",
    )
    text = ("A bar that moves a figure by more than its standard error decides the result: it may be a bad print.",)
    return Section("The bars that matter most", text, tables=(Table("Influence", head, rows),))


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _heat(ratio: float) -> float:
    return max(-1.0, min(1.0, ratio / _HEAT))
