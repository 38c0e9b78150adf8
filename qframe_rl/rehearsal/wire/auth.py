"""Who sends a request: API keys, HMAC-SHA256 signatures, timestamps."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from decimal import Decimal

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.account import ExchangeAccount
from qframe_rl.rehearsal.wire.call import KEY, NONE, Call
from qframe_rl.rehearsal.wire.freshness import DEFAULT_WINDOW_MS


def payload_of(query: str, body: str) -> str:
    """The text that a REST signature is made of: query and body as they were sent, without the signature."""
    return _unsigned(query) + _unsigned(body)


def _unsigned(text: str) -> str:
    return "&".join(part for part in text.split("&") if part and not part.startswith("signature="))


def payload_of_params(params: Mapping[str, object]) -> str:
    """The text that a signature on the websocket API is made of: the parameters in the order of their names."""
    return "&".join(f"{k}={_plain(v)}" for k, v in sorted(params.items()) if k != "signature")


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def signature(secret: str, payload: str) -> str:
    """HMAC-SHA256 in hexadecimal digits."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def admit(call: Call, security: str, key: str | None, payload: str) -> None:
    """Let a request in, and note whose it is.

    Raises
    ------
    Refused
        For an unknown or revoked key, another signature, or a timestamp outside of its window.
    """
    if security == NONE:
        return
    call.account = _owner(call, key)
    if security == KEY:
        return
    if call.freshness is not None:
        window = int(call.number("recvWindow", Decimal(DEFAULT_WINDOW_MS)))
        call.freshness.check(call.whole("timestamp"), window, call.now)
    if not hmac.compare_digest(call.text("signature"), signature(call.account.secret, payload)):
        raise errors.bad_signature()


def _owner(call: Call, key: str | None) -> ExchangeAccount:
    if not key:
        raise errors.no_key()
    account = call.world.accounts.get(key)
    if account is None or account.revoked:
        raise errors.bad_key()
    return account
