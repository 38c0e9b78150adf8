"""What a search for features begins with: known ideas as formulas, and random formulas of the grammar.

The ideas are those of collections that others use (shapes of a bar, trends, places in a range, spreads, volume beside
price: Kakushadze, 101 Formulaic Alphas, 2016; Qlib's Alpha158) and statistics of series (how a return hangs together
with the last, how unevenly it is spread, how rough it is: Christ et al., tsfresh, 2018), in texts of our own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np

from qframe_rl.alpha.canonical import identity
from qframe_rl.alpha.grammar import SEP, Vocabulary
from qframe_rl.alpha.operators import COLUMN, OPERATORS
from qframe_rl.alpha.parser import parse
from qframe_rl.alpha.tree import Formula

SPANS = (5, 10, 20, 60)
"""Windows, in bars, in which an idea that has one is tried."""
MOST_IN_VAIN = 200
"""Draws in a row that bring nothing new, after which there is taken to be nothing new."""
MOST_DRAWN = 9
"""Tokens of a random formula at most."""

_OF_A_BAR = (
    "ret1",
    "(close - open) / open",
    "(high - low) / open",
    "(close - open) / (high - low)",
    "(high - max(open, close)) / open",
    "(min(open, close) - low) / open",
    "(close * 2 - high - low) / (high - low)",
    "open / ref(close, 1) - 1",
    "typical / close - 1",
    "sign(delta(volume, 1)) * ret1",
)
_OF_A_SPAN = (
    "ret(close, {w})",
    "close / mean(close, {w}) - 1",
    "tsz(close, {w})",
    "tsrank(close, {w})",
    "slope(close, {w}) / close",
    "(close - tmin(low, {w})) / (tmax(high, {w}) - tmin(low, {w}))",
    "tmax(high, {w}) / close - 1",
    "tmin(low, {w}) / close - 1",
    "argmax(high, {w})",
    "argmin(low, {w})",
    "argmax(high, {w}) - argmin(low, {w})",
    "std(ret1, {w})",
    "mean(log(high / low), {w})",
    "mad(ret1, {w}) / std(ret1, {w})",
    "skew(ret1, {w})",
    "med(ret1, {w})",
    "tmax(ret1, {w}) + tmin(ret1, {w})",
    "mean(ret1, {w}) / std(ret1, {w})",
    "mean(max(ret1, 0), {w}) / mean(abs(ret1), {w})",
    "std(min(ret1, 0), {w}) / std(ret1, {w})",
    "std(abs(ret1), {w}) / mean(abs(ret1), {w})",
    "std(delta(ret1, 1), {w}) / std(ret1, {w})",
    "corr(ret1, ref(ret1, 1), {w})",
    "corr(abs(ret1), ref(abs(ret1), 1), {w})",
    "mean(ret1 * ref(ret1, 1) * ref(ret1, 2), {w})",
    "abs(ret(close, {w})) / sum(abs(ret1), {w})",
    "volume / mean(volume, {w})",
    "tsrank(volume, {w})",
    "std(volume, {w}) / mean(volume, {w})",
    "slope(volume, {w}) / mean(volume, {w})",
    "corr(close, volume, {w})",
    "corr(ret1, delta(log(volume), 1), {w})",
    "corr(abs(ret1), log(volume), {w})",
    "mean(sign(ret1) * volume, {w}) / mean(volume, {w})",
    "std(abs(ret1) * volume, {w}) / mean(abs(ret1) * volume, {w})",
    "(mean(money, {w}) / mean(volume, {w})) / close - 1",
    "log(mean(money, {w}))",
)
_OF_TWO_SPANS = (
    "mean(close, 5) / mean(close, 20) - 1",
    "mean(close, 20) / mean(close, 60) - 1",
    "ema(close, 10) / ema(close, 40) - 1",
    "std(ret1, 5) / std(ret1, 20)",
    "std(ret1, 20) / std(ret1, 60)",
    "mean(volume, 5) / mean(volume, 60)",
    "ret(close, 60) - ret(close, 5)",
    "ref(ret(close, 20), 5)",
    "delta(close, 5) / std(close, 20)",
    "(mean(typical, 10) - close) / std(close, 20)",
    "tsrank(volume / mean(volume, 20), 20) * sign(ret(close, 5))",
)
_AMONG = (
    "corr(rank(open), rank(volume), 10)",
    "corr(rank(close), rank(volume), 20)",
    "cov(rank(close), rank(volume), 5)",
    "corr(rank(delta(log(volume), 2)), rank((close - open) / open), 6)",
    "tsrank(rank(low), 9)",
    "delta(rank(ret(close, 20)), 5)",
    "rank(ret(close, 5)) - rank(std(ret1, 20))",
    "rank(std(ret1, 20)) * (tsrank(volume, 10) - rank(ret(close, 10)))",
    "rank(volume / mean(volume, 20)) * rank(neg(ret1))",
)
_OF_A_COLUMN = ("{c}", "delta({c}, 1)", "tsz({c}, {w})", "tsrank({c}, {w})", "mean({c}, {w})", "corr({c}, ret1, {w})")


def ideas(columns: Sequence[str] = (), *, crosses: bool = True) -> tuple[Formula, ...]:
    """The catalogue of ideas as formulas, each of which is a number: first those of the feed's own columns.

    Parameters
    ----------
    columns
        Names of the feed's columns, each of which is looked at as well.
    crosses
        Whether formulas may compare instruments.
    """
    texts = [
        one for name in columns for one in _over_spans([text.replace("{c}", COLUMN + name) for text in _OF_A_COLUMN])
    ]
    texts += [*_OF_A_BAR, *_over_spans(_OF_A_SPAN), *_OF_TWO_SPANS, *(_AMONG if crosses else ())]
    return tuple(parse(text, tuple(columns)) for text in texts)


def _over_spans(texts: Sequence[str]) -> list[str]:
    """Each text with each window, where it has one."""
    return [text.replace("{w}", str(w)) for text in texts for w in (SPANS if "{w}" in text else SPANS[:1])]


def drawn(vocabulary: Vocabulary, rng: np.random.Generator) -> Formula:
    """A random formula of the grammar: first what kind of token comes, each as likely as any, then which of that kind.

    Tokens drawn evenly would be constants and windows mostly, of which there are most. Long formulas are ornaments:
    none has more than `MOST_DRAWN` tokens.
    """
    draft, kinds = vocabulary.begin()._replace(left=MOST_DRAWN), _kinds(vocabulary)
    while draft.formula is None:
        may = np.flatnonzero(draft.mask())
        chosen = rng.choice(sorted({kinds[k] for k in may}))
        draft = draft.push(int(rng.choice([k for k in may if kinds[k] == chosen])))
    return draft.formula


def _kinds(vocabulary: Vocabulary) -> list[str]:
    """What kind of token each is."""
    named: dict[str, str] = {name: one.kind for name, one in OPERATORS.items()}
    named |= dict.fromkeys(vocabulary.units, "leaf") | dict.fromkeys(vocabulary.constants, "constant")
    return [named.get(token, "end" if token == SEP else "lag") for token in vocabulary.tokens]


def candidates(
    columns: Sequence[str], *, crosses: bool, most_lookback: int, seed: int, most: int | None = None
) -> Iterator[Formula]:
    """Formulas to be tested: the ideas, then random ones, no two of which order instruments alike.

    Parameters
    ----------
    columns
        Names of the feed's columns.
    crosses
        Whether formulas may compare instruments.
    most_lookback
        Rows that one may look back.
    seed
        Of the draws.
    most
        How many; None = as many as are asked for.

    Yields
    ------
    Formula
        Fewer where `MOST_IN_VAIN` draws in a row bring nothing new.
    """
    known: set[str] = set()
    rng, vocabulary = np.random.default_rng(seed), Vocabulary(columns, crosses=crosses)
    given = iter(ideas(columns, crosses=crosses))
    vain = 0
    for _ in count():
        if (most is not None and len(known) >= most) or vain >= MOST_IN_VAIN:
            return
        tree = next(given, None) or drawn(vocabulary, rng)
        name = identity(tree).text
        if name in known or tree.lookback > most_lookback:
            vain += 1
            continue
        vain = 0
        known.add(name)
        yield tree
