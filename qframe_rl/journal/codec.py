"""Records as plain JSON and back, to the last bit: floats in their shortest exact digits, NaN as null."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qframe_rl.agent import View
from qframe_rl.types import Account, Bar, Fills, Float, Orders, SlotFills

Plain = dict[str, Any]
_ENDLESS = -1.0
"""Stands for infinity in `Orders.good`."""


def numbers(array: Float) -> Any:
    """Nested lists of an array, NaN as None."""
    flat = np.asarray(array, dtype=np.float64)
    if np.isnan(flat).any():
        flat = flat.astype(object)
        flat[flat != flat] = None
    return flat.tolist()


def array(plain: Any) -> Float:
    """What `numbers` took apart."""
    return np.array(plain, dtype=np.float64)


def packed(array: NDArray[Any]) -> Plain:
    """An array of any type, to the bit: type, shape and bytes. All that is not a number is the same NaN."""
    flat = np.ascontiguousarray(array).reshape(np.shape(array))
    if flat.dtype.kind == "f":
        flat = np.where(np.isnan(flat), np.array(np.nan, dtype=flat.dtype), flat)
    flat = flat.astype(flat.dtype.newbyteorder("<"))
    return {"type": flat.dtype.str, "shape": list(flat.shape), "bytes": base64.b64encode(flat.tobytes()).decode()}


def unpacked(plain: Mapping[str, Any]) -> NDArray[Any]:
    """What `packed` took apart."""
    flat = np.frombuffer(base64.b64decode(plain["bytes"]), dtype=np.dtype(plain["type"]))
    return flat.reshape(plain["shape"]).astype(flat.dtype.newbyteorder("="))


def bar_out(bar: Bar) -> Plain:
    """A bar of (A, C) values."""
    plain: Plain = {"time": bar.time, "values": numbers(bar.values)}
    if bar.funding.any():
        plain["funding"] = numbers(bar.funding)
    if bar.final.any():
        plain["final"] = bar.final.tolist()
    if bar.cash_rate != 0.0:
        plain["cash_rate"] = bar.cash_rate
    if bar.finer is not None:
        plain["finer"] = numbers(bar.finer)
    return plain


def bar_in(plain: Mapping[str, Any]) -> Bar:
    """What `bar_out` took apart."""
    values = array(plain["values"])
    n = len(values)
    funding = array(plain["funding"]) if "funding" in plain else np.zeros(n)
    final = np.array(plain["final"], dtype=np.bool_) if "final" in plain else np.zeros(n, dtype=np.bool_)
    finer = array(plain["finer"]) if "finer" in plain else None
    return Bar(int(plain["time"]), values, funding, final, float(plain.get("cash_rate", 0.0)), finer)


def orders_out(orders: Orders) -> Plain:
    """Orders of (A,) or (A, K); what is not given, and prices where there is none, are left out."""
    plain: Plain = {"quantity": numbers(orders.quantity)}
    for name, field in zip(orders._fields[1:], orders[1:], strict=True):
        if field is not None and not np.isnan(field).all():
            # What stands until it is cancelled has no number of bars that JSON could write.
            plain[name] = numbers(np.where(np.isinf(field), _ENDLESS, field))
    return plain


def orders_in(plain: Mapping[str, Any]) -> Orders:
    """What `orders_out` took apart."""
    made = Orders.market(array(plain["quantity"]))
    given = {name: array(plain[name]) for name in Orders._fields[1:] if name in plain}
    if "good" in given:
        given["good"] = np.where(given["good"] == _ENDLESS, np.inf, given["good"])
    return made._replace(**given)


def fills_out(fills: Fills) -> Plain:
    """Fills of (A,); fields that are all zero are left out."""
    plain: Plain = {
        name: numbers(field) for name, field in zip(fills._fields, fills.sums, strict=False) if np.any(field)
    }
    if fills.slots is not None:
        plain["slots"] = {name: numbers(field) for name, field in fills.slots._asdict().items()}
    return plain


def fills_in(plain: Mapping[str, Any], n: int) -> Fills:
    """What `fills_out` took apart, of ``n`` instruments."""
    sums = {name: array(field) for name, field in plain.items() if name != "slots"}
    slots = SlotFills(**{name: array(field) for name, field in plain["slots"].items()}) if "slots" in plain else None
    return Fills.none(n)._replace(slots=slots, **sums)


def settled_out(view: View) -> Plain:
    """What a bar did to orders, and what stands in slots after it."""
    standing = {} if view.resting is None else {"resting": orders_out(view.resting)}
    return {"fills": fills_out(view.fills)} | standing


def account_out(account: Account) -> Plain:
    """An account of (A,)."""
    return {
        "cash": float(account.cash),
        "position": numbers(account.position),
        "mark": numbers(account.mark),
        "equity": float(account.equity),
    }


def account_in(plain: Mapping[str, Any]) -> Account:
    """What `account_out` took apart."""
    return Account(array(plain["cash"]), array(plain["position"]), array(plain["mark"]))


def sight(view: View) -> str:
    """SHA-256 over all that an agent was shown: times, window, account and what stands in slots."""
    digest = hashlib.sha256(np.ascontiguousarray(view.times).tobytes())
    for part in (view.bars, view.account.cash, view.account.position, view.account.mark, *(view.resting or ())):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
