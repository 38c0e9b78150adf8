"""What a book and its trades say, each as one formula: of numbers that are handed over, whoever watched them.

Sources: Cont, Kukanov & Stoikov, The price impact of order book events, Journal of Financial Econometrics 12 (2014)
(order flow imbalance); Easley, López de Prado & O'Hara, Flow toxicity and liquidity in a high-frequency world, Review
of Financial Studies 25 (2012) (VPIN); Roll, A simple implicit measure of the effective bid-ask spread, Journal of
Finance 39 (1984); Kyle, Continuous auctions and insider trading, Econometrica 53 (1985).
"""

from __future__ import annotations

import math

import numpy as np

from qframe_rl.book.state import BUY
from qframe_rl.config import UserError
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Float, Int


@inlined
def flow_between(
    bid: int, bid_lots: int, ask: int, ask_lots: int, bid_then: int, bid_lots_then: int, ask_then: int,
    ask_lots_then: int,
) -> int:  # fmt: skip
    """Order flow imbalance of two books in a row, lots: what was added to the bid less what was added to the ask.

    Parameters
    ----------
    bid, bid_lots, ask, ask_lots
        Prices and lots before.
    bid_then, bid_lots_then, ask_then, ask_lots_then
        And now.
    """
    flow = 0
    if bid_then >= bid:
        flow += bid_lots_then
    if bid_then <= bid:
        flow -= bid_lots
    if ask_then <= ask:
        flow -= ask_lots_then
    if ask_then >= ask:
        flow += ask_lots
    return flow


@compiled
def _flows(bid: Int, bid_lots: Int, ask: Int, ask_lots: Int, out: Int) -> None:
    for n in range(1, len(bid)):
        out[n - 1] = flow_between(
            bid[n - 1], bid_lots[n - 1], ask[n - 1], ask_lots[n - 1], bid[n], bid_lots[n], ask[n], ask_lots[n]
        )


def order_flow_imbalance(bid: Int, bid_lots: Int, ask: Int, ask_lots: Int) -> Int:
    """Order flow imbalance of each change.

    Parameters
    ----------
    bid, bid_lots, ask, ask_lots
        (N,) prices in ticks and lots of one level after each message.

    Returns
    -------
    Int
        (N - 1,) lots.
    """
    b, nb, a, na = (np.ascontiguousarray(column, dtype=np.int64) for column in (bid, bid_lots, ask, ask_lots))
    out = np.zeros(max(len(b) - 1, 0), np.int64)
    _flows(b, nb, a, na, out)
    return out


@inlined
def imbalance_of(bid_lots: float, ask_lots: float) -> float:
    """Of the lots of both sides, from -1 to 1; above 0 with more bids."""
    return (bid_lots - ask_lots) / (bid_lots + ask_lots)


@inlined
def weighted_mid_of(bid: float, bid_lots: float, ask: float, ask_lots: float) -> float:
    """Mid price that leans to the side with fewer lots, ticks.

    Parameters
    ----------
    bid, bid_lots, ask, ask_lots
        Best prices in ticks, and what stands there.
    """
    return (ask_lots * bid + bid_lots * ask) / (bid_lots + ask_lots)


@inlined
def spread_paid(side: int, tick: float, mid: float) -> float:
    """What who took paid beyond a mid price, of that mid price.

    Parameters
    ----------
    side
        Of who took.
    tick, mid
        Price and mid price.
    """
    return (tick - mid) / mid if side == BUY else (mid - tick) / mid


def effective_spread(side: Int, tick: Int, mid: Float) -> Float:
    """Effective half-spreads, as shares of the mid price.

    Parameters
    ----------
    side
        (N,) of who took, 0 = a buyer.
    tick, mid
        (N,) price, and mid price before it, ticks.
    """
    return np.asarray(np.where(side == BUY, 1.0, -1.0) * (tick - mid) / mid)


