"""The risk engine: what may go out, and in which state trading is.

It is a function of the bars, the orders and the commands it was told of, so a session that is run again from its
journal comes to the same state: HALTED outlives its process, and only the command ``resume`` leaves it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.risk.caps import capped, closing_part, filtered
from qframe_rl.risk.limits import Limits
from qframe_rl.types import DAY, HOUR, SECOND, Account, Bool, Fills, Float, Instrument, Orders


class State(StrEnum):
    """How free trading is, from free to not at all."""

    ACTIVE = "ACTIVE"
    REDUCE_ONLY = "REDUCE_ONLY"
    """Only the part of an order that reduces a position goes out."""
    FLATTEN = "FLATTEN"
    """Every position is being closed at the market; HALTED follows."""
    HALTED = "HALTED"
    """Nothing goes out until a human says ``resume``."""


COMMANDS = {"halt": State.HALTED, "flatten": State.FLATTEN, "reduce": State.REDUCE_ONLY, "resume": State.ACTIVE}
_ORDER = tuple(State)


class Verdict(NamedTuple):
    """What the engine made of a decision."""

    orders: Orders
    state: State
    reasons: tuple[str, ...]
    """Which rules cut or refused something, and why; empty if all passed untouched."""


class Conditions(NamedTuple):
    """What is known about the moment of a decision besides the market."""

    late_ns: int = 0
    """How long after its close the bar arrived."""
    skew_ns: int = 0
    """Local clock minus the exchange's."""
    mid: Float | None = None
    """(A,) quoted mid prices, NaN where there is no quote; None without quotes."""


