"""What accounts on a tape remember: quotes, queues, money, and answers that are on their way; and what they send."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.book.lookup import rows_until
from qframe_rl.book.state import BUY
from qframe_rl.book.tape import Tape
from qframe_rl.jit import inlined
from qframe_rl.types import Float, Int

NEVER = 2**62
EMPTY, SENT, RESTS = range(3)
"""States of a quote at the exchange: none, on its way, waiting."""
STATE, TICK, LEFT, LEVEL, ARRIVES, CANCELS, CURSOR, CROSSED, KNOWN, ENDS, SENT_LOTS, PLACED, WITHDRAWN = range(13)
"""Columns of a quote: its state; price; lots left; number of its level, -1 if no row names it; when it arrives and when
its cancel does, exchange's clock; the next of its level's rows; lots that it filled against a book that stands through
it; when its place is known; when its end is; lots as they were sent; when it arrived; whether a cancel was sent."""
N_QUOTE = 13
AHEAD, PRINTED = range(2)
"""Columns of a quote's queue."""
CASH, POSITION, MAKER_LOTS, TAKER_LOTS, MAKER_TURNOVER, TAKER_TURNOVER, REFUSED, UNTOLD, NOW, N_SENT = range(10)
TAKES, TAKES_SIDE, TAKES_LOTS, TAKES_BOUND, TAKE_KNOWN, QUOTED, HEARD = range(10, 17)
"""Columns of an account: money in ticks times lots, lots held, lots and turnover as maker and as taker, quotes that
would have taken, quotes at levels that were never told, exchange's clock, messages sent; when an order that takes
arrives, its side, its lots, the worst price that it accepts, and when its end is known; lots of all
quotes that were sent; from when on all fills so far are known: until then notices are looked through."""
N_ACCOUNT = 17
TRADES, FALLS, RISES = range(3)
"""Cursors of an account: into trades, and into rows after which the best ask is lower and the best bid higher."""
N_NOTICES, N_NOTICE = 16, 4
NOTICE_AT, NOTICE_BID, NOTICE_ASK, NOTICE_TAKEN = range(4)
"""Columns of a notice: when it is known; lots that the bid bought, that the ask sold, and that were taken, sold < 0."""
N_TAKEN = 16
TAKEN_LEVEL, TAKEN_ROW, TAKEN_LOTS = range(3)
PRINT_AT, PRINT_THROUGH, CROSSING, TOOK = range(4)
"""Causes of a fill: a print at the quote's price, one through it, the other side's standing through it, taking."""
F_TIME, F_SIDE, F_TICK, F_LOTS, F_CAUSE, F_ACCOUNT = range(6)
"""Columns of an own fill."""
N_OWN_FILL = 6


class Walk(NamedTuple):
    """B accounts on a tape."""

    quotes: Int
    """(B, 2, 13) one quote a side."""
    queue: Float
    """(B, 2, 2) lots ahead, and lots printed since the level's last row."""
    account: Int
    """(B, 17)."""
    cursors: Int
    """(B, 3)."""
    notices: Int
    """(B, 16, 4) fills whose answer is on its way."""
    taken: Int
    """(B, 16, 3) what was taken at a level since its row."""
    fills: Int
    """(F, 6) own fills, in their order."""
    n_fills: Int
    """(1,) how many; what found no room is counted, and not written."""
    funding: Float
    """(B,) paid so far, ticks times lots; received < 0."""

    @property
    def nbytes(self) -> int:
        """Bytes of one account, fills apart."""
        per = (self.quotes, self.queue, self.account, self.cursors, self.notices, self.taken, self.funding)
        return sum(field.nbytes for field in per) // len(self.account)


def check_walk(walk: Walk) -> None:
    """Refuse accounts whose arrays are not of one batch, before compiled loops go through them.

    Raises
    ------
    ValueError
        Naming the first such array.
    """
    n = len(walk.account)
    shapes = {
        "quotes": (n, 2, N_QUOTE), "queue": (n, 2, 2), "account": (n, N_ACCOUNT), "cursors": (n, 3),
        "notices": (n, N_NOTICES, N_NOTICE), "taken": (n, N_TAKEN, 3), "n_fills": (1,), "funding": (n,),
    }  # fmt: skip
    shapes["fills"] = (max(walk.fills.shape[:1], default=0), N_OWN_FILL)
    for name, shape in shapes.items():
        field, kind = getattr(walk, name), np.float64 if name in ("queue", "funding") else np.int64
        if field.shape != shape or field.dtype != kind or not field.flags.c_contiguous:
            raise ValueError(f"accounts: {name} is {field.dtype} {field.shape}, not {np.dtype(kind)} {shape} in a row")


