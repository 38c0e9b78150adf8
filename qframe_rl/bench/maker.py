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
def _arrived(tape: Tape, now: int, came: int, last: int) -> tuple[int, int]:
    """Move on to the rows that had arrived: how many, and the last of depth; trades travel apart and tell no book."""
    while came < len(tape.arrivals) and tape.local_ns[tape.arrivals[came]] <= now:
        if tape.kind[tape.arrivals[came]] != TRADE:
            last = int(tape.arrivals[came])
        came += 1
    return came, last


@inlined
def _quote(walk: Walk, b: int, bid: int, ask: int, now: int, entry_ns: int, wishes: Int) -> None:
    """Wish one lot at the best prices."""
    wishes[0, WISH_TICK], wishes[1, WISH_TICK] = bid, ask
    wishes[0, WISH_LOTS] = wishes[1, WISH_LOTS] = 1
    pursue(walk, b, wishes, wishes[2], now, entry_ns)


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
    came, last = 0, 0
    for k in range(len(seen)):
        now = start + k * step_ns
        came, last = _arrived(tape, now, came, last)
        advance(tape, walk, b, now, answer_ns, power)
        seen[k, 0], seen[k, 1], seen[k, 2] = tape.bid[last], tape.ask[last], known_position(walk, b, now)
        _quote(walk, b, tape.bid[last], tape.ask[last], now, entry_ns, wishes)


@apart
def arrived_best(tape: Tape, start: int, step_ns: int, best: Int) -> None:
    """Best prices as they had arrived at moments of a clock: what all accounts see alike.

    Parameters
    ----------
    tape
        The market.
    start, step_ns
        First moment, and time between two.
    best
        (T, 2) written: bid and ask, ticks.
    """
    came, last = 0, 0
    for k in range(len(best)):
        came, last = _arrived(tape, start + k * step_ns, came, last)
        best[k, 0], best[k, 1] = tape.bid[last], tape.ask[last]


@apart
def quote_many(
    tape: Tape, walk: Walk, best: Int, first: Int, n_steps: int, start: int, step_ns: int, entry_ns: int,
    answer_ns: int, power: float, wishes: Int,
) -> None:  # fmt: skip
    """Walk B accounts, each from a moment of its own, step by step.

    Parameters
    ----------
    tape, walk
        The market, and B accounts just before their moments.
    best
        From `arrived_best`.
    first
        (B,) numbers of their first moments.
    n_steps
        Decisions of each.
    start, step_ns
        As of `arrived_best`.
    entry_ns, answer_ns, power, wishes
        As in `quote_best`.
    """
    for k in range(n_steps):
        for b in range(len(first)):
            at = first[b] + k
            now = start + at * step_ns
            advance(tape, walk, b, now, answer_ns, power)
            _quote(walk, b, best[at, 0], best[at, 1], now, entry_ns, wishes)
