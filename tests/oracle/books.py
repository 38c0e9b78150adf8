"""Price, then time, in dictionaries and queues: written from the rules in words, not from the compiled loops."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from qframe_rl.book import state as s


@dataclass
class Resting:
    """An order that waits."""

    order_id: int
    owner: int
    side: int
    tick: int
    lots: int


@dataclass
class PlainBook:
    """One book without a window and without an end of places."""

    queues: tuple[dict[int, deque[Resting]], dict[int, deque[Resting]]] = field(default_factory=lambda: ({}, {}))
    known: dict[int, Resting] = field(default_factory=dict)
    fills: list[tuple[int, ...]] = field(default_factory=list)

    def take(self, row: int, kind: int, side: int, tick: int, lots: int, owner: int, order_id: int) -> tuple[int, int]:
        """One message; its outcome, and the lots that rest or were not filled."""
        if kind == s.CANCEL:
            gone = self.known.get(order_id)
            return (s.UNKNOWN, 0) if gone is None else (s.ACCEPTED, self.leave(gone).lots)
        if kind == s.RESIZE:
            return self.resize(order_id, lots)
        if kind in (s.LIMIT, s.POST_ONLY) and order_id in self.known:
            return s.DOUBLE, lots
        met = self.met(side, tick, kind)
        if kind == s.POST_ONLY and met:
            return s.WOULD_TAKE, lots
        if kind == s.FOK and sum(one.lots for one in met if one.owner != owner) < lots:
            return s.WOULD_NOT_FILL, lots
        for one in met:
            if lots == 0:
                break
            traded = -one.lots if one.owner == owner else min(lots, one.lots)
            self.fills.append((row, one.order_id, one.owner, order_id, owner, side, one.tick, traded))
            lots -= max(traded, 0)
            one.lots -= abs(traded)
            if one.lots == 0:
                self.leave(one)
        if lots and kind in (s.LIMIT, s.POST_ONLY):
            self.enter(Resting(order_id, owner, side, tick, lots))
        return s.ACCEPTED, lots

    def resize(self, order_id: int, lots: int) -> tuple[int, int]:
        """Fewer lots keep their place, more go to the end."""
        one = self.known.get(order_id)
        if one is None:
            return s.UNKNOWN, 0
        if lots > one.lots:
            self.enter(self.leave(one))
        one.lots = lots
        return s.ACCEPTED, lots

    def met(self, side: int, tick: int, kind: int) -> list[Resting]:
        """What an order meets, in the order of price and time."""
        other = self.queues[1 - side]
        good = [p for p in other if kind == s.MARKET or (p <= tick if side == s.BUY else p >= tick)]
        return [one for p in sorted(good, reverse=side == s.SELL) for one in other[p]]

    def enter(self, one: Resting) -> None:
        """Wait at the end of the queue."""
        self.queues[one.side].setdefault(one.tick, deque()).append(one)
        self.known[one.order_id] = one

    def leave(self, one: Resting) -> Resting:
        """Wait no longer."""
        queue = self.queues[one.side][one.tick]
        queue.remove(one)
        if not queue:
            del self.queues[one.side][one.tick]
        del self.known[one.order_id]
        return one

    def rests(self) -> list[tuple[int, ...]]:
        """All that waits, the best price first and there the oldest."""
        return [
            (side, one.tick, one.lots, one.owner, one.order_id)
            for side in (s.BUY, s.SELL)
            for p in sorted(self.queues[side], reverse=side == s.BUY)
            for one in self.queues[side][p]
        ]
