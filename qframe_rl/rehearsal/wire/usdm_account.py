"""Balances, positions, leverage, statements and user streams of the futures wire."""

from __future__ import annotations

from decimal import Decimal

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.decimals import ZERO, money, short, text
from qframe_rl.rehearsal.margin import Income, MarginWallet, Position
from qframe_rl.rehearsal.market import USDM, ListedMarket
from qframe_rl.rehearsal.wire.call import KEY, SIGNED, Call, Json, Route

_API = "/fapi/v1"
_MOST = 125


def _assets(call: Call) -> list[str]:
    return sorted({place.market.quote for place in call.world.all(USDM)})


def _asset_row(wallet: MarginWallet, asset: str, now_ms: int) -> dict[str, Json]:
    held = [p for p in wallet.positions.values() if p.market.quote == asset]
    cash, profit = wallet.wallet[asset], sum((wallet.unrealized(p) for p in held), ZERO)
    initial = sum((wallet.initial(p) for p in held), ZERO)
    positions = sum((_position_initial(wallet, p) for p in held), ZERO)
    free = max(ZERO, wallet.available(asset))
    return {
        "asset": asset,
        "walletBalance": text(cash),
        "unrealizedProfit": text(profit),
        "marginBalance": text(cash + profit),
        "maintMargin": text(sum((wallet.maintenance(p) for p in held), ZERO)),
        "initialMargin": text(initial),
        "positionInitialMargin": text(positions),
        "openOrderInitialMargin": text(initial - positions),
        "crossWalletBalance": text(cash),
        "crossUnPnl": text(profit),
        "availableBalance": text(free),
        "maxWithdrawAmount": text(max(ZERO, min(free, cash))),
        # Clients take a balance with a time of 0 for one that is not there.
        "updateTime": wallet.updated or now_ms,
    }


def _position_initial(wallet: MarginWallet, position: Position) -> Decimal:
    return money(abs(wallet.notional(position)) / wallet.leverage[position.market.id])


def _account(call: Call, version: int) -> Json:
    wallet = call.user.margin
    rows = [_asset_row(wallet, asset, call.now) for asset in _assets(call)]
    names = {
        "totalInitialMargin": "initialMargin",
        "totalMaintMargin": "maintMargin",
        "totalWalletBalance": "walletBalance",
        "totalUnrealizedProfit": "unrealizedProfit",
        "totalMarginBalance": "marginBalance",
        "totalPositionInitialMargin": "positionInitialMargin",
        "totalOpenOrderInitialMargin": "openOrderInitialMargin",
        "totalCrossWalletBalance": "crossWalletBalance",
        "totalCrossUnPnl": "crossUnPnl",
        "availableBalance": "availableBalance",
        "maxWithdrawAmount": "maxWithdrawAmount",
    }
    totals = {name: text(sum((Decimal(row[key]) for row in rows), ZERO)) for name, key in names.items()}
    if version == 3:
        positions = [_held_row(wallet, p) for p in wallet.positions.values() if p.amount or p.bids or p.asks]
        return {**totals, "assets": rows, "positions": positions}
    flags = {"feeTier": 0, "canTrade": True, "canDeposit": True, "canWithdraw": True, "multiAssetsMargin": False}
    every = [_held_row_v2(wallet, wallet.position(place.market)) for place in call.world.all(USDM)]
    rows = [row | {"marginAvailable": True} for row in rows]
    return {**flags, "tradeGroupId": -1, "updateTime": 0, **totals, "assets": rows, "positions": every}


def _held_row(wallet: MarginWallet, position: Position) -> dict[str, Json]:
    size = position.market.quantity_digits
    return {
        "symbol": position.market.id,
        "positionSide": "BOTH",
        "positionAmt": text(position.amount, size),
        "unrealizedProfit": text(wallet.unrealized(position)),
        "isolatedMargin": "0",
        "notional": text(wallet.notional(position)),
        "isolatedWallet": "0",
        "initialMargin": text(wallet.initial(position)),
        "maintMargin": text(wallet.maintenance(position)),
        "updateTime": position.updated,
    }


def _held_row_v2(wallet: MarginWallet, position: Position) -> dict[str, Json]:
    return _held_row(wallet, position) | {
        "entryPrice": _price(position.entry),
        "breakEvenPrice": _price(position.entry),
        "leverage": str(wallet.leverage[position.market.id]),
        "isolated": False,
        "maxNotional": "1000000000",
        "bidNotional": short(position.bids),
        "askNotional": short(position.asks),
    }


def _price(value: Decimal) -> str:
    return short(money(value)) if value else "0.0"


