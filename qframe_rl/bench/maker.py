"""A maker that quotes the best prices with one lot a side, walked on a tape: the work that books are measured by."""

from __future__ import annotations

from qframe_rl.book.accounts import Walk, known_position
from qframe_rl.book.events import TRADE
from qframe_rl.book.tape import Tape
from qframe_rl.book.walk import advance
from qframe_rl.book.wish import WISH_LOTS, WISH_TICK, pursue
from qframe_rl.jit import apart, inlined
from qframe_rl.types import Int


@inlined
def _arrived(tape: Tape, now: int, seen: Int) -> None:
    """Move on to the rows that had arrived: how many, and the last of depth; trades travel apart and tell no book."""
    n = len(tape.arrivals)
    while seen[0] < n and tape.local_ns[tape.arrivals[seen[0]]] <= now:
        if tape.kind[tape.arrivals[seen[0]]] != TRADE:
            seen[1] = tape.arrivals[seen[0]]
        seen[0] += 1


@inlined
def _quote(tape: Tape, walk: Walk, b: int, row: int, now: int, entry_ns: int, wishes: Int) -> None:
    """Wish one lot at the best prices after a row."""
    wishes[0, WISH_TICK], wishes[1, WISH_TICK] = tape.bid[row], tape.ask[row]
    wishes[0, WISH_LOTS] = wishes[1, WISH_LOTS] = 1
    pursue(walk, b, wishes, wishes[2], now, entry_ns)


@apart
def quote_best(
    tape: Tape, walk: Walk, b: int, start: int, step_ns: int, entry_ns: int, answer_ns: int, power: float, seen: Int,
    row: Int, wishes: Int,
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
    row
        (2,) of zeros, written: rows that had arrived, and the last one of depth.
    wishes
        (3, 3) of zeros, written.
    """
    for k in range(len(seen)):
        now = start + k * step_ns
        _arrived(tape, now, row)
        advance(tape, walk, b, now, answer_ns, power)
        seen[k, 0], seen[k, 1], seen[k, 2] = tape.bid[row[1]], tape.ask[row[1]], known_position(walk, b, now)
        _quote(tape, walk, b, int(row[1]), now, entry_ns, wishes)


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
    for k in range(n_steps):
        for b in range(len(starts)):
            now = starts[b] + k * step_ns
            _arrived(tape, now, seen[b])
            advance(tape, walk, b, now, answer_ns, power)
            _quote(tape, walk, b, int(seen[b, 1]), now, entry_ns, wishes)
