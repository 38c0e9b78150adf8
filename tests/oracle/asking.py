"""Random orders, drawn with the coming bar in sight so that touches, stops and rescues happen often."""

from __future__ import annotations

import math
from random import Random

import numpy as np

from qframe_rl.types import Account, Bar, Bool, Instrument, Orders
from tests.oracle.draws import Scene, on_grid, written


def drawn_orders(r: Random, scene: Scene, account: Account, tradable: Bool, bar: Bar) -> Orders:
    """Orders for the coming bar; what did not trade in the last one is not ordered."""
    n = len(scene.instruments)
    out = np.full((3, n), np.nan)
    equity = max(float(account.equity), 0.02 * float(scene.account.equity))
    eager = r.choice((0.5, 0.9))
    for i, one in enumerate(scene.instruments):
        out[0, i] = 0.0
        if tradable[i] and r.random() < eager:
            held, mark = float(account.position[i]), float(account.mark[i])
            most = equity * scene.leverage / mark
            out[0, i] = quantity(r, one, held, most, mark)
            out[1, i], out[2, i] = prices(r, one, out[0, i], held, mark, bar.values[i].tolist())
    return Orders(out[0], out[1], out[2])


def quantity(r: Random, one: Instrument, held: float, most: float, mark: float) -> float:
    """A signed quantity: closing, crossing, opening, far too large, or very small."""
    if held and r.random() < 0.55:
        way = r.choice(("close", "close", "close", "part", "cross", "nearly"))
        if way == "close":
            return -held
        if way == "nearly":
            return -held * (1.0 + r.choice((5e-10, -5e-10, 3e-9, -3e-9)))
        asked = -held * (r.uniform(0.05, 0.95) if way == "part" else r.uniform(1.05, 3.0))
    else:
        asked = r.choice((1, 1, -1)) * opening(r, one, most, mark)
    return on_grid(asked, one.lot) if r.random() < 0.85 else written(asked, 9)


def opening(r: Random, one: Instrument, most: float, mark: float) -> float:
    """A quantity to open with; ``most`` is what leverage allows."""
    way = r.choice(("some", "some", "all", "over", "huge", "tiny", "amount", "notional"))
    if way == "tiny":
        return r.choice((0.4, 1, 1, 2, 3)) * (one.lot or 1e-6 * most)
    if way == "amount":
        return one.min_amount + r.choice((-1, 0, 0, 1)) * one.lot if one.min_amount else 0.3 * most
    if way == "notional":
        return r.choice((0.9, 1.0, 1.0, 1.1)) * one.min_notional / mark if one.min_notional else 0.5 * most
    low, high = {"some": (0.05, 0.6), "all": (0.9, 1.1), "over": (1.0, 4.0), "huge": (10.0, 1e6)}[way]
    return most * r.uniform(low, high)


def prices(r: Random, one: Instrument, asked: float, held: float, mark: float, bar: list[float]) -> tuple[float, float]:
    """Limit and stop: neither, one, hardly ever both."""
    kind = r.random()
    if kind < 0.36:
        return math.nan, math.nan
    if kind < 0.68:
        return level(r, one, asked, -1, mark, bar), math.nan
    if kind < 0.98:
        return math.nan, level(r, one, asked, 1, mark, bar)
    return level(r, one, asked, -1, mark, bar), level(r, one, asked, 1, mark, bar)


def level(r: Random, one: Instrument, asked: float, worse: int, mark: float, bar: list[float]) -> float:
    """A price near the bar's own: at one of its four, a tick beside it, or on the way to an extreme."""
    first, high, low, final = bar[:4] if bar[0] == bar[0] else [mark] * 4
    far = high if (asked > 0.0) == (worse > 0) else low
    at = r.choice((first, high, low, final, mark, far, far, r.uniform(first, far), r.uniform(first, far)))
    tick = one.tick or 1e-4 * mark
    at += tick * r.choice((0, 0, 0, 0, 1, -1, r.randint(-30, 30)))
    at = max(at, tick)
    if one.tick == 0.0:
        return at if r.random() < 0.7 else written(at, 6)
    return on_grid(at, one.tick) if r.random() < 0.88 else written(at + one.tick * r.random(), 10)
