"""Features of a book in plain lists and sums: nothing is carried on, every window is gone through anew."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qframe_rl.book.events import TRADE
from qframe_rl.book.tape import NO_ASK, NO_BID, Tape

NO = ((NO_BID, 0), (NO_ASK, 0))


class PlainSignals:
    """All that arrived, by moment."""

    def __init__(self, tape: Tape):
        self.books: list[tuple[int, list[list[tuple[int, int]]]]] = []
        self.trades: list[tuple[int, int, int, int, int | None]] = []
        standing: tuple[dict[int, tuple[int, int]], dict[int, tuple[int, int]]] = ({}, {})
        order = sorted(range(len(tape.tick)), key=lambda row: (tape.local_ns[row], row))
        self.began = int(tape.local_ns[order[0]])
        for k, row in enumerate(order):
            at, tick, lots = int(tape.local_ns[row]), int(tape.tick[row]), int(tape.lots[row])
            side = int(tape.level_side[tape.level[row]])
            if tape.kind[row] == TRADE:
                self.trades.append((at, 1 - side, tick, lots, self.mid2(at, len(self.books))))
                continue
            standing[side].pop(tick, None)
            if lots:
                standing[side][tick] = (lots, k)
            after = order[k + 1] if k + 1 < len(order) else -1
            if after < 0 or (tape.message[after], tape.local_ns[after]) != (tape.message[row], tape.local_ns[row]):
                self.books.append((at, self._book(standing)))

    @staticmethod
    def _book(standing: tuple[dict[int, tuple[int, int]], dict[int, tuple[int, int]]]) -> list[list[tuple[int, int]]]:
        while standing[0] and standing[1] and max(standing[0]) >= min(standing[1]):
            bid, ask = max(standing[0]), min(standing[1])
            older = 0 if standing[0][bid][1] < standing[1][ask][1] else 1
            standing[older].pop((bid, ask)[older])
        return [[(tick, standing[s][tick][0]) for tick in sorted(standing[s], reverse=s == 0)] for s in (0, 1)]

    def mid2(self, at: int, known: int | None = None) -> int | None:
        """Sum of the last best prices that were both there."""
        books = self.books[:known] if known is not None else [b for b in self.books if b[0] <= at]
        for _, (bids, asks) in reversed(books):
            if bids and asks:
                return bids[0][0] + asks[0][0]
        return None

    def flows(self, since: int, until: int, level: int) -> list[tuple[int, float]]:
        """Order flow of a level by message, and the mean depth of the levels down to it."""
        found = []
        for (_, before), (at, now) in zip(self.books, self.books[1:], strict=False):
            if since < at <= until:
                (pb, qb), (pa, qa) = (before[s][level] if len(before[s]) > level else NO[s] for s in (0, 1))
                (pb2, qb2), (pa2, qa2) = (now[s][level] if len(now[s]) > level else NO[s] for s in (0, 1))
                flow = (pb2 >= pb) * qb2 - (pb2 <= pb) * qb - (pa2 <= pa) * qa2 + (pa2 >= pa) * qa
                depth = sum(lots for s in (0, 1) for _, lots in now[s][: level + 1]) / (2 * (level + 1))
                found.append((flow, depth))
        return found

    def moves(self, since: int, until: int) -> list[float]:
        """Moves of the mid price in ticks, message by message."""
        found, last = [], None
        for at, (bids, asks) in self.books:
            if bids and asks:
                mid = (bids[0][0] + asks[0][0]) / 2
                if last is not None and since < at <= until:
                    found.append(mid - last)
                last = mid
        return found

    def done(self, since: int, until: int) -> list[tuple[int, int, int, int, int | None]]:
        """Trades."""
        return [trade for trade in self.trades if since < trade[0] <= until]

    def value(self, spec: str, at: int) -> float:
        """A feature, its lookback being over."""
        name, *given = spec.split(":")
        ns = [int(x[:-2]) * 10**6 if x.endswith("ms") else int(x[:-1]) * 10**9 if x.endswith("s") else 0 for x in given]
        known: dict[str, Any] = {
            "spread": self._best, "mid": self._best, "weighted": self._best, "imbalance": self._imbalance,
            "ofi": self._ofi, "volatility": self._path, "move": self._path, "kyle": self._kyle, "vpin": self._vpin,
            "effective": self._paid, "realised": self._paid, "markout": self._paid,
        }  # fmt: skip
        return float(known.get(name, self._traded)(name, at, ns, given))

    def _now(self, at: int) -> list[list[tuple[int, int]]]:
        return [book for when, book in self.books if when <= at][-1]

    def _best(self, name: str, at: int, ns: list[int], given: list[str]) -> float:
        bids, asks = self._now(at)
        if not bids or not asks:
            return math.nan
        (bid, bid_lots), (ask, ask_lots) = bids[0], asks[0]
        mid = (bid + ask) / 2
        weighted = (ask_lots * bid + bid_lots * ask) / (bid_lots + ask_lots) - mid
        return {"spread": ask - bid, "mid": mid, "weighted": weighted}[name]

    def _imbalance(self, name: str, at: int, ns: list[int], given: list[str]) -> float:
        bids, asks = (sum(lots for _, lots in side[: int(given[0])]) for side in self._now(at))
        return (bids - asks) / (bids + asks)

    def _ofi(self, name: str, at: int, ns: list[int], given: list[str]) -> float:
        flows = self.flows(at - ns[0], at, int(given[1]) - 1 if len(given) > 1 else 0)
        total = sum(flow for flow, _ in flows)
        return total / np.mean([depth for _, depth in flows]) if len(given) > 1 and flows else total

    def _path(self, name: str, at: int, ns: list[int], given: list[str]) -> float:
        moves = self.moves(at - ns[0], at)
        return sum(moves) if name == "move" else math.sqrt(sum(m * m for m in moves) / (ns[0] * 1e-9))

    def _traded(self, name: str, at: int, ns: list[int], given: list[str]) -> float:
        trades = self.done(at - ns[0], at)
        if name.startswith("hawkes"):
            mine = [t for t in self.trades if t[0] <= at and t[1] == (name == "hawkes_sell")]
            return sum(math.exp(-(at - t[0]) / ns[0]) for t in mine) / (ns[0] * 1e-9)
        if name == "flow":
            return sum(lots if side == 0 else -lots for _, side, _, lots, _ in trades)
        return len(trades) if name == "trades" else sum(trade[3] for trade in trades)

    def _paid(self, name: str, at: int, ns: list[int], given: list[str]) -> float:
        horizon = 0 if name == "effective" else ns[0]
        values = []
        for when, side, tick, _, before in self.done(at - horizon - ns[-1], at - horizon):
            sign, later = (1 if side == 0 else -1), self.mid2(when + horizon)
            if before is not None and later is not None:
                worth = {"effective": before, "realised": later}.get(name, 0)
                share = sign * (2 * tick - worth) / before
                values.append(sign * (later - 2 * tick) / 2 if name == "markout" else share)
        return float(np.mean(values)) if values else math.nan

    def _kyle(self, name: str, at: int, ns: list[int], given: list[str]) -> float:
        span, n = ns[0], int(given[1])
        ends = [(at // span - k) * span for k in range(n)]
        flow = [sum(t[3] if t[1] == 0 else -t[3] for t in self.done(end - span, end)) for end in ends]
        mids = [[self.mid2(end - span), self.mid2(end)] for end in ends]
        move = [(b - a) / 2 for a, b in mids if a is not None and b is not None]
        return float(np.polyfit(flow, move, 1)[0]) if np.var(flow) > 0 else math.nan

    def _vpin(self, name: str, at: int, ns: list[int], given: list[str]) -> float:
        volume, n = int(given[0]), int(given[1])
        signs = [1 if side == 0 else -1 for _, side, _, lots, _ in self.done(0, at) for _ in range(lots)]
        full = [abs(sum(signs[k * volume : (k + 1) * volume])) for k in range(len(signs) // volume)][-n:]
        return sum(full) / (volume * n) if len(full) == n else math.nan
