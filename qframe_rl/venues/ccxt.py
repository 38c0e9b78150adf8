"""A real account: orders go to an exchange or its test environment, and the account is what the exchange says.

Nothing is settled here. After each bar what still rests is cancelled, new trades are read and counted by their id, and
wallet and positions are read until two readings in a row agree: an answer that is empty by mistake looks like a flat
account. Positions that the trades do not explain are trouble, which halts trading.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.codec import Plain, packed, unpacked
from qframe_rl.journal.ledger import Ledger
from qframe_rl.types import CLOSE, PER_INSTRUMENT, Account, Bar, Fills, Float, Instrument, Orders
from qframe_rl.venues.gate import Gate, Intent
from qframe_rl.venues.resting import call_off, fired, resting

T = TypeVar("T")
_LONGEST_PAUSE_S = 30.0
_MS = 1_000_000
_SPAN_MS = 6 * 86_400_000
"""One request for trades reaches no further: Binance lists seven days at a time."""
_OVERLAP_MS = 600_000
_KEPT = 5000
"""Orders, and trades, that are remembered: many times those of the time that is read again."""
_ULP = 1e-9


class ExchangeVenue:
    """One account of one exchange, through CCXT.

    Parameters
    ----------
    client
        Of CCXT, with keys and markets; None in a replay.
    gate
        Sends the orders.
    ledger
        What the exchange says is taken from it, or written to it.
    instruments
        The A instruments, all of one kind and one quote currency.
    bar_ns
        An order that could not be sent within half a bar after its decision is not sent at all.
    now
        The exchange's clock, ns UTC.
    patience_s
        How long the account is asked for before giving up, seconds.
    note
        Told in one line of every failure.

    Raises
    ------
    UserError
        For instruments of two kinds or quote currencies.
    """

    def __init__(
        self,
        client: Any,
        gate: Gate,
        ledger: Ledger,
        instruments: tuple[Instrument, ...],
        bar_ns: int,
        now: Callable[[], int],
        *,
        patience_s: float = 3600.0,
        note: Callable[[str], None] = lambda text: None,
    ):
        self._quote = _one_quote(instruments)
        self._client, self._gate, self._ledger = client, gate, ledger
        self._instruments, self._bar_ns, self._now = instruments, bar_ns, now
        self._patience_s, self._note = patience_s, note
        n = len(instruments)
        self.account = Account(np.zeros(()), np.zeros(n), np.full(n, np.nan))
        self.terminated = False
        self.trouble: tuple[str, ...] = ()
        """What the last reading could not explain."""
        self._n_orders = 0
        self._names: dict[str, int] = {}
        self._waiting: dict[str, int] = {}
        """Ids of conditional orders that an exchange keeps apart, as long as it is not known what became of them."""
        self._ordered = np.zeros(n)
        self._seen: dict[str, None] = {}
        self._since_ms = 0
        self._time = -1
        self._began = False

    def carried(self) -> Plain:
        """What is known of account, orders and trades between two bars, as JSON."""
        return {
            "account": [packed(field) for field in self.account], "terminated": self.terminated,
            "trouble": list(self.trouble), "orders": self._n_orders,
            "names": list(self._names.items()), "waiting": list(self._waiting.items()), "seen": list(self._seen),
            "since_ms": self._since_ms, "time": self._time, "began": self._began,
        }  # fmt: skip

    def carry(self, memory: Plain) -> None:
        """Take over what `carried` returned."""
        self.account, self.terminated = Account(*map(unpacked, memory["account"])), memory["terminated"]
        self.trouble, self._n_orders = tuple(memory["trouble"]), memory["orders"]
        self._names, self._seen = dict(memory["names"]), dict.fromkeys(memory["seen"])
        self._waiting = dict(memory["waiting"])
        self._since_ms, self._time, self._began = memory["since_ms"], memory["time"], memory["began"]

    def submit(self, orders: Orders) -> None:
        """Send orders, one after the other; each is on record before it is sent, and its outcome after."""
        self._send(orders, self.account.position, self._in_time)

    def close(self, orders: Orders, position: Float) -> None:
        """Send orders that close ``position``, (A,) base units: for these it is never too late."""
        self._send(orders, position, lambda: True)

    def held(self) -> Float:
        """(A,) base units that the exchange says are held now."""
        said = self._ledger.take("held", lambda: {"position": self._agreed()[1]})
        return np.array(said["position"], dtype=np.float64)

    def _send(self, orders: Orders, position: Float, valid: Callable[[], bool]) -> None:
        self._began = True
        for a, instrument in enumerate(self._instruments):
            quantity = float(orders.quantity[a])
            if quantity == 0.0:
                continue
            held = float(position[a])
            closes = instrument.kind == "perpetual" and quantity * held < 0.0 and abs(quantity) <= abs(held)
            limit, stop = (None if np.isnan(p[a]) else float(p[a]) for p in (orders.limit, orders.stop))
            intent = Intent(instrument.symbol, quantity, limit, stop, closes)
            outcome = self._gate.place(self._n_orders, intent, valid=valid)
            self._n_orders += 1
            if outcome["status"] == "accepted":
                self._ordered[a] += quantity
                (self._waiting if outcome.get("apart") else self._names)[outcome["order"]] = a
                if (limit, stop) != (None, None) and self._ledger.writing:
                    self._arm(instrument.symbol)

    def _arm(self, symbol: str) -> None:
        """Set the exchange's dead man's switch, where CCXT has one: what rests is cancelled if we do not come back."""
        import ccxt

        countdown_ms = 2 * self._bar_ns // _MS
        try:
            if self._client.has.get("cancelAllOrdersAfter"):
                self._client.cancel_all_orders_after(countdown_ms)
            elif self._client.id == "binanceusdm":
                market = self._client.market(symbol)["id"]
                self._client.fapiPrivatePostCountdownCancelAll({"symbol": market, "countdownTime": countdown_ms})
        except (ccxt.BaseError, LookupError, TypeError) as error:
            self._note(f"the dead man's switch of {symbol} could not be set: {type(error).__name__}")

    def cancel(self) -> None:
        """Cancel every order of ours that rests: the first thing that a kill switch does."""
        self._ledger.take("cancelled", self._cancel_all)

    def advance(self, bar: Bar) -> Fills:
        """Read what became of the orders, and the account."""
        close = bar.values[:, CLOSE]
        mark = np.where(np.isnan(close), self.account.mark, close)
        self._time = bar.time
        if self._warms_up():
            self.account = self.account._replace(mark=mark)
            return Fills.none(len(mark))
        said = self._ledger.take("exchange", self._read)
        self._learn(said.get("fired", {}))
        fills = self._fills(said["trades"], said["funding"])
        before, after = self.account.position, np.array(said["position"], dtype=np.float64)
        if self._began:
            self.trouble = self._unexplained(before + fills.quantity, after, said)
            forced = np.where(self._off(before + fills.quantity, after), after - before - fills.quantity, 0.0)
            fills = fills._replace(forced=forced, forced_price=np.where(forced == 0.0, 0.0, mark))
        cash = np.array(said["cash"], dtype=np.float64)
        # Read again a little of what was read before: a trade may be listed late, and counts once by its id.
        self._since_ms = max(self._since_ms, bar.time // _MS - _OVERLAP_MS)
        self.account = Account(cash, after, mark)
        self.terminated = self._began and float(self.account.equity) <= 0.0
        self._ordered = np.zeros_like(self._ordered)
        for kept in (self._names, self._seen):
            for old in list(kept)[:-_KEPT]:
                del kept[old]
        return fills

    def _warms_up(self) -> bool:
        """Whether nothing was decided yet and the account is known already."""
        if self._began:
            return False
        known = self._since_ms > 0
        self._since_ms = self._time // _MS
        return known

    def _in_time(self) -> bool:
        return self._now() - self._time <= self._bar_ns // 2

    def _read(self) -> Plain:
        """What the exchange says: trades since the last reading, funding, wallet and positions."""
        self._cancel_all()
        became = {number: self._asked(partial(fired, self._client, number, self._instruments[a].symbol))
                  for number, a in self._waiting.items()}  # fmt: skip
        trades: list[Plain] = []
        funding: dict[str, list[Any]] = {}
        for instrument in self._instruments if self._began else ():
            symbol = instrument.symbol
            for since in range(self._since_ms, self._now() // _MS, _SPAN_MS):
                found = self._asked(partial(self._client.fetch_my_trades, symbol, since, 1000))
                trades += [_trade(one) for one in found if str(one["id"]) not in self._seen]
            if instrument.kind == "perpetual" and self._client.has.get("fetchFundingHistory"):
                paid = self._asked(partial(self._client.fetch_funding_history, symbol, self._since_ms, 100))
                new = [one for one in paid if str(one["id"]) not in self._seen]
                funding |= {str(one["id"]): [symbol, -float(one["amount"])] for one in new}
        cash, position = self._agreed()
        said = {"trades": trades, "funding": funding, "cash": cash, "position": position}
        return said | ({"fired": became} if became else {})

    def _learn(self, became: dict[str, str | None]) -> None:
        """Take over under which ids conditional orders went on, and forget those that never will."""
        for number, order in became.items():
            if order is None:
                continue
            a = self._waiting.pop(number)
            if order:
                self._names[order] = a

    def _agreed(self) -> tuple[float, list[float]]:
        """Cash and positions, once two readings in a row are the same."""
        last = self._asked(self._holdings)
        while True:
            time.sleep(0.05)
            again = self._asked(self._holdings)
            if again == last:
                return again
            last = again

    def _holdings(self) -> tuple[float, list[float]]:
        """Cash, and base units held; cash is such that with positions at their marks it comes to the equity."""
        balance = self._client.fetch_balance()
        wallet = _wallet(balance, self._quote)
        if self._instruments[0].kind == "spot":
            coins = (i.symbol.partition("/")[0] for i in self._instruments)
            return wallet, [float((balance.get(coin) or {}).get("total") or 0.0) for coin in coins]
        symbols = [i.symbol for i in self._instruments]
        held = dict.fromkeys(symbols, 0.0)
        for one in self._client.fetch_positions(symbols):
            size = float(one["contracts"] or 0.0) * float(one["contractSize"] or 1.0)
            size = -size if one["side"] == "short" else size
            held[one["symbol"]] += size
            wallet -= size * float(one["entryPrice"] or 0.0)
        return wallet, [held[symbol] for symbol in symbols]

    def _cancel_all(self) -> Plain:
        """Cancel the orders of ours that rest."""
        ours = [
            order
            for instrument in self._instruments
            for order in self._asked(partial(resting, self._client, instrument.symbol))
            if order.id in (self._waiting if order.apart else self._names)
        ]
        for order in ours:
            self._asked(partial(call_off, self._client, order))
        return {"orders": [order.id for order in ours]}

    def _fills(self, trades: list[Plain], funding: dict[str, list[Any]]) -> Fills:
        """Count new trades, each once, by instrument."""
        n = len(self._instruments)
        columns = np.zeros((n, len(PER_INSTRUMENT)))
        cost, gross = np.zeros(n), np.zeros(n)
        symbols = [i.symbol for i in self._instruments]
        for one in trades:
            if one["id"] in self._seen or one["order"] not in self._names:
                continue
            self._seen[one["id"]] = None
            a = symbols.index(one["symbol"])
            columns[a, 0] += one["quantity"] - one["fee_base"]
            gross[a] += one["quantity"]
            # A fee in the coin is no part of the price: less of the coin came in.
            cost[a] += (one["quantity"] - one["fee_base"]) * one["price"]
            columns[a, 2] += one["fee"]
        for number, (symbol, paid) in funding.items():
            self._seen[number] = None
            columns[symbols.index(symbol), 5] += paid
        filled = columns[:, 0]
        columns[:, 1] = np.divide(cost, filled, out=np.zeros(n), where=filled != 0.0)
        columns[:, 6] = self._ordered - gross
        return Fills.of(columns, np.zeros(()), np.zeros(()))

    def _off(self, expected: Any, after: Any) -> Any:
        lots = np.array([max(i.lot, 1e-12) for i in self._instruments])
        return np.abs(expected - after) > 0.5 * lots + _ULP * np.abs(after)

    def _unexplained(self, expected: Any, after: Any, said: Plain) -> tuple[str, ...]:
        found = [
            f"{i.symbol}: the exchange holds {a:g}, our trades say {e:g}"
            for i, e, a, off in zip(self._instruments, expected, after, self._off(expected, after), strict=True)
            if off
        ]
        strange = sum(one["order"] not in self._names for one in said["trades"])
        if strange:
            found.append(f"{strange} trades of orders that are not ours")
        return tuple(found)

    def _asked(self, request: Callable[[], T]) -> T:
        """Answer of a request that changes nothing when it is sent twice."""
        import ccxt

        begun, pause = time.monotonic(), 0.2
        while True:
            try:
                return request()
            except (ccxt.BaseError, LookupError, TypeError, AttributeError, ValueError) as error:
                if isinstance(error, ccxt.AuthenticationError) and not isinstance(error, ccxt.PermissionDenied):
                    raise UserError(f"the exchange refuses the key: {type(error).__name__}.") from None
                if time.monotonic() - begun > self._patience_s:
                    raise Unavailable(f"the exchange does not show the account: {type(error).__name__}.") from error
                self._note(f"account: {type(error).__name__}; next attempt in {pause:.1f} s")
                time.sleep(pause)
                pause = min(_LONGEST_PAUSE_S, 2.0 * pause)


def _wallet(balance: Any, quote: str) -> float:
    """Money of an account without what is not realised yet, which moves with every price.

    CCXT's total holds it for Binance's contracts, so the exchange's own answer is looked into.
    """
    info = balance.get("info")
    rows = info.get("assets", []) if isinstance(info, dict) else info if isinstance(info, list) else []
    for row in rows:
        if row.get("asset") == quote and row.get("walletBalance") is not None:
            return float(row["walletBalance"])
    return float(balance[quote]["total"])


def _trade(one: Any) -> Plain:
    side = 1.0 if one["side"] == "buy" else -1.0
    quantity, price = float(one["amount"]), float(one["price"])
    fee = one.get("fee") or {}
    paid = float(fee.get("cost") or 0.0)
    in_base = fee.get("currency") == one["symbol"].partition("/")[0]
    return {
        "id": str(one["id"]),
        "order": str(one["order"]),
        "symbol": one["symbol"],
        "time": int(one["timestamp"]),
        "quantity": side * quantity,
        "price": price,
        "fee": paid * price if in_base else paid,
        "fee_base": paid if in_base else 0.0,
    }


def _one_quote(instruments: tuple[Instrument, ...]) -> str:
    quotes = {i.quote for i in instruments}
    if len(quotes) != 1 or len({i.kind for i in instruments}) != 1:
        raise UserError("real orders need instruments of one kind and one quote currency; take another checkpoint.")
    return quotes.pop()
