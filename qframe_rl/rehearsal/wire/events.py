"""What user streams tell: order reports and account updates, in the keys of each wire."""

from __future__ import annotations

from collections.abc import Iterator

from qframe_rl.rehearsal.decimals import ZERO, short, text
from qframe_rl.rehearsal.market import SPOT
from qframe_rl.rehearsal.order import Algo, Happening, OcoPair, Order, Trade
from qframe_rl.rehearsal.wire.call import Json
from qframe_rl.rehearsal.wire.usdm_orders import MODE

_EXECUTIONS = {"AMENDED": "REPLACED"}
_REPORTS = ("NEW", "TRADE", "CANCELED", "EXPIRED", "TRADE_PREVENTION", "AMENDED", "LIQUIDATION", "DELISTED")
_REASONS = {"FUNDING": "FUNDING_FEE", "LIQUIDATION": "ORDER", "DELISTED": "ORDER"}


def events_of(happening: Happening) -> Iterator[Json]:
    """What the account's listeners hear of something that happened, in order."""
    if happening.market.wire == SPOT:
        if happening.pair is not None:
            yield _pair(happening, happening.pair)
        if happening.order is not None:
            yield _execution(happening, happening.order)
            yield _balances(happening)
        return
    # On the futures wire money comes before the order that moved it.
    if happening.trade is not None or happening.what == "FUNDING":
        yield _account(happening)
    if happening.what == "LEVERAGE":
        yield _leverage(happening)
    if happening.algo is not None:
        yield _algo(happening, happening.algo)
    elif happening.order is not None and happening.what in _REPORTS:
        yield _order(happening, happening.order)


def _execution(happening: Happening, order: Order) -> Json:
    trade, cancelled = happening.trade, happening.what == "CANCELED"
    return {
        "e": "executionReport",
        "E": happening.time,
        "s": order.market.id,
        "c": f"cancel_{order.id}" if cancelled else order.client_id,
        "S": order.side,
        "o": order.type,
        "f": order.tif,
        "q": text(order.quantity),
        "p": text(order.limit or ZERO),
        "P": text(order.stop_price),
        "F": text(ZERO),
        "g": -1 if order.pair is None else order.pair.id,
        "C": order.client_id if cancelled else "",
        "x": _EXECUTIONS.get(happening.what, happening.what),
        "X": order.status,
        "r": "NONE",
        "i": order.id,
        "l": text(trade.quantity if trade else ZERO),
        "z": text(order.filled),
        "L": text(trade.price if trade else ZERO),
        "n": text(trade.fee) if trade else "0",
        "N": trade.fee_asset if trade else None,
        "T": happening.time,
        "t": trade.id if trade else -1,
        "I": happening.number,
        "w": order.is_open and order.stop is None,
        "m": bool(trade and trade.maker),
        "M": trade is not None,
        "O": order.created,
        "Z": text(order.paid),
        "Y": text(trade.quote if trade else ZERO),
        "Q": text(order.quote_quantity),
        "W": order.created,
        "V": MODE,
    }


def _pair(happening: Happening, pair: OcoPair) -> Json:
    kind, status = ("EXEC_STARTED", "EXECUTING") if pair.is_open else ("ALL_DONE", "ALL_DONE")
    orders = [{"s": happening.market.id, "i": order.id, "c": order.client_id} for order in pair.orders]
    head = {"e": "listStatus", "E": happening.time, "s": happening.market.id, "g": pair.id, "c": "OCO"}
    return {**head, "l": kind, "L": status, "r": "NONE", "C": pair.client_id, "T": happening.time, "O": orders}


def _balances(happening: Happening) -> Json:
    wallet, market = happening.account.spot, happening.market
    rows = [{"a": a, "f": text(wallet.free[a]), "l": text(wallet.locked[a])} for a in (market.base, market.quote)]
    return {"e": "outboundAccountPosition", "E": happening.time, "u": happening.time, "B": rows}


