"""The unified account: wallet, positions, leverage, fees."""

from __future__ import annotations

from decimal import Decimal

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.bybit import refusals
from qframe_rl.rehearsal.bybit.market import listing
from qframe_rl.rehearsal.bybit.rows import position_row, wallet_row
from qframe_rl.rehearsal.decimals import short
from qframe_rl.rehearsal.market import SPOT
from qframe_rl.rehearsal.wire.call import Call, Json

_MOST = 125
_DEMO = errors.Refused(10032, "Demo trading are not supported.")


def balances(call: Call) -> Json:
    """The wallet; the funding account is empty."""
    if call.text("accountType") != "UNIFIED":
        raise refusals.params("accountType only support UNIFIED.")
    return {"list": [wallet_row(call.world, call.user)]}


def info(call: Call) -> Json:
    """What sort of account it is."""
    return {
        "unifiedMarginStatus": 6,
        "marginMode": "REGULAR_MARGIN",
        "isMasterTrader": False,
        "spotHedgingStatus": "OFF",
        "updatedTime": str(call.now),
        "dcpStatus": "ON" if call.user.cancels_after_s else "OFF",
        "timeWindow": call.user.cancels_after_s or 0,
        "smpGroup": 0,
    }


def key(call: Call) -> Json:
    """What the key may do; test environments of real prices do not say."""
    if call.flag("demo"):
        raise _DEMO
    return {
        "id": "13770661",
        "note": "rehearsal",
        "apiKey": call.user.key,
        "readOnly": 0,
        "secret": "",
        "permissions": {"ContractTrade": ["Order", "Position"], "Spot": ["SpotTrade"], "Wallet": ["AccountTransfer"]},
        "ips": ["*"],
        "type": 1,
        "unified": 0,
        "uta": 1,
        "userID": 24617703,
        "inviterID": 0,
        "isMaster": True,
    }


def coins(call: Call) -> Json:
    """Coins of what is listed."""
    if call.flag("demo"):
        raise _DEMO
    names = {name for place in call.world.all(SPOT) for name in (place.market.base, place.market.quote)}
    return {"rows": [{"name": name, "coin": name, "remainAmount": "0", "chains": []} for name in sorted(names)]}


def fees(call: Call) -> Json:
    """Rates of fees."""
    found = [call.place()] if call.params.get("symbol") else list(call.world.all(call.wire))
    rows = [
        {
            "symbol": place.market.id,
            "baseCoin": "",
            "takerFeeRate": short(place.market.taker),
            "makerFeeRate": short(place.market.maker),
        }
        for place in found
    ]
    return {"category": call.text("category"), "list": rows}


def positions(call: Call) -> Json:
    """Positions of a market, flat ones too, or all that are held."""
    wallet = call.user.margin
    if call.params.get("symbol"):
        return listing(call, [position_row(wallet, wallet.position(call.place().market))])
    coin = call.text("settleCoin", "")
    if not coin:
        raise refusals.params("Missing some parameters that must be filled in, symbol or settleCoin")
    return listing(call, [position_row(wallet, position) for position in wallet.held(coin)])


def set_leverage(call: Call) -> Json:
    """Set the leverage of both sides."""
    market, wallet = call.place().market, call.user.margin
    value = Decimal(call.number("buyLeverage"))
    if value != call.number("sellLeverage"):
        raise refusals.params("buyLeverage and sellLeverage must be equal")
    if not 1 <= value <= _MOST or value != int(value):
        raise errors.Refused(110013, "cannot set leverage due to risk limit, whole numbers up to 125 are played")
    before = wallet.leverage[market.id]
    if value == before:
        raise errors.Refused(110043, "leverage not modified")
    wallet.leverage[market.id] = int(value)
    if value < before and wallet.available(market.quote) < 0:
        wallet.leverage[market.id] = before
        raise errors.Refused(110012, "ab not enough for setting leverage")
    call.world.register.tell("LEVERAGE", call.user, market, amount=value)
    return {}


def switch_mode(call: Call) -> Json:
    """Keep one-way positions."""
    if call.whole("mode") == 0:
        raise errors.Refused(110025, "Position mode is not modified")
    raise refusals.params("hedge mode is not played by the rehearsal exchange")


def switch_isolated(call: Call) -> Json:
    """Keep cross margin."""
    if call.whole("tradeMode") == 0:
        raise errors.Refused(110026, "Cross/isolated margin mode is not modified")
    raise refusals.params("isolated margin is not played by the rehearsal exchange")
