"""What is to be said of a pool of formulas that ships: segment by segment, beside luck and known factors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from qframe_rl.alpha.ground import Ground
from qframe_rl.alpha.mine import MinedFormula, mined_formula
from qframe_rl.alpha.net import held_book, positions
from qframe_rl.alpha.null import MiningPlan, Shuffle, against_luck, appraise, pool_says
from qframe_rl.alpha.parser import number
from qframe_rl.alpha.pool import mutual
from qframe_rl.alpha.score import coefficients, newey_west
from qframe_rl.evaluate.formula import FACTORS
from qframe_rl.types import CLOSE, VOLUME, YEAR, Float, History, parse_time

LATER = (1, 2, 5, 10, 20)
"""Bars ahead at which a pool's IC is looked at."""
_SHARE, _QUANTILE = 0.01, 0.05


class PoolFacts(NamedTuple):
    """A pool, and what it was made with."""

    members: tuple[MinedFormula, ...]
    plan: MiningPlan
    """The search that made it, or one of those that were chosen among."""
    n_ahead: int
    cost: float
    """Fee and half-spread, as a fraction of what is traded."""
    n_largest: int


def weighted(texts: Sequence[str], weights: Float, columns: Sequence[str]) -> tuple[MinedFormula, ...]:
    """Make formulas of a checkpoint.

    Parameters
    ----------
    texts
        Of the K formulas.
    weights
        (K,) theirs.
    columns
        Names of the feed's columns.

    Returns
    -------
    tuple[MinedFormula, ...]
        With their weights.

    Raises
    ------
    UserError
        For a text that is no formula.
    """
    trees = [number(text, columns) for text in texts]
    return tuple(mined_formula(tree, w) for tree, w in zip(trees, weights.tolist(), strict=True))


def pool_section(
    facts: PoolFacts, history: History, periods: Mapping[str, Sequence[Sequence[str]]], n_null: int,
    told: Callable[[int], None] | None = None,
) -> list[str]:  # fmt: skip
    """Lines of Markdown for a model card.

    Parameters
    ----------
    facts
        The pool.
    history
        All bars.
    periods
        Spans, as first open and last close, of ``train``, ``validation`` and ``test``.
    n_null
        Searches on shuffled returns, for each way of shuffling.
    told
        Told of each of them.
    """
    parts = ("train", "validation", "test")
    grounds = {part: _ground(facts, history, periods[part][0], facts.n_ahead) for part in parts}
    return [
        "## The pool",
        "",
        f"{len(facts.members)} formulas; labels look {facts.n_ahead} bars ahead, from the next open to the open then; "
        f"{'all coins' if not facts.n_largest else f'the {facts.n_largest} largest coins'} that traded in 60 of the "
        "last 90 bars are ranked. They are coins whose files survived: the dead are missing.",
        "",
        "| formula | weight | bars it looks back | J on validation without it |",
        "|---|---|---|---|",
        *_members(facts, grounds["validation"]),
        "",
        f"Long and short book of its ranks, {facts.cost * 1e4:.3g} bp of what is traded:",
        "",
        "| bars | IC | rank IC | ICIR | t | net Sharpe | turnover a year | by year |",
        "|---|---|---|---|---|---|---|---|",
        *(_segment(part, facts, ground) for part, ground in grounds.items()),
        "",
        *_luck(facts, grounds, n_null, told),
        "",
        _decay(facts, history, periods["test"][0]),
        "",
        _factors(facts, grounds["test"]),
        "",
        _capacity(facts, grounds["test"]),
        "",
    ]


def _ground(facts: PoolFacts, history: History, span: Sequence[str], n_ahead: int) -> Ground:
    rows = history.between(parse_time(span[0]), parse_time(span[1]))
    return Ground.of(history, n_ahead, facts.cost, facts.n_largest, *rows)


def _members(facts: PoolFacts, validation: Ground) -> list[str]:
    whole = appraise(facts.members, validation, "net").value
    lines = []
    for k, one in enumerate(facts.members):
        rest = appraise([*facts.members[:k], *facts.members[k + 1 :]], validation, "net").value
        lines.append(f"| `{one.text}` | {one.weight:+.4f} | {one.lookback} | {rest:+.4f} (with it {whole:+.4f}) |")
    return lines