def _account(happening: Happening) -> Json:
    wallet, market = happening.account.margin, happening.market
    cash, position = text(wallet.wallet[market.quote]), wallet.position(market)
    money = {"a": market.quote, "wb": cash, "cw": cash, "bc": short(happening.amount)}
    held = {
        "s": market.id,
        "pa": text(position.amount, market.quantity_digits),
        "ep": short(round(position.entry, 8)) if position.amount else "0",
        "bep": short(round(position.entry, 8)) if position.amount else "0",
        "cr": text(position.realized),
        "up": text(wallet.unrealized(position)),
        "mt": "cross",
        "iw": "0",
        "ps": "BOTH",
    }
    # Funding of a cross position tells the money alone.
    positions = [] if happening.what == "FUNDING" else [held]
    update = {"m": _REASONS.get(happening.what, "ORDER"), "B": [money], "P": positions}
    return {"e": "ACCOUNT_UPDATE", "T": happening.time, "E": happening.time, "a": update}


def _leverage(happening: Happening) -> Json:
    config = {"s": happening.market.id, "l": int(happening.amount)}
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": happening.time, "T": happening.time, "ac": config}


def _order(happening: Happening, order: Order) -> Json:
    trade, market = happening.trade, order.market
    price, size = market.price_digits, market.quantity_digits
    what = "AMENDMENT" if happening.what == "AMENDED" else happening.what
    what = "CALCULATED" if what in ("LIQUIDATION", "DELISTED") else what
    row = {
        "s": market.id,
        "c": order.client_id,
        "S": order.side,
        "o": order.type,
        "f": order.tif,
        "q": text(order.quantity, size),
        "p": text(order.limit or ZERO, price),
        "ap": f"{order.average:.{max(2, price)}f}",
        "sp": text(order.stop_price, price),
        "x": what,
        "X": order.status,
        "i": order.id,
        "l": text(trade.quantity if trade else ZERO, size),
        "z": text(order.filled, size),
        "L": text(trade.price if trade else ZERO, price),
        **_fee(trade),
        "T": happening.time,
        "t": trade.id if trade else 0,
        "b": "0",
        "a": "0",
        "m": bool(trade and trade.maker),
        "R": order.reduce_only,
        "wt": "MARK_PRICE" if order.by_mark else "CONTRACT_PRICE",
        "ot": order.original_type,
        "ps": "BOTH",
        "cp": order.close_position,
        "rp": text(trade.realized) if trade else "0",
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": MODE,
        "pm": "NONE",
        "gtd": 0,
    }
    return {"e": "ORDER_TRADE_UPDATE", "T": happening.time, "E": happening.time, "o": row}


def _fee(trade: Trade | None) -> dict[str, Json]:
    return {"N": trade.fee_asset, "n": text(trade.fee)} if trade else {}


def _algo(happening: Happening, algo: Algo) -> Json:
    order, market = algo.order, happening.market
    price, size = market.price_digits, market.quantity_digits
    placed = algo.placed
    row = {
        "caid": algo.client_id,
        "aid": algo.id,
        "at": "CONDITIONAL",
        "o": order.original_type,
        "s": market.id,
        "S": order.side,
        "ps": "BOTH",
        "f": order.tif,
        "q": text(order.quantity, size),
        "X": algo.status,
        "ai": str(placed.id) if placed else "",
        "ap": text(placed.average if placed else ZERO, price),
        "aq": text(placed.filled if placed else ZERO, size),
        "act": placed.type if placed else "0",
        "tp": text(order.stop_price, price),
        "p": text(order.limit or ZERO, price),
        "V": MODE,
        "wt": "MARK_PRICE" if order.by_mark else "CONTRACT_PRICE",
        "pm": "NONE",
        "cp": order.close_position,
        "pP": False,
        "R": order.reduce_only,
        "tt": algo.triggered,
        "gtd": 0,
        "rm": algo.reason,
    }
    return {"e": "ALGO_UPDATE", "T": happening.time, "E": happening.time, "o": row}
