"""A live session's journal as a record: what reports are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.amounts import UNITS
from qframe_rl.config import UserError
from qframe_rl.instruments import instrument_of
from qframe_rl.journal.codec import Plain, account_in, fills_in, orders_in
from qframe_rl.journal.lock import corrupt
from qframe_rl.journal.shapes import parsed
from qframe_rl.journal.slots import slots_stacked
from qframe_rl.journal.store import read
from qframe_rl.listeners import met_of
from qframe_rl.orders import summed
from qframe_rl.types import Account, Fills, Instrument, Orders, Record, SlotRecord


class _Rows:
    """What events said so far, a row a bar."""

    def __init__(self, instruments: tuple[Instrument, ...]):
        self.n = len(instruments)
        self._symbols = [i.symbol for i in instruments]
        self._coins, self._worth = np.zeros(self.n), np.zeros(self.n)
        self.time: list[int] = []
        self.accounts: list[Account] = []
        self.orders: list[Orders] = []
        self.fills: list[Fills] = []
        self.cash_rate: list[float] = []
        self.flow: list[float] = []
        self.hash = ""
        self.met: list[SlotRecord | None] = []
        self._resting: Orders | None = None
        self._sent, self._rate, self._units = Orders.market(np.zeros(self.n)), 0.0, 0

    def take(self, kind: str, plain: Plain) -> None:
        """Take an event."""
        if kind == "bar":
            self._rate = float(plain.get("cash_rate", 0.0))
        elif kind == "decision":
            self._sent = orders_in(plain["orders"] if "orders" in plain else plain["asked"])
        elif kind == "transferred" and plain["state"] == "SETTLED":
            self._units += int(plain["units"])
            self._adopt(plain.get("adopted") or {})
        elif kind in ("started", "settled"):
            self._settle(kind, plain)

    def _adopt(self, coins: Plain) -> None:
        """Coins that came from outside stand in the next row as what a venue did by itself, at their stated price."""
        if coins:
            a = self._symbols.index(coins["symbol"])
            quantity, price = int(coins["quantity"]) / UNITS, int(coins["price"]) / UNITS
            self._coins[a] += quantity
            self._worth[a] += quantity * price

    def _with_coins(self, fills: Fills) -> Fills:
        if not self._worth.any():
            return fills
        forced = fills.forced + self._coins
        worth = fills.forced * fills.forced_price + self._worth
        price = np.divide(worth, forced, out=np.zeros(self.n), where=forced != 0.0)
        self._coins, self._worth = np.zeros(self.n), np.zeros(self.n)
        return fills._replace(forced=forced, forced_price=price)

    def _settle(self, kind: str, plain: Plain) -> None:
        nothing = Orders.market(np.zeros(self.n))
        self.time.append(int(plain["time"]))
        self.accounts.append(account_in(plain["account"]))
        fills = self._with_coins(fills_in(plain.get("fills", {}), self.n))
        self.met.append(met_of(self._sent, self._resting, fills))
        self._resting = orders_in(plain["resting"]) if "resting" in plain else None
        self.orders.append(nothing if kind == "started" else summed(self._sent, fills))
        self.fills.append(fills)
        self.cash_rate.append(0.0 if kind == "started" else self._rate)
        self.flow.append(self._units / UNITS)
        self.hash, self._sent, self._units = str(plain["hash"]), nothing, 0


def journal_record(path: Path) -> Record:
    """The record of a journal, with what was paid in or out as its flow.

    Raises
    ------
    UserError
        If it is corrupt, or nothing was decided yet.
    """
    rows: _Rows | None = None
    instruments: tuple[Instrument, ...] = ()
    bar_ns = 0
    for event in read(path):
        plain: dict[str, Any] = parsed(path, event.seq, event.kind, event.payload)
        try:
            if event.kind == "session" and rows is None:
                instruments = tuple(instrument_of(one, "its terms") for one in plain["instruments"])
                bar_ns, rows = int(plain["bar_ns"]), _Rows(instruments)
            elif rows is not None:
                rows.take(event.kind, plain)
        except (LookupError, TypeError, ValueError):
            raise corrupt(path, f"event {event.seq}, a {event.kind}, is not what a session writes") from None
    if rows is None or not rows.time:
        raise UserError(f"{path} has no decision yet: there is nothing to report.")
    return _record(instruments, bar_ns, rows)


def _record(instruments: tuple[Instrument, ...], bar_ns: int, rows: _Rows) -> Record:
    def stacked(kind: Any, each: list[Any]) -> Any:
        return kind(*(np.stack(column) for column in zip(*each, strict=True)))

    fills = Fills.made(np.stack(column) for column in zip(*(one.sums for one in rows.fills), strict=True))
    orders = stacked(Orders, [one.terms for one in rows.orders])
    flow = np.array(rows.flow)
    return Record(
        instruments, bar_ns, np.array(rows.time), stacked(Account, rows.accounts), orders, fills,
        np.array(rows.cash_rate), rows.hash, flow=flow if flow.any() else np.zeros(0),
        slots=slots_stacked(rows.met, rows.n),
    )  # fmt: skip
