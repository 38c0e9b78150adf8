"""CCXT clients: configured, guarded against answers that mean nothing, and sent elsewhere for tests."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from qframe_rl.config import UserError
from qframe_rl.exchanges import behind, conventions, table
from qframe_rl.feeds.listing import Listing, base_exchange

Kind = Literal["spot", "perpetual"]
_BANNED = (403, 451)


def client(
    exchange: str,
    kind: Kind = "spot",
    url: str | None = None,
    sandbox: bool = False,
    keys: Mapping[str, str] | None = None,
) -> Any:
    """CCXT client of an exchange, without its markets.

    Parameters
    ----------
    exchange
        Exchange id as CCXT spells it, or with ``_um`` for its perpetuals.
    kind
        What will be asked for.
    url
        Base address that every request goes to instead of the exchange; Binance only.
    sandbox
        The exchange's test environment.
    keys
        Credentials as CCXT names them, such as ``apiKey`` and ``secret``.

    Raises
    ------
    UserError
        For an unknown exchange, one that ``url`` does not work for, or one without a test environment.
    """
    import ccxt

    return _made(ccxt, exchange, kind, url, sandbox, keys or {})


def pro(exchange: str, kind: Kind = "spot", url: str | None = None, sandbox: bool = False) -> Any:
    """As `client`, a client of ccxt.pro: asynchronous, with websockets. Needs a running event loop.

    Parameters
    ----------
    exchange, kind, url, sandbox
        As in `client`.

    Returns
    -------
    ccxt.pro.Exchange
        Without its markets.
    """
    import ccxt.pro

    return _made(ccxt.pro, exchange, kind, url, sandbox, {})


def step(client: Any, precision: float | None) -> float:
    """Step of a price or an amount that a CCXT client states as a market's precision; 0 where it states none."""
    import ccxt

    if precision is None or client.precisionMode == ccxt.SIGNIFICANT_DIGITS:
        return 0.0
    return 10.0**-precision if client.precisionMode == ccxt.DECIMAL_PLACES else float(precision)


def _made(flavour: Any, exchange: str, kind: Kind, url: str | None, sandbox: bool, keys: Mapping[str, str]) -> Any:
    import ccxt

    name, perpetuals = base_exchange(exchange)
    if name not in ccxt.exchanges:
        close = difflib.get_close_matches(name, ccxt.exchanges, n=1)
        raise UserError(f"unknown exchange {exchange!r}{f'; did you mean {close[0]!r}?' if close else ', see --list.'}")
    perpetual = perpetuals or kind == "perpetual"
    options: dict[str, Any] = {"defaultType": "swap" if perpetual else "spot"}
    row = conventions(name)
    options |= row.options
    if row.market_types:
        options["fetchMarkets"] = {"types": [row.market_types["perpetual" if perpetual else "spot"]]}
    made = getattr(flavour, Listing(name, "/:" if perpetual else "/").client)(
        {"enableRateLimit": True, "options": options, **keys}
    )
    made.on_rest_response = _guard
    if sandbox:
        _enter_sandbox(made, name)
    if url is not None:
        _redirect(made, name, url)
    return made


def _enter_sandbox(made: Any, name: str) -> None:
    if conventions(name).sandbox == "demo":
        made.enable_demo_trading(True)
    elif made.urls.get("test"):
        made.set_sandbox_mode(True)
    else:
        raise UserError(f"{name} has no test environment in CCXT.")


def _redirect(made: Any, name: str, url: str) -> None:
    row = conventions(name)
    if not row.routes:
        able = ", ".join(exchange for exchange, one in table().items() if one.routes)
        raise UserError(f"--url works for {able}, whose addresses are known, not for {name}.")
    if not url.startswith(("http://", "https://")):
        raise UserError(f"--url {url!r} does not begin with http:// or https://.")
    # Replaced, not merged: an address that is not listed must fail rather than reach the real exchange.
    base = url.rstrip("/")
    if urlsplit(base).hostname in ("127.0.0.1", "localhost"):
        # A test exchange on this machine, perhaps on a clock a thousand times faster, asks for no patience.
        made.enableRateLimit = False
    made.urls["api"] = behind(name, base)
    if made.id == row.contracts:
        # The error codes of the futures market are found by the real host's name alone.
        linear = made.exceptions.get("linear", {})
        merged = {part: {**made.exceptions.get(part, {}), **linear.get(part, {})} for part in ("exact", "broad")}
        made.exceptions = {**made.exceptions, **merged}


def _guard(
    code: int, reason: str, url: str, method: str, response_headers: Any, response_body: str, *_request: Any
) -> str:
    """Refuse answers that CCXT would turn into empty lists and missing values."""
    import ccxt
    from ccxt.base.exchange import Exchange as Base

    text = response_body.strip()
    if code in _BANNED:
        raise ccxt.PermissionDenied(f"HTTP {code} {reason}")
    if 200 <= code < 300:
        try:
            Base.on_json_response(text)
        except ValueError:
            raise ccxt.BadResponse(f"HTTP {code} with a body of {len(text)} characters that is not JSON") from None
    elif str(code) not in Base.httpExceptions and not text.startswith("{"):
        raise ccxt.ExchangeNotAvailable(f"HTTP {code} {reason}")
    return text
