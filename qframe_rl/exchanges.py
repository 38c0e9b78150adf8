"""What differs between exchanges, as data: the table `exchanges.toml`, by the ids of CCXT's classes.

CCXT unifies names and shapes, but not what a volume or an amount of a contract is counted in.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from qframe_rl.config import Base, UserError, build
from qframe_rl.types import Float

_TABLE = Path(__file__).with_name("exchanges.toml")
Unit = Literal["base", "contracts", "quote"]


class Conventions(Base):
    """How one exchange counts."""

    spot: Unit = "base"
    """Unit of the volume of a coin's candle."""
    linear: Unit | None = None
    """Unit of the volume of a candle of a contract that is settled in its quote currency; None = not known."""
    inverse: Unit | None = None
    """The same for one that is settled in its base currency."""
    sides: int = Field(default=1, ge=1, le=2)
    """How often a trade counts in the volume of a contract: 2 = for its buyer and for its seller."""
    amounts: Literal["contracts", "base"] = "contracts"
    """Unit of the amounts of a contract: order sizes, their steps and minimums, order books."""
    stops_apart: bool = False
    """Whether conditional orders of contracts are kept apart from the others: listed, looked up and cancelled by
    requests of their own (CCXT's parameter ``trigger``), and under another id once they are triggered."""
    like: str | None = None
    """Another exchange that counts the same way."""
    why: str = ""
    """What shows it."""


@cache
def table() -> Mapping[str, Conventions]:
    """Conventions of all exchanges that are known to trade contracts.

    Raises
    ------
    UserError
        For an unknown field or value in the table.
    """
    found = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    rows = {name: build(Conventions, row, f"{_TABLE.name} [{name}]") for name, row in found.items()}
    return {name: row if row.like is None else rows[row.like] for name, row in rows.items()}


def volume_unit(exchange: str, market: Mapping[str, Any]) -> Unit:
    """Unit of the volume of a market's candles.

    Parameters
    ----------
    exchange
        Id of the CCXT class.
    market
        As CCXT describes it.

    Raises
    ------
    UserError
        If it is not known.
    """
    row = table().get(exchange, Conventions())
    if not market.get("contract"):
        return row.spot
    unit = row.inverse if market.get("inverse") else row.linear
    if unit is None:
        kind = "inverse contracts" if market.get("inverse") else "contracts"
        raise UserError(
            f"{exchange}: whether the volumes of its {kind} count coins, contracts or money is not known, and what an "
            "order could fill would be misstated; take its spot markets, or another exchange."
        )
    return unit


def counts_coins(exchange: str, contracts: bool) -> bool:
    """Whether the volumes of an exchange, of its linear contracts or of its coins, are base units as they come."""
    row = table().get(exchange, Conventions())
    return row.spot == "base" if not contracts else row.linear in ("base", None) and row.sides == 1


def base_volume(exchange: str, market: Mapping[str, Any], volume: Float, price: Float) -> Float:
    """(N,) volumes in base units, each trade once.

    Parameters
    ----------
    exchange, market
        As in `volume_unit`.
    volume
        (N,) as CCXT gives them.
    price
        (N,) prices at which quote currency is turned into base units.

    Raises
    ------
    UserError
        As in `volume_unit`, or if contracts have no size.
    """
    unit = volume_unit(exchange, market)
    if market.get("contract"):
        volume = volume / table()[exchange].sides
    if unit == "contracts":
        # A linear contract is so many coins, an inverse one so much money.
        volume = volume * _size(exchange, market)
        unit = "quote" if market.get("inverse") else "base"
    return volume / price if unit == "quote" else volume


def stops_apart(exchange: str, market: Mapping[str, Any]) -> bool:
    """Whether an exchange keeps conditional orders of a market apart from its other orders."""
    return bool(market.get("contract")) and table().get(exchange, Conventions()).stops_apart


def amount_unit(exchange: str, market: Mapping[str, Any]) -> float:
    """Base units that an amount of 1 stands for in the orders, steps, minimums and books of a spot or linear market.

    Raises
    ------
    UserError
        If it counts contracts that have no size.
    """
    counted = table().get(exchange, Conventions()).amounts
    return _size(exchange, market) if market.get("contract") and counted == "contracts" else 1.0


def _size(exchange: str, market: Mapping[str, Any]) -> float:
    size = market.get("contractSize")
    if not size:
        raise UserError(
            f"{exchange} does not state the size of a contract of {market.get('symbol')}; take another one."
        )
    return float(size)
