"""Orders, fills, positions and wallets in Bybit's keys, the same over REST and websockets."""

from __future__ import annotations

from decimal import Decimal

from qframe_rl.rehearsal.account import ExchangeAccount
from qframe_rl.rehearsal.decimals import ZERO, float_text, money, short
from qframe_rl.rehearsal.margin import Income, MarginWallet, Position
from qframe_rl.rehearsal.market import SPOT, USDM
from qframe_rl.rehearsal.order import CANCELED, EXPIRED, EXPIRED_IN_MATCH, FILLED, NEW, PARTIALLY_FILLED, Order, Trade
from qframe_rl.rehearsal.wire.call import Json
from qframe_rl.rehearsal.wire.usdm_account import liquidation_price
from qframe_rl.rehearsal.world import World

CATEGORIES = {"spot": SPOT, "linear": USDM}
CATEGORY = {wire: name for name, wire in CATEGORIES.items()}
_STATUS = {NEW: "New", PARTIALLY_FILLED: "PartiallyFilled", FILLED: "Filled"}
_SIDES = {"BUY": "Buy", "SELL": "Sell"}
TIFS = {"GTC": "GTC", "IOC": "IOC", "FOK": "FOK"}


def number(value: float) -> str:
    """A float as the shortest text that reads back as the same."""
    return float_text(value, 0)


def status(order: Order) -> str:
    """Status of an order in Bybit's words."""
    if order.status in (CANCELED, EXPIRED, EXPIRED_IN_MATCH):
        if order.stop is not None:
            return "Deactivated"
        return "PartiallyFilledCanceled" if order.filled and order.market.wire == SPOT else "Cancelled"
    return "Untriggered" if order.stop is not None else _STATUS[order.status]


def kind(order: Order) -> str:
    """What sort of stop an order is; empty for none."""
    if not order.stop_price:
        return ""
    return order.original_type if order.market.wire == SPOT else "Stop"


def order_row(order: Order) -> dict[str, Json]:
    """One order."""
    row: dict[str, Json] = {
        "symbol": order.market.id,
        "orderId": str(order.id),
        "orderLinkId": order.client_id,
        "blockTradeId": "",
        "side": _SIDES[order.side],
        "positionIdx": 0,
        "orderStatus": status(order),
        "orderType": "Market" if order.limit is None else "Limit",
        "cancelType": "CancelByUser" if order.status == CANCELED else "UNKNOWN",
        "rejectReason": order.reason or "EC_NoError",
        "timeInForce": "PostOnly" if order.post_only else "IOC" if order.limit is None else TIFS[order.tif],
        "isLeverage": "0" if order.market.wire == SPOT else "",
        "price": short(order.limit or ZERO),
        "qty": short(order.quote_quantity or order.quantity),
        "avgPrice": short(money(order.average)) if order.filled else "",
        "leavesQty": short(order.remaining) if order.is_open else "0",
        "leavesValue": short(money(order.remaining * (order.limit or ZERO))) if order.is_open else "0",
        "cumExecQty": short(order.filled),
        "cumExecValue": short(order.paid),
        "cumExecFee": short(sum((t.fee for t in order.trades), ZERO)),
        "cumFeeDetail": _fees(order),
        "createType": "CreateByUser",
        "lastPriceOnCreated": "",
        "orderIv": "",
        "stopOrderType": kind(order),
        "triggerPrice": short(order.stop_price) if order.stop_price else "",
        "triggerDirection": (1 if order.rises else 2) if order.stop_price else 0,
        "triggerBy": ("MarkPrice" if order.by_mark else "LastPrice") if order.stop_price else "",
        "takeProfit": "",
        "stopLoss": "",
        "tpTriggerBy": "",
        "slTriggerBy": "",
        "reduceOnly": order.reduce_only,
        "closeOnTrigger": False,
        "placeType": "",
        "smpType": "None",
        "smpGroup": 0,
        "smpOrderId": "",
        "createdTime": str(order.created),
        "updatedTime": str(order.updated),
    }
    if order.market.wire == SPOT:
        return row | {"marketUnit": "quoteCoin" if order.quote_quantity else "baseCoin"}
    return row | {"tpslMode": ""}


def _fees(order: Order) -> dict[str, str]:
    """Fees of an order by coin."""
    fees: dict[str, Decimal] = {}
    for trade in order.trades:
        fees[trade.fee_asset] = fees.get(trade.fee_asset, ZERO) + trade.fee
    return {coin: short(fee) for coin, fee in fees.items()}


def fill_row(trade: Trade) -> dict[str, Json]:
    """One fill."""
    order, market = trade.order, trade.order.market
    return {
        "symbol": market.id,
        "orderId": str(order.id),
        "orderLinkId": order.client_id,
        "side": _SIDES[order.side],
        "orderPrice": short(order.limit or ZERO),
        "orderQty": short(order.quantity),
        "leavesQty": short(order.remaining),
        "createType": "CreateByUser" if market.wire == USDM else "",
        "orderType": "Market" if order.limit is None else "Limit",
        "stopOrderType": kind(order) or "UNKNOWN",
        "execFee": short(trade.fee),
        "feeCurrency": trade.fee_asset if market.wire == SPOT else "",
        "execId": str(trade.id),
        "execPrice": short(trade.price),
        "execQty": short(trade.quantity),
        "execType": "BustTrade" if order.type == "LIQUIDATION" else "Trade",
        "execValue": short(trade.quote),
        "execPnl": short(trade.realized),
        "execTime": str(trade.time),
        "isMaker": trade.maker,
        "feeRate": short(market.maker if trade.maker else market.taker),
        "closedSize": "",
        "blockTradeId": "",
        "seq": trade.id,
    }


