"""What the random sequences try: which rules applied, in which markets, and what a stop was good for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from random import Random

import numpy as np

from qframe_rl.types import Bar
from tests.oracle.asking import drawn_orders
from tests.oracle.bar import settle
from tests.oracle.doors import account_of, rulebook
from tests.oracle.draws import Scene, scene, traded
from tests.oracle.grids import meaning
from tests.oracle.records import Candle, Order, Outcome, Rulebook, State, candles_of, orders_of
from tests.oracle.walks import N_BARS, SALT


def tried(seed: int) -> Counter[str]:
    """What the sequence of a seed tries, by the oracle alone."""
    drawn, r = scene(seed, N_BARS), Random(seed + SALT)
    book, state = rulebook(drawn), State.of(drawn.account)
    tradable, begun = ~np.isnan(drawn.account.mark), state.equity
    counts = of_market(drawn, book)
    for bar in drawn.bars:
        asked = drawn_orders(r, drawn, account_of(state), tradable, bar)
        orders, candles = orders_of(asked), candles_of(bar)
        outcome = settle(book, state, orders, candles, meaning(bar.cash_rate))
        counts += of_bar(bar) + of_orders(book, orders) + outcome.notes + rescues(book, state, orders, candles, outcome)
        counts += Counter(f"edge: {what}" for what in outcome.edges)
        counts["near ruin"] += state.equity < begun / 10
        counts["orders far too large"] += sum(
            abs(o.quantity) * (m or 0) > 10 * book.leverage * max(state.equity, begun / 50)
            for o, m in zip(orders, state.mark, strict=True)
        )
        state, tradable = outcome.state, traded(bar)
        if outcome.terminated:
            counts["over"] += 1
            break
    return counts


def of_market(drawn: Scene, book: Rulebook) -> Counter[str]:
    """The kind of a market."""
    owned = any(one.owned for one in book.listings)
    kind = "spot" if book.spot else "coins beside contracts" if owned else "margin"
    counts = Counter({f"account: {kind}": 1, f"instruments: {len(book.listings)}": 1})
    if owned and not book.spot:
        counts[f"transfer bars: {book.transfer_bars}"] += 1
    if not book.spot:
        counts[
            "leverage: 1" if book.leverage == 1 else "leverage: to 10" if book.leverage <= 10 else "leverage: over"
        ] += 1
        counts["leverage: 125"] += book.leverage == 125
        counts["not short, levered"] += not book.short
        counts["margin earns"] += book.margin_earns
    counts["begins with positions"] += bool(np.any(drawn.account.position))
    for name in ("half_spread", "impact"):
        counts[f"{name}: {'some' if getattr(book, name) else 'none'}"] += 1
    for name in ("lot", "tick", "min_amount", "min_notional"):
        counts[name] += sum(getattr(one, name) != 0 for one in book.listings)
        counts[f"no {name}"] += sum(getattr(one, name) == 0 for one in book.listings)
    return counts


def of_bar(bar: Bar) -> Counter[str]:
    """What a bar brings."""
    opened, high, low, _, volume = bar.values.T
    rate = "none" if bar.cash_rate == 0 else "above" if bar.cash_rate > 0 else "below"
    return Counter(
        {
            "bars": 1,
            "crash": int((low < 0.8 * opened).sum()),
            "spike": int((high > 1.25 * opened).sum()),
            "halt": int(np.isnan(opened).sum()),
            "zero volume": int((volume == 0.0).sum()),
            "last bar": int(bar.final.sum()),
            "funding": int((bar.funding != 0.0).sum()),
            f"cash rate: {rate}": 1,
        }
    )


def of_orders(book: Rulebook, orders: tuple[Order, ...]) -> Counter[str]:
    """What is asked, on the grids and off them."""
    counts: Counter[str] = Counter()
    for order, one in zip(orders, book.listings, strict=True):
        counts["orders"] += order.quantity != 0
        if one.lot and order.quantity:
            counts["quantity on the grid" if order.quantity % one.lot == 0 else "quantity off the grid"] += 1
        for name, at in (("limit", order.limit), ("stop", order.stop)):
            if at is not None and one.tick:
                counts[f"{name} {'on' if at % one.tick == 0 else 'off'} the grid"] += 1
    return counts


def rescues(
    book: Rulebook, state: State, orders: tuple[Order, ...], candles: tuple[Candle, ...], outcome: Outcome
) -> Counter[str]:
    """Whether a stop saved the account: without the stops that closed something it is liquidated."""
    stops = [k for k, o in enumerate(orders) if o.stop is not None and o.quantity * state.position[k] < 0]
    if book.spot or outcome.terminated or not outcome.notes["fill of a stop"] or not stops:
        return Counter()
    left = tuple(replace(o, quantity=Decimal(0)) if k in stops else o for k, o in enumerate(orders))
    return Counter({"a stop saved the account": settle(book, state, left, candles).notes["liquidated"]})
