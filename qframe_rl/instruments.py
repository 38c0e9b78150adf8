"""Instruments as files state them: types and bounds of the rules that bind orders and money."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from qframe_rl.config import Strict, build
from qframe_rl.types import Instrument


class InstrumentFields(Strict):
    """Fields of an `Instrument` in a file."""

    symbol: str = Field(min_length=1, max_length=200)
    kind: Literal["spot", "perpetual"] = "spot"
    lot: float = Field(default=0.0, ge=0.0, le=1e12)
    tick: float = Field(default=0.0, ge=0.0, le=1e12)
    min_amount: float = Field(default=0.0, ge=0.0, le=1e12)
    min_notional: float = Field(default=0.0, ge=0.0, le=1e12)
    maker_fee: float = Field(default=0.0, gt=-0.1, lt=1.0)
    taker_fee: float = Field(default=0.0, ge=0.0, lt=1.0)
    maintenance: float = Field(default=0.0, ge=0.0, lt=1.0)


def instrument_of(plain: Mapping[str, Any], where: str) -> Instrument:
    """Make an instrument of what a file says of it.

    Raises
    ------
    UserError
        For an unknown key, a wrong type or a number out of bounds.
    """
    return Instrument(**build(InstrumentFields, plain, where).model_dump())
