"""Random markets: instruments, rules and bars; most numbers lie on the grids, some do not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np

from qframe_rl.types import Account, Bar, Float, Instrument
from tests.oracle.grids import meaning

NO_PRICES = (math.nan,) * 5
TICKS = (0.0, 0.0, 0.01, 0.01, 0.1, 0.5, 0.05, 0.25, 1.0, 1e-4, 1e-5, 1e-8)
LEVERAGES = (1.0, 2.0, 2.5, 3.0, 5.0, 10.0, 20.0, 50.0, 75.0, 125.0)
TEMPERS = ((0.002, 0.01), (0.015, 0.05), (0.05, 0.15))
"""How far a price moves in a bar, and how often it crashes or spikes."""
THIN = {"leverage": 125.0, "impact": 0.0, "half_spread": 0.0}
THIN_FEE = 0.05
"""Positions of many times the equity, which the fee of closing them can ruin."""


@dataclass(frozen=True)
class Scene:
    """A market and what happens in it."""

    instruments: tuple[Instrument, ...]
    rules: dict[str, Any]
    """Keywords of `qframe_rl.kernel.rules.rules_of`."""
    account: Account
    """What the sequence begins with: cash, or in single settlements any account."""
    bars: tuple[Bar, ...]

    @property
    def leverage(self) -> float:
        return float(self.rules["leverage"])


def on_grid(value: float, step: float) -> float:
    """The multiple of ``step`` nearest to ``value``, as the double nearest to it."""
    return float(round(value / step) * meaning(step)) if step else value


def written(value: float, digits: int = 6) -> float:
    """A number as someone would write it: a few digits."""
    return float(f"{value:.{digits}g}")


def scene(seed: int, n_bars: int) -> Scene:
    """The market of a seed; one in six begins with positions instead of cash alone."""
    r = Random(seed)
    cash = written(10.0 ** r.uniform(2, 6), 3)
    kind = r.choices(("spot", "short", "long", "both"), (25, 35, 10, 30))[0]
    n = r.randint(2 if kind == "both" else 1, 4)
    owned = tuple(kind == "both" and (i == 0 or (i > 1 and r.random() < 0.3)) for i in range(n))
    prices = [first_price(r) for _ in range(n)]
    rules = drawn_rules(r, kind, owned)
    asked = [
        instrument(r, i, cash / p[1], p[0], cash, (kind == "spot" and r.random() < 0.8) or owned[i])
        for i, p in enumerate(prices)
    ]
    if kind == "short" and r.random() < 0.15:
        rules |= THIN
        asked = [replace(one, taker_fee=THIN_FEE, maker_fee=0.0, maintenance=0.0, min_notional=0.0) for one in asked]
    bars = drawn_bars(r, n_bars, asked, [p[1] for p in prices], cash, rules["leverage"])
    begun = opened(r, asked, bars[0], cash, rules) if r.random() < 1 / 6 else begin(cash, n)
    if np.any(begun.position):
        rules["transfer_bars"] = 0  # what is on its way is not part of an account's record
    return Scene(tuple(asked), rules, begun, tuple(bars))


def begin(cash: float, n: int) -> Account:
    """An account that never traded."""
    return Account(np.array(cash), np.zeros(n), np.full(n, np.nan))


def opened(r: Random, asked: list[Instrument], bar: Bar, cash: float, rules: dict[str, Any]) -> Account:
    """An account that holds something already, sometimes a part of a lot, sometimes near ruin."""
    n = len(asked)
    position, mark = np.zeros(n), np.zeros(n)
    margin = rules["shorting"] or rules["leverage"] > 1.0
    for i, (one, close) in enumerate(zip(asked, bar.values[:, 3].tolist(), strict=True)):
        mark[i] = close if close == close else 1.0
        most = rules["leverage"] if margin and not (rules["owned"] and rules["owned"][i]) else 0.9
        held = cash * most * r.uniform(0.0, 1.0) / n / mark[i]
        sign = -1.0 if rules["shorting"] and most > 0.9 and r.random() < 0.5 else 1.0
        position[i] = sign * (on_grid(held, one.lot) if r.random() < 0.6 else written(held, 8))
    return Account(np.array(written(cash - float(position @ mark), 9)), position, mark)


def first_price(r: Random) -> tuple[float, float]:
    """A tick, and a price of some to some millions of it."""
    tick = r.choice(TICKS)
    price = written(10.0 ** r.uniform(-1, 4), 7) if tick == 0.0 else on_grid(tick * 10.0 ** r.uniform(1.7, 6.5), tick)
    return tick, price


def instrument(r: Random, i: int, units: float, tick: float, cash: float, coin: bool) -> Instrument:
    """An instrument of which the account's cash buys ``units``."""
    lot = (
        0.0
        if r.random() < 0.25
        else float(f"{r.choice((1, 1, 1, 2, 5))}e{math.floor(math.log10(units)) - r.randint(1, 8)}")
    )
    least = r.choice((0.0, 0.0, 1e-3, 0.02, 0.1)) * units
    return Instrument(
        f"C{i}",
        "spot" if coin else "perpetual" if r.random() < 0.8 else "spot",
        lot=lot,
        tick=tick,
        min_amount=on_grid(least, lot) if lot else written(least, 2),
        min_notional=written(r.choice((0.0, 0.0, 1e-3, 0.01, 0.1)) * cash, 1),
        maker_fee=r.choice((0.0, 0.0002, 0.001, -0.0001)),
        taker_fee=r.choice((0.0, 0.0005, 0.001, 0.01)),
        maintenance=r.choice((0.0, 0.004, 0.005, 0.02)),
    )


