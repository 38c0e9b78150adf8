"""``exchangeInfo``: what is listed and by which rules, in the keys of each wire."""

from __future__ import annotations

from qframe_rl.rehearsal.decimals import places
from qframe_rl.rehearsal.market import SPOT, USDM
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.wire.call import Call, Json
from qframe_rl.rehearsal.wire.filters import filters
from qframe_rl.rehearsal.wire.intake import rates

_FOR_EVER_MS = 4_133_404_800_000
_SPOT_TYPES = ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"]
_USDM_TYPES = ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET"]


def spot_info(call: Call) -> Json:
    """Listing of the spot wire."""
    listed = named_places(call)[0]
    return {
        "timezone": "UTC",
        "serverTime": call.clock_reads(),
        "rateLimits": _limits(call),
        "exchangeFilters": [],
        "symbols": [_spot(place, call.now) for place in listed],
    }


def named_places(call: Call) -> tuple[list[Place], bool]:
    """Markets that a request is about, and whether it named a single one."""
    if call.params.get("symbol"):
        return [call.place()], True
    if call.params.get("symbols"):
        return [call.world.place(call.wire, str(name)) for name in call.values("symbols")], False
    return list(call.world.all(call.wire)), False


def usdm_info(call: Call) -> Json:
    """Listing of the futures wire."""
    listed = list(call.world.all(USDM))
    return {
        "timezone": "UTC",
        "serverTime": call.clock_reads(),
        "futuresType": "U_MARGINED",
        "rateLimits": _limits(call),
        "exchangeFilters": [],
        "assets": [
            {"asset": asset, "marginAvailable": True, "autoAssetExchange": "0"}
            for asset in sorted({place.market.quote for place in listed})
        ],
        "symbols": [_usdm(place, call.now) for place in listed],
    }


def nothing_listed(call: Call) -> Json:
    """Listing of the coin-margined wire, on which this exchange has nothing."""
    return {
        "timezone": "UTC",
        "serverTime": call.clock_reads(),
        "rateLimits": [],
        "exchangeFilters": [],
        "symbols": [],
    }


def _limits(call: Call) -> Json:
    most = call.world.config.weight_limit or 6000
    return [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": most},
        *rates(call.wire),
    ]


def _status(place: Place, now_ms: int) -> str:
    if place.market.delisted(now_ms) or place.ended:
        return "BREAK" if place.market.wire == SPOT else "SETTLING"
    if not place.engine.halted:
        return "TRADING"
    return "HALT" if place.market.wire == SPOT else "PENDING_TRADING"


def _spot(place: Place, now_ms: int) -> Json:
    market = place.market
    return {
        "symbol": market.id,
        "status": _status(place, now_ms),
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": _SPOT_TYPES,
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": filters(market),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_MAKER"],
    }


def _usdm(place: Place, now_ms: int) -> Json:
    market = place.market
    return {
        "symbol": market.id,
        "pair": market.id,
        "contractType": "PERPETUAL",
        "deliveryDate": _FOR_EVER_MS,
        "onboardDate": market.first_ms,
        "status": _status(place, now_ms),
        "maintMarginPercent": f"{market.maintenance * 100:.4f}",
        "requiredMarginPercent": "5.0000",
        "baseAsset": market.base,
        "quoteAsset": market.quote,
        "marginAsset": market.quote,
        "pricePrecision": places(market.tick),
        "quantityPrecision": places(market.lot),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": f"{_liquidation_fee(place):.6f}",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10000,
        "filters": filters(market),
        "orderTypes": _USDM_TYPES,
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }


def _liquidation_fee(place: Place) -> float:
    """Fee on a liquidated position."""
    return place.engine.config.liquidation_fee
