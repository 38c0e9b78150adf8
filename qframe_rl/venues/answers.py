"""What is read of an exchange's answers, in CCXT's words; one that lacks any of it is unclear."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)


class OrderAnswer(_Answer):
    """An order on a list, as far as it is looked for."""

    id: str
    clientOrderId: str | None = None


class OpenOrderAnswer(OrderAnswer):
    """An order that rests."""

    side: Literal["buy", "sell"]
    remaining: FiniteFloat | None = None
    amount: FiniteFloat | None = None
    reduceOnly: bool | None = None
    triggerPrice: FiniteFloat | None = None


class OrderState(_Answer):
    """An order that is asked for alone."""

    status: str
    filled: FiniteFloat | None = None


class ConditionalOrderAnswer(_Answer):
    """A conditional order that is asked for alone."""

    status: str | None
    info: dict[str, Any] | None = None


class FeeAnswer(_Answer):
    """What a trade cost."""

    cost: FiniteFloat | None = None
    currency: str | None = None


class TradeAnswer(_Answer):
    """One trade of ours."""

    id: str
    order: str | None
    symbol: str
    side: Literal["buy", "sell"]
    amount: FiniteFloat
    price: FiniteFloat
    timestamp: int
    fee: FeeAnswer | None = None


class TickerAnswer(_Answer):
    """What a market trades at."""

    last: Annotated[FiniteFloat, Field(gt=0.0)]


class PaymentAnswer(_Answer):
    """One payment of funding."""

    id: str
    amount: FiniteFloat


class BalanceAnswer(_Answer):
    """What there is of a currency."""

    total: FiniteFloat | None = None


class PositionAnswer(_Answer):
    """What is held of a contract."""

    symbol: str
    contracts: FiniteFloat | None
    contractSize: FiniteFloat | None
    side: str | None
    entryPrice: FiniteFloat | None
