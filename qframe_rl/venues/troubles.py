"""Positions of an exchange that our trades do not explain."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from qframe_rl.types import Instrument

_ULP = 1e-9


def unexplained(instruments: Sequence[Instrument], expected: Any, after: Any) -> Any:
    """Say where an exchange holds something else than our trades come to.

    Parameters
    ----------
    instruments
        The A instruments; half a lot is no difference.
    expected, after
        (A,) base units by our trades, and those that the exchange holds.

    Returns
    -------
    Bool
        (A,).
    """
    lots = np.array([max(i.lot, 1e-12) for i in instruments])
    return np.abs(expected - after) > 0.5 * lots + _ULP * np.abs(after)


def troubles(symbols: Sequence[str], expected: Any, after: Any, off: Any, strange: int) -> tuple[str, ...]:
    """What halts trading, in words.

    Parameters
    ----------
    symbols, expected, after
        (A,) instruments, base units by our trades, and those that the exchange holds.
    off
        (A,) which of them differ.
    strange
        Number of trades of orders that are not ours.

    Returns
    -------
    tuple[str, ...]
        A sentence each; empty where all is explained.
    """
    found = [
        f"{symbol}: the exchange holds {after[a]:g}, our trades say {expected[a]:g}"
        for a, symbol in enumerate(symbols)
        if off[a]
    ]
    return (*found, f"{strange} trades of orders that are not ours") if strange else tuple(found)


def strange(trades: Sequence[Mapping[str, Any]], ours: Collection[str], unsure: Collection[str]) -> int:
    """Trades of orders that are not ours; where one of ours is unknown, nobody can tell.

    Parameters
    ----------
    trades
        Of a reading.
    ours
        Ids of our orders.
    unsure
        Markets in which it is not known what became of an order.
    """
    return sum(one["order"] not in ours and one["symbol"] not in unsure for one in trades)


def unpriced(trades: Sequence[Mapping[str, Any]], ours: Collection[str], seen: Collection[str]) -> tuple[str, ...]:
    """Fees of our trades that were taken in a coin of unknown worth, in words.

    Parameters
    ----------
    trades
        Of a reading.
    ours
        Ids of our orders.
    seen
        Ids of trades that were counted before.

    Returns
    -------
    tuple[str, ...]
        A sentence each; empty where every fee is counted in the quote currency.
    """
    new = [one for one in trades if one["order"] in ours and one["id"] not in seen]
    return tuple(
        f"{one['symbol']}: a fee of {one['fee_paid']:g} {one['fee_in']} was taken, whose worth is not known here; have "
        "fees taken in the quote currency"
        for one in new
        if "fee_in" in one and "fee_at" not in one
    )
