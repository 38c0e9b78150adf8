"""Bars of sessions as arrays: parsed out of a journal once, kept while somebody looks, and gone on with."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.journal.lock import corrupt
from qframe_rl.journal.peek import Peek
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.service.candles import thinned_bars
from qframe_rl.service.places import Found, plain_json
from qframe_rl.types import CLOSE, HIGH, LOW, OPEN, VOLUME, Float, Int

_KEPT = 8
"""Sessions whose bars are kept."""
_BARS = (
    "SELECT seq, kind, payload FROM events WHERE seq > ? AND (kind = 'bar' OR "
    "(kind = 'decision' AND instr(payload, '\"reasons\":') > 0)) ORDER BY seq"
)


@dataclass
class _Tape:
    """Bars so far; room doubles when it is full."""

    symbols: tuple[str, ...]
    bar_ns: int
    model: str
    """SHA-256 of the checkpoint."""
    n: int = 0
    after: int = 0
    """Last event that was looked at."""
    seq: Int = field(default_factory=lambda: np.empty(1024, dtype=np.int64))
    time: Int = field(default_factory=lambda: np.empty(1024, dtype=np.int64))
    values: Float = field(default_factory=lambda: np.empty((0, 0, 0)))
    cuts: list[int] = field(default_factory=list)
    """Closes of the bars after which the risk engine cut or refused something."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, seq: int, time: int, values: Float) -> None:
        """Put one bar of (A, 5) behind the others."""
        if not self.n:
            self.values = np.empty((len(self.seq), *values.shape))
        elif self.n == len(self.seq):
            self.seq, self.time, self.values = (np.concatenate([a, np.empty_like(a)]) for a in self._columns())
        self.seq[self.n], self.time[self.n], self.values[self.n] = seq, time, values
        self.n += 1

    def _columns(self) -> tuple[Any, Any, Any]:
        return self.seq, self.time, self.values


class Tapes:
    """Bars of the sessions that were looked at last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tapes: OrderedDict[str, _Tape] = OrderedDict()

    def bars(self, found: Found, symbol: str | None, since_ns: int, until_ns: int, points: int) -> dict[str, Any]:
        """Bars of a symbol by columns, several in one where there are more than ``points``.

        Parameters
        ----------
        found
            The session.
        symbol
            Which; None = its first.
        since_ns, until_ns
            Closes, ns UTC.
        points
            How many at most.

        Raises
        ------
        UserError
            If the session has no such symbol, or its journal is corrupt.
        """
        tape = self._caught_up(found)
        symbol = tape.symbols[0] if symbol is None else symbol
        if symbol not in tape.symbols:
            raise UserError(f"the session trades {', '.join(tape.symbols)[:200]} and not {symbol[:64]!r}.")
        time = tape.time[: tape.n]
        a, b = (int(x) for x in np.searchsorted(time, [since_ns, until_ns], side="left"))
        b += int(b < tape.n and time[b] == until_ns)
        values = tape.values[a:b, tape.symbols.index(symbol)] if tape.n else np.empty((0, 5))
        at, bars = thinned_bars(time[a:b], values, points, last=True)
        names = {"open": OPEN, "high": HIGH, "low": LOW, "close": CLOSE, "volume": VOLUME}
        columns = {name: [None if x != x else x for x in bars[:, k].tolist()] for name, k in names.items()}
        cuts = np.array([time for time in tape.cuts if since_ns <= time], dtype=np.int64)
        return {
            "symbol": symbol, "symbols": list(tape.symbols), "bar_ns": str(tape.bar_ns), "n": b - a,
            "time_ns": [str(t) for t in at.tolist()], "cuts": counted(at, cuts).tolist(), **columns,
        }  # fmt: skip

    def closes(self, found: Found) -> dict[str, tuple[Int, Float]]:
        """(N,) closes of a session's bars, ns UTC, and (N,) prices then, by symbol; NaN = the bar is missing.

        Raises
        ------
        UserError
            If its journal is corrupt.
        """
        tape = self._caught_up(found)
        n = tape.n
        return {symbol: (tape.time[:n], tape.values[:n, k, CLOSE]) for k, symbol in enumerate(tape.symbols) if n}

    def event_of(self, found: Found, time_ns: int) -> tuple[int, int]:
        """Number of the event of the last bar that closed by then, and its close.

        Raises
        ------
        UserError
            If there is none.
        """
        tape = self._caught_up(found)
        k = int(np.searchsorted(tape.time[: tape.n], time_ns, side="right")) - 1
        if k < 0:
            raise UserError("the session has no bar that closed by then.")
        return int(tape.seq[k]), int(tape.time[k])

    def model(self, found: Found) -> str:
        """SHA-256 of the checkpoint that a session runs with."""
        return self._caught_up(found).model

    def _caught_up(self, found: Found) -> _Tape:
        with self._lock:
            tape = self._tapes.get(found.id)
            if tape is None:
                tape = self._tapes[found.id] = _tape_of(found)
            self._tapes.move_to_end(found.id)
            while len(self._tapes) > _KEPT:
                self._tapes.popitem(last=False)
        with tape.lock, Peek(found.folder / JOURNAL) as peek:
            while rows := peek.rows(_BARS, (tape.after,)):
                for seq, kind, payload in rows:
                    if kind == "bar":
                        tape.add(seq, *_bar(found, seq, payload, len(tape.symbols)))
                    else:
                        tape.cuts.append(_time(found, seq, payload))
                    tape.after = seq
        return tape


def counted(ends: Int, times: Int, weights: Float | None = None) -> Float:
    """How many moments, or how much of their weight, lies in each stretch of time.

    Parameters
    ----------
    ends
        (P,) last moment of each stretch, ns; the first begins at the beginning of time.
    times
        (N,) moments; later ones than the last stretch's are left out.
    weights
        (N,) of each moment; None = one each.

    Returns
    -------
    Float
        (P,).
    """
    place = np.searchsorted(ends, times, side="left")
    known = place < len(ends)
    return np.bincount(place[known], None if weights is None else weights[known], minlength=len(ends)).astype(
        np.float64
    )


def _tape_of(found: Found) -> _Tape:
    with Peek(found.folder / JOURNAL) as peek:
        rows = peek.rows("SELECT payload FROM events WHERE kind = 'session' ORDER BY seq LIMIT 1")
    try:
        plain = plain_json(rows[0][0])
        return _Tape(
            tuple(str(one["symbol"]) for one in plain["instruments"]), int(plain["bar_ns"]), str(plain.get("model"))
        )
    except (ValueError, LookupError, TypeError, RecursionError):
        raise corrupt(found.folder / JOURNAL, "it does not say what the session is") from None


def _bar(found: Found, seq: int, payload: str, n: int) -> tuple[int, Float]:
    """Close and (A, 5) prices and volume of a bar."""
    try:
        plain = json.loads(payload)
        values = np.array([row[: VOLUME + 1] for row in plain["values"]], dtype=np.float64)
        if values.shape != (n, VOLUME + 1):
            raise ValueError(payload[:80])
        return int(plain["time"]), values
    except (ValueError, LookupError, TypeError, RecursionError):
        raise corrupt(found.folder / JOURNAL, f"event {seq} is not what a session writes") from None


def _time(found: Found, seq: int, payload: str) -> int:
    try:
        return int(json.loads(payload)["time"])
    except (ValueError, LookupError, TypeError, RecursionError):
        raise corrupt(found.folder / JOURNAL, f"event {seq} is not what a session writes") from None
