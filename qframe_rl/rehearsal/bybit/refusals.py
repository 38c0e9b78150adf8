"""What Bybit answers to what it will not do; what the engine and the wallets refuse, in its codes and texts."""

from __future__ import annotations

from qframe_rl.rehearsal.errors import Refused
from qframe_rl.rehearsal.market import SPOT

_BOTH = {
    -1021: (10002, "invalid request, please check your server timestamp or recv_window param"),
    -1022: (10004, "error sign! please check your signature generation algorithm."),
    -2014: (10003, "API key is invalid."),
    -2015: (10003, "API key is invalid."),
    -1131: (10001, "params error: recv_window must not be greater than 60000"),
}
_SPOT = {
    -1121: (170121, "Invalid symbol."),
    -1013: (170140, "Order value exceeded lower limit."),
    -2010: (170131, "Insufficient balance."),
}
_LINEAR = {
    -1121: (10001, "params error: symbol invalid"),
    -2019: (110007, "ab not enough for new order"),
    -2022: (110017, "current position is zero, cannot fix reduce-only order qty"),
    -4140: (110074, "closed symbol error, This contract is not live"),
}
CLOSED_SPOT = Refused(170115, "The symbol is not available for trading.")


def told(refusal: Refused, wire: str) -> tuple[int, str]:
    """Code and text of a refusal; those that are Bybit's own already stay."""
    if refusal.code > 0:
        return refusal.code, refusal.message
    known = _BOTH | (_SPOT if wire == SPOT else _LINEAR)
    return known.get(refusal.code, (10001, f"params error: {refusal.message}"))


def not_found(wire: str) -> Refused:
    """No such order, or none that is open."""
    if wire == SPOT:
        return Refused(170213, "Order does not exist.")
    return Refused(110001, "order not exists or too late to cancel")


def duplicate(wire: str) -> Refused:
    """An order has this link id."""
    if wire == SPOT:
        return Refused(170141, "Duplicate clientOrderId.")
    return Refused(110072, "OrderLinkedID is duplicate")


def params(text: str) -> Refused:
    """A parameter is wrong."""
    return Refused(10001, f"params error: {text}")
