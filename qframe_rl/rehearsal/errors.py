"""What Binance answers to what it will not do: codes, texts and HTTP statuses, for each of its two wires."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qframe_rl.rehearsal.market import SPOT


class Refused(Exception):
    """An answer with an error code.

    Parameters
    ----------
    code, message
        As on the wire.
    status
        HTTP status.
    data
        What the answer says beside them.
    """

    def __init__(self, code: int, message: str, status: int = 400, data: Mapping[str, Any] | None = None):
        super().__init__(f"{code} {message}")
        self.code, self.message, self.status, self.data = code, message, status, data

    def body(self) -> dict[str, Any]:
        """The answer."""
        plain: dict[str, Any] = {"code": self.code, "msg": self.message}
        return plain if self.data is None else plain | {"data": self.data}


def malformed(name: str) -> Refused:
    """A parameter is missing or cannot be read."""
    return Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def illegal(name: str, legal: str) -> Refused:
    """A parameter has characters that it must not have."""
    return Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def invalid_symbol() -> Refused:
    """No such market."""
    return Refused(-1121, "Invalid symbol.")


def stale() -> Refused:
    """A request that is older than its window allows."""
    return Refused(-1021, "Timestamp for this request is outside of the recvWindow.")


def early() -> Refused:
    """A request from the future."""
    return Refused(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")


def bad_signature() -> Refused:
    """The signature is not the one of these parameters and this key."""
    return Refused(-1022, "Signature for this request is not valid.")


def bad_key() -> Refused:
    """No account has the key."""
    return Refused(-2015, "Invalid API-key, IP, or permissions for action.", 401)


def no_key() -> Refused:
    """No key was sent."""
    return Refused(-2014, "API-key format invalid.", 401)


def rejected(reason: str) -> Refused:
    """Spot refuses a new order."""
    return Refused(-2010, reason)


def insufficient(wire: str) -> Refused:
    """Not enough money or margin."""
    if wire == SPOT:
        return rejected("Account has insufficient balance for requested action.")
    return Refused(-2019, "Margin is insufficient.")


def duplicate(wire: str) -> Refused:
    """An open order has this client order id."""
    return rejected("Duplicate order sent.") if wire == SPOT else Refused(-4116, "ClientOrderId is duplicated.")


def would_take(wire: str) -> Refused:
    """A post-only order would not rest."""
    if wire == SPOT:
        return rejected("Order would immediately match and take.")
    return Refused(
        -5022,
        "Due to the order could not be executed as maker, the Post Only order will be rejected. The order will not be "
        "recorded in the order history",
    )


def would_trigger(wire: str) -> Refused:
    """A stop price is already reached."""
    if wire == SPOT:
        return rejected("Stop price would trigger immediately.")
    return Refused(-2021, "Order would immediately trigger.")


def unknown_order() -> Refused:
    """Nothing to cancel."""
    return Refused(-2011, "Unknown order sent.")


def no_order() -> Refused:
    """Nothing to show."""
    return Refused(-2013, "Order does not exist.")


def closed(wire: str) -> Refused:
    """The market takes no orders."""
    if wire == SPOT:
        return Refused(-1013, "Market is closed.")
    return Refused(-4140, "Invalid symbol status for opening position.")


def unavailable() -> Refused:
    """What this exchange does not rehearse."""
    return Refused(-4084, "Method is not allowed currently. Coming soon.")
