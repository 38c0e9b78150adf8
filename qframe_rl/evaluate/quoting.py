"""What quoting in a book came to: spread captured, markouts, inventory, queue, fills by cause, and its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np

from qframe_rl.book.accounts import CROSSING, F_CAUSE, F_LOTS, F_SIDE, F_TICK, PRINT_AT, PRINT_THROUGH, TOOK
from qframe_rl.book.state import BUY
from qframe_rl.evaluate.inference.bootstrap import politis_white
from qframe_rl.evaluate.inference.sharpe import moments, probabilistic_sharpe
from qframe_rl.evaluate.luck import Luck
from qframe_rl.evaluate.promotion import PROMOTED
from qframe_rl.evaluate.table import FORM
from qframe_rl.types import Float, Int

HORIZONS_S = (0.1, 1.0, 5.0, 10.0, 30.0)
"""Of markouts, seconds."""
CAUSES = {PRINT_AT: "print at", PRINT_THROUGH: "print through", CROSSING: "crossing", TOOK: "taken"}
_BLOCK_NS = 5_000_000_000


class QuotingRecord(NamedTuple):
    """One stretch of quoting without a gap: T decisions, F fills."""

    at: Int
    """(T + 1,) moments, the last one that of the end, ns UTC."""
    mid: Float
    """(T + 1,) true mid price, ticks."""
    worth: Float
    """(T + 1,) at the mid price, fees paid, ticks times lots; the last one closed out."""
    held: Float
    """(T + 1,) lots."""
    fees: Float
    """(T + 1,) ticks times lots, paid so far."""
    rewards: Float
    """(T,)."""
    ahead: Float
    """(T, 2) share of the displayed lots that are ahead of each own quote, as it is known; NaN where there is none."""
    sent: int
    """Messages."""
    wished_lots: int
    """Lots of all quotes that were sent."""
    fills: Int
    """(F, 6) columns as in `qframe_rl.book.accounts`."""
    fill_mid: Float
    """(F,) mid price when each filled, ticks; NaN where the book lacked a side."""
    markouts: Float
    """(F, H) how far the mid price was beyond the fill's price after each of `HORIZONS_S`, ticks; NaN past the end."""
    unshown: int
    """Lots that the end took beyond what was displayed."""
    size: int
    """Lots of a whole quote."""
    limit: int
    """Lots that may be held."""
    unit: float
    """Quote currency of a tick times a lot."""
    block: bool
    """Whether a block was to be done by its end."""


class QuotingRow(TypedDict):
    """One row: what an agent's quoting came to."""

    agent: str
    split: str
    minutes: float
    score: float
    """Of a maker its profit, quote currency, fees paid and closed out. Of blocks what they saved against the mid price
    at their start, basis points, fees paid: the mean."""
    low: float
    """Lower end of the interval of ``score``."""
    high: float
    score_trades: float
    """The same where cancels of others are never ahead of a quote: the other end of the band of queue rules."""
    psr: float
    """Probability that it truly gains on doing nothing: the probabilistic Sharpe ratio of its `gains`."""
    dsr: float
    """Probability that it does, and more than luck gives the best of all trials: their deflated Sharpe ratio."""
    trials: int
    """Trials that were counted for it."""
    effective_trials: float | None
    """How many independent ones they are worth."""
    reward: float
    """Mean of a decision's, the environment's unit."""
    bps: float | None
    """Profit in basis points of what was traded; None where nothing was."""
    fees: float
    """Quote currency."""
    spread_bps: float | None
    """Mean half-spread captured by fills as maker, basis points of the mid price."""
    markout_1s: float | None
    """Mean move of the mid price beyond the price of a maker's fill a second later, ticks; negative = run over."""
    fills: int
    fill_rate: float | None
    """Lots filled as maker over lots that were sent as quotes."""
    order_to_trade: float | None
    """Messages a fill."""
    turnover: float
    """Quote currency."""
    mean_inventory: float
    """Mean of the lots held without sign, in whole quotes."""
    most_inventory: float
    ahead: float | None
    """Mean share of the displayed lots that were ahead of own quotes."""


