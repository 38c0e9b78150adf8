"""Protections a second time, in plain fractions and lists, from the words of the manual and of decisions 27 and 29.

A `LockBook` is told what the engine of one account is told. It says what may be left of the orders that would stand,
and for how many decisions each side of each instrument is locked.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np

from qframe_rl.risk.limits import Limits
from qframe_rl.types import DAY, Account, Fills, Float, Instrument, Int

QUANTITY, AFTER, FLAGS = 0, 4, 6
LONG, SHORT = 0, 1
SAFE = Fraction(1) - Fraction(1, 10**12)


class Done(NamedTuple):
    """One fill."""

    quantity: Fraction
    price: Fraction
    fee: Fraction


def exact(x: float) -> Fraction:
    return Fraction(float(x))


class Lot:
    """What is held of an instrument: what it cost on average with fees, and what it realised since it was opened."""

    def __init__(self, size: Fraction, price: Fraction):
        self.size, self.price, self.gain = size, price, Fraction(0)


class LockBook:
    """The locks of one account."""

    def __init__(self, limits: Limits, instruments: tuple[Instrument, ...]):
        self.limits, self.instruments = limits, instruments
        self.spacing: int | None = None

    def begin(self, time: int, account: Account) -> None:
        n = len(self.instruments)
        self.time, self.day, self.bars, self.entries = time, time // DAY, 0, 0
        self.until = [[0, 0] for _ in range(n)]
        self.held = [
            Lot(exact(q), exact(m) if m == m else Fraction(0))
            for q, m in zip(account.position, account.mark, strict=True)
        ]
        self.sales: list[list[tuple[int, Fraction]]] = [[] for _ in range(n)]
        self.losses: list[tuple[int, int, int]] = []
        self.marks, self.window = [np.array(account.mark)], [exact(float(account.equity))]

    def left(self) -> Int:
        """(A, 2) decisions for which each side is locked."""
        rest = 0
        if self.limits.max_entries_per_day is not None and self.entries >= self.limits.max_entries_per_day:
            step = self.spacing or DAY
            while self._day_of(rest + 1, step) == self.day and not (rest == 0 and self._turns()):
                rest += 1
        return np.array([[max(rest, end - self.bars, 0) for end in sides] for sides in self.until])

    def _day_of(self, ahead: int, step: int) -> int:
        return (self.time + ahead * step) // DAY

    def _turns(self) -> bool:
        """Whether what is decided now fills on another day than the one that entries were counted on."""
        return self._day_of(1, self.spacing or 0) != self.day

    def passes(self, slots: Float, position: Float) -> Float:
        """(A, 8, K) what stands of orders that would stand: of free ones on a locked side, what closes."""
        slots, most = slots.copy(), self.limits.max_entries_per_day
        room = None if most is None else most - (0 if self._turns() else self.entries)
        for a, orders in enumerate(slots):
            allowed: dict[int, bool] = {}
            for j in range(orders.shape[1]):
                q = exact(orders[QUANTITY, j]) if orders[QUANTITY, j] else Fraction(0)
                if not q or orders[FLAGS, j] >= 2 or orders[AFTER, j] > 0:
                    continue
                side, part = (LONG if q > 0 else SHORT), self._closes(orders, j, exact(position[a]))
                stop = self.until[a][side] > self.bars
                if not stop and q != part and room is not None and (not self.held[a].size or q * position[a] < 0):
                    if side not in allowed:
                        room -= 1
                        allowed[side] = room >= 0
                    stop = not allowed[side]
                if stop and q != part:
                    orders[QUANTITY, j] = float(part)
                    orders[FLAGS, j] += 2
        return slots

    def _closes(self, orders: Float, j: int, held: Fraction) -> Fraction:
        """What an order can close: what free ones before it leave."""
        q = exact(orders[QUANTITY, j])
        if q * held >= 0:
            return Fraction(0)
        before = [i for i in range(j) if orders[QUANTITY, i] * float(q) > 0 and orders[FLAGS, i] < 2]
        left = max(abs(held) - sum(abs(exact(orders[QUANTITY, i])) for i in before), Fraction(0))
        return min(abs(q), left) * (1 if q > 0 else -1)

    def settled(self, time: int, account: Account, slots: Float, fills: Fills) -> None:
        """A bar closed, after which an account stands so."""
        self.spacing = min(self.spacing or DAY, time - self.time)
        self.time, self.bars = time, self.bars + 1
        if time // DAY != self.day:
            self.day, self.entries = time // DAY, 0
        equity = exact(float(account.equity))
        for a in range(len(self.instruments)):
            ended, realised = [], Fraction(0)
            for one in self._done(slots, fills, a):
                gain, over = self._enter(a, one, account.mark[a])
                realised += gain
                ended += over
            if self.held[a].size:
                self.held[a].size = exact(account.position[a])
            self._weigh(a, ended, realised, equity)
        self._look_out(account.mark, equity)

    def _done(self, slots: Float, fills: Fills, a: int) -> list[Done]:
        """Fills of a bar: free orders, then those that only reduce, then what was forced."""
        if fills.slots is None:
            done = [Done(exact(fills.quantity[a]), exact(fills.price[a]), exact(fills.fee[a]))]
        else:
            parts = [[exact(x) for x in column] for column in np.stack(fills.slots)[:, a].T]
            order = sorted(range(len(parts)), key=lambda j: (slots[a, FLAGS, j] >= 2, j))
            done = [Done(*parts[j]) for j in order]
        done = [one for one in done if one.quantity]
        fee = exact(fills.fee[a]) - sum(one.fee for one in done)
        forced = exact(fills.forced[a])
        return done + ([Done(forced, exact(fills.forced_price[a]), fee)] if forced else [])

    def _enter(self, a: int, one: Done, mark: float) -> tuple[Fraction, list[tuple[int, bool]]]:
        """Book a fill; return what it realised, and the side that it closed with whether that lost."""
        lot, rate, gain, over = self.held[a], one.fee / abs(one.quantity), Fraction(0), []
        against = lot.size * one.quantity < 0
        closing = min(abs(one.quantity), abs(lot.size)) if against else Fraction(0)
        opening = abs(one.quantity) - closing
        direction = 1 if one.quantity > 0 else -1
        if closing:
            gain = -direction * closing * (one.price - lot.price) - rate * closing
            lot.gain += gain
            rest = lot.size + direction * closing
            if opening or not rest or not self._sellable(a, abs(rest), mark):
                over.append((LONG if lot.size > 0 else SHORT, lot.gain < 0))
                lot.gain = rest = Fraction(0)
            lot.size = rest
        if opening:
            self.entries += 0 if lot.size else 1
            paid = one.price + direction * rate
            lot.price = (lot.price * abs(lot.size) + paid * opening) / (abs(lot.size) + opening)
            lot.size += direction * opening
        return gain, over

    def _sellable(self, a: int, size: Fraction, mark: float) -> bool:
        """Whether an order can close so much."""
        one = self.instruments[a]
        lots = int(float(size / exact(one.lot)) + 1e-9) * exact(one.lot) if one.lot else size
        worth = lots * exact(mark) >= exact(one.min_notional) * SAFE or one.kind == "perpetual"
        return bool(lots > 0 and lots >= exact(one.min_amount) and worth)

    def _weigh(self, a: int, ended: list[tuple[int, bool]], realised: Fraction, equity: Fraction) -> None:
        limits, now = self.limits, self.bars
        if realised:
            self.sales[a].append((now, realised))
        if ended and limits.cooldown_bars is not None:
            self._lock(a, (LONG, SHORT), limits.cooldown_bars)
        for side in sorted({side for side, lost in ended if lost}):
            self._lose(a, side)
        if ended and limits.low_profit is not None:
            earned = sum(gain for bar, gain in self.sales[a] if bar > now - limits.low_profit_bars)
            if earned < exact(limits.low_profit) * equity:
                self._lock(a, (LONG, SHORT), limits.low_profit_lock_bars)

    def _lose(self, a: int, side: int) -> None:
        limits, now = self.limits, self.bars
        if limits.stop_guard is None:
            return
        self.losses.append((now, a, side))
        scope = limits.stop_guard_scope
        alike = [
            bar
            for bar, b, s in self.losses
            if bar > now - limits.stop_guard_bars and (scope == "account" or b == a) and (scope != "side" or s == side)
        ]
        if len(alike) >= limits.stop_guard:
            for other in range(len(self.instruments)) if scope == "account" else [a]:
                self._lock(other, (side,) if scope == "side" else (LONG, SHORT), limits.stop_guard_lock_bars)

    def _look_out(self, marks: Float, equity: Fraction) -> None:
        limits = self.limits
        self.marks.append(np.array(marks))
        if limits.volatility_halt is not None and len(self.marks) > limits.volatility_halt_bars:
            before = self.marks[-1 - limits.volatility_halt_bars]
            for a, (old, new) in enumerate(zip(before, marks, strict=True)):
                if old > 0 and abs(new - old) > limits.volatility_halt * old:
                    self._lock(a, (LONG, SHORT), limits.volatility_halt_lock_bars)
        if limits.drawdown_pause is not None:
            self.window = [*self.window, equity][-limits.drawdown_pause_bars :]
            if equity <= max(self.window) * (1 - exact(limits.drawdown_pause)):
                self.window = [equity]
                for a in range(len(self.instruments)):
                    self._lock(a, (LONG, SHORT), limits.drawdown_pause_lock_bars)

    def _lock(self, a: int, sides: tuple[int, ...], bars: int) -> None:
        for side in sides:
            self.until[a][side] = max(self.until[a][side], self.bars + bars)
