"""Named features of a book and its trades, as they are known where messages arrive.

A feature at a moment is made of rows that had arrived by then, whatever the exchange's clock says of later ones.
`sampled` computes them over a recorded tape; `BookWatch` is told rows as they come: the same code, and the same bits.

Features are named by short texts: ``ofi:1s`` is the order flow imbalance of the last second. `known_book` lists them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from qframe_rl.book import signals as s
from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE
from qframe_rl.book.micro import MicroPrice
from qframe_rl.book.state import MOST_LOTS, MOST_TICKS
from qframe_rl.book.tape import Tape
from qframe_rl.config import UserError, nearest, shortened
from qframe_rl.jit import apart
from qframe_rl.types import Float, Int

_UNITS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
LONGEST_NS = 24 * _UNITS["h"]
"""Longest time that a feature looks back over, ns."""
MOST_LEVELS = 50
MOST_BUCKETS = 10_000
_FADED = 20
"""Decays after which a jump of the intensity is gone: of one before, less than 2e-9 is left."""
_NO_LEAN = np.zeros((1, 1))
_DURATION = re.compile(r"(\d{1,8})(ms|s|m|h)")
_ARGUMENTS = {"W": "a length of time", "H": "a length of time", "L": "levels", "N": "a number", "V": "lots"}
_EXAMPLES = {"W": "1s", "H": "5s", "L": "5", "N": "50", "V": "1000"}


class BookFeature(NamedTuple):
    """One named feature."""

    name: str
    lookback_ns: int
    """Over which time rows decide it; 0 = the book as it stands. Of `vpin`, the volume of its buckets decides."""
    params: tuple[int, ...]
    """A row of `qframe_rl.book.signals`."""


class _Kind(NamedTuple):
    code: int
    arguments: str
    lookback: Callable[..., int]
    text: str


_KINDS: dict[tuple[str, int], _Kind] = {
    ("spread", 0): _Kind(s.SPREAD, "", lambda: 0, "best ask less best bid, ticks"),
    ("mid", 0): _Kind(s.MID, "", lambda: 0, "mid price, ticks"),
    ("imbalance", 1): _Kind(s.IMBALANCE, "L", lambda n: 0, "imbalance of the lots at the L best levels, -1 to 1"),
    ("weighted", 0): _Kind(s.WEIGHTED, "", lambda: 0, "mid price weighted by the other side's lots, less mid, ticks"),
    ("micro", 0): _Kind(s.MICRO, "", lambda: 0, "fitted micro-price less mid price, ticks"),
    ("ofi", 1): _Kind(s.OFI, "W", lambda w: w, "order flow imbalance at the best prices within W, lots"),
    ("ofi", 2): _Kind(
        s.LEVEL_OFI, "WL", lambda w, n: w, "that of the L-th level within W, by the mean depth of the L best levels"
    ),
    ("flow", 1): _Kind(s.FLOW, "W", lambda w: w, "lots that buyers took less those that sellers took within W"),
    ("volume", 1): _Kind(s.VOLUME, "W", lambda w: w, "lots traded within W"),
    ("trades", 1): _Kind(s.TRADES, "W", lambda w: w, "trades within W"),
    ("volatility", 1): _Kind(s.VOLATILITY, "W", lambda w: w, "of the mid price within W, ticks a root of a second"),
    ("move", 1): _Kind(s.MOVE, "W", lambda w: w, "move of the mid price within W, ticks"),
    ("effective", 1): _Kind(s.EFFECTIVE, "W", lambda w: w, "mean effective half-spread of trades within W"),
    ("realised", 2): _Kind(
        s.REALISED, "HW", lambda h, w: h + w, "mean realised half-spread of trades whose horizon H ended within W"
    ),
    ("markout", 2): _Kind(
        s.MARKOUT, "HW", lambda h, w: h + w, "mean move from the price towards who took, H ending within W, ticks"
    ),
    ("kyle", 2): _Kind(
        s.KYLE, "WN", lambda w, n: (n + 1) * w, "slope of moves on signed lots over the last N intervals W, ticks a lot"
    ),
    ("vpin", 2): _Kind(s.VPIN, "VN", lambda v, n: 0, "one-sidedness of the last N buckets of V lots, 0 to 1"),
    ("hawkes_buy", 1): _Kind(
        s.HAWKES_BUY, "W", lambda w: _FADED * w, "buyers' trades, each fading over W, a second"
    ),
    ("hawkes_sell", 1): _Kind(
        s.HAWKES_SELL, "W", lambda w: _FADED * w, "sellers' trades, each fading over W, a second"
    ),
}  # fmt: skip
_COLUMN = {"W": s.SPAN, "H": s.HORIZON, "L": s.LEVELS, "N": s.COUNT, "V": s.BUCKET}
_MOST = {"W": LONGEST_NS, "H": LONGEST_NS, "L": MOST_LEVELS, "N": MOST_BUCKETS, "V": MOST_LOTS}


def known_book() -> dict[str, str]:
    """Names of the features with their arguments, and what each is."""
    return {":".join([name, *kind.arguments]): kind.text for (name, _), kind in _KINDS.items()}


def book_features(specs: Sequence[str]) -> tuple[BookFeature, ...]:
    """Look the named features up.

    Parameters
    ----------
    specs
        Names such as ``ofi:1s``, ``imbalance:5``, ``flow:500ms``, ``micro``.

    Returns
    -------
    tuple[BookFeature, ...]
        In the order of their names, each once.

    Raises
    ------
    UserError
        For an unknown name, a wrong number of arguments or one out of range.
    """
    return tuple(_feature(spec) for spec in dict.fromkeys(specs))


def _feature(spec: str) -> BookFeature:
    name, *given = spec.split(":")
    forms = [kind for (of, _), kind in _KINDS.items() if of == name]
    if name == "auto":
        raise UserError(
            f"feature {shortened(spec)}: features are found by themselves on bars alone; name those of a book."
        )
    if not forms:
        raise UserError(f"unknown feature of a book {shortened(spec)}{nearest(name, {of for of, _ in _KINDS})}")
    if (name, len(given)) not in _KINDS:
        wanted = " or ".join(":".join([name, *(_EXAMPLES[a] for a in kind.arguments)]) for kind in forms)
        raise UserError(f"feature {shortened(spec)} of a book is written {wanted}.")
    kind = _KINDS[name, len(given)]
    values = [_value(spec, what, text) for what, text in zip(kind.arguments, given, strict=True)]
    lookback = kind.lookback(*values)
    if lookback > _FADED * LONGEST_NS:
        raise UserError(f"feature {shortened(spec)} of a book looks back over more than {_FADED} days.")
    params = [0] * s.N_COLUMNS
    params[s.KIND], params[s.LOOKBACK], params[s.LEVELS], params[s.COUNT] = kind.code, lookback, 1, 1
    for what, value in zip(kind.arguments, values, strict=True):
        params[_COLUMN[what]] = value
    return BookFeature(spec, lookback, tuple(params))


def _value(spec: str, what: str, text: str) -> int:
    """One argument: a length of time in ns, or a whole number."""
    if what in "WH":
        match = _DURATION.fullmatch(text)
        value = int(match[1]) * _UNITS[match[2]] if match else 0
    else:
        value = int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else 0
    if not 1 <= value <= _MOST[what]:
        most = "24h" if what in "WH" else f"{_MOST[what]:,}"
        raise UserError(
            f"feature {shortened(spec)} of a book: {shortened(text)} is not {_ARGUMENTS[what]} such as "
            f"{_EXAMPLES[what]}, at most {most}."
        )
    return value


class BookWatch:
    """Features of a book that rows come of one by one.

    Parameters
    ----------
    features
        From `book_features`.
    micro
        The fitted micro-price, for `micro`.
    ready_ns
        From when on the book is whole; before it features are NaN, and what happens does not count.
    """

    def __init__(self, features: Sequence[BookFeature], micro: MicroPrice | None = None, ready_ns: int = 0):
        self._params, self._lean = _params(features), _lean(features, micro)
        self._state = s.new_signals(self._params, ready_ns)

    @property
    def n_features(self) -> int:
        """F."""
        return len(self._params)

    def tell(self, local_ns: int, kind: int, side: int, tick: int, lots: int, message: int) -> None:
        """Take a row.

        Parameters
        ----------
        local_ns
            When it arrived.
        kind, side, tick, lots, message
            As in `qframe_rl.book.events.Events`.

        Raises
        ------
        UserError
            If it arrived before what was told or by when was looked, or is no row.
        """
        clock = self._state.clock
        if (clock[s.ROWS] and local_ns < clock[s.TOLD_AT]) or local_ns <= clock[s.LOOKED]:
            raise UserError("a row of a book arrives after what was told, and after the last look at its features.")
        if kind not in (SNAPSHOT, DEPTH, TRADE) or side not in (0, 1) or lots < 0:
            raise UserError("rows of a book are snapshots, depth or trades, of side 0 or 1 and no lots below 0.")
        if abs(tick) > MOST_TICKS or lots > MOST_LOTS:
            raise UserError(f"a row of a book has at most {MOST_TICKS:,} ticks and {MOST_LOTS:,} lots.")
        level = 1 - side if kind == TRADE else side
        while not s.tell(self._state, self._params, local_ns, kind, level, tick, lots, message):
            self._state = s.roomier(self._state)

    def look(self, at: int) -> Float:
        """(F,) features at a moment, once all rows that arrived by then were told; NaN what cannot be known yet.

        Raises
        ------
        UserError
            If it is before the last row or look.
        """
        if at < max(self._state.clock[s.TOLD_AT], self._state.clock[s.LOOKED]):
            raise UserError("features of a book are looked at in the order of time, not before its last row.")
        out = np.empty(len(self._params))
        s.look(self._state, self._params, self._lean, at, out)
        return out

    def sampled(self, tape: Tape, at: Int) -> tuple[Float, Int]:
        """Take the rows of a tape that arrived since the last look, and look at moments.

        Parameters
        ----------
        tape
            The market.
        at
            (T,) moments by the clock of ``tape.local_ns``, rising, none before the last look.

        Returns
        -------
        tuple[Float, Int]
            (T, F) features, and (T, 2, 2) best bid and ask, tick and lots, of what had arrived by each moment.

        Raises
        ------
        UserError
            If moments do not rise.
        """
        at = np.ascontiguousarray(at, np.int64)
        looked = int(self._state.clock[s.LOOKED])
        if (np.diff(at, prepend=looked if len(at) else 0) < 0).any():
            raise UserError("moments at which features of a book are looked at rise.")
        first = np.searchsorted(tape.local_ns[tape.arrivals], looked, side="right") if self._state.clock[s.ROWS] else 0
        cursor = np.array([first, 0], np.int64)
        out, best = np.empty((len(at), len(self._params))), np.empty((len(at), 2, 2), np.int64)
        while not _sampled(self._state, self._params, self._lean, tape, at, cursor, out, best):
            self._state = s.roomier(self._state)
        return out, best


def _params(features: Sequence[BookFeature]) -> Int:
    return np.array([f.params for f in features], np.int64).reshape(len(features), s.N_COLUMNS)


def _lean(features: Sequence[BookFeature], micro: MicroPrice | None) -> Float:
    if micro is None and any(f.params[s.KIND] == s.MICRO for f in features):
        raise UserError("feature 'micro' of a book needs a micro-price that was fitted to training rows.")
    return _NO_LEAN if micro is None else np.ascontiguousarray(micro.lean)


def sampled(
    tape: Tape, features: Sequence[BookFeature], at: Int, micro: MicroPrice | None = None, ready_ns: int = 0
) -> Float:  # fmt: skip
    """Features over a recorded tape.

    Parameters
    ----------
    tape
        The market.
    features
        From `book_features`.
    at
        (T,) moments by the clock of ``tape.local_ns``, rising.
    micro, ready_ns
        As in `BookWatch`.

    Returns
    -------
    Float
        (T, F) of what had arrived by each moment; NaN what cannot be known yet.

    Raises
    ------
    UserError
        If moments do not rise.
    """
    return BookWatch(features, micro, ready_ns).sampled(tape, at)[0]


@apart
def _sampled(
    state: s.SignalState, params: Int, lean: Float, tape: Tape, at: Int, cursor: Int, out: Float, best: Int
) -> bool:  # fmt: skip
    """Go on from a row and a moment, which are moved on; False if there is no room for the row."""
    n = len(tape.arrivals)
    while cursor[1] < len(at):
        while cursor[0] < n and tape.local_ns[tape.arrivals[cursor[0]]] <= at[cursor[1]]:
            row = tape.arrivals[cursor[0]]
            if not s.tell(
                state, params, tape.local_ns[row], tape.kind[row], tape.level_side[tape.level[row]], tape.tick[row],
                tape.lots[row], tape.message[row],
            ):  # fmt: skip
                return False
            cursor[0] += 1
        s.look(state, params, lean, at[cursor[1]], out[cursor[1]])
        s.standing_best(state, best[cursor[1]])
        cursor[1] += 1
    return True
