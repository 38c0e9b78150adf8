"""What the figures come to, in plain words.

Two questions decide the headline: is there more money than there was, and than cash would have given; and can the
result be told from luck, after costs and after all that was tried? They are those of `qframe_rl.evaluate.promotion`.
Everything else is a reason, for or against, and each names its figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from qframe_rl.evaluate.promotion import PROMOTED, Standing, amount
from qframe_rl.evaluate.provenance import mark_of
from qframe_rl.evaluate.table import ScoreRow

SURE = PROMOTED
"""Probability above which something is said to be so."""
HALF = 0.5
"""Probability of backtest overfitting from which the choice of settings is called overfitted."""
Colour = Literal["good", "bad", "open"]


class Verdict(NamedTuple):
    """The answer, and why."""

    headline: str
    colour: Colour
    reasons: tuple[str, ...]


def verdict(facts: Mapping[str, Any]) -> Verdict:
    """Judge a run by its facts (``study.json``); what a run did not look at is not mentioned."""
    name, found = facts["subject"], facts["significance"]
    data = facts["data"]
    mark = mark_of(data["environment"])
    if found["figures"]["trades"] == 0:
        return Verdict(f"{name} did not trade: there is nothing to judge.", "open", (*_warnings(facts),))
    head, colour = _headline(name, found, facts)
    if mark:
        head, colour = f"{mark}. {head}", "open"
    return Verdict(head, colour, (*_warnings(facts), *_reasons(found, facts)))


def _headline(name: str, found: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[str, Colour]:
    standing, ratio = standing_of(found), _interval(found["sharpe"])
    if standing.lost:
        chance = ", and not by chance" if found["sharpe"]["high"] < 0.0 else ""
        left = f"{amount(standing.final)} of {amount(standing.initial)} is left"
        return f"{name} lost money after costs{chance}: {left}, Sharpe {ratio}.", "bad"
    if not standing.rich:
        return f"{name} made no more than cash after costs: {standing.ended()}, Sharpe {ratio}.", "bad"
    if standing.dsr <= SURE:
        asked = f"deflated Sharpe ratio {standing.dsr:.3f}, more than {SURE} is asked for"
        return f"{name} cannot be told from luck: {asked}.", "open"
    if not standing.passed:
        return f"Of {name} {'; '.join(standing.failures())}.", "open"
    against = facts.get("against", {}).get("buy_and_hold")
    if against is not None and against["probability"] > SURE:
        return f"{name} beats buying and holding after costs, and it is hardly luck.", "good"
    return f"{name} made money after costs that is hardly luck; that it beats buying and holding is not shown.", "good"


def standing_of(found: Mapping[str, Any]) -> Standing:
    """Figures that the rule of promotion asks for, of what `qframe_rl.evaluate.significance` found."""
    figures = found["figures"]
    return Standing(
        figures["initial_equity"], figures["final_equity"], figures["cash_equity"], found["growth"]["low"],
        found["dsr"]["2012"],
    )  # fmt: skip


def in_short(row: ScoreRow, better: float | None = None) -> str:
    """Judge one row of a leaderboard in a few words, by the same rules as a run.

    Parameters
    ----------
    row
        The row.
    better
        Probability that it is better than buying and holding; None = that is not known.
    """
    if row["trades"] == 0:
        return "did not trade"
    standing = Standing.of(row)
    if standing.lost:
        return "surely lost money" if row["sharpe_high"] < 0.0 else "lost money"
    if not standing.rich:
        return "no better than cash"
    if not standing.passed:
        return "may be luck" if standing.dsr <= SURE else "may not grow"
    return "beats holding" if better is not None and better > SURE else "hardly luck"


def _warnings(facts: Mapping[str, Any]) -> Iterator[str]:
    data = facts["data"]
    if data["environment"] != "production":
        yield f"The data are {data['environment']}: the figures say nothing about a real market."
    if data["quarantine"] == "off":
        yield "Data checks were off: a single bad bar can make a whole backtest."
    for one in facts.get("influence", []):
        if one["decides"]:
            yield (
                f"The result rests on one bar, {one['time']} (return {one['rate']:+.1%}): without it the total return "
                f"is {one['total_without']:+.1%}. Look at that bar before believing anything here."
            )
    if facts.get("promotion", {}).get("forced"):
        yield "It was deployed although it failed the test, because --promote-anyway said so."


def _of_cash(found: Mapping[str, Any]) -> Iterator[str]:
    figures, excess, growth = found["figures"], found["excess_sharpe"], found["growth"]
    if figures["cash_rate"] == 0.0:
        yield "Idle cash earned nothing (rate 0), and excess is over 0."
    else:
        yield (
            f"Idle cash earned {figures['cash_rate']:.2%} a year: {amount(figures['initial_equity'])} would have "
            f"become {amount(figures['cash_equity'])}. In excess of it the Sharpe ratio is {_interval(excess)}."
        )
    yield (
        f"Log growth a year in excess of cash {growth['estimate']:+.3f} ({growth['low']:+.3f} to "
        f"{growth['high']:+.3f}); a lower end above 0 is asked for."
    )


def _reasons(found: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    yield from _of_luck(found, facts)
    yield from _of_cash(found)
    yield from _of_holding(facts)
    yield from _of_tuning(facts)
    yield from _of_other_histories(facts)
    yield from _of_costs(facts)


def _of_luck(found: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    ratio, trials = found["sharpe"], facts["luck"]["trials"]
    yield (
        f"Sharpe ratio {_interval(ratio)} a year over {found['years']:.1f} years, after costs; probability that it is "
        f"above cash's {found['psr']['2012']:.3f} (PSR, form of 2012; {found['psr']['2025']:.3f} in that of 2025)."
    )
    yield (
        f"Over a next window as long as one of these the Sharpe ratio is forecast to be measured between "
        f"{found['next_window']['low']:+.2f} and {found['next_window']['high']:+.2f} ({ratio['level']:.0%}): the "
        "interval before is of the past's mean, and the next figure has an error of its own."
    )
    tried = "1 configuration was" if trials == 1 else f"{trials} configurations were"
    yield (
        f"{tried} ever scored on these data, so luck alone is expected to show a Sharpe ratio of "
        f"{found['benchmark']:.2f}; above that with probability {found['dsr']['2012']:.3f} (DSR)."
    )
    needed = found["min_track_record_years"]
    if found["excess_sharpe"]["estimate"] > 0.0 and found["dsr"]["2012"] <= SURE and needed is not None:
        yield f"At this ratio {needed:.1f} years would be needed to tell it from luck; there are {found['years']:.1f}."
    spa = facts.get("superiority")
    if spa:
        p, check, n = spa["cash"]["spa"], spa["cash"]["reality_check"], spa["strategies"]
        word = "beats" if p < 1.0 - SURE else "cannot be shown to beat"
        yield f"The best of the {n} settings tried {word} cash (SPA test, p = {p:.3f}; reality check {check:.3f})."


def _of_holding(facts: Mapping[str, Any]) -> Iterator[str]:
    against = facts.get("against", {}).get("buy_and_hold")
    if against is None:
        return
    p, ratio = against["probability"], against["information_ratio"]
    word = "Better than" if p > SURE else "Worse than" if p < 1.0 - SURE else "Not to be told from"
    yield (
        f"{word} buying and holding: {against['mean']:+.1%} a year, information ratio {_interval(ratio)}, "
        f"probability of being better {p:.3f}."
    )


def _of_tuning(facts: Mapping[str, Any]) -> Iterator[str]:
    found = facts.get("overfitting")
    if found:
        p = found["probability"]
        word = "overfits" if p >= HALF else "may overfit" if p > 0.2 else "hardly overfits"
        if p < HALF and found["out_of_sample"] <= 0.0:
            word = "ranks them rightly, but even the best loses"
        yield (
            f"Choosing the best of {found['settings']} settings {word}: probability of backtest overfitting {p:.2f}; "
            f"Sharpe {found['in_sample']:+.2f} where it was chosen, {found['out_of_sample']:+.2f} elsewhere."
        )
    cross = facts.get("cpcv")
    if cross:
        low, high = min(cross["sharpe"]), max(cross["sharpe"])
        gains = sum(value > 0.0 for value in cross["total_return"])
        yield (
            f"Cross-validation: {gains} of {len(cross['sharpe'])} paths through time made money, Sharpe {low:+.2f} to "
            f"{high:+.2f}."
        )


def _of_other_histories(facts: Mapping[str, Any]) -> Iterator[str]:
    found = facts.get("monte_carlo")
    if not found:
        return
    rebuilt = found["rebuilt"]["sharpe"]
    yield (
        f"On {found['rebuilt']['paths']} rebuilt price paths {rebuilt['positive']:.0%} made money; Sharpe "
        f"{rebuilt['low']:+.2f} to {rebuilt['high']:+.2f} (5th to 95th percentile)."
    )
    for name, null in found["nulls"].items():
        if not null["paths"]:
            yield f"Null model {name} was left out: {null['why']}"
        else:
            p = null["p"]
            word = "rarely" if p < 1.0 - SURE else "often"
            yield (
                f"In a market where nothing can be known ({null['text']}) the same rule does as well {word} enough: "
                f"p = {p:.3f}."
            )


def _of_costs(facts: Mapping[str, Any]) -> Iterator[str]:
    rows = {row["name"]: row for row in facts.get("stress") or []}
    if "no costs" in rows and "costs x 2" in rows:
        yield (
            f"Sharpe {rows['no costs']['sharpe']:+.2f} without costs, {rows['as it was']['sharpe']:+.2f} with them, "
            f"{rows['costs x 2']['sharpe']:+.2f} at twice, {rows['one bar late']['sharpe']:+.2f} one bar late."
        )


def _interval(of: Mapping[str, Any]) -> str:
    return f"{of['estimate']:+.2f} ({of['low']:+.2f} to {of['high']:+.2f})"
