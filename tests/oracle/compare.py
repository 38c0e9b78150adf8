"""Where the kernel and the oracle differ in one bar."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from qframe_rl.types import Account, Fills
from tests.oracle.grids import settled
from tests.oracle.records import Fill, Outcome, Rulebook, State

CLOSE_TO = 1e-9
"""Relative to the account's scale: money and positions, without signs, before or after the bar."""


def differences(
    book: Rulebook, before: State, outcome: Outcome, account: Account, fills: Fills, over: bool
) -> list[str]:
    """One line for each number that differs."""
    scale = float(max(before.size, outcome.state.size, Decimal("1e-300")))
    found = [
        line("cash", float(account.cash), outcome.state.cash, CLOSE_TO * scale),
        line("interest", float(fills.interest), outcome.interest, CLOSE_TO * scale),
        line("absorbed", float(fills.absorbed), outcome.absorbed, CLOSE_TO * scale),
        "" if over == outcome.terminated else f"terminated: kernel {over}, oracle {outcome.terminated}",
    ]
    for i in range(len(before.position)):
        found += [f"[{i}] {text}" for text in of_instrument(book, before, outcome, account, fills, i, scale) if text]
    return [text for text in found if text]


def of_instrument(
    book: Rulebook, before: State, outcome: Outcome, account: Account, fills: Fills, i: int, scale: float
) -> list[str]:
    """What differs of one instrument: steps to the bit, the rest relative to the scale."""
    state, fill, lot = outcome.state, outcome.fills[i], book.listings[i].lot
    unit = CLOSE_TO * scale / reference(before, state, fill, i)
    closed = before.position[i] != 0 and state.position[i] == 0
    given = float(account.mark[i]), state.mark[i]
    return [
        held("position", float(account.position[i]), state.position[i], lot, unit, closed),
        "" if np.array_equal(given[0], float(given[1] or np.nan), equal_nan=True) else f"mark: {given}",
        held("filled", float(fills.quantity[i]), fill.quantity, lot, unit, False),
        held("forced", float(fills.forced[i]), fill.forced, Decimal(0), unit, False),
        priced("price", float(fills.price[i]), fill.price, fill.quantity, scale),
        priced("forced price", float(fills.forced_price[i]), fill.forced_price, fill.forced, scale),
        line("cancelled", float(fills.cancelled[i]), fill.cancelled, unit + CLOSE_TO * abs(float(fill.cancelled))),
        *(
            line(name, float(getattr(fills, name)[i]), getattr(fill, name), CLOSE_TO * scale)
            for name in ("fee", "spread", "impact", "funding")
        ),
    ]


def reference(before: State, after: State, fill: Fill, i: int) -> float:
    """A price that turns money into units."""
    return float(fill.price or fill.forced_price or after.mark[i] or before.mark[i] or 1)


def line(name: str, kernel: float, oracle: Decimal, within: float) -> str:
    """A word on a number that is not within a distance of the other."""
    return "" if abs(kernel - float(oracle)) <= within else f"{name}: kernel {kernel!r}, oracle {float(oracle)!r}"


def held(name: str, kernel: float, oracle: Decimal, lot: Decimal, within: float, closed: bool) -> str:
    """Quantities that are whole lots, or nothing, are the same double; others are worth the same."""
    exact = closed or (lot != 0 and oracle % lot == 0 and settled(oracle, lot) == oracle)
    return line(name, kernel, oracle, 0.0 if exact else within)


def priced(name: str, kernel: float, oracle: Decimal, quantity: Decimal, scale: float) -> str:
    """Prices of fills that are worth anything at the account's scale."""
    worth = float(abs(quantity) * oracle)
    return line(name, kernel, oracle, CLOSE_TO * float(oracle)) if worth > CLOSE_TO * scale else ""