def new_walk(n_accounts: int, n_fills: int = 0) -> Walk:
    """Accounts with nothing, before any time.

    Parameters
    ----------
    n_accounts
        B.
    n_fills
        Own fills that are written down.
    """
    quotes = np.zeros((n_accounts, 2, N_QUOTE), np.int64)
    quotes[:, :, CANCELS] = quotes[:, :, ARRIVES] = NEVER
    quotes[:, :, WITHDRAWN] = 1
    account = np.zeros((n_accounts, N_ACCOUNT), np.int64)
    account[:, TAKES] = NEVER
    notices = np.zeros((n_accounts, N_NOTICES, N_NOTICE), np.int64)
    notices[:, :, NOTICE_AT] = NEVER
    taken = np.full((n_accounts, N_TAKEN, 3), -1, np.int64)
    fills = np.zeros((max(n_fills, 1), N_OWN_FILL), np.int64)
    cursors, queue = np.zeros((n_accounts, 3), np.int64), np.zeros((n_accounts, 2, 2))
    return Walk(quotes, queue, account, cursors, notices, taken, fills, np.zeros(1, np.int64), np.zeros(n_accounts))


@inlined
def begin(tape: Tape, walk: Walk, b: int, at: int) -> None:
    """Put an account without orders at a moment, exchange's clock, ns."""
    row = rows_until(tape.exchange_ns, at)
    for side in range(2):
        walk.quotes[b, side, STATE] = EMPTY
        walk.quotes[b, side, ENDS] = at
        walk.quotes[b, side, ARRIVES] = walk.quotes[b, side, CANCELS] = NEVER
        walk.quotes[b, side, WITHDRAWN] = 1
    for k in range(N_ACCOUNT):
        walk.account[b, k] = 0
    walk.account[b, NOW], walk.account[b, TAKES], walk.funding[b] = at, NEVER, 0.0
    walk.cursors[b, TRADES] = rows_until(tape.trades, row - 1)
    walk.cursors[b, FALLS] = rows_until(tape.ask_falls, row - 1)
    walk.cursors[b, RISES] = rows_until(tape.bid_rises, row - 1)
    for k in range(N_NOTICES):
        walk.notices[b, k, NOTICE_AT] = NEVER
        for column in range(1, N_NOTICE):
            walk.notices[b, k, column] = 0
    for k in range(N_TAKEN):
        walk.taken[b, k, TAKEN_LEVEL] = -1


@inlined
def send_quote(walk: Walk, b: int, side: int, tick: int, lots: int, arrives: int) -> None:
    """Send a quote; the side must be known to be free."""
    quote = walk.quotes[b, side]
    quote[STATE], quote[TICK], quote[LEFT], quote[SENT_LOTS] = SENT, tick, lots, lots
    quote[ARRIVES], quote[CANCELS], quote[KNOWN], quote[ENDS] = arrives, NEVER, NEVER, NEVER
    quote[WITHDRAWN] = 0
    walk.account[b, N_SENT] += 1
    walk.account[b, QUOTED] += lots


@inlined
def send_cancel(walk: Walk, b: int, side: int, arrives: int) -> None:
    """Send a cancel of the side's quote, unless one was sent; it does not overtake the quote.

    One that meets no quote any more, because it filled meanwhile, is sent as well: who sends it does not know.
    """
    quote = walk.quotes[b, side]
    if quote[WITHDRAWN] == 0:
        quote[WITHDRAWN] = 1
        walk.account[b, N_SENT] += 1
        if quote[STATE] != EMPTY:
            quote[CANCELS] = max(arrives, quote[ARRIVES]) if quote[STATE] == SENT else arrives


@inlined
def send_take(walk: Walk, b: int, side: int, lots: int, bound: int, arrives: int) -> bool:
    """Send an order that takes what it can up to a price; False while one that was sent has not arrived."""
    account = walk.account[b]
    if account[TAKES] != NEVER:
        return False
    account[TAKE_KNOWN] = NEVER
    account[TAKES], account[TAKES_SIDE], account[TAKES_LOTS], account[TAKES_BOUND] = arrives, side, lots, bound
    account[N_SENT] += 1
    return True


