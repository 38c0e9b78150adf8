"""Accounts of exchanges: their keys, from the environment by the account's name, and which session has what of them.

No two sessions whose orders go out share a symbol of one account: each would take the other's fills for its own. A
session claims its symbols of its account before it sends anything, by the account's name and by its key, so that one
account under two names is one account.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from qframe_rl.config import Base, UserError
from qframe_rl.feeds.listing import base_exchange
from qframe_rl.journal.claims import Claimed, Claims
from qframe_rl.live.spec import ACCOUNT, SessionSpec

if TYPE_CHECKING:
    from qframe_rl.live.quoting_terms import QuotingTerms

PREFIX = "QFRAME_ACCOUNT_"
"""Of the variables of named accounts."""


class ExchangeKeys(Base):
    """What opens an account; printed, each of them is stars."""

    key: SecretStr
    secret: SecretStr
    password: SecretStr | None = None

    def ccxt(self) -> dict[str, str]:
        """As CCXT's clients take them."""
        password = {} if self.password is None else {"password": self.password.get_secret_value()}
        return {"apiKey": self.key.get_secret_value(), "secret": self.secret.get_secret_value(), **password}


def account_name(text: str) -> str:
    """The name of an account as it is kept: small letters, as the variables of the environment know no others.

    Raises
    ------
    ValueError
        If it is no name.
    """
    name = text.lower()
    if not re.fullmatch(ACCOUNT, name):
        raise ValueError(f"{text[:64]!r} is no name of an account: 1 to 32 of a-z, 0-9 and _, such as main or sub_1")
    return name


def variables(exchange: str, account: str | None = None) -> dict[str, str]:
    """Variables of the environment that hold key, secret and, where there is one, password of an account.

    Parameters
    ----------
    exchange
        Whose; its name begins them where the account has none.
    account
        Its name; None = the one account of the exchange.
    """
    start = f"{exchange.upper()}_" if account is None else f"{PREFIX}{account.upper()}_"
    return {"key": f"{start}API_KEY", "secret": f"{start}SECRET", "password": f"{start}PASSWORD"}


def keys_of(exchange: str, account: str | None = None) -> ExchangeKeys:
    """Keys from the environment.

    Raises
    ------
    UserError
        If key or secret is missing.
    """
    names = variables(exchange, account)
    found = {field: SecretStr(os.environ[name]) for field, name in names.items() if os.environ.get(name)}
    for field in ("key", "secret"):
        if field not in found:
            raise UserError(f"orders need a key: set {names['key']} and {names['secret']} in the environment.")
    return ExchangeKeys(**found)


def check_account(account: str, place: str | None) -> None:
    """Refuse an account whose keys would go where a file alone says, or are not there.

    Parameters
    ----------
    account
        Its name.
    place
        Exchange or address that the user names; None = none, so that the checkpoint's would get them.

    Raises
    ------
    UserError
        If no place is named, or key or secret is missing.
    """
    if not place:
        raise UserError(
            f"--account {account}: add --exchange, such as --exchange binance; its keys go only where you say so "
            "yourself, not where a checkpoint does."
        )
    keys_of("", account)


def others(environment: dict[str, str], account: str | None) -> dict[str, str]:
    """An environment without the keys of accounts with other names."""
    own = None if account is None else set(variables("", account).values())
    return {
        name: value for name, value in environment.items()
        if not name.startswith(PREFIX) or (own is not None and name in own)
    }  # fmt: skip


def claim(terms: SessionSpec | QuotingTerms, folder: Path, url: str | None) -> Claims:
    """Claim the symbols of a session whose orders go out, for as long as its process lives or until they are closed.

    Parameters
    ----------
    terms
        Of the session.
    folder
        Of its journal; others are told of it.
    url
        Where every request goes instead of the exchange: an exchange of its own.

    Raises
    ------
    UserError
        If another session has one of them, or if there is no key.
    """
    exchange, _ = base_exchange(terms.source["exchange"])
    place = f"{exchange} at {_place(url)}" if url is not None else f"{exchange} ({terms.orders})"
    key = keys_of(terms.source["exchange"], terms.account).key.get_secret_value()
    names = (f"account {terms.account or ''}", f"key {hashlib.sha256(f'{place} {key}'.encode()).hexdigest()[:16]}")
    things = {f"{i.symbol} of {place}, {name}": i.symbol for i in terms.instruments for name in names}
    holder = {"session": str(folder.absolute()), "account": terms.account}
    try:
        return Claims(things, holder)
    except Claimed as other:
        raise UserError(_taken(things[other.what], place, terms.account, other.holder)) from None


def _taken(symbol: str, place: str, account: str | None, holder: dict[str, Any]) -> str:
    """Whose a symbol is."""
    theirs = holder.get("account", account)
    same = "" if theirs == account else f", whose account {theirs or 'without a name'} has the same key"
    return (
        f"{symbol} on account {account or 'without a name'} of {place} is traded by the session in "
        f"{holder.get('session', 'another folder')} (process {holder.get('process', 'unknown')}){same}; stop that one, "
        "or give this one a sub-account of its own with --account."
    )


def _place(url: str) -> str:
    """Which exchange an address leads to, however it is written."""
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{host}:{port}"
