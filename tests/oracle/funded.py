"""Funding by the rule in words: of each settlement, what was held before anything of its moment, in exact numbers."""

from __future__ import annotations

from fractions import Fraction

from qframe_rl.book.tape import NO_ASK, NO_BID, Tape


def funded(tape: Tape, fills: list[tuple[int, ...]], dues: list[tuple[int, float, float | None]], start: int) -> float:
    """What an account paid, ticks times lots.

    Parameters
    ----------
    tape
        The market.
    fills
        All own fills: time, side, tick, lots.
    dues
        When, rate, and mark price or None.
    start
        From when on the account was there, ns.

    Returns
    -------
    float
        Paid; received < 0.
    """
    paid = Fraction(0)
    for at, rate, mark in dues:
        if at <= start:
            continue
        held = sum(lots if side == 0 else -lots for when, side, _, lots, *_ in fills if when < at)
        mids = [
            Fraction(int(bid) + int(ask), 2)
            for when, bid, ask in zip(tape.exchange_ns, tape.bid, tape.ask, strict=True)
            if when < at and bid != NO_BID and ask != NO_ASK
        ]
        price = Fraction(mark) if mark is not None else mids[-1] if mids else Fraction(0)
        paid += held * price * Fraction(rate)
    return float(paid)
