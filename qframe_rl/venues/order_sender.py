"""Orders to a real exchange, each exactly once: what is intended is on disk before it is sent.

An answer that is not a clear yes or no leaves an order *unknown*: a timeout, a cut connection, a body that cannot be
read. It is looked up by the id that we gave it, and "not found" is believed only once no exchange may accept the
request any more: Binance refuses a signed request that is older than its recvWindow, on arrival and again before its
matching engine (API documentation, "Timing security"). Until then it may still appear.

Nobody waits for an unknown order: it is looked for while everything else goes on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from qframe_rl.config import UserError
from qframe_rl.exchanges import amount_unit, conventions
from qframe_rl.feeds.answer import answer, shaped, unclear
from qframe_rl.feeds.task import PendingRequest
from qframe_rl.journal.codec import Plain
from qframe_rl.journal.ledger import Ledger
from qframe_rl.venues.answers import OrderAnswer
from qframe_rl.venues.resting import place_of
from qframe_rl.venues.timely import timely

Status = Literal["accepted", "refused", "never", "unknown"]
"""``accepted``: it is on the exchange. ``refused``: the exchange said no. ``never``: it did not arrive, and cannot.
``unknown``: one of the three, and it is being found out which."""
NAME_LENGTH = 28
"""Of the ids that orders are given."""
ANSWER_S = 1.0
"""How long orders that are sent together are waited for, seconds; what has no answer then is unknown."""
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
    force: Literal["", "post", "ioc"] = ""
    """``post``: it rests or is refused; ``ioc``: what does not fill at once is cancelled."""

    def plain(self) -> Plain:
        """As JSON; records of before there were forces have none."""
        return {name: value for name, value in vars(self).items() if name != "force" or value}


@dataclass
class Unknown:
    """An order of which it is not known what became of it."""

    intent: Intent
    post: PendingRequest[Plain] | None
    """The request that sent it, if this process did."""
    since: float
    """From then on it is looked for, by the monotonic clock."""
    look: PendingRequest[Plain | None] | None = None
    due: float = 0.0
    """When to look next."""
    pause_s: float = _PAUSE_S


class OrderSender:
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
    note
        Told in one line of every unknown order.

    Raises
    ------
    UserError
        For an exchange that cannot be told how old a request may be when it arrives.
    """

    def __init__(
        self,
        client: Any,
        ledger: Ledger,
        run: str,
        *,
        recv_window_ms: int = 3000,
        margin_ms: int = 1500,
        note: Callable[[str], None] = lambda text: None,
    ):
        self._client, self._ledger, self._note = client, ledger, note
        self.run = run
        self.wait_s = (recv_window_ms + margin_ms) / 1e3
        """From then on an order that nobody finds is believed not to exist."""
        self._same_again: tuple[str, ...] = ()
        self._met: tuple[str, ...] = ()
        self.unknown: dict[str, Unknown] = {}
        """Orders of which it is not known what became of them, by their names."""
        if client is not None:
            option = conventions(client.id).window_option
            if option is None:
                raise UserError(f"{client.id}: a lost order could arrive at any time; trade on paper there.")
            client.options[option] = recv_window_ms
            self._same_again, self._met = conventions(client.id).same_again, conventions(client.id).fires_at_once
            # CCXT would send a lost order again: one call, two orders.
            client.options["maxRetriesOnFailure"] = 0

    def name(self, number: int) -> str:
        """Id of an order, `NAME_LENGTH` letters and digits."""
        return hashlib.sha256(f"{self.run}/{number}/0".encode()).hexdigest()[:NAME_LENGTH]

    def carried(self) -> list[Any]:
        """The unknown orders, as JSON."""
        return [[name, one.intent.plain()] for name, one in self.unknown.items()]

    def carry(self, memory: Sequence[Any]) -> None:
        """Take over what `carried` returned."""
        self.unknown = {name: Unknown(Intent(**intent), None, time.monotonic()) for name, intent in memory}

    def send(self, orders: Mapping[int, Intent], valid: Callable[[], bool] = lambda: True) -> dict[int, Plain]:
        """Send orders, each once and all at the same time, and wait `ANSWER_S` for the answers.

        Parameters
        ----------
        orders
            What to send, by numbers in the session; the same number is the same order.
        valid
            Whether it is not too late to send them.

        Returns
        -------
        dict[int, Plain]
            By number ``status`` (see `Status`), ``name`` and, if accepted, ``order`` (the exchange's id) and ``apart``
            (whether that is one of its conditional orders); ``why`` if not, and ``met`` for a stop price that the
            market has passed already.
        """
        fresh = {}
        for number, intent in orders.items():
            fresh[number] = self._ledger.writing
            self._ledger.put("intent", {"number": number, "name": self.name(number), **intent.plain()})
        self._ledger.commit()
        # An intent that was on record before may have been sent by a process that ended.
        goes = self._ledger.writing and valid()
        posts = {n: PendingRequest(partial(self._sent, self.name(n), orders[n])) for n in orders if goes and fresh[n]}
        until = time.monotonic() + ANSWER_S
        said = {}
        for number, intent in orders.items():
            source = partial(self._outcome, self.name(number), posts.get(number), until, fresh[number])
            said[number] = self._ledger.take("outcome", source)
            if said[number]["status"] == "unknown":
                self.unknown[self.name(number)] = Unknown(intent, posts.get(number), time.monotonic())
        self._ledger.commit()
        return said

    def look(self) -> list[Plain]:
        """Outcomes of unknown orders that are clear by now; nobody is waited for."""
        found = [self._progress(name, one) for name, one in self.unknown.items()]
        return [said for said in found if said is not None]

    def learn(self, said: Plain) -> Intent:
        """Take over what became of an unknown order; return what it was."""
        return self.unknown.pop(said["name"]).intent

    def young(self) -> bool:
        """Whether an unknown order may soon be found: it is worth a moment."""
        now = time.monotonic()
        return any(now - one.since < 2.0 * self.wait_s for one in self.unknown.values())

    def _outcome(self, name: str, post: PendingRequest[Plain] | None, until: float, fresh: bool) -> Plain:
        if not fresh:
            return {"status": "unknown", "name": name, "why": "a process ended before it had an answer"}
        if post is None:
            return {"status": "never", "name": name, "why": "too late to be sent"}
        if not post.wait(until - time.monotonic()):
            self._note(f"order {name}: no answer within {ANSWER_S:g} s; looking for it")
            return {"status": "unknown", "name": name, "why": f"no answer within {ANSWER_S:g} s"}
        return post.result()

    def _sent(self, name: str, intent: Intent) -> Plain:
        """Send an order; where the answer is unclear, look once whether it is there."""
        import ccxt

        try:
            order = timely(self._client, partial(self._posted, name, intent))
        except unclear() as error:
            if isinstance(error, ccxt.InvalidNonce):
                # Its clock refused the request before anything else looked at it.
                return {"status": "never", "name": name, "why": _why(error)}
            if _refused(error, self._same_again):
                met = {"met": True} if any(text in str(error) for text in self._met) else {}
                return {"status": "refused", "name": name, "why": _why(error), **met}
            self._note(f"order {name}: {_why(error)}; looking for it")
            return self._looked(name, intent, certain=False) or {
                "status": "unknown", "name": name, "why": _why(error)
            }  # fmt: skip
        number = _order_id(order, name)
        if number is not None:
            return self._accepted(name, intent, number)
        return {"status": "unknown", "name": name, "why": "the answer does not name it"}

    def _posted(self, name: str, intent: Intent) -> Any:
        kind = "market" if intent.limit is None else "limit"
        params: dict[str, Any] = {"clientOrderId": name}
        market = self._client.market(intent.symbol)
        if intent.stop is not None:
            params["stopPrice"] = intent.stop
            if market.get("contract") and conventions(self._client.id).stop_direction:
                params["triggerDirection"] = "above" if intent.quantity > 0.0 else "below"
        if intent.reduce_only:
            params["reduceOnly"] = True
        if intent.force == "post":
            params["postOnly"] = True
        elif intent.force == "ioc":
            params["timeInForce"] = "IOC"
        amount = abs(intent.quantity) / amount_unit(self._client.id, market)
        side = "buy" if intent.quantity > 0.0 else "sell"
        return answer(self._client.create_order, intent.symbol, kind, side, amount, intent.limit, params)

    def _progress(self, name: str, one: Unknown) -> Plain | None:
        """Go on looking for an order; return what became of it once that is clear."""
        now = time.monotonic()
        if one.post is not None and one.post.done and one.post.result()["status"] != "unknown":
            return one.post.result()
        if one.look is not None and one.look.done:
            said, one.look = one.look.result(), None
            one.due, one.pause_s = now + one.pause_s, min(_LONGEST_PAUSE_S, one.pause_s * 1.5)
            if said is not None:
                return said
        if one.look is None and now >= one.due:
            # What was sent was signed before its request ended, so its recvWindow ends within the wait.
            ended = one.since if one.post is None else max(one.since, one.post.ended)
            certain = (one.post is None or one.post.done) and now - ended > self.wait_s
            one.look = PendingRequest(partial(self._looked, name, one.intent, certain))
        return None

    def _looked(self, name: str, intent: Intent, certain: bool) -> Plain | None:
        """Ask for an order by its name in two ways; None if that settles nothing."""
        ways = (self._by_name, self._in_list)
        found = []
        for way in ways:
            found.append(way(name, intent))
            if found[-1]:
                return self._accepted(name, intent, found[-1])
        if certain and found == ["", ""]:
            return {"status": "never", "name": name, "why": "not found after its recvWindow"}
        return None

    def _accepted(self, name: str, intent: Intent, order: str) -> Plain:
        apart = {"apart": True} if self._where(intent) else {}
        return {"status": "accepted", "name": name, "order": order, **apart}

    def _where(self, intent: Intent) -> dict[str, Any]:
        return place_of(self._client, intent.symbol, intent.stop is not None)

    def _by_name(self, name: str, intent: Intent) -> str | None:
        """The exchange's id of an order; empty if it says that there is none; None if it does not say."""
        import ccxt

        params = {"clientOrderId": name, **self._where(intent)}
        if conventions(self._client.id).name_list is not None:
            return self._listed(name, self._client.fetch_open_orders, intent)
        asked = partial(answer, self._client.fetch_order, None, intent.symbol, params)
        try:
            return _order_id(timely(self._client, asked), name)
        except ccxt.OrderNotFound:
            return ""
        except unclear():
            return None

    def _in_list(self, name: str, intent: Intent) -> str | None:
        """The same from the list of recent orders."""
        row = conventions(self._client.id)
        if row.name_list is not None:
            return self._listed(name, self._client.fetch_canceled_and_closed_orders, intent)
        return self._found(name, self._client.fetch_orders, intent, self._where(intent))

    def _listed(self, name: str, listing: Callable[..., Any], intent: Intent) -> str | None:
        """The same from a list that is asked for this name alone."""
        asked_by = conventions(self._client.id).name_list
        return self._found(name, listing, intent, {asked_by: name, **self._where(intent)})

    def _found(self, name: str, listing: Callable[..., Any], intent: Intent, params: dict[Any, Any]) -> str | None:
        page = conventions(self._client.id).orders_page
        try:
            said = timely(self._client, partial(answer, listing, intent.symbol, None, page, params))
            orders: list[OrderAnswer] = shaped(list[OrderAnswer], said)
        except unclear():
            return None
        return next((one.id for one in orders if one.clientOrderId == name), "")


def _order_id(order: Any, name: str) -> str | None:
    """The exchange's id in an answer about the order that we named; None if the answer does not say."""
    if not isinstance(order, dict) or not order.get("id") or order.get("clientOrderId") != name:
        return None
    return str(order["id"])


def _refused(error: Exception, same_again: Sequence[str]) -> bool:
    """Whether an error proves that the order did not take effect."""
    import ccxt

    if isinstance(error, ccxt.DuplicateOrderId) or any(text in str(error) for text in same_again):
        # It is there already: this very order, sent before.
        return False
    kinds = (ccxt.InsufficientFunds, ccxt.InvalidOrder, ccxt.BadSymbol, ccxt.AuthenticationError, ccxt.BadRequest)
    return isinstance(error, kinds) and not isinstance(error, ccxt.PermissionDenied)


def _why(error: Exception) -> str:
    words = [word for word in str(error).split() if "://" not in word]
    return f"{type(error).__name__}: {' '.join(words)[:160]}"
