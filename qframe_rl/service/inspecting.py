"""What happened at one bar of a session, in its own journal's words: seen, asked, cut, filled, and by which rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qframe_rl.journal.lock import corrupt
from qframe_rl.journal.peek import Peek
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.service.places import Found, plain_json
from qframe_rl.service.tapes import Tapes

_SPAN = 400
"""Events that are looked through from a bar on, until the next one is settled."""
_AROUND = "SELECT seq, kind, payload FROM events WHERE seq >= ? ORDER BY seq LIMIT ?"
_FORCED = "closed by the venue itself: liquidation, or the instrument's last bar"
_FIELDS = ("fee", "spread", "impact", "funding", "cancelled")


def inspected(tapes: Tapes, found: Found, time_ns: int) -> dict[str, Any]:
    """The last bar that closed by a moment: the decision after it, and what the next bar made of that.

    Parameters
    ----------
    tapes
        Bars of sessions.
    found
        The session.
    time_ns
        The moment, ns UTC.

    Raises
    ------
    UserError
        If the session has no bar by then, or its journal is corrupt.
    """
    first, close = tapes.event_of(found, time_ns)
    try:
        return _told(found, first, close)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise corrupt(found.folder / JOURNAL, f"what follows event {first} is not what a session writes") from None


def _told(found: Found, first: int, close: int) -> dict[str, Any]:
    with Peek(found.folder / JOURNAL) as peek:
        ((head,),) = peek.rows("SELECT payload FROM events WHERE kind = 'session' ORDER BY seq LIMIT 1")
        rows = [(seq, kind, plain_json(text)) for seq, kind, text in peek.rows(_AROUND, (first, _SPAN))]
    terms = plain_json(head)
    symbols = [str(one["symbol"]) for one in terms["instruments"]]
    decision = next((row for row in rows if row[1] == "decision" and row[2]["time"] == close), None)
    settled = next((row for row in rows if row[1] == "settled" and row[2]["time"] > close), None)
    before = next((p for _, kind, p in rows if kind in ("settled", "started") and p["time"] == close), None)
    last = settled[0] if settled is not None else rows[-1][0]
    told: dict[str, Any] = {
        "time_ns": str(close), "symbols": symbols, "seq": None if decision is None else decision[0],
        "bar": [_bar(symbol, values) for symbol, values in zip(symbols, rows[0][2]["values"], strict=True)],
        "account": None if before is None else before["account"],
        "news": [
            {"seq": seq, "kind": kind, "data": plain} for seq, kind, plain in rows
            if first < seq < last and kind not in ("decision", "settled", "started", "bar", "snapshot", "quotes")
        ],
    }  # fmt: skip
    if decision is not None:
        told |= _decided(decision[2], symbols)
    if decision is not None and settled is not None:
        sent = decision[2].get("orders", decision[2]["asked"])
        told |= {
            "settled": settled[0], "settled_ns": str(settled[2]["time"]), "after": settled[2]["account"],
            "fills": _filled(settled[2].get("fills") or {}, sent, symbols, terms),
        }  # fmt: skip
    return told


def _decided(plain: Mapping[str, Any], symbols: Sequence[str]) -> dict[str, Any]:
    asked = _orders(plain["asked"], symbols)
    sent = _orders(plain["orders"], symbols) if "orders" in plain else asked
    return {
        "asked": asked, "sent": sent, "reasons": [str(one) for one in plain.get("reasons", ())],
        "state": str(plain.get("state", "ACTIVE")), "sight": str(plain.get("sight", "")),
    }  # fmt: skip


def _orders(plain: Mapping[str, Any], symbols: Sequence[str]) -> list[dict[str, Any]]:
    """Orders that are not nothing, by symbol; of several the slots one after the other."""
    several = [len(row) for row in plain["quantity"] if isinstance(row, list)]
    if several:
        given = {name: plain[name] for name in ("quantity", "limit", "stop") if name in plain}
        slots = ({name: [row[k] for row in part] for name, part in given.items()} for k in range(several[0]))
        return [row for slot in slots for row in _orders(slot, symbols)]
    return [
        {"symbol": symbol, "quantity": quantity, "limit": _at(plain, "limit", k), "stop": _at(plain, "stop", k)}
        for k, (symbol, quantity) in enumerate(zip(symbols, plain["quantity"], strict=True)) if quantity
    ]  # fmt: skip


def _filled(
    fills: Mapping[str, Any], sent: Mapping[str, Any], symbols: Sequence[str], terms: Mapping[str, Any]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for k, symbol in enumerate(symbols):
        costs = {name: _at(fills, name, k) or 0.0 for name in _FIELDS}
        quantity, price = _at(fills, "quantity", k) or 0.0, _at(fills, "price", k)
        if quantity or costs["cancelled"]:
            several = isinstance(sent["quantity"][k], list)
            rule = "several orders" if several else _rule(terms, _at(sent, "limit", k), _at(sent, "stop", k))
            rule = rule if quantity else "nothing filled"
            found.append({"symbol": symbol, "quantity": quantity, "price": price, "rule": rule, **costs})
        if forced := _at(fills, "forced", k):
            found.append(
                {"symbol": symbol, "quantity": forced, "price": _at(fills, "forced_price", k), "rule": _FORCED,
                 **dict.fromkeys(_FIELDS, 0.0)}
            )  # fmt: skip
    return found


def _rule(terms: Mapping[str, Any], limit: float | None, stop: float | None) -> str:
    """By what an order is filled, in words."""
    if terms.get("orders") != "paper":
        return "traded on the exchange, at its prices"
    if terms.get("fills") == "book":
        return "market: walked through the live order book at the decision"
    if stop is not None:
        return f"stop {stop:g}: once the bar reached it, at the worse of open and stop, with slippage"
    if limit is not None:
        return f"limit {limit:g}: the bar traded through it, at the better of open and limit, maker fee"
    return "market: at the next bar's open, half the spread and the impact worse"


def _bar(symbol: str, values: Sequence[float | None]) -> dict[str, Any]:
    return {"symbol": symbol, **dict(zip(("open", "high", "low", "close", "volume"), values, strict=False))}


def _at(plain: Mapping[str, Any], name: str, k: int) -> float | None:
    column = plain.get(name)
    return None if not column or column[k] is None else float(column[k])
