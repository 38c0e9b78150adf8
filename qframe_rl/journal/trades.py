"""What a session traded, by the events of its journal: fills of its orders, and what the venue closed by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_COLUMNS = ("quantity", "price", "fee", "spread", "impact", "forced", "forced_price")
"""Each is left out where all of it is nothing."""


class JournalTrade(NamedTuple):
    """A fill, or a forced closing: a liquidation, a delisting, a settlement."""

    leg: int
    """Place of its instrument; of a forced closing, further on by the number of instruments: a bar may have both. Of
    several orders each, further on once more for each slot before."""
    symbol: str
    quantity: float
    """Signed base units."""
    price: float
    fee: float
    """Quote currency; where a bar has both, each has its part by what it was worth."""
    cost: float
    """Fee, spread and impact, quote currency."""
    forced: bool


def trades_of(plain: Mapping[str, Any], symbols: Sequence[str]) -> Iterator[JournalTrade]:
    """Trades that an event ``settled`` or ``transferred`` tells of.

    Parameters
    ----------
    plain
        The event.
    symbols
        Of the session's A instruments.

    Raises
    ------
    ValueError, LookupError, TypeError
        If it is not what a session writes.
    """
    fills = plain.get("fills") or {}
    if any(len(fills[name]) != len(symbols) for name in _COLUMNS if fills.get(name)):
        raise ValueError("another number of instruments than the session has")
    for k, symbol in enumerate(symbols):
        quantity, price = _at(fills, "quantity", k), _at(fills, "price", k)
        out, closed_at, fee = _at(fills, "forced", k), _at(fills, "forced_price", k), _at(fills, "fee", k)
        worth, rest = abs(quantity * price), abs(out * closed_at)
        own = fee if not out else fee * worth / (worth + rest) if quantity and worth + rest else 0.0
        parts = _parts(fills, k)
        if parts:
            slipped = _at(fills, "spread", k) + _at(fills, "impact", k)
            whole = sum(abs(size * at) for _, size, at, _ in parts)
            for slot, size, at, paid in parts:
                cost = paid + slipped * abs(size * at) / whole
                yield JournalTrade((2 + slot) * len(symbols) + k, symbol, size, at, paid, cost, forced=False)
            own = sum(paid for *_, paid in parts)
        elif quantity:
            cost = own + _at(fills, "spread", k) + _at(fills, "impact", k)
            yield JournalTrade(k, symbol, quantity, price, own, cost, forced=False)
        if out:
            yield JournalTrade(len(symbols) + k, symbol, out, closed_at, fee - own, fee - own, forced=True)


def _parts(fills: Mapping[str, Any], k: int) -> list[tuple[int, float, float, float]]:
    """Slot, signed base units, price and fee of each of several orders of an instrument that filled."""
    slots = fills.get("slots")
    if not slots:
        return []
    rows = zip(slots["quantity"][k], slots["price"][k], slots["fee"][k], strict=True)
    return [(j, float(size), float(at), float(fee)) for j, (size, at, fee) in enumerate(rows) if size]


def _at(fills: Mapping[str, Any], name: str, k: int) -> float:
    column = fills.get(name)
    return float(column[k]) if column and column[k] is not None else 0.0
