"""The market rules of an account, as a table of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from qframe_rl.kernel.columns import N_ACCOUNT
from qframe_rl.kernel.grid import step_of
from qframe_rl.types import Float, Instrument, ReadOnly

# Columns of a rules table (A, N_RULES + 2 a tier): after them volume and taker fee of each tier.
(
    LOT_STEP, LOT_SCALE, TICK_STEP, TICK_SCALE, MIN_AMOUNT, MIN_NOTIONAL, EXEMPT, MAKER, TAKER, HALF_SPREAD, IMPACT,
    VOLUME_SHARE, MAINTENANCE, LIQUIDATION, OWNED, TRANSFER, LOCKED, DAY_BARS,
) = range(18)  # fmt: skip
N_RULES = DAY_BARS + 1
TIER_DAYS = 30
"""Days whose volume decides on the tier."""


N_SIZES = EXEMPT + 1
"""The first columns say which sizes and prices an exchange takes."""


@dataclass(frozen=True, eq=False)
class Rules(ReadOnly):
    """The market rules of an account: one row of numbers per instrument, and what holds for the whole account."""

    table: Float
    """(A, 18 and more): lot and tick as numerator and power of ten (`qframe_rl.kernel.grid`), minimum amount and
    notional, whether what closes a position is exempt from the latter, maker fee, taker fee, half-spread, impact
    coefficient, share of a bar's volume that an order may take, maintenance margin, liquidation fee, whether it is a
    coin that is owned beside contracts, bars until what it was sold for can serve them, the share of a position's value
    that is locked as its margin, which earns no interest, and the bars of a day, 0 where fees have no tiers. Then
    volume in quote currency and taker fee of each tier. Fees, spread and margin are fractions."""
    leverage: float
    """Cap on gross notional over equity when a position is opened."""
    shorting: bool
    """Whether positions may be negative."""
    detail_ns: int = 0
    """Length of the finer bars on which resting orders and liquidations are resolved, ns; 0 = a bar is one step."""

    def __post_init__(self) -> None:
        self.table.setflags(write=False)

    @property
    def tiered(self) -> bool:
        """Whether fees fall with volume."""
        return bool(self.table.shape[1] > N_RULES)

    @property
    def n_columns(self) -> int:
        """Columns of an account: its own, and what its rules remember of it."""
        return N_ACCOUNT + (1 + TIER_DAYS) * self.tiered


def sizes_of(instruments: tuple[Instrument, ...]) -> Float:
    """(A, 7) the first columns of A instruments."""
    rows = [
        (*step_of(i.lot), *step_of(i.tick), i.min_amount, i.min_notional, float(i.kind == "perpetual"))
        for i in instruments
    ]
    return np.array(rows, dtype=np.float64)


def rules_of(
    instruments: tuple[Instrument, ...],
    *,
    half_spread: float = 0.0,
    impact: float = 0.0,
    volume_share: float = 0.1,
    liquidation_fee: float = 0.0,
    leverage: float = 1.0,
    shorting: bool = False,
    owned: tuple[bool, ...] = (),
    transfer_bars: int = 0,
    margin_earns: bool = False,
    fee_tiers: tuple[tuple[float, float], ...] = (),
    day_bars: float = 24.0,
    detail_ns: int = 0,
) -> Rules:
    """Join the instruments' own rules with the cost model of the simulation.

    Parameters
    ----------
    instruments
        The A instruments, with lot, tick, minimum amount and notional, fees and maintenance margin.
    half_spread
        Half of the bid-ask spread that market and stop orders pay, fraction of the price.
    impact
        Coefficient of square-root impact: fraction of the price lost is ``impact * sqrt(quantity / bar volume)``.
    volume_share
        Largest share of a bar's volume that one order can fill, in (0, 1].
    liquidation_fee
        Fee on a liquidated position, fraction of notional.
    leverage
        Cap on gross notional over equity, at least 1.
    shorting
        Whether positions may be negative.
    owned
        For each instrument whether it is a coin held beside contracts, where positions may be negative: it cannot be
        short, is paid in full from the cash that the contracts' margin leaves, and is no collateral for them. None
        without it.
    transfer_bars
        Bars until what an owned coin was sold for can serve as margin or pay for anything.
    margin_earns
        Whether money that is locked as margin earns the cash rate too; else what a position locks, its value over
        ``leverage``, earns nothing.
    fee_tiers
        Volume of the last 30 days from which a taker fee holds, quote currency, and that fee, a fraction; for
        instruments whose own is above it.
    day_bars
        Bars of a day; less than one where bars are longer.
    detail_ns
        As in `Rules`.

    Raises
    ------
    ValueError
        If a rate is negative, or if spread and impact together could take a price to zero.
    """
    rows = [
        (
            i.maker_fee,
            i.taker_fee,
            half_spread,
            impact,
            volume_share,
            i.maintenance,
            liquidation_fee,
            float(own),
            float(transfer_bars) if own else 0.0,
            0.0 if margin_earns else 1.0 / leverage,
            day_bars if fee_tiers else 0.0,
            *(number for tier in fee_tiers for number in tier),
        )
        for i, own in zip(instruments, owned or (False,) * len(instruments), strict=True)
    ]
    table = np.hstack([sizes_of(instruments), np.array(rows, dtype=np.float64)])
    if np.delete(table, MAKER, axis=1).min() < 0.0 or not 0.0 < volume_share <= 1.0 or leverage < 1.0:
        raise ValueError("rates must not be negative, volume_share must lie in (0, 1] and leverage must be at least 1")
    if half_spread + impact * math.sqrt(volume_share) >= 1.0:
        raise ValueError("half_spread + impact * sqrt(volume_share) must stay below 1: a price cannot fall to zero")
    return Rules(table, float(leverage), shorting, detail_ns)


def changed(rules: Rules, instruments: tuple[Instrument, ...]) -> Rules:
    """The same rules, with what the exchange now states of sizes, prices, fees and margins of its A instruments."""
    table = rules.table.copy()
    table[:, :N_SIZES] = sizes_of(instruments)
    for column, name in ((MAKER, "maker_fee"), (TAKER, "taker_fee"), (MAINTENANCE, "maintenance")):
        table[:, column] = [getattr(i, name) for i in instruments]
    return replace(rules, table=table)
