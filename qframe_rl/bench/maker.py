"""A maker that quotes the best prices with one lot a side, walked on a tape: the work that books are measured by."""

from __future__ import annotations

from qframe_rl.book.accounts import Walk, known_position
from qframe_rl.book.events import TRADE
from qframe_rl.book.tape import Tape
from qframe_rl.book.walk import advance
from qframe_rl.book.wish import WISH_LOTS, WISH_TICK, pursue
from qframe_rl.jit import apart
from qframe_rl.types import Int


@apart
def quote_best(
    tape: Tape, walk: Walk, b: int, start: int, step_ns: int, entry_ns: int, answer_ns: int, power: float, seen: Int,
    wishes: Int,
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
    wishes
        (3, 3) of zeros, written.
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
        wishes[0, WISH_TICK], wishes[1, WISH_TICK] = tape.bid[last], tape.ask[last]
        wishes[0, WISH_LOTS] = wishes[1, WISH_LOTS] = 1
        pursue(walk, b, wishes, wishes[2], now, entry_ns)


@apart
def quote_many(
    tape: Tape, walk: Walk, starts: Int, seen: Int, n_steps: int, step_ns: int, entry_ns: int, answer_ns: int,
    power: float, wishes: Int,
) -> None:  # fmt: skip
    """Walk B accounts, each from a moment of its own, step by step.

    Parameters
    ----------
    tape, walk
        The market, and B accounts at their moments.
    starts
        (B,) first decisions, ns.
    seen
        (B, 2) of zeros: how many rows had arrived at each account's last decision, and the last one of depth.
    n_steps
        Decisions of each.
    step_ns, entry_ns, answer_ns, power, wishes
        As in `quote_best`.
    """
    n = len(tape.arrivals)
    for k in range(n_steps):
        for b in range(len(starts)):
            now, row, last = starts[b] + k * step_ns, seen[b, 0], seen[b, 1]
            while row < n and tape.local_ns[tape.arrivals[row]] <= now:
                if tape.kind[tape.arrivals[row]] != TRADE:
                    last = tape.arrivals[row]
                row += 1
            seen[b, 0], seen[b, 1] = row, last
            advance(tape, walk, b, now, answer_ns, power)
            wishes[0, WISH_TICK], wishes[1, WISH_TICK] = tape.bid[last], tape.ask[last]
            wishes[0, WISH_LOTS] = wishes[1, WISH_LOTS] = 1
            pursue(walk, b, wishes, wishes[2], now, entry_ns)