def funding_row(line: Income, size: Decimal = ZERO) -> dict[str, Json]:
    """One settlement of funding, which is told as a fill whose fee it is."""
    return {
        "symbol": line.market.id,
        "orderId": f"funding-{line.id}",
        "orderLinkId": "",
        "side": "Buy" if line.amount < 0 else "Sell",
        "orderPrice": "0",
        "orderQty": "0",
        "leavesQty": "0",
        "createType": "",
        "orderType": "UNKNOWN",
        "stopOrderType": "UNKNOWN",
        "execFee": short(-line.amount),
        "feeCurrency": "",
        "execId": f"funding-{line.id}",
        "execPrice": "0",
        "execQty": short(size),
        "execType": "Funding",
        "execValue": "0",
        "execTime": str(line.time),
        "isMaker": False,
        "feeRate": "0",
        "closedSize": "0",
        "blockTradeId": "",
        "seq": line.id,
    }


def position_row(wallet: MarginWallet, position: Position) -> dict[str, Json]:
    """One position; flat ones have no side."""
    market, amount = position.market, position.amount
    initial = money(abs(wallet.notional(position)) / wallet.leverage[market.id])
    liquidation = liquidation_price(wallet, position)
    return {
        "positionIdx": 0,
        "riskId": 1,
        "riskLimitValue": "1000000000",
        "symbol": market.id,
        "side": "Buy" if amount > 0 else "Sell" if amount < 0 else "",
        "size": short(abs(amount)),
        "avgPrice": short(money(position.entry)) if amount else "0",
        "positionValue": short(money(abs(position.cost))) if amount else "",
        "tradeMode": 0,
        "autoAddMargin": 0,
        "positionStatus": "Normal",
        "leverage": str(wallet.leverage[market.id]),
        "markPrice": short(money(wallet.mark(market))),
        "liqPrice": short(money(liquidation)) if liquidation else "",
        "bustPrice": "",
        "positionIM": short(initial) if amount else "",
        "positionMM": short(wallet.maintenance(position)) if amount else "",
        "positionBalance": short(initial) if amount else "",
        "takeProfit": "",
        "stopLoss": "",
        "trailingStop": "0",
        "unrealisedPnl": short(wallet.unrealized(position)) if amount else "",
        "curRealisedPnl": short(position.realized),
        "cumRealisedPnl": short(position.realized),
        "adlRankIndicator": 1 if amount else 0,
        "isReduceOnly": False,
        "mmrSysUpdatedTime": "",
        "leverageSysUpdatedTime": "",
        "createdTime": str(position.updated),
        "updatedTime": str(position.updated),
        "seq": position.updated,
        "tpslMode": "Full",
    }


def wallet_row(world: World, account: ExchangeAccount) -> dict[str, Json]:
    """The unified account; only coins that contracts settle in carry them, and only those count in its sums."""
    margin, spot = account.margin, account.spot
    settled = {place.market.quote for place in world.all(USDM)} or {place.market.quote for place in world.all(SPOT)}
    held = {coin for coin, amount in spot.free.items() if amount or spot.locked[coin]} | settled
    coins = [_coin_row(world, account, coin) for coin in sorted(held)]

    def total(key: str) -> str:
        return short(sum((Decimal(row[key]) for row in coins if row["coin"] in settled), ZERO))

    available = sum((max(ZERO, margin.available(coin)) for coin in settled), ZERO)
    return {
        "accountType": "UNIFIED",
        "accountIMRate": "",
        "accountMMRate": "",
        "accountLTV": "0",
        "totalEquity": total("equity"),
        "totalWalletBalance": total("walletBalance"),
        "totalMarginBalance": total("equity"),
        "totalAvailableBalance": short(available),
        "totalPerpUPL": total("unrealisedPnl"),
        "totalInitialMargin": short(
            sum((Decimal(row["totalPositionIM"]) + Decimal(row["totalOrderIM"]) for row in coins), ZERO)
        ),
        "totalMaintenanceMargin": total("totalPositionMM"),
        "coin": coins,
    }


def _coin_row(world: World, account: ExchangeAccount, coin: str) -> dict[str, Json]:
    margin, spot = account.margin, account.spot
    positions = [p for p in margin.positions.values() if p.market.quote == coin]
    profit = sum((margin.unrealized(p) for p in positions), ZERO)
    every = sum((margin.initial(p) for p in positions), ZERO)
    alone = sum((money(abs(margin.notional(p)) / margin.leverage[p.market.id]) for p in positions), ZERO)
    cash = spot.free[coin] + spot.locked[coin]
    return {
        "coin": coin,
        "equity": short(cash + profit),
        "usdValue": short(_value(world, coin, cash + profit)),
        "walletBalance": short(cash),
        "locked": short(spot.locked[coin]),
        "spotHedgingQty": "0",
        "borrowAmount": "0",
        "availableToWithdraw": "",
        "availableToBorrow": "",
        "accruedInterest": "0",
        "totalOrderIM": short(every - alone),
        "totalPositionIM": short(alone),
        "totalPositionMM": short(sum((margin.maintenance(p) for p in positions), ZERO)),
        "unrealisedPnl": short(profit),
        "cumRealisedPnl": short(sum((p.realized for p in positions), ZERO)),
        "bonus": "0",
        "marginCollateral": True,
        "collateralSwitch": True,
    }


def _value(world: World, coin: str, amount: Decimal) -> Decimal:
    """Worth of a coin at the last price of its first spot market; a quote currency is worth itself."""
    for place in world.all(SPOT):
        if place.market.base == coin:
            return money(amount * place.engine.price)
    return amount
