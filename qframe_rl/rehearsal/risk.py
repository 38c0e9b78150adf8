"""What the exchange does to a futures account by itself: funding, liquidation, settlement."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from qframe_rl.rehearsal.account import ExchangeAccount
from qframe_rl.rehearsal.book import BUY, SELL, Level
from qframe_rl.rehearsal.decimals import ZERO, money
from qframe_rl.rehearsal.margin import Income
from qframe_rl.rehearsal.market import USDM, ListedMarket
from qframe_rl.rehearsal.matching import MatchingEngine
from qframe_rl.rehearsal.order import CANCELED, FILLED, Order, Register, Trade


def record(
    account: ExchangeAccount, kind: str, amount: Decimal, market: ListedMarket, register: Register, trade: int = 0
) -> None:
    """Write a line of an account's statement."""
    wallet = account.margin
    wallet.incomes.append(Income(len(wallet.incomes) + 1, register.now, kind, amount, market.quote, market, trade))


def pay_funding(account: ExchangeAccount, market: ListedMarket, due: Decimal, register: Register) -> None:
    """Charge a settlement of ``due`` for each unit held long."""
    position = account.margin.positions.get(market.id)
    if position is None or not position.amount:
        return
    amount = -money(position.amount * due)
    account.margin.wallet[market.quote] += amount
    account.margin.funding_paid -= amount
    record(account, "FUNDING_FEE", amount, market, register)
    register.tell("FUNDING", account, market, amount=amount)


def check_margin(
    account: ExchangeAccount,
    asset: str,
    engine_of: Callable[[ListedMarket], MatchingEngine],
    fee: Decimal,
    register: Register,
) -> None:
    """Liquidate an account whose margin balance fell below its maintenance margin.

    All open orders of the wallet are cancelled, then each position is closed into the book. What is lost beyond the
    wallet is borne by the insurance fund. ``fee`` is what liquidation costs, a share of the notional.
    """
    wallet = account.margin
    held = list(wallet.held(asset))
    if not held or wallet.balance(asset) >= sum((wallet.maintenance(p) for p in held), ZERO):
        return
    for order in account.open_orders(USDM):
        if order.market.quote == asset:
            engine_of(order.market).close(order, CANCELED)
    for position in held:
        engine = engine_of(position.market)
        side = SELL if position.amount > 0 else BUY
        price = _average(engine.offers(side), abs(position.amount)) or engine.mark
        close_position(account, position.market, price, fee, register, "LIQUIDATION")
    if wallet.wallet[asset] < 0:
        loss = wallet.wallet[asset]
        wallet.absorbed -= loss
        wallet.wallet[asset] = ZERO
        record(account, "INSURANCE_CLEAR", -loss, held[0].market, register)


def _average(offers: list[Level], quantity: Decimal) -> Decimal:
    """Average price of a quantity; what the book lacks goes at its last price."""
    left, paid, price = quantity, ZERO, ZERO
    for price, size in offers:
        part = min(left, size)
        paid += part * price
        left -= part
    return (paid + left * price) / quantity


def close_position(
    account: ExchangeAccount, market: ListedMarket, price: Decimal, rate: Decimal, register: Register, what: str
) -> None:
    """Close a position by force at a price, with a fee; the register tells it as an order of the exchange's own."""
    position = account.margin.positions.get(market.id)
    if position is None or not position.amount:
        return
    quantity = abs(position.amount)
    side = SELL if position.amount > 0 else BUY
    name = f"{'autoclose' if what == 'LIQUIDATION' else 'settlement_autoclose'}-{register.now}"
    kind = "LIQUIDATION" if what == "LIQUIDATION" else "MARKET"
    order = Order(account, market, side, kind, quantity, None, "IOC", name, reduce_only=True, original_type=kind)
    order.id, order.created, order.updated = register.order_number(), register.now, register.now
    account.add(order)
    fee, asset, realized = account.margin.fill(order, price, quantity, rate)
    number, paid = register.trade_number(), money(price * quantity)
    trade = Trade(number, order, register.now, price, quantity, paid, fee, asset, False, realized)
    order.filled, order.paid, order.status = quantity, trade.quote, FILLED
    order.trades.append(trade)
    account.trades[USDM].append(trade)
    account.settle(order)
    record(account, "REALIZED_PNL", realized, market, register, trade.id)
    record(account, "COMMISSION", -fee, market, register, trade.id)
    register.tell(what, account, market, order, trade)