class RiskEngine:
    """One account's limits and state.

    Parameters
    ----------
    limits
        What binds.
    instruments
        The A instruments.
    """

    def __init__(self, limits: Limits, instruments: tuple[Instrument, ...]):
        self.limits = limits
        self.instruments = instruments
        self.state = State.ACTIVE
        self.peak = self.day_start = 0.0
        self._day = -1
        self._rejects = 0
        self._sent: deque[int] = deque()
        self._acknowledged = False

    def carried(self) -> dict[str, Any]:
        """Limits and state as JSON."""
        return {
            "limits": self.limits.model_dump(mode="json"), "state": str(self.state), "peak": self.peak,
            "day_start": self.day_start, "day": self._day, "rejects": self._rejects, "sent": list(self._sent),
            "acknowledged": self._acknowledged,
        }  # fmt: skip

    def carry(self, memory: Mapping[str, Any]) -> None:
        """Take over what `carried` returned."""
        self.limits, self.state = Limits(**memory["limits"]), State(memory["state"])
        self.peak, self.day_start, self._day = memory["peak"], memory["day_start"], memory["day"]
        self._rejects, self._acknowledged = memory["rejects"], memory["acknowledged"]
        self._sent = deque(memory["sent"])

    @property
    def rejects(self) -> int:
        """Consecutive orders of which nothing filled."""
        return self._rejects

    def begin(self, time: int, account: Account) -> None:
        """Take the account before the first decision as the highest and the day's first equity."""
        self.peak = self.day_start = float(account.equity)
        self._day = time // DAY

    def command(self, word: str) -> State:
        """Do what a human says.

        ``halt`` and ``flatten`` are obeyed in every state, ``reduce`` where trading is free; ``resume`` leads to ACTIVE
        and takes the equity after the next bar as the day's first and the highest.

        Raises
        ------
        UserError
            For a word that is not in `COMMANDS`.
        """
        if word not in COMMANDS:
            raise UserError(f"unknown command {word!r}; known: {', '.join(COMMANDS)}.")
        if word == "resume":
            self._rejects, self._acknowledged = 0, True
            self.state = State.ACTIVE
        elif word != "reduce" or self.state is State.ACTIVE:
            self.state = COMMANDS[word]
        return self.state

    def trip(self, reasons: tuple[str, ...]) -> tuple[str, ...]:
        """Halt because of something that nothing here explains; return why, or nothing if it was halted already."""
        if self.state is State.HALTED:
            return ()
        self.state = State.HALTED
        return reasons

    def settled(self, time: int, account: Account, orders: Orders, fills: Fills) -> tuple[str, ...]:
        """Look at the account after a bar; return what led to another state.

        Parameters
        ----------
        time
            Close of the bar, ns UTC.
        account
            After the bar.
        orders, fills
            What met the bar, and what became of it.
        """
        equity = float(account.equity)
        if time // DAY != self._day or self._acknowledged:
            self._day, self.day_start = time // DAY, equity
        if self._acknowledged:
            self.peak, self._acknowledged = equity, False
        self.peak = max(self.peak, equity)
        # An order that rests at its price and is not reached was not rejected.
        asked = (orders.quantity != 0.0) & np.isnan(orders.limit) & np.isnan(orders.stop)
        if asked.any():
            self._rejects = self._rejects + int(asked.sum()) if not fills.quantity[asked].any() else 0
        before = self.state
        reasons = self._losses(equity) + self._rejected()
        if self.state is State.FLATTEN and not account.position.any():
            self.state = State.HALTED
            reasons += ("FLATTEN: every position is closed",)
        return reasons if self.state is not before else ()

    def check(self, time: int, orders: Orders, account: Account, now: Conditions) -> Verdict:
        """Pass, cut or refuse the orders of one decision.

        Parameters
        ----------
        time
            Of the decision, ns UTC.
        orders, account
            Of (A,).
        now
            The moment's conditions.
        """
        if self.state is State.HALTED:
            reasons = ("HALTED: no order goes out",) if orders.quantity.any() else ()
            return Verdict(Orders.market(np.zeros(len(orders.quantity))), self.state, reasons)
        if self.state is State.FLATTEN:
            close = Orders.market(np.where(account.position == 0.0, 0.0, -account.position))
            return self._noted(time, Verdict(close, self.state, ("FLATTEN: positions are closed at the market",)))
        cuts = []
        for rule, kept in self._judged(time, orders, account, now):
            cut = kept.quantity != orders.quantity
            if cut.any():
                symbols = ", ".join(i.symbol for i, c in zip(self.instruments, cut, strict=True) if c)
                cuts.append(f"{rule}: {symbols}")
            orders = kept
        return self._noted(time, Verdict(orders, self.state, tuple(cuts)))

    def _judged(self, time: int, orders: Orders, account: Account, now: Conditions) -> Iterator[tuple[str, Orders]]:
        """Orders as each rule leaves them, one after the other."""
        limits = self.limits
        for rule, holds in (
            ("REDUCE_ONLY", self.state is State.REDUCE_ONLY),
            ("stale_s", limits.stale_s is not None and now.late_ns > limits.stale_s * SECOND),
            ("max_skew_s", limits.max_skew_s is not None and abs(now.skew_ns) > limits.max_skew_s * SECOND),
        ):
            if holds:
                orders = orders._replace(quantity=closing_part(orders.quantity, account.position))
                yield rule, orders
        if limits.collar is not None:
            near = _near(orders, account.mark, now.mid, limits.collar)
            orders = orders._replace(quantity=np.where(near, orders.quantity, 0.0))
            yield "collar", orders
        orders = capped(orders, account, limits)
        yield "max_order, max_position, max_gross or max_leverage", orders
        if limits.filters:
            orders = filtered(orders, account, self.instruments)
            yield "lot or min_notional", orders
        if limits.max_orders_per_hour is not None:
            yield "max_orders_per_hour", self._slowed(time, orders, account, limits.max_orders_per_hour)

    def _slowed(self, time: int, orders: Orders, account: Account, most: int) -> Orders:
        """Leave only the closing part of the orders that are one too many in an hour."""
        while self._sent and self._sent[0] <= time - HOUR:
            self._sent.popleft()
        late = len(self._sent) + np.cumsum(orders.quantity != 0.0) > most
        closing = closing_part(orders.quantity, account.position)
        return orders._replace(quantity=np.where(late, closing, orders.quantity))

    def _noted(self, time: int, verdict: Verdict) -> Verdict:
        """Count what goes out."""
        if self.limits.max_orders_per_hour is not None:
            self._sent.extend([time] * int((verdict.orders.quantity != 0.0).sum()))
        return verdict

    def _losses(self, equity: float) -> tuple[str, ...]:
        """Go to `on_loss` where a loss limit is reached; say which."""
        limits, reasons = self.limits, []
        for rule, most, start in (
            ("daily_loss", limits.daily_loss, self.day_start),
            ("max_drawdown", limits.max_drawdown, self.peak),
        ):
            if most is not None and equity <= start * (1.0 - most):
                reasons.append(f"{rule}: equity {equity:.2f} is {1.0 - equity / start:.2%} under {start:.2f}")
        state = State(limits.on_loss)
        if not reasons or _ORDER.index(self.state) >= _ORDER.index(state):
            return ()
        self.state = state
        return tuple(reasons)

    def _rejected(self) -> tuple[str, ...]:
        most = self.limits.max_rejects
        if most is None or self._rejects < most or self.state is State.HALTED:
            return ()
        self.state = State.HALTED
        return (f"max_rejects: nothing of {self._rejects} orders in a row was filled",)


def _near(orders: Orders, mark: Float, mid: Float | None, collar: float) -> Bool:
    """(A,) whether an order's own price, or the quoted mid for a market order, lies within the collar."""
    quoted = np.full_like(mark, np.nan) if mid is None else mid
    price = np.where(np.isnan(orders.limit), np.where(np.isnan(orders.stop), quoted, orders.stop), orders.limit)
    away = np.abs(price - mark) > collar * mark
    return ~away