def realised_spread(side: Int, tick: Int, mid: Float, later: Float) -> Float:
    """Realised half-spreads, as shares of the mid price: what who was met kept once the price had moved.

    Parameters
    ----------
    side, tick, mid
        As in `effective_spread`.
    later
        (N,) mid price after the horizon, ticks: known no earlier.
    """
    return np.asarray(np.where(side == BUY, 1.0, -1.0) * (tick - later) / mid)


def vpin(bought: Float, sold: Float) -> float:
    """Volume-synchronised probability of informed trading.

    Parameters
    ----------
    bought, sold
        (N,) lots of buckets of equal volume, by who took.

    Raises
    ------
    UserError
        If there is none, or they differ in volume.
    """
    volume = np.asarray(bought) + np.asarray(sold)
    if not len(volume) or not (volume == volume[0]).all() or not volume[0] > 0:
        raise UserError("VPIN is of buckets of one volume above 0.")
    return float(np.abs(np.asarray(bought) - np.asarray(sold)).sum() / volume.sum())


def roll_spread(prices: Float) -> float:
    """Roll's estimate of the spread from prices of trades: their bounce; NaN where prices show none.

    Parameters
    ----------
    prices
        (N,) of trades in a row.

    Raises
    ------
    UserError
        If there are fewer than three.
    """
    if len(prices) < 3:
        raise UserError(f"Roll's spread needs three prices, not {len(prices)}.")
    moves = np.diff(np.asarray(prices, dtype=np.float64))
    moves = moves - moves.mean()
    together = float((moves[1:] * moves[:-1]).mean())
    return 2.0 * math.sqrt(-together) if together < 0.0 else math.nan


@compiled
def kyle_lambda(flow: Float, move: Float) -> float:
    """Kyle's lambda: slope of moves of the price on signed flow, by least squares; NaN if all flows are equal.

    Parameters
    ----------
    flow
        (N,) bought less sold in each interval, lots.
    move
        (N,) of the mid price, ticks.
    """
    n = len(flow)
    x_mean, y_mean = 0.0, 0.0
    for k in range(n):
        x_mean += flow[k] / n
        y_mean += move[k] / n
    together, alone = 0.0, 0.0
    for k in range(n):
        together += (flow[k] - x_mean) * (move[k] - y_mean)
        alone += (flow[k] - x_mean) ** 2
    return together / alone if alone > 0.0 else math.nan


@inlined
def decayed(excitement: float, passed_ns: int, decay_ns: float) -> float:
    """What is left of an exponential kernel after some time.

    Parameters
    ----------
    excitement
        Before.
    passed_ns, decay_ns
        Time, and that in which all but 1 / e of it goes, ns.
    """
    return excitement * math.exp(-passed_ns / decay_ns)


@compiled
def _intensities(times: Int, at: Int, base: float, jump: float, decay_ns: float, out: Float) -> None:
    excitement, last, k = 0.0, 0, 0
    for n in range(len(at)):
        while k < len(times) and times[k] <= at[n]:
            excitement = decayed(excitement, times[k] - last, decay_ns) + 1.0
            last = times[k]
            k += 1
        out[n] = base + (jump * decayed(excitement, at[n] - last, decay_ns) if k > 0 else 0.0)


def hawkes_intensity(times: Int, at: Int, base: float, branching: float, decay_ns: float) -> Float:
    """Intensity of a Hawkes process with an exponential kernel.

    Parameters
    ----------
    times
        (N,) of events, rising, ns.
    at
        (T,) moments, rising, ns; an event counts from its own moment on.
    base
        Events a second without others before them.
    branching
        Events that each brings on, on average.
    decay_ns
        Time in which all but 1 / e of its effect goes.

    Returns
    -------
    Float
        (T,) events a second.
    """
    out = np.empty(len(at))
    _intensities(np.asarray(times, np.int64), np.asarray(at, np.int64), base, branching * 1e9 / decay_ns, decay_ns, out)
    return out