def scores(
    records: Sequence[QuotingRecord], trades: Sequence[QuotingRecord], agent: str, split: str,
    idle: Sequence[QuotingRecord], *, level: float = 0.9, resamples: int = 1000, seed: int = 0,
    luck: Luck | None = None,
) -> QuotingRow:  # fmt: skip
    """Figures of several stretches together.

    Parameters
    ----------
    records
        The stretches; at least one.
    trades
        The same under the queue rule ``trades``.
    agent, split
        Whose, and on which part of the data.
    idle
        What doing nothing came to on the same stretches.
    level, resamples, seed
        Of the interval of the profit: a circular block bootstrap of its changes over five seconds, blocks as long as
        their autocorrelation asks for.
    luck
        What all trials on the ticks say about luck; None = this is the first.
    """
    luck, of = luck or Luck(), moments(gains(records, idle))
    unit, size = records[0].unit, records[0].size
    pnl = unit * sum(float(r.worth[-1] - r.worth[0]) for r in records)
    score, low, high = _score(records, level, resamples, seed)
    fills = np.concatenate([r.fills for r in records])
    mids = np.concatenate([r.fill_mid for r in records])
    made = fills[:, F_CAUSE] != TOOK
    turnover = unit * float((fills[:, F_TICK] * fills[:, F_LOTS]).sum())
    lots = fills[made, F_LOTS].astype(np.float64)
    sign = np.where(fills[:, F_SIDE] == BUY, 1.0, -1.0)
    captured = (sign * (mids - fills[:, F_TICK]) / mids * 1e4)[made]
    later = np.concatenate([r.markouts for r in records])[made, HORIZONS_S.index(1.0)]
    held = np.abs(np.concatenate([r.held[:-1] for r in records])) / size
    ahead = np.concatenate([r.ahead.ravel() for r in records])
    sent_lots, sent = sum(r.wished_lots for r in records), sum(r.sent for r in records)
    return {
        "agent": agent,
        "split": split,
        "minutes": sum(float(r.at[-1] - r.at[0]) for r in records) / 60e9,
        "score": score,
        "low": low,
        "high": high,
        "score_trades": _point(trades),
        "psr": probabilistic_sharpe(of, 0.0, FORM),
        "dsr": probabilistic_sharpe(of, luck.benchmark(of.n_bars), FORM),
        "trials": luck.trials,
        "effective_trials": luck.effective,
        "reward": float(np.concatenate([r.rewards for r in records]).mean()),
        "bps": 1e4 * pnl / turnover if turnover > 0.0 else None,
        "fees": unit * sum(float(r.fees[-1]) for r in records),
        "spread_bps": _weighted(captured, lots),
        "markout_1s": _weighted(later, lots),
        "fills": len(fills),
        "fill_rate": float(lots.sum()) / sent_lots if sent_lots else None,
        "order_to_trade": sent / len(fills) if len(fills) else None,
        "turnover": turnover,
        "mean_inventory": float(held.mean()),
        "most_inventory": float(held.max()),
        "ahead": float(np.nanmean(ahead)) if np.isfinite(ahead).any() else None,
    }


def _score(records: Sequence[QuotingRecord], level: float, resamples: int, seed: int) -> tuple[float, float, float]:
    """The figure that agents are ranked by, and its interval."""
    if not records[0].block:
        return _point(records), *profit_interval(records, level, resamples, seed)
    saved = _saved(records)
    drawn = np.random.default_rng(seed).integers(0, len(saved), (resamples, len(saved)))
    low, high = np.quantile(saved[drawn].mean(axis=1), [0.5 - level / 2, 0.5 + level / 2])
    return float(saved.mean()), float(low), float(high)


def _point(records: Sequence[QuotingRecord]) -> float:
    if records[0].block:
        return float(_saved(records).mean())
    return records[0].unit * sum(float(r.worth[-1] - r.worth[0]) for r in records)


def gains(records: Sequence[QuotingRecord], idle: Sequence[QuotingRecord]) -> Float:
    """What is a row of returns for the ledger of trials and the deflated Sharpe ratio.

    Parameters
    ----------
    records, idle
        Of the agent, and of doing nothing, over the same stretches or blocks.

    Returns
    -------
    Float
        (n,) of a maker the changes of its profit over five seconds each, quote currency. Of blocks what each saved
        beyond what doing nothing saved on it, basis points.
    """
    if records[0].block:
        return _saved(records) - _saved(idle)
    return records[0].unit * np.concatenate([_changes(r) for r in records])