def _balances(call: Call) -> Json:
    wallet = call.user.margin
    rows = []
    for asset in _assets(call):
        row = _asset_row(wallet, asset, call.now)
        rows.append(
            {
                "accountAlias": "SgsR",
                "asset": asset,
                "balance": row["walletBalance"],
                "crossWalletBalance": row["crossWalletBalance"],
                "crossUnPnl": row["crossUnPnl"],
                "availableBalance": row["availableBalance"],
                "maxWithdrawAmount": row["maxWithdrawAmount"],
                "marginAvailable": True,
                "updateTime": row["updateTime"],
            }
        )
    return rows


def _risk_row(wallet: MarginWallet, position: Position) -> dict[str, Json]:
    market = position.market
    return {
        "symbol": market.id,
        "positionSide": "BOTH",
        "positionAmt": text(position.amount, market.quantity_digits),
        "entryPrice": _price(position.entry),
        "breakEvenPrice": _price(position.entry),
        "markPrice": text(money(wallet.mark(market))),
        "unRealizedProfit": text(wallet.unrealized(position)),
        "liquidationPrice": _price(liquidation_price(wallet, position)),
        "isolatedMargin": "0",
        "notional": text(wallet.notional(position)),
        "marginAsset": market.quote,
        "isolatedWallet": "0",
        "initialMargin": text(wallet.initial(position)),
        "maintMargin": text(wallet.maintenance(position)),
        "positionInitialMargin": text(_position_initial(wallet, position)),
        "openOrderInitialMargin": text(wallet.initial(position) - _position_initial(wallet, position)),
        "adl": 1 if position.amount else 0,
        "bidNotional": short(position.bids),
        "askNotional": short(position.asks),
        "updateTime": position.updated,
    }


def liquidation_price(wallet: MarginWallet, position: Position) -> Decimal:
    """Mark price at which the margin balance meets the maintenance margin, all else standing still; 0 = none."""
    if not position.amount:
        return ZERO
    asset = position.market.quote
    others = [p for p in wallet.held(asset) if p is not position]
    cushion = wallet.wallet[asset] + sum((wallet.unrealized(p) - wallet.maintenance(p) for p in others), ZERO)
    slope = position.amount - abs(position.amount) * position.market.maintenance
    return max(ZERO, (position.cost - cushion) / slope) if slope else ZERO


def _risk(call: Call) -> Json:
    wallet = call.user.margin
    if call.params.get("symbol"):
        return [_risk_row(wallet, wallet.position(call.place().market))]
    return [_risk_row(wallet, p) for p in wallet.positions.values() if p.amount or p.bids or p.asks]


_ONLY_V3 = (
    "marginAsset", "initialMargin", "maintMargin", "positionInitialMargin", "openOrderInitialMargin", "adl",
    "bidNotional", "askNotional",
)  # fmt: skip
"""What the second version of the endpoint does not tell."""


def _risk_v2(call: Call) -> Json:
    wallet = call.user.margin
    named = [call.place()] if call.params.get("symbol") else call.world.all(USDM)
    rows = []
    for place in named:
        row = _risk_row(wallet, wallet.position(place.market))
        kept = {key: value for key, value in row.items() if key not in _ONLY_V3}
        more = {
            "leverage": str(wallet.leverage[place.market.id]),
            "maxNotionalValue": "1000000000",
            "marginType": "cross",
            "isAutoAddMargin": "false",
        }
        rows.append(kept | more)
    return rows


def _income(call: Call) -> Json:
    kind, name = call.params.get("incomeType"), call.params.get("symbol")
    since, until = call.whole("startTime", 0), call.whole("endTime", 2**62)
    rows = [
        _income_row(line)
        for line in call.user.margin.incomes
        if since <= line.time <= until and (not kind or line.kind == kind) and (not name or line.market.id == name)
    ]
    limit = call.limit(100, 1000)
    return rows[:limit] if "startTime" in call.params else rows[-limit:]


def _income_row(line: Income) -> Json:
    return {
        "symbol": line.market.id,
        "incomeType": line.kind,
        "income": text(line.amount),
        "asset": line.asset,
        "time": line.time,
        "info": str(line.trade) if line.trade else line.kind,
        "tranId": line.id,
        "tradeId": str(line.trade) if line.trade else "",
    }


def _set_leverage(call: Call) -> Json:
    market, value = call.place().market, call.whole("leverage")
    if not 1 <= value <= _MOST:
        raise errors.Refused(-4028, f"Leverage {value} is not valid")
    wallet = call.user.margin
    before, wallet.leverage[market.id] = wallet.leverage[market.id], value
    if value < before and wallet.available(market.quote) < 0:
        wallet.leverage[market.id] = before
        raise errors.Refused(-4161, "Leverage reduction is not supported in Isolated Margin Mode with open positions")
    call.world.register.tell("LEVERAGE", call.user, market, amount=Decimal(value))
    return {"symbol": market.id, "leverage": value, "maxNotionalValue": "1000000000"}


