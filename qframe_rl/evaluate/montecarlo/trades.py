"""A record cut into trades, and the same trades in another order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from qframe_rl.evaluate.metrics import returns
from qframe_rl.types import Float, Int, Record


class Trades(NamedTuple):
    """Stretches of a record over which no position changed sides; together they are the record."""

    start: Int
    """(K,) first bar of each."""
    stop: Int
    """(K,) the bar after the last."""
    rate: Float
    """(K,) compound return of each, costs included."""
    held: Int
    """(K,) whether something was held: 1, or 0 for a stretch in cash."""


def trades_of(record: Record) -> Trades:
    """Cut a record where a position is opened, closed or turned round.

    A bar that closes a position belongs to the trade that it ends, a bar that opens one to the trade that it begins. A
    stretch in cash earns nothing, so that the compound of all is the record's own.
    """
    rate = returns(record.worth)
    side = np.sign(record.account.position)
    before, after = side[:-1], side[1:]
    changed = np.any(before != after, axis=1)
    busy = np.any(before != 0.0, axis=1)
    # A bar that closes ends its trade; one that opens from cash begins a new one.
    begins = np.zeros(len(rate) + 1, dtype=np.bool_)
    begins[0] = True
    begins[1:][changed & busy] = True
    begins[:-1][changed & ~busy] = True
    start = np.flatnonzero(begins[:-1])
    stop = np.append(start, len(rate))[1:]
    growth = np.log(np.maximum(1.0 + rate, 1e-300))
    compound = np.expm1(np.add.reduceat(growth, start)) if len(start) else np.empty(0)
    held = np.array([np.any(busy[a:b]) or np.any(after[a:b] != 0.0) for a, b in zip(start, stop, strict=True)])
    return Trades(start, stop, compound, held.astype(np.int64))


def shuffled(record: Record, n_paths: int, seed: int) -> Iterator[Float]:
    """Put the trades of a record in other orders.

    Parameters
    ----------
    record
        Of N bars, cut as `trades_of` does.
    n_paths
        How many orders to draw.
    seed
        Of the draws.

    Yields
    ------
    Float
        (N + 1,) equity over initial equity, bar by bar. The last value of every path is the same: order changes the
        way, never the end.
    """
    rate = returns(record.worth)
    parts = trades_of(record)
    growth = np.log(np.maximum(1.0 + rate, 1e-300))
    spans = [growth[a:b] for a, b in zip(parts.start, parts.stop, strict=True)]
    rng = np.random.default_rng(seed)
    for _ in range(n_paths):
        yield np.exp(np.cumsum(np.concatenate([[0.0], *(spans[k] for k in rng.permutation(len(spans)))])))
