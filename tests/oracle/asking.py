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
            candle = bar.values[i].tolist()
            four = candle[:4] if candle[0] == candle[0] else [mark] * 4
            if held and r.random() < (0.7 if lost(held, four) > 0.7 * equity else 0.15):
                out[:, i] = protection(r, one, held, four)
                continue
            out[0, i] = quantity(r, one, held, equity * scene.leverage / mark, four[0])
            out[1, i], out[2, i] = prices(r, one, out[0, i], mark, four, scene.rules["half_spread"])
    return Orders(out[0], out[1], out[2])


def lost(held: float, four: list[float]) -> float:
    """What a position loses from the open to the worst price of the bar."""
    first, high, low, _ = four
    return held * (first - low) if held > 0.0 else -held * (high - first)


def protection(r: Random, one: Instrument, held: float, four: list[float]) -> tuple[float, float, float]:
    """A position closed by a stop on the way to the bar's worst price, by a limit on the way to its best, or grown."""
    first, high, low, _ = four
    worst, best = (low, high) if held > 0.0 else (high, low)
    kind, bad, good = r.random(), first + (worst - first) * r.random(), first + (best - first) * r.random()
    if kind < 0.65:
        return -held, math.nan, on_grid(first + (bad - first) * 0.6, one.tick)
    if kind < 0.85:
        return -held, on_grid(good, one.tick), math.nan
    return on_grid(0.3 * held, one.lot), on_grid(bad, one.tick), math.nan


def quantity(r: Random, one: Instrument, held: float, most: float, price: float) -> float:
    """A signed quantity: closing, crossing, opening, far too large, or very small."""
    if held and r.random() < 0.55:
        way = r.choice(("close", "close", "close", "part", "leave", "cross", "nearly"))
        least = one.min_notional / price
        if way == "close":
            return -held
        if way == "nearly":
            return -held * (1.0 + r.choice((5e-10, -5e-10, 3e-9, -3e-9)))
        if way == "leave" and abs(held) > least:
            return on_grid(math.copysign(least * r.random(), held) - held, one.lot)
        most_of_it = 1.3 if abs(held) < least else 3.0
        asked = -held * (r.uniform(0.05, 0.95) if way == "part" else r.uniform(1.05, most_of_it))
    else:
        asked = r.choice((1, 1, -1)) * opening(r, one, most, price)
    return on_grid(asked, one.lot) if r.random() < 0.85 else written(asked, 9)


def opening(r: Random, one: Instrument, most: float, price: float) -> float:
    """A quantity to open with; ``most`` is what leverage allows, ``price`` the coming open."""
    way = r.choice(("some", "some", "all", "over", "huge", "tiny", "amount", "notional"))
    if way == "tiny":
        return r.choice((0.4, 1, 1, 2, 3)) * (one.lot or 1e-6 * most)
    if way == "amount":
        return one.min_amount + r.choice((-1, 0, 0, 1)) * one.lot if one.min_amount else 0.3 * most
    if way == "notional":
        return r.choice((0.9, 1.0, 1.0, 1.1)) * one.min_notional / price if one.min_notional else 0.5 * most
    low, high = {"some": (0.05, 0.6), "all": (0.9, 1.1), "over": (1.0, 4.0), "huge": (10.0, 1e6)}[way]
    return most * r.uniform(low, high)


def prices(
    r: Random, one: Instrument, asked: float, mark: float, four: list[float], spread: float
) -> tuple[float, float]:
    """Limit and stop: neither, one, hardly ever both."""
    kind = r.random()
    if kind < 0.36:
        return math.nan, math.nan
    limit = level(r, one, -asked, mark, four, spread) if kind < 0.68 or kind >= 0.98 else math.nan
    stop = level(r, one, asked, mark, four, spread) if kind >= 0.68 else math.nan
    return limit, stop


def level(r: Random, one: Instrument, up: float, mark: float, four: list[float], spread: float) -> float:
    """A price near the bar's own: at one of its four, a tick beside it, what taking pays, or on the way up or down."""
    first, high, low, final = four
    far = high if up > 0.0 else low
    taking = first * (1.0 + spread) if up < 0.0 else first * (1.0 - spread)
    at = r.choice((first, high, low, final, mark, taking, far, far, r.uniform(first, far), r.uniform(first, far)))
    tick = one.tick or 1e-4 * mark
    at += tick * r.choice((0, 0, 0, 0, 1, -1, r.randint(-30, 30)))
    at = max(at, tick)
    if one.tick == 0.0:
        return at if r.random() < 0.7 else written(at, 6)
    return on_grid(at, one.tick) if r.random() < 0.88 else written(at + one.tick * r.random(), 10)