def drawn_rules(r: Random, kind: str, owned: tuple[bool, ...]) -> dict[str, Any]:
    """Costs, leverage and what holds for the account."""
    leverage = {"spot": 1.0, "long": r.choice(LEVERAGES[1:])}.get(kind, r.choice(LEVERAGES))
    if kind in ("short", "both") and r.random() < 0.2:
        leverage = float(r.randint(1, 125))
    return {
        "half_spread": r.choice((0.0, 0.0001, 0.001)),
        "impact": r.choice((0.0, 0.0, 0.01, 0.1)),
        "volume_share": r.choice((0.05, 0.1, 0.3, 1.0)),
        "liquidation_fee": r.choice((0.0, 0.005, 0.02)),
        "leverage": leverage,
        "shorting": kind == "short" or (kind == "both" and (leverage == 1.0 or r.random() < 0.9)),
        "owned": owned if any(owned) else (),
        "transfer_bars": r.randint(0, 3) if kind == "both" else 0,
        "margin_earns": r.random() < 0.3,
    }


def drawn_bars(
    r: Random, n_bars: int, asked: list[Instrument], prices: list[float], cash: float, leverage: float
) -> list[Bar]:
    """Bars of all instruments, and the cash rates; often a bar moves by less than what ruins at full leverage."""
    thin = asked[0].taker_fee == THIN_FEE
    width, wild = (
        r.choice(TEMPERS) if r.random() < 0.4 and not thin else (r.choice((0.1, 0.2, 0.4)) / (leverage + 3.0), 0.1)
    )
    rate = r.choice((0.0, 1e-5, 1e-3, -1e-4, 0.01))
    columns = []
    for one, price in zip(asked, prices, strict=True):
        thin = one.taker_fee == THIN_FEE
        end = r.randint(3, 8 if thin else n_bars) if thin or r.random() < 0.3 else n_bars
        columns.append(column(r, n_bars, end, one, price, (width, wild, leverage), cash * leverage))
    values = np.array([[row[:5] for row in rows] for rows in columns])
    due = np.array([[row[5] for row in rows] for rows in columns])
    last = np.array([[bool(row[6]) for row in rows] for rows in columns])
    rates = [rate if r.random() < 0.8 else 0.0 for _ in range(n_bars)]
    return [Bar(k, values[:, k], due[:, k], last[:, k], rates[k]) for k in range(n_bars)]


def column(
    r: Random, n_bars: int, end: int, one: Instrument, price: float, temper: tuple[float, float, float], money: float
) -> list[tuple[float, ...]]:
    """(open, high, low, close, volume, funding due, last) of one instrument, bar by bar; its last is ``end`` - 1."""
    rows, halted = [], 0
    for k in range(n_bars):
        last = k == end - 1 and end < n_bars
        halted = halted - 1 if halted > 0 else r.randint(1, 3) if k > 0 and r.random() < 0.05 else 0
        due = funding(r, one, price) if k > 0 and k < end else 0.0
        if k >= end or (halted and not (last and r.random() < 0.8)):
            rows.append((*NO_PRICES, due, float(last)))
            continue
        candle = prices_of_bar(r, price, temper, one.tick)
        price = candle[3]
        rows.append((*candle, volume(r, one, money / price), due, float(last)))
    return rows


def funding(r: Random, one: Instrument, price: float) -> float:
    """Funding due per unit: on perpetuals now and then, on others hardly ever."""
    if r.random() > (0.3 if one.kind == "perpetual" else 0.01):
        return 0.0
    return written(price * r.choice((1e-4, 1e-4, 1e-3, 1e-2)) * r.choice((1, -1)), 4)


def volume(r: Random, one: Instrument, units: float) -> float:
    """Volume of a bar, from none to a hundred times what the account could buy."""
    return 0.0 if r.random() < 0.04 else on_grid(written(units * 10.0 ** r.uniform(-0.7, 2), 5), one.lot)


def prices_of_bar(r: Random, before: float, temper: tuple[float, float, float], tick: float) -> tuple[float, ...]:
    """Open, high, low and close: on the grid nine times of ten, wild now and then."""
    width, wild, leverage = temper
    first = before * math.exp(width * r.choice((0.0, 0.1, 0.3, 2.0)) * r.gauss(0, 1))
    final = first if r.random() < 0.06 else first * math.exp(width * r.gauss(0, 1))
    top, bottom = max(first, final), min(first, final)
    high = top * math.exp(width * r.choice((0.0, 0.3, 1.0)) * abs(r.gauss(0, 1)))
    low = bottom * math.exp(-width * r.choice((0.0, 0.3, 1.0)) * abs(r.gauss(0, 1)))
    if r.random() < wild:
        fall = r.uniform(0.05, 0.8) if r.random() < 0.4 else 0.8 * r.uniform(0.5, 2.0) / (leverage + 1.0)
        low, high = (bottom * (1.0 - fall), high) if r.random() < 0.5 else (low, top / (1.0 - fall))
        final = r.choice((low, high, final, r.uniform(low, high)))
    four = [max(p, 20 * tick) for p in (first, high, low, final)]
    off = tick == 0.0 or r.random() < 0.1
    four = [written(p, 9) if off else on_grid(p, tick) for p in four]
    return four[0], max(four), min(four), four[3]


def traded(bar: Bar) -> Float:
    """Whether each instrument traded in a bar."""
    return ~np.isnan(bar.values[:, 3])
