"""An exchange's own switch for sessions that do not come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qframe_rl.exchanges import conventions
from qframe_rl.feeds.answer import answer, unclear


def arm(client: Any, symbol: str, countdown_ms: int, note: Callable[[str], None]) -> None:
    """Set the exchange's dead man's switch, where CCXT has one: what rests is cancelled if we do not come back.

    Parameters
    ----------
    client
        Of CCXT, with keys and markets.
    symbol
        The market.
    countdown_ms
        How long it waits for us.
    note
        Told in one line where it cannot be set.
    """
    dead_man, market = conventions(client.id).dead_man, client.market(symbol)
    try:
        if dead_man == "":
            return
        if client.has.get("cancelAllOrdersAfter"):
            answer(client.cancel_all_orders_after, countdown_ms)
        elif dead_man is not None and market.get("contract"):
            answer(getattr(client, dead_man), {"symbol": market["id"], "countdownTime": countdown_ms})
    except unclear() as error:
        note(f"the dead man's switch of {symbol} could not be set: {type(error).__name__}")