def _segment(part: str, facts: PoolFacts, ground: Ground) -> str:
    says = pool_says(facts.members, ground)
    both = coefficients(says, ground.seen, ground.followed.label)
    both = both[~np.isnan(both[:, 0])]
    book = held_book(says, ground.followed.moves, ground.n_ahead, ground.cost)
    per_year = YEAR / ground.bar_ns
    times = (ground.times[ground.start : ground.stop] - ground.bar_ns).astype("datetime64[ns]").astype("datetime64[Y]")
    years = {str(year): _sharpe(book.returns[times == year], per_year) for year in np.unique(times)}
    sharpe = book.sharpe(ground.bar_ns)
    error = math.sqrt(per_year / len(says))
    ratio = float(both[:, 0].mean() / both[:, 0].std(ddof=1))
    return (
        f"| {part} | {both[:, 0].mean():+.3f} | {both[:, 1].mean():+.3f} | {ratio:+.2f} | "
        f"{newey_west(both[:, 0], ground.n_ahead):+.1f} | {sharpe:+.2f} ± {error:.2f} | "
        f"{book.turnover.mean() * per_year:.0f} | {', '.join(f'{y} {s:+.2f}' for y, s in years.items())} |"
    )


def _sharpe(returns: Float, per_year: float) -> float:
    spread = float(returns.std())
    return float(returns.mean()) / spread * math.sqrt(per_year) if spread > 0.0 else 0.0


def _luck(
    facts: PoolFacts, grounds: Mapping[str, Ground], n_null: int, told: Callable[[int], None] | None
) -> list[str]:
    """The search made again, and where returns were shuffled."""
    train, validation = grounds["train"], grounds["validation"]
    found = facts.plan.mined(train)
    refused = found.calls - found.distinct + sum(found.refused.get(k, 0) for k in ("missing", "flat", "few values"))
    lines = [
        f"One such search ({facts.plan.search}, seed {facts.plan.seed}): {found.distinct:,} distinct formulas in "
        f"{found.calls:,} calls, worth {found.n_effective:.0f} independent ones; {refused:,} calls repeated one or "
        f"were not valid; J {found.value:+.3f}, IC {found.ic:+.3f} on the training bars.",
        "",
    ]
    words: dict[Shuffle, str] = {"coins": "among the coins", "blocks": "in blocks of time"}
    for shuffle, said in words.items():
        null = against_luck(found, facts.plan, train, shuffle, n_null, validation, told)
        lines.append(
            f"- the same where returns were shuffled {said}, {n_null} times: J up to {max(null.train):+.3f} on the "
            f"training bars (p {null.p_train:.2f}) and {max(null.validation):+.3f} on validation (p "
            f"{null.p_validation:.2f}); IC less their mean {null.deflated_ic:+.3f}"
        )
    return lines


def _decay(facts: PoolFacts, history: History, span: Sequence[str]) -> str:
    each = []
    for ahead in LATER:
        ground = _ground(facts, history, span, ahead)
        ics = coefficients(pool_says(facts.members, ground), ground.seen, ground.followed.label)[:, 0]
        each.append(f"{float(np.nanmean(ics)):+.3f} at {ahead}")
    return f"IC on the test bars by bars ahead: {', '.join(each)}."


def _factors(facts: PoolFacts, test: Ground) -> str:
    says = pool_says(facts.members, test)
    each = []
    for name, text in FACTORS.items():
        other = pool_says([mined_formula(number(text, test.columns), 1.0)], test)
        each.append(f"{name} {mutual(says, other):+.2f}")
    return f"Mean rank correlation with known factors there: {', '.join(each)}."


def _capacity(facts: PoolFacts, test: Ground) -> str:
    """Book size at which trades stay a small share of what is traded."""
    rows = slice(test.start, test.stop)
    held = positions(pool_says(facts.members, test), test.n_ahead)
    traded = np.abs(np.diff(held, axis=0))
    money = (test.bars[rows, :, CLOSE] * test.bars[rows, :, VOLUME])[1:]
    there = (traded > 1e-6) & np.isfinite(money)
    size = float(np.quantile(_SHARE * money[there] / traded[there], _QUANTILE))
    return (
        f"Capacity: up to a book of {size:,.0f}, {1.0 - _QUANTILE:.0%} of its trades are below {_SHARE:.0%} of what is "
        "traded in their bar, by volumes of the test bars."
    )
