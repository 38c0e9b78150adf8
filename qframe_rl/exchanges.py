"""What differs between exchanges, as data: the table `exchanges.toml`, by the ids of CCXT's classes.

CCXT unifies names and shapes, but not what a volume or an amount of a contract is counted in, nor what must hold for an
order to be sent exactly once. Whatever depends on which exchange it is asks here.
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
    contracts: str | None = None
    """CCXT's class for its contracts that are settled in their quote currency, where that is another one."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options that CCXT's class is made with."""
    market_types: dict[Literal["spot", "perpetual"], str] = Field(default_factory=dict)
    """What CCXT is to load of its markets for coins and for contracts; all of it where nothing is said."""
    sandbox: Literal["test", "demo"] = "test"
    """Which of CCXT's two ways leads to its test environment."""
    routes: dict[str, str] = Field(default_factory=dict)
    """Paths behind each of the addresses of its class, with which all requests can be sent to a rehearsal of it."""
    sockets: dict[str, Any] = Field(default_factory=dict)
    """The same of its websockets, nested as its class nests them."""
    steps: bool = False
    """Whether the usual steps of `qframe_rl.feeds.presets` are its own."""
    window_option: str | None = None
    """CCXT's option for how old a signed request may be when the exchange acts on it: it proves that an order that is
    not found never will be. None = there is no such rule, or nobody has found out."""
    name_length: int = 0
    """Longest id of an order that we may give; letters and digits. 0 = an order cannot be looked up by one."""
    orders_page: int = Field(default=500, ge=1)
    """Most recent orders that one request lists."""
    trades_page: int = Field(default=1000, ge=1)
    """Trades that one request lists at most."""
    trades_days: int = Field(default=7, ge=2)
    """Days of trades that one request reaches over."""
    dead_man: str | None = None
    """CCXT's request that has all orders of a market of contracts cancelled if it is not repeated in time; empty =
    none, whatever CCXT has under that name."""
    name_list: str | None = None
    """Parameter by which its lists of open and of done orders find one by our id; None = a request for a single order
    does, with CCXT's ``clientOrderId``."""
    pages: bool = False
    """Whether its lists of orders and trades come in pages by a cursor, which CCXT follows when it is told to."""
    stop_direction: bool = False
    """Whether a stop on a contract must say from which side its price is met."""
    spot_stops_apart: bool = False
    """Whether conditional orders of coins, listed with the others, are cancelled by requests of their own."""
    positions_each: bool = False
    """Whether positions are asked for one market at a time."""
    funding_costs: bool = False
    """Whether funding is told as what it cost, and not as what it brought."""
    book_depths: tuple[int, ...] = ()
    """Depths of the books that it streams; any where nothing is said."""
    order_rates: dict[str, tuple[tuple[int, int], ...]] = Field(default={})
    """Of coins (``spot``) and contracts (``perpetual``): most orders of an account, and in how many seconds."""
    raw_depth: bool = False
    """Whether its streams tell changes of a book with update ids, as Binance's do."""
    same_again: tuple[str, ...] = ()
    """What stands in the error for an order whose id is there already: it was sent before."""
    fires_at_once: tuple[str, ...] = ()
    """What stands in the error for a stop whose price the market has passed already."""
    rests: tuple[Literal["spot", "perpetual"], ...] = ()
    """Kinds of instruments whose orders may rest on it over several bars: tests hold its rules for them against a
    rehearsal."""
    rehearsed: bool = False
    """Whether tests hold all this against a rehearsal of its wire."""
    like: str | None = None
    """Another exchange, which it is like in all but the fields of its own record; that one is like no other."""
    why: str = ""
    """What shows it."""


@cache
def table() -> Mapping[str, Conventions]:
    """Conventions of all exchanges of which any are known.

    Raises
    ------
    UserError
        For an unknown field or value in the table.
    """
    found = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    rows = {name: (found[row["like"]] if "like" in row else {}) | row for name, row in found.items()}
    return {name: build(Conventions, row, f"{_TABLE.name} [{name}]") for name, row in rows.items()}


def conventions(exchange: str) -> Conventions:
    """Conventions of one exchange; where nothing is known of it, the usual ones."""
    return table().get(exchange, Conventions())


