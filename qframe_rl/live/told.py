"""Who is told what the router does, and what is done at once where orders are real."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from qframe_rl.agent import View
from qframe_rl.risk.engine import Conditions, RiskDecision, RiskEngine
from qframe_rl.types import Account, Orders
from qframe_rl.venues.venue import Outgoing


class RouterListener(Protocol):
    """Told of what the router does; it can change nothing."""

    def decided(self, view: View, verdict: RiskDecision, seconds: float) -> None:
        """A decision is written down, so many seconds after its bar arrived; its orders are about to go out."""

    def changed(self, time: int, state: str, reasons: Sequence[str]) -> None:
        """The state of trading changed."""


def kill(venue: Outgoing, engine: RiskEngine, time: int, sent: Orders, account: Account) -> None:
    """Take back what may not rest, and close what is to be closed, by the state of trading and what is locked.

    Parameters
    ----------
    venue
        Where the orders go.
    engine
        Its state is not ACTIVE, or something is locked.
    time
        Close of the last bar, ns UTC.
    sent, account
        The last orders, and the account as it was then.
    """
    state, locked = engine.state, engine.locked
    symbols = [i.symbol for i in engine.instruments]
    opening = dict.fromkeys(symbols if state != "ACTIVE" else (), state == "REDUCE_ONLY")
    venue.cancel(opening | dict.fromkeys(locked, False))
    if state != "FLATTEN" and not locked:
        return
    # What was ordered since the last bar may have filled: what is held now is closed.
    now = account._replace(position=venue.held())
    orders = engine.check(time, sent, now, Conditions()).orders if state == "FLATTEN" else engine.closing(now)
    venue.close(orders, now.position)


def held_in_words(symbols: Sequence[str], account: Account) -> str:
    """What an account of (A,) holds of the A instruments."""
    held = zip(symbols, account.position.tolist(), strict=True)
    return ", ".join(f"{quantity:+g} {symbol}" for symbol, quantity in held if quantity)
