"""Addresses of servers outside: what of them may be shown, and what never is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import SecretStr

from qframe_rl.config import UserError

_SECRET = ("password", "token", "secret")
POSTGRES = ("postgresql", "postgres")
POSTGRES_EXAMPLE = "postgresql://user@127.0.0.1:5432/qframe"
DATA, DATA_PASSWORD = "QFRAME_DATA", "QFRAME_DATA_PASSWORD"
"""Where the user says where market data lie, and the password of a database of them, if its address has none."""


class ServerAddress(NamedTuple):
    """An address that may have a password in it."""

    url: str
    """The whole of it; never shown."""
    place: str
    """Without password and options, for messages."""
    secrets: tuple[str, ...]
    """What no message may have in it."""
    parts: SplitResult

    def __repr__(self) -> str:
        return f"ServerAddress({self.place})"

    def told(self, text: object) -> str:
        """Somebody's message on one line, without a secret."""
        said = " ".join(str(text).split()).rstrip(".")
        for secret in self.secrets:
            said = said.replace(secret, "***")
        return said

    @property
    def options(self) -> dict[str, str]:
        """What stands behind the question mark."""
        return dict(parse_qsl(self.parts.query, keep_blank_values=True))


def is_address(text: object, *schemes: str) -> bool:
    """Whether a text is an address of one of these kinds."""
    return str(text).partition("://")[0] in schemes and "://" in str(text)


def address_of(url: str, schemes: Sequence[str], example: str, *, hostless: bool = False) -> ServerAddress:
    """Take an address apart.

    Parameters
    ----------
    url
        The address.
    schemes
        Kinds that are understood.
    example
        One that is right, for a message.
    hostless
        Whether the host may be left out, or stand among the options, as the folder of a socket does.

    Raises
    ------
    UserError
        If it is not one. The message does not repeat it: what is wrong may be its password.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        parts, port, host = urlsplit(""), None, None
    amiss = parts.scheme not in schemes or (host is None and not hostless) or parts.fragment or port == 0
    if amiss or any("@" in part for part in (parts.path, parts.query, host or "", parts.netloc.rpartition("@")[0])):
        raise UserError(
            f"this is no address such as {example}; of a user or password write @ as %40, / as %2F, : as %3A, ? as %3F "
            "and # as %23."
        )
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    place = f"{parts.scheme}://{f'{user}@' if user else ''}{parts.netloc.rpartition('@')[2]}{parts.path}"
    socket = dict(parse_qsl(parts.query)).get("host") if hostless else None
    return ServerAddress(url, f"{place}?host={socket}" if socket else place, _secrets(parts), parts)


def unlocked(url: str) -> str:
    """An address of PostgreSQL without its password, which libpq then finds in PGPASSWORD, as it does in every child.

    So the address may be written down: into runs, checkpoints and journals.

    Raises
    ------
    UserError
        If it is not an address.
    """
    made = address_of(url, POSTGRES, POSTGRES_EXAMPLE, hostless=True)
    password = made.options.get("password") or unquote(made.parts.password or "")
    if password:
        os.environ["PGPASSWORD"] = password
    return without_password(url)


def without_password(url: str) -> str:
    """An address of PostgreSQL without its password; raises UserError if it is not an address."""
    made = address_of(url, POSTGRES, POSTGRES_EXAMPLE, hostless=True)
    options = {name: value for name, value in made.options.items() if not name.lower().endswith(_SECRET)}
    plain = made.place.partition("?")[0]
    return f"{plain}?{urlencode(options, quote_via=quote)}" if options else plain


def check_named(place: str, who: str, mend: str = "") -> None:
    """Refuse a database that a file names and the user does not: whoever answers there would be sent his password.

    Parameters
    ----------
    place
        Where a file says that market data lie; what is no database is let through.
    who
        The file, for the message.
    mend
        An option by which the user names a database, besides ``QFRAME_DATA``; empty = there is none.

    Raises
    ------
    UserError
        If it is another one than that of ``QFRAME_DATA``.
    """
    named = os.environ.get(DATA, "")
    if is_address(place, *POSTGRES) and not (is_address(named, *POSTGRES) and place == without_password(named)):
        shown = without_password(place)
        raise UserError(
            f"{who} names the database {shown}, and your password goes only where you say so yourself: if you trust "
            f"it, {mend and f'give {mend} {shown}, or '}set {DATA}={shown}."
        )


def locked(url: str, variable: str) -> str:
    """An address with the password that a variable of the environment has; one that has a password keeps its own.

    Parameters
    ----------
    url
        The address; one that cannot be taken apart comes back as it is, for `address_of` to refuse.
    variable
        Name of the variable.
    """
    password = SecretStr(os.environ.get(variable, ""))
    if not password or has_password(url):
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    user, _, place = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    return parts._replace(netloc=f"{name}:{quote(password.get_secret_value(), safe='')}@{place}").geturl()


def has_password(url: str) -> bool:
    """Whether a password or token stands in an address, also in one that is not well written."""
    place, _, query = url.partition("://")[2].partition("?")
    if ":" in (place.rpartition("@")[0] or query.rpartition("@")[0]):
        return True
    options = [part.partition("=")[0].lower() for part in query.split("&")]
    return any(name == "p" or name.endswith(_SECRET) for name in options)


def _secrets(parts: SplitResult) -> tuple[str, ...]:
    found = [parts.password or ""] + [v for k, v in parse_qsl(parts.query) if k == "p" or k.lower().endswith(_SECRET)]
    return tuple(dict.fromkeys(text for one in found for text in (one, unquote(one)) if text))
