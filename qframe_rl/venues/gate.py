"""Orders to a real exchange, each exactly once: what is intended is on disk before it is sent.

An answer that is not a clear yes or no leaves an order *unknown*: a timeout, a cut connection, a body that cannot be
read. It is looked up by the id that we gave it, and "not found" is believed only once no exchange may accept the
request any more: Binance refuses a signed request that is older than its recvWindow, on arrival and again before its
matching engine (API documentation, "Timing security"). Until then it may still appear.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from qframe_rl.config import Unavailable
from qframe_rl.exchanges import amount_unit
from qframe_rl.journal.codec import Plain
from qframe_rl.journal.ledger import Ledger
from qframe_rl.venues.resting import place_of

Status = Literal["accepted", "refused", "never"]
"""``accepted``: it is on the exchange. ``refused``: the exchange said no. ``never``: it did not arrive, and cannot."""
_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True)
class Intent:
    """One order that is to be sent."""

    symbol: str
    quantity: float
    """Signed, base units, in whole lots."""
    limit: float | None = None
    stop: float | None = None
    reduce_only: bool = False


class Gate:
    """The way out to one exchange account.

    Parameters
    ----------
    client
        Of CCXT, with keys and markets; None in a replay.
    ledger
        Where intents and outcomes are written.
    run
        Names the session; ids of orders are made from it.
    recv_window_ms
        How old a request may be when the exchange gets it.
    margin_ms
        What is waited beyond that: error of the clocks, and the way of an answer.
    patience_s
        How long an unknown order is looked up before giving up, seconds.
    note
        Told in one line of every unknown order.
    """

    def __init__(
        self,
        client: Any,
        ledger: Ledger,
        run: str,
        *,
        recv_window_ms: int = 3000,
        margin_ms: int = 1500,
        patience_s: float = 3600.0,
        note: Callable[[str], None] = lambda text: None,
    ):
        self._client, self._ledger, self._run = client, ledger, run
        self._wait_s = (recv_window_ms + margin_ms) / 1e3
        self._patience_s, self._note = patience_s, note
        if client is not None:
            client.options["recvWindow"] = recv_window_ms
            # CCXT would send a lost order again: one call, two orders.
            client.options["maxRetriesOnFailure"] = 0

    def name(self, number: int, attempt: int) -> str:
        """Id of an order, at most 32 letters and digits: every exchange that CCXT knows takes that."""
        return hashlib.sha256(f"{self._run}/{number}/{attempt}".encode()).hexdigest()[:28]

    def place(self, number: int, intent: Intent, attempts: int = 1, valid: Callable[[], bool] = lambda: True) -> Plain:
        """Send an order, once.

        Parameters
        ----------
        number
            Of the order in the session; the same number is the same order.
        intent
            What to send.
        attempts
            How often to try where it is certain that nothing arrived.
        valid
            Whether it is not too late to send it.

        Returns
        -------
        Plain
            ``status`` (see `Status`), ``name`` and, if accepted, ``order`` (the exchange's id); ``why`` if not.

        Raises
        ------
        Unavailable
            If the exchange does not say for `patience_s` what became of it. The intent stays on record as unknown, and
            is looked up again at the next start.
        """
        outcome: Plain = {}
        for attempt in range(attempts):
            name = self.name(number, attempt)
            fresh = self._ledger.writing
            self._ledger.put("intent", {"number": number, "name": name, **vars(intent)})
            self._ledger.commit()
            outcome = self._ledger.take("outcome", partial(self._outcome, name, intent, fresh, valid))
            self._ledger.commit()
            if outcome["status"] != "never":
                break
        return outcome

    def _outcome(self, name: str, intent: Intent, fresh: bool, valid: Callable[[], bool]) -> Plain:
        """What becomes of an order; one whose intent was on record before may have been sent."""
        if not fresh:
            return self._resolve(name, intent)
        if not valid():
            return {"status": "never", "name": name, "why": "too late to be sent"}
        return self._send(name, intent)

    def _send(self, name: str, intent: Intent) -> Plain:
        import ccxt

        kind = "market" if intent.limit is None else "limit"
        params: dict[str, Any] = {"clientOrderId": name}
        if intent.stop is not None:
            params["stopPrice"] = intent.stop
        if intent.reduce_only:
            params["reduceOnly"] = True
        amount = abs(intent.quantity) / amount_unit(self._client.id, self._client.market(intent.symbol))
        side = "buy" if intent.quantity > 0.0 else "sell"
        try:
            order = self._client.create_order(intent.symbol, kind, side, amount, intent.limit, params)
        except (ccxt.BaseError, LookupError, TypeError, AttributeError, ValueError) as error:
            if _refused(error):
                return {"status": "refused", "name": name, "why": _why(error)}
            self._note(f"order {name}: {_why(error)}; looking for it")
            return self._resolve(name, intent)
        found = _order_id(order, name)
        return self._resolve(name, intent) if found is None else self._accepted(name, intent, found)

    def _resolve(self, name: str, intent: Intent) -> Plain:
        """Look for an order of which it is not known whether it arrived."""
        begun = time.monotonic()
        pause = _PAUSE_S
        while time.monotonic() - begun < self._patience_s:
            # What was sent was signed before this moment, so its recvWindow ends within the wait.
            certain = time.monotonic() - begun > self._wait_s
            found = self._looked_up(name, intent)
            if found is not None and found != "":
                return self._accepted(name, intent, found)
            if found == "" and certain and self._unlisted(name, intent):
                return {"status": "never", "name": name, "why": "not found after its recvWindow"}
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE_S, pause * 1.5)
        raise Unavailable(
            f"the exchange does not say what became of order {name}; it stays on record as unknown. "
            "Start the same command again when the exchange answers."
        )

    def _accepted(self, name: str, intent: Intent, order: str) -> Plain:
        apart = {"apart": True} if self._where(intent) else {}
        return {"status": "accepted", "name": name, "order": order, **apart}

    def _where(self, intent: Intent) -> dict[str, Any]:
        return place_of(self._client, intent.symbol, intent.stop is not None)

    def _looked_up(self, name: str, intent: Intent) -> str | None:
        """The exchange's id of an order; empty if it says that there is none; None if it does not say."""
        import ccxt

        try:
            params = {"clientOrderId": name, **self._where(intent)}
            return _order_id(self._client.fetch_order(None, intent.symbol, params), name)
        except ccxt.OrderNotFound:
            return ""
        except (ccxt.BaseError, LookupError, TypeError, AttributeError, ValueError):
            return None

    def _unlisted(self, name: str, intent: Intent) -> bool:
        """Whether the list of recent orders, another way to ask, lacks it as well."""
        import ccxt

        try:
            orders = self._client.fetch_orders(intent.symbol, None, 500, self._where(intent))
        except (ccxt.BaseError, LookupError, TypeError, AttributeError, ValueError):
            return False
        return isinstance(orders, list) and all(order.get("clientOrderId") != name for order in orders)


def _order_id(order: Any, name: str) -> str | None:
    """The exchange's id in an answer about the order that we named; None if the answer does not say."""
    if not isinstance(order, dict) or not order.get("id") or order.get("clientOrderId") != name:
        return None
    return str(order["id"])


def _refused(error: Exception) -> bool:
    """Whether an error proves that the order did not take effect."""
    import ccxt

    if isinstance(error, ccxt.DuplicateOrderId) or "uplicate" in str(error) or "-4116" in str(error):
        # It is there already: this very order, sent before.
        return False
    kinds = (ccxt.InsufficientFunds, ccxt.InvalidOrder, ccxt.BadSymbol, ccxt.AuthenticationError, ccxt.BadRequest)
    return isinstance(error, kinds) and not isinstance(error, ccxt.PermissionDenied)


def _why(error: Exception) -> str:
    words = [word for word in str(error).split() if "://" not in word]
    return f"{type(error).__name__}: {' '.join(words)[:160]}"
