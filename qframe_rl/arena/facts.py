"""Stylised facts of a market that its traders make: bounce, signs, tails and impact.

Measured on markets whose agents do nothing, from the messages of their episodes, matched again. Ten steps are a second.

Sources: Cont, Empirical properties of asset returns, Quantitative Finance 1 (2001); Roll, A simple implicit measure of
the effective bid-ask spread, Journal of Finance 39 (1984); Bouchaud, Bonart, Donier & Gould, Trades, Quotes and Prices
(2018), chapters 2, 10 and 11.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.arena import state as s
from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.arena.state import empty_markets
from qframe_rl.book.core import match
from qframe_rl.book.state import AT, BUY, FILLED, N_FILL, ROW, TAKER_SIDE
from qframe_rl.types import Float, Int

SECOND = 10
"""Steps."""
LAGS, SIZES = 20, 6
_LATER = 2 * SECOND


class Prints(NamedTuple):
    """What was traded in an episode of one market, an entry for each order that took."""

    step: Int
    price: Int
    """Of its last fill, ticks."""
    sign: Int
    """1 = it bought."""
    lots: Int
    mids: Float
    """(T + 1,) mid price before the first step and after each, ticks."""


class StylisedFacts(NamedTuple):
    """Means over markets."""

    bounce: Float
    """(2,) autocorrelation, at a lag of one, of changes of the traded price from trade to trade, and from second to
    second."""
    signs: Float
    """(LAGS,) autocorrelation of the signs of trades, from a lag of one trade on."""
    kurtosis: Float
    """(2,) excess kurtosis of changes of the mid price in a step, and in ten seconds."""
    sizes: Float
    """(SIZES,) lots of a trade, means of groups of trades by size with as many in each."""
    impact: Float
    """(SIZES,) move of the mid price from before such a trade's step to two seconds later, in its direction, ticks."""
    exponent: float
    """Of impact as a power of lots, by least squares of logarithms; below 1 where impact is concave."""


def facts(config: CrowdConfig, n_markets: int = 64, seed: int = 0) -> StylisedFacts:
    """Measure them on one episode of each market.

    Parameters
    ----------
    config
        The market; its agents quote nothing and take nothing.
    n_markets
        B.
    seed
        Of the first market.
    """
    prints = lived(config, n_markets, seed)
    bounce = [(_related(np.diff(one.price), 1), _related(np.diff(_by_second(one)), 1)) for one in prints]
    signs = [[_related(one.sign, lag) for lag in range(1, LAGS + 1)] for one in prints]
    tails = [np.concatenate([np.diff(one.mids[::lag]) for one in prints]) for lag in (1, 10 * SECOND)]
    sizes, impact = _impact(prints)
    exponent = float(np.polyfit(np.log(sizes), np.log(impact), 1)[0])
    kurtosis = np.array([_kurtosis(part) for part in tails])
    return StylisedFacts(np.nanmean(bounce, axis=0), np.nanmean(signs, axis=0), kurtosis, sizes, impact, exponent)


def lived(config: CrowdConfig, n_markets: int, seed: int = 0) -> list[Prints]:
    """What was traded in an episode of each market, its warm-up left out; parameters as of `facts`."""
    steps = config.episode_steps
    crowd, everyone = Crowd(config, n_markets), np.ones(n_markets, np.bool_)
    crowd.keep_log()
    crowd.seed_with(seed)
    crowd.reset(everyone)
    nothing = crowd.idle()
    sent, mids = np.zeros((steps + 1, n_markets), np.int64), np.zeros((steps + 1, n_markets))
    for t in range(steps + 1):
        if t:
            crowd.step(nothing, everyone)
        sent[t], mids[t] = crowd.state.marks[:, s.N_LOG], 0.5 * crowd.state.marks[:, s.MID2]
    return [_prints(crowd, b, sent[:, b], mids[:, b]) for b in range(n_markets)]


def _prints(crowd: Crowd, b: int, sent: Int, mids: Float) -> Prints:
    """Match a market's messages again."""
    books, _ = empty_markets(1, crowd.state.accounts.shape[1], crowd.n_agents, 0)
    fills = match(books, crowd.log(b)).fills
    assert fills.shape[1] == N_FILL
    fills = fills[(fills[:, FILLED] > 0) & (fills[:, ROW] >= sent[0])]
    last = np.flatnonzero(np.diff(fills[:, ROW], append=-1) != 0)
    lots = np.diff(np.concatenate([[0], np.cumsum(fills[:, FILLED])[last]]))
    step = np.searchsorted(sent, fills[last, ROW], side="right") - 1
    sign = np.where(fills[last, TAKER_SIDE] == BUY, 1, -1)
    return Prints(step, fills[last, AT], sign, lots, mids)


def _by_second(one: Prints) -> Float:
    """(n,) last traded price of each second; that of before where nothing was traded."""
    ends = np.arange(SECOND, len(one.mids), SECOND)
    at = np.searchsorted(one.step, ends, side="left") - 1
    found: Float = one.price[at[at >= 0]].astype(np.float64)
    return found


def _related(values: Int | Float, lag: int) -> float:
    """Autocorrelation; NaN where nothing varies."""
    centred = values - values.mean()
    below = float((centred * centred).sum())
    return float((centred[lag:] * centred[:-lag]).sum()) / below if below > 0.0 else float("nan")


def _kurtosis(values: Float) -> float:
    centred = values - values.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2 - 3.0)


def _impact(prints: list[Prints]) -> tuple[Float, Float]:
    """Mean size and mean response of groups of trades by size."""
    there = [one.step + _LATER < len(one.mids) for one in prints]
    size = np.concatenate([one.lots[now] for one, now in zip(prints, there, strict=True)])
    moves = [
        one.sign[now] * (one.mids[one.step[now] + _LATER] - one.mids[one.step[now]])
        for one, now in zip(prints, there, strict=True)
    ]
    move, groups = np.concatenate(moves), np.array_split(np.argsort(size, kind="stable"), SIZES)
    return np.array([size[g].mean() for g in groups]), np.array([move[g].mean() for g in groups])
