"""A maker that quotes the best prices with one lot a side, walked on a tape: the work that books are measured by."""

from __future__ import annotations

from qframe_rl.book.accounts import (
    KNOWN,
    TICK,
    Walk,
    is_free,
    known_position,
    send_cancel,
    send_quote,
)
from qframe_rl.book.events import TRADE
from qframe_rl.book.state import BUY
from qframe_rl.book.tape import Tape
from qframe_rl.book.walk import advance
from qframe_rl.jit import apart
from qframe_rl.types import Int


@apart
def quote_best(
    tape: Tape, walk: Walk, b: int, start: int, step_ns: int, entry_ns: int, answer_ns: int, power: float, seen: Int
) -> None:  # fmt: skip
    """Walk one account.

    Parameters
    ----------
    tape, walk
        The market, and accounts.
    b
        Which account.
    start
        First decision, ns, by the clock of what arrives.
    step_ns
        Time between decisions.
    entry_ns, answer_ns
        How long messages and answers travel.
    power
        From `qframe_rl.book.queue.exponent`.
    seen
        (K, 3) written: best bid and ask as they had arrived at each decision, and the position as it was known.
    """
    row, n, last = 0, len(tape.arrivals), 0
    for k in range(len(seen)):
        now = start + k * step_ns
        while row < n and tape.local_ns[tape.arrivals[row]] <= now:
            if tape.kind[tape.arrivals[row]] != TRADE:  # trades travel apart: one that comes late tells no old book
                last = tape.arrivals[row]
            row += 1
        advance(tape, walk, b, now, answer_ns, power)
        seen[k, 0], seen[k, 1], seen[k, 2] = tape.bid[last], tape.ask[last], known_position(walk, b, now)
        for side in range(2):
            best = int(tape.bid[last] if side == BUY else tape.ask[last])
            quote = walk.quotes[b, side]
            if is_free(walk, b, side, now):
                send_quote(walk, b, side, best, 1, now + entry_ns)
            elif quote[KNOWN] <= now and quote[TICK] != best:
                send_cancel(walk, b, side, now + entry_ns)
