"""Connections to PostgreSQL that wait no longer than a moment for anybody, by psycopg 3."""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from typing import Any, Self, TypeVar

from qframe_rl.config import Unavailable, UserError
from qframe_rl.servers import POSTGRES, POSTGRES_EXAMPLE, ServerAddress, address_of

try:
    import psycopg
    from psycopg.abc import Buffer
    from psycopg.adapt import Dumper, Loader
except ImportError:
    raise UserError("PostgreSQL needs psycopg: pip install 'qframe-rl[postgres]'.") from None

_LEAST = 150_000
"""Version 15 as the server counts."""
_CONNECT_S, _ANSWER_S = 3, 12.0
_SETTINGS = (
    "SET statement_timeout = '10s'; SET lock_timeout = '8s'; SET idle_in_transaction_session_timeout = '30s'; "
    "SET TimeZone = 'UTC'; SET extra_float_digits = 1; "
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
)
T = TypeVar("T")
__all__ = ["BoundedConnection", "postgres_address", "psycopg"]


class BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """One that breaks where the server says nothing for twelve seconds: a process that was stopped never hangs up."""

    patience_s = _ANSWER_S

    def wait(self, gen: Generator[Any, Any, T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for what is under way."""
        until = time.monotonic() + self.patience_s
        try:
            return super().wait(gen, interval, self.patience_s if timeout is None else timeout)
        except psycopg.OperationalError:
            if time.monotonic() >= until:
                self.pgconn.finish()
            raise

    @classmethod
    def to(cls, address: ServerAddress, name: str) -> Self:
        """Connect.

        Parameters
        ----------
        address
            Where to.
        name
            What the server's own lists call it.

        Raises
        ------
        Unavailable
            If it does not answer, or lets nobody in.
        UserError
            If it is older than version 15.
        """
        options = {
            "connect_timeout": _CONNECT_S,
            "tcp_user_timeout": 5000,
            "keepalives_idle": 10,
            "application_name": name,
        }
        given = {key: value for key, value in options.items() if key not in address.options}
        try:
            made = cls.connect(address.url, autocommit=True, cursor_factory=psycopg.ClientCursor, **given)  # type: ignore[arg-type]
            if made.info.server_version < _LEAST:
                made.close()
                raise UserError(f"{address.place} is older than PostgreSQL 15; take a newer one.")
            made.execute(_SETTINGS)
        except psycopg.Error as error:
            raise Unavailable(f"{address.place} does not let us in ({_reason(address.told(error))}).") from None
        made.adapters.register_loader("numeric", _Number)
        made.adapters.register_dumper(bool, _AsNumber)
        return made


def postgres_address(url: str) -> ServerAddress:
    """The address of a database; raises UserError if it is not one."""
    made = address_of(url, POSTGRES, POSTGRES_EXAMPLE, hostless=True)
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        raise UserError(f"{made.place}: an option behind the question mark is not one of libpq's.") from None
    return made


def _reason(said: str) -> str:
    """What libpq says without where it was, which the message says already."""
    return re.sub(
        r"(connection failed: )?connection to server at .*? failed: |Is the server running .*", "", said
    ).strip()


class _Number(Loader):
    """Sums of whole numbers stay whole."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.removeprefix("-").isdigit() else float(text)


class _AsNumber(Dumper):
    """True as 1: the tables have numbers, as SQLite's."""

    def dump(self, obj: bool) -> Buffer:
        return b"1" if obj else b"0"