@inlined
def taking(walk: Walk, b: int, at: int) -> int:
    """Lots of an order that takes, whose end, or a fill of which, an account does not know yet."""
    waits = walk.account[b, TAKE_KNOWN] > at or _is_unheard(walk, b, NOTICE_TAKEN, at)
    return int(walk.account[b, TAKES_LOTS]) if waits else 0


@inlined
def known_position(walk: Walk, b: int, at: int) -> int:
    """Lots that an account knows to hold."""
    held = walk.account[b, POSITION]
    for k in range(N_NOTICES if walk.account[b, HEARD] > at else 0):
        if NEVER > walk.notices[b, k, NOTICE_AT] > at:
            held -= walk.notices[b, k, NOTICE_BID] - walk.notices[b, k, NOTICE_ASK] + walk.notices[b, k, NOTICE_TAKEN]
    return int(held)


@inlined
def unheard(walk: Walk, b: int, side: int, at: int) -> int:
    """Lots of the side's quotes that are filled, which an account does not know yet."""
    column, lots = NOTICE_BID if side == BUY else NOTICE_ASK, 0
    for k in range(N_NOTICES if walk.account[b, HEARD] > at else 0):
        if NEVER > walk.notices[b, k, NOTICE_AT] > at:
            lots += walk.notices[b, k, column]
    return int(lots)


@inlined
def is_free(walk: Walk, b: int, side: int, at: int) -> bool:
    """Whether an account knows that it has no quote on a side, and none is on its way.

    An answer may overtake that of an earlier fill: until both are there, the side's lots are not known.
    """
    ended = walk.quotes[b, side, STATE] == EMPTY and walk.quotes[b, side, ENDS] <= at
    return bool(ended and not _is_unheard(walk, b, NOTICE_BID if side == BUY else NOTICE_ASK, at))


@inlined
def _is_unheard(walk: Walk, b: int, column: int, at: int) -> bool:
    """Whether a fill of a kind is on its way to be known."""
    found = False
    for k in range(N_NOTICES if walk.account[b, HEARD] > at else 0):
        found = found or (NEVER > walk.notices[b, k, NOTICE_AT] > at and walk.notices[b, k, column] != 0)
    return bool(found)


@inlined
def _notice(walk: Walk, b: int, known: int, column: int, lots: int, at: int) -> None:
    """Note a fill whose answer is on its way; where no place is free, with the one that comes last."""
    free, last = -1, 0
    for k in range(N_NOTICES):
        when = walk.notices[b, k, NOTICE_AT]
        if when == NEVER or when <= at:
            free = k
        elif walk.notices[b, last, NOTICE_AT] <= when:
            last = k
    if free >= 0:
        for other in range(1, N_NOTICE):
            walk.notices[b, free, other] = 0
    else:
        free = last
    walk.notices[b, free, NOTICE_AT] = known
    walk.account[b, HEARD] = max(walk.account[b, HEARD], known)
    walk.notices[b, free, column] += lots


@inlined
def book_fill(walk: Walk, b: int, side: int, tick: int, lots: int, at: int, answer_ns: int, cause: int) -> None:
    """Book so many lots at a price."""
    account = walk.account[b]
    signed = lots if side == BUY else -lots
    account[POSITION] += signed
    account[CASH] -= signed * tick
    if cause == TOOK:
        account[TAKER_LOTS] += lots
        account[TAKER_TURNOVER] += lots * tick
    else:
        account[MAKER_LOTS] += lots
        account[MAKER_TURNOVER] += lots * tick
        quote = walk.quotes[b, side]
        quote[LEFT] -= lots
        if quote[LEFT] == 0:
            end_quote(walk, b, side, at + answer_ns)
    if cause == TOOK:
        _notice(walk, b, at + answer_ns, NOTICE_TAKEN, signed, at)
    else:
        _notice(walk, b, at + answer_ns, NOTICE_BID if side == BUY else NOTICE_ASK, lots, at)
    n = walk.n_fills[0]
    if n < len(walk.fills):
        row = walk.fills[n]
        row[F_TIME], row[F_SIDE], row[F_TICK], row[F_LOTS], row[F_CAUSE], row[F_ACCOUNT] = (
            at,
            side,
            tick,
            lots,
            cause,
            b,
        )
    walk.n_fills[0] += 1


@inlined
def end_quote(walk: Walk, b: int, side: int, known: int) -> None:
    """A quote is no more, which is known at a moment."""
    quote = walk.quotes[b, side]
    quote[STATE], quote[ENDS], quote[CANCELS], quote[ARRIVES] = EMPTY, known, NEVER, NEVER