def _saved(records: Sequence[QuotingRecord]) -> Float:
    """What each block saved, basis points of the mid price at its start."""
    return np.array([float(r.rewards.sum()) / float(r.mid[0]) * 1e4 for r in records])


def causes(records: Sequence[QuotingRecord]) -> dict[str, int]:
    """Lots filled by cause."""
    fills = np.concatenate([r.fills for r in records])
    return {name: int(fills[fills[:, F_CAUSE] == cause, F_LOTS].sum()) for cause, name in CAUSES.items()}


def mean_markouts(records: Sequence[QuotingRecord]) -> dict[float, float | None]:
    """Mean of makers' fills, each weighted by its lots, by horizon in seconds, ticks."""
    fills = np.concatenate([r.fills for r in records])
    made = fills[:, F_CAUSE] != TOOK
    later, lots = np.concatenate([r.markouts for r in records])[made], fills[made, F_LOTS].astype(np.float64)
    return {h: _weighted(later[:, k], lots) for k, h in enumerate(HORIZONS_S)}


def surely_above(
    records: Sequence[QuotingRecord], idle: Sequence[QuotingRecord], level: float, resamples: int, seed: int
) -> bool:
    """Whether an agent is surely better than doing nothing on the same ticks.

    A maker is, where the interval of its profit lies above 0. Blocks are compared one by one, each with what doing
    nothing saved on it: the interval of the mean difference must lie above 0. One block, or five seconds, never are.

    Parameters
    ----------
    records, idle
        Of the agent, and of doing nothing, over the same stretches or blocks.
    level, resamples, seed
        Of the interval.
    """
    gained = gains(records, idle)
    if not records[0].block:
        return len(gained) > 1 and profit_interval(records, level, resamples, seed)[0] > 0.0
    drawn = np.random.default_rng(seed).integers(0, len(gained), (resamples, len(gained)))
    return len(gained) > 1 and float(np.quantile(gained[drawn].mean(axis=1), 0.5 - level / 2)) > 0.0


def failing(row: QuotingRow, idle: QuotingRow, *, sure: bool) -> tuple[str, ...]:
    """Say why what a row says is not enough to be deployed.

    Parameters
    ----------
    row, idle
        Of the agent, and of doing nothing on the same ticks.
    sure
        What `surely_above` says of it.

    Returns
    -------
    tuple
        A clause for each condition that is not met.
    """
    found = []
    if not sure:
        found.append("it is not surely better than doing nothing")
    if row["score_trades"] <= idle["score_trades"]:
        found.append("where cancels of others are never ahead it is not better than doing nothing")
    if not row["dsr"] > PROMOTED:
        counted = f"PSR {row['psr']:.3f} before {row['trials']} trial{'s are' if row['trials'] != 1 else ' is'} counted"
        found.append(
            f"it cannot be told from luck: DSR {row['dsr']:.3f} ({counted}; more than {PROMOTED} is asked for)"
        )
    return tuple(found)


def profit_interval(records: Sequence[QuotingRecord], level: float, resamples: int, seed: int) -> tuple[float, float]:
    """Interval of the profit in quote currency, as `scores` says; equal to it where nothing ever changed.

    Parameters
    ----------
    records
        The stretches.
    level, resamples, seed
        Share inside, resamples and their seed.

    Returns
    -------
    tuple[float, float]
        Its ends.
    """
    changes = records[0].unit * np.concatenate([_changes(r) for r in records])
    n, total = len(changes), float(changes.sum())
    if n < 2 or not changes.any():
        return total, total
    length = max(1, math.ceil(politis_white(changes)))
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, n, (resamples, -(-n // length)))
    rows = (starts[:, :, None] + np.arange(length)) % n
    sums = changes[rows.reshape(resamples, -1)[:, :n]].sum(axis=1)
    low, high = np.quantile(sums, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def _changes(record: QuotingRecord) -> Float:
    """Changes of the worth over five seconds each, the last shorter."""
    edge = np.arange(record.at[0], record.at[-1], _BLOCK_NS)
    row = np.searchsorted(record.at, edge, side="right") - 1
    worth = np.append(record.worth[row], record.worth[-1])
    return np.diff(worth)


def _weighted(values: Float, weights: Float) -> float | None:
    told = np.isfinite(values)
    total = float(weights[told].sum())
    return float((values[told] * weights[told]).sum() / total) if total > 0.0 else None