def behind(exchange: str, url: str) -> dict[str, Any]:
    """Addresses of an exchange's CCXT class behind a base address: all that are known, and no other.

    Parameters
    ----------
    exchange
        Id of the CCXT class.
    url
        Base address, such as ``http://127.0.0.1:8000``.
    """
    row, base = conventions(exchange), url.rstrip("/")
    routes = {name: f"{base}/{path}".rstrip("/") for name, path in row.routes.items()}
    return routes | {"ws": _under(base.replace("http", "ws", 1), row.sockets)}


def _under(base: str, paths: Mapping[str, Any]) -> dict[str, Any]:
    return {name: f"{base}/{p}" if isinstance(p, str) else _under(base, p) for name, p in paths.items()}


def paged(exchange: str) -> dict[str, Any]:
    """Parameters with which CCXT follows a list to its end."""
    return {"paginate": True, "paginationCalls": 100} if conventions(exchange).pages else {}


def order_rates(exchange: str, kind: str) -> tuple[tuple[int, int], ...]:
    """Most orders that an account may send, and in how many ns; none where nothing is known."""
    return tuple((most, seconds * 1_000_000_000) for most, seconds in conventions(exchange).order_rates.get(kind, ()))


def depth_of(exchange: str, depth: int) -> int:
    """The least depth of a streamed book that has ``depth`` levels, or the deepest that there is."""
    depths = conventions(exchange).book_depths
    return next((d for d in sorted(depths) if d >= depth), max(depths)) if depths else depth


def owner_of(name: str) -> str | None:
    """The exchange of which a class of CCXT serves the contracts alone; None if it is no such class."""
    return next((exchange for exchange, row in table().items() if row.contracts == name != exchange), None)


def check_orders(exchange: str, name_length: int, *, real: bool) -> None:
    """Refuse to send orders to an exchange where it cannot be proven that each is sent once.

    Parameters
    ----------
    exchange
        Id of the CCXT class.
    name_length
        Length of the ids that orders are given.
    real
        Whether with real money.

    Raises
    ------
    UserError
        Naming what is not known of the exchange.
    """
    row, lacking = conventions(exchange), None
    if row.window_option is None:
        lacking = "no rule is known after which a request that was lost can no longer arrive"
    elif row.name_length < name_length:
        lacking = f"orders cannot be looked up by an id of {name_length} characters"
    elif real and not row.rehearsed:
        lacking = "its wire was never rehearsed"
    if lacking is not None:
        able = [name for name, one in table().items() if one.window_option and (one.rehearsed or not real)]
        able = [name for name in able if owner_of(name) is None]
        raise UserError(
            f"{exchange}: {lacking}, so no order could be proven to be sent exactly once; trade on paper, or on "
            f"{', '.join(able)}."
        )


def check_rests(exchange: str, kind: str, whose: str) -> None:
    """Refuse orders that rest over several bars where nobody has rehearsed what an exchange does with them.

    Parameters
    ----------
    exchange
        Id of the CCXT class.
    kind
        Of the instruments: ``spot`` or ``perpetual``.
    whose
        Whose orders they are, in words.

    Raises
    ------
    UserError
        Naming exchanges and kinds where they may.
    """
    if kind not in conventions(exchange).rests:
        able = [f"{name} ({', '.join(row.rests)})" for name, row in table().items() if row.rests and not row.like]
        raise UserError(
            f"{whose} has orders that rest over several bars, and what {exchange} does with those of {kind} "
            f"instruments was never rehearsed: leave --orders out for a session on paper, or take {', '.join(able)}."
        )


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
    row = conventions(exchange)
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
    row = conventions(exchange)
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
    return bool(market.get("contract")) and conventions(exchange).stops_apart


def amount_unit(exchange: str, market: Mapping[str, Any]) -> float:
    """Base units that an amount of 1 stands for in the orders, steps, minimums and books of a spot or linear market.

    Raises
    ------
    UserError
        If it counts contracts that have no size.
    """
    counted = conventions(exchange).amounts
    return _size(exchange, market) if market.get("contract") and counted == "contracts" else 1.0


def _size(exchange: str, market: Mapping[str, Any]) -> float:
    size = market.get("contractSize")
    if not size:
        raise UserError(
            f"{exchange} does not state the size of a contract of {market.get('symbol')}; take another one."
        )
    return float(size)