def _margin_type(call: Call) -> Json:
    call.place()
    if call.text("marginType") in ("CROSSED", "CROSS"):
        raise errors.Refused(-4046, "No need to change margin type.")
    raise errors.unavailable()


def _position_mode(call: Call) -> Json:
    return {"dualSidePosition": False}


def _set_position_mode(call: Call) -> Json:
    if call.flag("dualSidePosition"):
        raise errors.unavailable()
    raise errors.Refused(-4059, "No need to change position side.")


def _assets_mode(call: Call) -> Json:
    return {"multiAssetsMargin": False}


def _account_config(call: Call) -> Json:
    flags = {"feeTier": 0, "canTrade": True, "canDeposit": True, "canWithdraw": True, "dualSidePosition": False}
    return {**flags, "updateTime": 0, "multiAssetsMargin": False, "tradeGroupId": -1}


def _symbol_config(call: Call) -> Json:
    named = [call.place()] if call.params.get("symbol") else call.world.all(USDM)
    return [
        {
            "symbol": place.market.id,
            "marginType": "CROSSED",
            "isAutoAddMargin": False,
            "leverage": call.user.margin.leverage[place.market.id],
            "maxNotionalValue": "1000000000",
        }
        for place in named
    ]


def _bracket(market: ListedMarket) -> Json:
    row = {
        "bracket": 1,
        "initialLeverage": _MOST,
        "notionalCap": 1_000_000_000,
        "notionalFloor": 0,
        "maintMarginRatio": float(market.maintenance),
        "cum": 0.0,
    }
    return {"symbol": market.id, "notionalCoef": 1.0, "brackets": [row]}


def _brackets(call: Call) -> Json:
    named = [call.place()] if call.params.get("symbol") else call.world.all(USDM)
    return [_bracket(place.market) for place in named]


def _commission(call: Call) -> Json:
    market = call.place().market
    return {
        "symbol": market.id,
        "makerCommissionRate": f"{market.maker:.6f}",
        "takerCommissionRate": f"{market.taker:.6f}",
        "rpiCommissionRate": "0.000000",
    }


def _listen(call: Call) -> Json:
    return {"listenKey": call.world.listen_key(call.user)}


def _unlisten(call: Call) -> Json:
    call.world.forget_listen_key(call.user)
    return {}


ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/fapi/v2/account"): Route("usdm.account", lambda call: _account(call, 2), SIGNED, weight=5),
    ("GET", "/fapi/v3/account"): Route("usdm.account", lambda call: _account(call, 3), SIGNED, weight=5),
    ("GET", "/fapi/v2/balance"): Route("usdm.balance", _balances, SIGNED, weight=5),
    ("GET", "/fapi/v3/balance"): Route("usdm.balance", _balances, SIGNED, weight=5),
    ("GET", "/fapi/v2/positionRisk"): Route("usdm.positionRisk", _risk_v2, SIGNED, weight=5),
    ("GET", "/fapi/v3/positionRisk"): Route("usdm.positionRisk", _risk, SIGNED, weight=5),
    ("GET", f"{_API}/income"): Route("usdm.income", _income, SIGNED, weight=30),
    ("POST", f"{_API}/leverage"): Route("usdm.leverage", _set_leverage, SIGNED),
    ("POST", f"{_API}/marginType"): Route("usdm.marginType", _margin_type, SIGNED),
    ("GET", f"{_API}/positionSide/dual"): Route("usdm.positionMode.get", _position_mode, SIGNED, weight=30),
    ("POST", f"{_API}/positionSide/dual"): Route("usdm.positionMode.post", _set_position_mode, SIGNED),
    ("GET", f"{_API}/multiAssetsMargin"): Route("usdm.assetsMode", _assets_mode, SIGNED, weight=30),
    ("GET", f"{_API}/accountConfig"): Route("usdm.accountConfig", _account_config, SIGNED, weight=5),
    ("GET", f"{_API}/symbolConfig"): Route("usdm.symbolConfig", _symbol_config, SIGNED, weight=5),
    ("GET", f"{_API}/leverageBracket"): Route("usdm.leverageBracket", _brackets, SIGNED),
    ("GET", f"{_API}/commissionRate"): Route("usdm.commissionRate", _commission, SIGNED, weight=20),
    ("POST", f"{_API}/listenKey"): Route("usdm.listenKey.post", _listen, KEY),
    ("PUT", f"{_API}/listenKey"): Route("usdm.listenKey.put", _listen, KEY),
    ("DELETE", f"{_API}/listenKey"): Route("usdm.listenKey.delete", _unlisten, KEY),
}
