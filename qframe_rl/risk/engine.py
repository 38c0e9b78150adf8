"""The risk engine: what may go out, and in which state trading is.

It is a function of the bars, the orders and the commands it was told of, so a session that is run again from its
journal comes to the same state: HALTED outlives its process, and only the command ``resume`` leaves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.kernel.columns import EQUITY, LIMIT, MARK, N_FILLS, POSITION, QUANTITY, STOP, opened
from qframe_rl.kernel.rules import sizes_of
from qframe_rl.orders import is_plain, merged, orders_of, slots_of
from qframe_rl.risk.columns import (
    CUT_BY,
    DAY_START,
    DECISIONS,
    DRAWN_DOWN,
    FLAT,
    LOST_TODAY,
    PEAK,
    REJECTED,
    REJECTS,
    RESUMED,
    SKEWED,
    STALE,
    STATE,
    STATES,
    WHEN,
    Watch,
    terms_of,
    watch_of,
)
from qframe_rl.risk.guard import protecting
from qframe_rl.risk.limits import Limits
from qframe_rl.risk.locks import InstrumentLocks
from qframe_rl.risk.pauses import Pauses, adopted, learn, regrown, said
from qframe_rl.risk.rows import begin_rows, judge_rows, use_rows, watch_rows
from qframe_rl.risk.slot_guard import watch_slots
from qframe_rl.risk.slots import judge_slots, market_rows
from qframe_rl.types import HOUR, PER_INSTRUMENT, SECOND, Account, Fills, Float, Instrument, Int, Orders

_FIRST = np.zeros(1, dtype=np.int64)
_ONE = np.ones(1, dtype=np.bool_)
_AN_HOUR = 3600
"""Decisions that are remembered: an hour of them, one a second, so that a limit may change while a session runs."""


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


class RiskDecision(NamedTuple):
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
        self.instruments = instruments
        self._limits = self._protecting = limits
        self._watch: Watch = watch_of(limits, sizes_of(instruments), 1, _AN_HOUR)
        n = len(instruments)
        self._locks, self.pauses = InstrumentLocks(n), Pauses(n)
        self._money, self._holding, self._time = opened(0.0, 1), np.empty((1, n, 2)), np.zeros(1, dtype=np.int64)
        self._orders, self._filled = np.empty((1, n, 3)), np.zeros((1, n, N_FILLS))
        self.limit_use: Float = np.zeros(3)
        """(3,) as `qframe_rl.agent.View.limit_use`; never written again."""

    @property
    def limits(self) -> Limits:
        """What binds; it may change between two bars."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self._watch.terms[:] = terms_of(limits)

    def rule(self, instruments: tuple[Instrument, ...]) -> None:
        """Round and refuse by what the exchange now states of the instruments."""
        self.instruments = instruments
        self._watch.sizes[:] = sizes_of(instruments)

    @property
    def state(self) -> State:
        """How free trading is."""
        return State(STATES[int(self._watch.state[0, STATE])])

    @state.setter
    def state(self, state: State) -> None:
        self._watch.state[0, STATE] = STATES.index(state)

    @property
    def peak(self) -> float:
        """Highest equity."""
        return float(self._watch.state[0, PEAK])

    @property
    def day_start(self) -> float:
        """First equity of the day."""
        return float(self._watch.state[0, DAY_START])

    def carried(self) -> dict[str, Any]:
        """Limits, state, and when orders went out in the last hour with any, as JSON."""
        state, sent = self._watch.state[0], self._watch.sent[0][self._recent()]
        recent = sent[sent[:, WHEN] > sent[-1, WHEN] - HOUR] if len(sent) else sent
        plain = {"limits": self.limits.model_dump(mode="json"), "state": state.tolist(), "sent": recent.tolist()}
        plain |= {"used": self.limit_use.tolist()} if self.limit_use.any() else {}
        plain |= {"locked": self.locked} if self.locked else {}
        return plain | ({"guard": said(self._watch.guard)} if protecting(self.limits) else {})

    def carry(self, memory: Mapping[str, Any]) -> None:
        """Take over what `carried` returned."""
        self.limits = Limits(**memory["limits"])
        self._watch.state[0] = memory["state"]
        self.limit_use = np.array(memory.get("used", (0.0, 0.0, 0.0)))
        self._protect()
        learn(self._watch.guard, memory.get("guard", {}))
        self.pauses.resume(self._watch.guard)
        for instrument in self.instruments:
            self.lock(instrument.symbol, locked=instrument.symbol in memory.get("locked", ()))
        for at, entry in zip(reversed(self._recent()), reversed(memory["sent"]), strict=False):
            self._watch.sent[0, at] = entry

    def _recent(self) -> list[int]:
        """Places of the decisions that are remembered, the oldest first."""
        decisions = int(self._watch.state[0, DECISIONS])
        return [k % _AN_HOUR for k in range(max(0, decisions - _AN_HOUR), decisions)]

    @property
    def rejects(self) -> int:
        """Consecutive orders of which nothing filled."""
        return int(self._watch.state[0, REJECTS])

    def begin(self, time: int, account: Account) -> None:
        """Take the account before the first decision as the highest and the day's first equity, and forget all else."""
        self._lay_out(time, account)
        begin_rows(_ONE, self._money, self._holding, self._time, _FIRST, self._watch)
        self.pauses.note(time, self._watch.guard)
        self._note_use()

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
            self._watch.state[0, REJECTS], self._watch.state[0, RESUMED] = 0.0, 1.0
            self.state = State.ACTIVE
        elif word != "reduce" or self.state is State.ACTIVE:
            self.state = COMMANDS[word]
        return self.state

    @property
    def left(self) -> Int | None:
        """(A, 2) decisions for which protections lock longs and shorts; None where nothing protects."""
        return self.pauses.left if protecting(self._limits) else None

    @property
    def locked(self) -> list[str]:
        """Symbols of the instruments that a human closed and has not released."""
        return [i.symbol for i, locked in zip(self.instruments, self._locks.mask, strict=True) if locked]

    def lock(self, symbol: str, *, locked: bool = True) -> bool:
        """Close an instrument and hold it flat, or release it; return whether that changed anything.

        It binds in every state, ``resume`` does not end it, and it outlives the process.

        Raises
        ------
        UserError
            For a symbol that is not one of the account's.
        """
        symbols = [i.symbol for i in self.instruments]
        if symbol not in symbols:
            raise UserError(f"{symbol!r} is not traded here; these are: {', '.join(symbols)}.")
        return self._locks.set(symbols.index(symbol), locked=locked)

    def closing(self, account: Account) -> Orders:
        """Market orders that close what an account of (A,) holds of the locked instruments, and nothing else."""
        return Orders.market(self._locks.closing(self.instruments, account))

    def unlocked(self, orders: Orders) -> Orders:
        """Orders of (A,) without those for locked instruments."""
        return self._locks.instead(orders, np.zeros(len(self.instruments))) if self.locked else orders

    def paid(self, scale: float) -> None:
        """Equity was multiplied by ``scale`` by a transfer: no loss that counts, and no new highest value."""
        self._watch.state[0, PEAK] *= scale
        self._watch.state[0, DAY_START] *= scale
        self._watch.guard.tops[:] *= scale
        self._watch.guard.crest[:] *= scale

    def adopted(self, a: int, quantity: float, price: float, account: Account) -> None:
        """Take in that an account got coins, or gave them, as `qframe_rl.risk.pauses.adopted`."""
        adopted(self._watch.guard, a, quantity, price, float(account.position[a]))

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
        self._lay_out(time, account, orders if fills.slots is None else None)
        for k, name in enumerate(PER_INSTRUMENT):
            self._filled[0, :, k] = getattr(fills, name)
        rest = self._money, self._holding, self._time, _FIRST, _ONE, self._watch
        if fills.slots is None:
            watch_rows(self._orders, self._filled, *rest)
        else:
            met, each = slots_of(orders)[None], np.stack(fills.slots, axis=1)[None]
            at_market = np.zeros_like(self._filled)
            market_rows(met, each, _ONE, self._orders, at_market)
            watch_slots(self._orders, at_market, met, each, self._filled, *rest)
        self.pauses.note(time, self._watch.guard)
        self._note_use()
        trips = int(self._watch.trips[0])
        return self._why(trips, account) if trips else ()

    def _note_use(self) -> None:
        """Note how much of the loss limits the account that is laid out has used up."""
        used = np.empty((1, 3))
        use_rows(self._money, self._watch, used)
        used.flags.writeable = False
        self.limit_use = used[0]

    def check(
        self, time: int, orders: Orders, account: Account, now: Conditions, resting: Orders | None = None
    ) -> RiskDecision:
        """Pass, cut or refuse the orders of one decision.

        Parameters
        ----------
        time
            Of the decision, ns UTC.
        orders, account
            Of (A,); of several orders per instrument, what passes is all that shall stand.
        now
            The moment's conditions.
        resting
            (A, K) what stands in slots.
        """
        state, watch, locked = self.state, self._watch, self.locked
        closing = self.closing(account).quantity if locked else None
        if closing is not None:
            orders = self._locks.instead(orders, closing)
        watch.held_back[0] = self._held_back(now)
        watch.mid[0] = np.nan if now.mid is None else now.mid
        self._lay_out(time, account, orders if is_plain(orders) else None)
        self._protect()
        if is_plain(orders):
            judge_rows(self._orders, self._money, self._holding, self._time, _FIRST, _ONE, self._watch)
            left = Orders(*(watch.orders[0, :, k].copy() for k in (QUANTITY, LIMIT, STOP)))
        else:
            left = self._left_in_slots(orders, resting)
        reasons: tuple[str, ...] = tuple(self._cuts(watch.cuts[0])) if watch.cuts.any() else ()
        if state is State.HALTED:
            reasons = ("HALTED: no order goes out",) if orders.quantity.any() else ()
        elif state is State.FLATTEN:
            reasons = ("FLATTEN: positions are closed at the market",)
        if closing is None:
            return RiskDecision(left, state, reasons)
        reasons += (f"locked, closed and held flat until released: {', '.join(locked)}",)
        return RiskDecision(self._locks.instead(left, closing), state, reasons)

    def _protect(self) -> None:
        """Take over protections that changed, now that the account as it is is laid out."""
        if self._protecting is not self._limits:
            guard = regrown(self._watch.guard, self._limits, int(self._time[0]), self._money, self._holding)
            self._watch, self._protecting = self._watch._replace(guard=guard), self._limits

    def _left_in_slots(self, orders: Orders, resting: Orders | None) -> Orders:
        """What the limits leave of several orders per instrument, of an account that is laid out."""
        asked = slots_of(orders)
        whole = merged(asked, asked[..., :0] if resting is None else slots_of(resting))
        fresh = ~np.isnan(asked[:, QUANTITY]) & (whole[:, QUANTITY] != 0.0)
        judge_slots(whole[None], fresh[None], self._money, self._holding, self._time, _FIRST, _ONE, self._watch)
        return orders_of(whole)

    def _lay_out(self, time: int, account: Account, orders: Orders | None = None) -> None:
        """Write a time, an account and its orders where the compiled functions read them."""
        self._time[0], self._money[0, EQUITY] = time, account.equity
        self._holding[0, :, POSITION], self._holding[0, :, MARK] = account.position, account.mark
        if orders is not None:
            for k, field in zip((QUANTITY, LIMIT, STOP), orders.terms, strict=True):
                self._orders[0, :, k] = field

    def _held_back(self, now: Conditions) -> int:
        """Bits of what leaves only closing parts at this moment."""
        limits, bits = self.limits, 0
        if limits.stale_s is not None and now.late_ns > limits.stale_s * SECOND:
            bits |= STALE
        if limits.max_skew_s is not None and abs(now.skew_ns) > limits.max_skew_s * SECOND:
            bits |= SKEWED
        return bits

    def _cuts(self, cuts: Int) -> Iterator[str]:
        """Which rules cut which orders."""
        for bit, rule in CUT_BY.items():
            cut = [i.symbol for i, bits in zip(self.instruments, cuts.tolist(), strict=True) if bits & bit]
            if cut:
                yield f"{rule}: {', '.join(cut)}"

    def _why(self, trips: int, account: Account) -> tuple[str, ...]:
        """What led to another state, in words."""
        equity = float(account.equity)
        reasons = [
            f"{rule}: equity {equity:.2f} is {1.0 - equity / start:.2%} under {start:.2f}"
            for bit, rule, start in (
                (LOST_TODAY, "daily_loss", self.day_start),
                (DRAWN_DOWN, "max_drawdown", self.peak),
            )
            if trips & bit
        ]
        if trips & REJECTED:
            reasons.append(f"max_rejects: nothing of {self.rejects} orders in a row was filled")
        if trips & FLAT:
            rest = ", but for what is too small to be sold" if account.position.any() else ""
            reasons.append(f"FLATTEN: every position is closed{rest}")
        return tuple(reasons)


def ready(instruments: tuple[Instrument, ...]) -> None:
    """Have all that an engine runs compiled: the first use of a kill switch is no moment to wait for that."""
    n = len(instruments)
    engine, orders = RiskEngine(Limits(), instruments), Orders.market(np.zeros(n))
    account = Account(np.zeros(()), np.zeros(n), np.full(n, np.nan))
    engine.begin(0, account)
    engine.check(0, orders, account, Conditions())
    engine.settled(0, account, orders, Fills.none(n))
