"""Reports of markets of many agents: what roles earned and could still gain, and who is better in the same seats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qframe_rl.evaluate.report.chart import POINTS, Chart, ChartSeries, Report, Section, Table, plain, thinned
from qframe_rl.types import Float, Int

_BOUND = "A reply was trained: what it gains is a lower bound, and one that gains nothing proves no equilibrium."
_CURVES = {
    "episode_return": ("Return of an episode", "mean of the last hundred"), "entropy": ("Entropy of the actions", ""),
    "explained_variance": ("Share of the returns' variance that the critic explains", ""),
}  # fmt: skip


@dataclass(frozen=True)
class ArenaMaterial:
    """What the report of a training among many agents is made of."""

    name: str
    facts: Mapping[str, Any]
    """Roles, what they earned, what a best reply gained."""
    experiment: Mapping[str, Any]
    updates: Sequence[Mapping[str, Any]]
    """Curves of each role after each update."""
    earned: Mapping[str, Mapping[str, Sequence[float]]]
    """By role: ``mean``, ``low``, ``high`` of what one agent had earned by each step of an episode."""
    seat: Mapping[str, Any] | None
    """An episode of one agent of an order book."""


@dataclass(frozen=True)
class TournamentMaterial:
    """What the report of a tournament is made of."""

    name: str
    plan: Mapping[str, Any]
    ratings: Sequence[Mapping[str, Any]]
    pairs: Mapping[tuple[str, str], Float]
    """(E, 2) returns of the two of each pair."""
    digest: str


def arena_report(material: ArenaMaterial) -> Report:
    """Lay out the report of a training among many agents."""
    facts, level = material.facts, float(material.experiment["level"])
    gains = facts["exploitability"]
    sure = {role: one for role, one in gains.items() if one["low"] > 0.0}
    if not gains:
        headline, colour = "returns alone say nothing of an equilibrium: no best reply was trained", "open"
    elif sure:
        told = ", ".join(f"{role} {one['gain']:,.0f}" for role, one in sure.items())
        headline, colour = f"no equilibrium: a best reply surely gains as {told} an episode", "bad"
    else:
        headline, colour = "no better reply was found, as far as was looked", "open"
    who = ", ".join(f"{role}={name.rpartition('/')[2]}" for role, name in facts["roles"].items())
    sections = [
        Section("What roles earned, and what a best reply would gain", (_BOUND,), (_returns(facts),),
                (_earnings(facts, level),), tables_first=True),
        Section("Earned by each step of an episode", ("Of one agent of a role.",), _paths(material)),
        Section("Learning", (), _learning(material.updates)),
    ]  # fmt: skip
    if material.seat is not None:
        sections.append(Section(str(material.seat["title"]), (), _seat(material.seat)))
    sections.append(Section("What was asked for", (), (), (_asked(material),)))
    reasons = (f"{who}; {facts['market_steps']:,} market steps.", f"hash {facts['hash'][:16]}")
    title = f"Many agents: {facts['env']['name']}"
    return Report(title, headline, colour, reasons, tuple(sections), f"run {material.name}")


def tournament_report(material: TournamentMaterial) -> Report:
    """Lay out the report of a tournament."""
    plan, ratings = material.plan, material.ratings
    first, others = ratings[0], ratings[1:]
    clear = all(one["high"] < first["low"] for one in others)
    than = "than all others" if clear else "in points; intervals overlap"
    headline = f"{_short(first['agent'])} is rated best, {first['elo']:.0f}: {'better ' if clear else 'first '}{than}"
    level = f"{float(plan['level']):.0%}"
    rows = tuple(
        (_short(one["agent"]), f"{one['elo']:.0f}", f"{one['low']:.0f} to {one['high']:.0f}", f"{one['score']:.1%}",
         f"{one['mean_return']:,.2f}") for one in ratings
    )  # fmt: skip
    table = Table("", ("agent", "Elo", level, "won", "mean return"), rows)
    sections = (
        Section("Ratings", (), (_dots("Points of Elo", ratings, "elo", "agent", 1500.0),), (table,), tables_first=True),
        Section("Who beat whom", (), (), (_beaten(material),)),
    )
    reasons = (
        f"All pairs in {plan['episodes']} markets, the same for all; a rating is of Bradley and Terry.",
        f"hash {material.digest[:16]}",
    )
    title = f"Tournament: {plan['role']} of {plan['env']['name']}"
    return Report(title, headline, "good" if clear else "open", reasons, sections, f"tournament {material.name}")


def _short(name: str) -> str:
    """An agent's name; of a checkpoint of a role, the beginning of its run's and the role."""
    parts = name.rstrip("/").split("/")
    return parts[-1] if len(parts) < 3 or parts[-2] != "agents" else f"{parts[-3][:8]}/{parts[-1]}"


def _earnings(facts: Mapping[str, Any], level: float) -> Table:
    rows = []
    for row in facts["rows"]:
        gain = facts["exploitability"].get(row["role"])
        found = ("", "") if gain is None else (f"{gain['gain']:,.2f}", f"{gain['low']:,.2f} to {gain['high']:,.2f}")
        if gain is not None and gain["gain"] == gain["low"] == gain["high"] == 0.0:
            found = ("none found", "")
        earned = (f"{row['return']:,.2f}", f"{row['low']:,.2f} to {row['high']:,.2f}")
        rows.append((row["role"], _short(row["agent"]), "yes" if row["learns"] else "no", *earned, *found))
    between = f"{level:.0%}"
    head = ("role", "who", "learns", "return of an episode", between, "gain of a best reply", between)
    return Table("", head, tuple(rows), left=3)


def _returns(facts: Mapping[str, Any]) -> Chart:
    return _dots("Return of an episode, and its interval", facts["rows"], "return", "role", 0.0)


def _dots(title: str, rows: Sequence[Mapping[str, Any]], key: str, name: str, line: float) -> Chart:
    """Numbers of several by name, as points in their intervals."""
    names = [_short(str(row[name])) for row in rows]
    low, high = ([float(row[end]) for row in rows] for end in ("low", "high"))
    series = (
        ChartSeries("interval", names, low, kind="band", y2=high, colour=0),
        ChartSeries("", names, [float(row[key]) for row in rows], kind="points", colour=-1),
    )
    return Chart(title, series, x="category", height=0.8, lines=((line, ""),))


def _paths(material: ArenaMaterial) -> tuple[Chart, ...]:
    charts = []
    for k, row in enumerate(material.facts["rows"]):
        role = row["role"]
        path = material.earned[role]
        rows, mean = thinned(np.array(path["mean"]), POINTS)
        steps, low, high = _places(rows + 1), np.array(path["low"])[rows], np.array(path["high"])[rows]
        series = (
            ChartSeries("9 of 10 episodes", steps, plain(low), kind="band", y2=plain(high), colour=k, opacity=0.2),
            ChartSeries("mean", steps, plain(mean), colour=k),
        )
        charts.append(Chart(role, series, x="number", x_label="step", height=0.7, lines=((0.0, ""),)))
    return tuple(charts)


def _learning(updates: Sequence[Mapping[str, Any]]) -> tuple[Chart, ...]:
    charts = []
    roles = list(updates[0]["roles"]) if updates else []
    for name, (title, note) in _CURVES.items():
        series = []
        for k, role in enumerate(roles):
            there = [(one["steps"], one["roles"][role][name]) for one in updates if name in one["roles"][role]]
            if there:
                steps, values = np.array(there, float).T
                rows, kept = thinned(values, POINTS)
                series.append(ChartSeries(role, plain(steps[rows]), plain(kept), colour=k))
        if series:
            charts.append(Chart(title, tuple(series), x="number", x_label="market steps", height=0.8, note=note))
    return tuple(charts)


def _seat(seat: Mapping[str, Any]) -> tuple[Chart, ...]:
    best, quotes = (np.array(seat[name], float) for name in ("best", "quotes"))
    steps = _places(np.arange(len(best)))
    both = np.isfinite(best).all(axis=1)
    there = [np.flatnonzero(np.isfinite(quotes[:, side])) for side in (0, 1)]
    bid, ask = (plain(best[both, side]) for side in (0, 1))
    prices = (
        ChartSeries("best bid to ask", _places(np.flatnonzero(both)), bid, kind="band", y2=ask, colour=-2),
        ChartSeries("own bid", _places(there[0]), plain(quotes[there[0], 0]), kind="up", colour=0),
        ChartSeries("own ask", _places(there[1]), plain(quotes[there[1], 1]), kind="down", colour=1),
    )
    held = (ChartSeries("", steps, plain(np.array(seat["held"], float)), kind="step", colour=2),)
    worth = (ChartSeries("", steps, plain(np.array(seat["worth"], float)), colour=3),)
    return (
        Chart("Quotes", prices, x="number", y_label="ticks", x_label="step"),
        Chart("Lots held", held, x="number", x_label="step", height=0.5, lines=((0.0, ""),)),
        Chart("Worth, ticks x lots", worth, x="number", x_label="step", height=0.5, lines=((0.0, ""),)),
    )


def _places(steps: Int) -> list[float]:
    return [float(k) for k in steps]


def _asked(material: ArenaMaterial) -> Table:
    told = {**material.experiment, "env": material.experiment["env"]["params"]}
    ticks = told.pop("data", {})
    if told["env"].get("maker_sees") == "book":
        told["data"] = f"{ticks['data']} {', '.join(ticks['symbols'])}"
    rows = tuple((name, _plain(value)) for name, value in told.items() if value not in ({}, None))
    return Table("", ("setting", "value"), rows, left=2)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_plain(one)}" for key, one in value.items())
    return str(value)


def _beaten(material: TournamentMaterial) -> Table:
    """Share of episodes that the row won against the column."""
    names = [str(one["agent"]) for one in material.ratings]
    won: dict[tuple[str, str], float] = {}
    for (a, b), paid in material.pairs.items():
        share = float(np.mean(0.5 * (1.0 + np.sign(paid[:, 0] - paid[:, 1]))))
        won[a, b], won[b, a] = share, 1.0 - share
    rows = tuple((_short(a), *("" if a == b else f"{won[a, b]:.0%}" for b in names)) for a in names)
    heat = tuple((None, *(None if a == b else 2.0 * won[a, b] - 1.0 for b in names)) for a in names)
    note = "Share of episodes in which the row earned more than the column."
    return Table("", ("", *map(_short, names)), rows, heat=heat, note=note)
