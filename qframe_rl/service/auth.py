"""Who may do what: tokens, users, scopes.

A token is random and stored as its SHA-256 alone; a password as argon2id. A scope says what may be done, and a service
allows some of them to nobody: it is read-only unless it was started with more.
"""

from __future__ import annotations

import hashlib
import math
import re
import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from functools import cache
from typing import Any, Literal, NamedTuple, cast, get_args

from qframe_rl.config import Unavailable, UserError, nearest
from qframe_rl.service.store import ServiceStore

Scope = Literal["read", "operate", "trade", "jobs", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""read: see; operate: lessen risk; trade: anything that may raise it; jobs: run work; admin: tokens, users, audit."""
ALWAYS: frozenset[Scope] = frozenset(("read", "admin"))
"""Allowed by every service; the others by ``--allow``."""
_PREFIX = "qfr_"
_HOUR_NS = 3600 * 10**9
LOGIN_HOURS = 12
LOGINS, LOGIN_WINDOW_S = 5, 60.0
GRACE_S = 900.0
"""For how long a token that was known opens what it did while the store does not answer, seconds."""
_NAME = re.compile(r"[0-9a-z_-]{1,64}")
_LEAST_PASSWORD = 10
_MOMENT_S = 0.1
"""For so long a token opens that another process has deleted."""


class Identity(NamedTuple):
    """Who asks."""

    id: str
    """Of the token."""
    name: str
    owner: str | None
    """User that logged in; None for a token of a program."""
    scopes: frozenset[Scope]
    """What it may do here: its own scopes, as far as the service allows them."""
    expires_ns: int | None
    cookie: bool
    """Whether it came as a browser's cookie."""
    portfolios: frozenset[str] | None = None
    """The portfolios that it is for, and nothing else; None = whatever its scopes allow."""


class Doorkeeper:
    """Knows tokens and users.

    Parameters
    ----------
    store
        Where they are kept.
    allowed
        Scopes that the service allows beside `ALWAYS`.
    """

    def __init__(self, store: ServiceStore, allowed: Iterable[Scope] = ()):
        self.store = store
        self.allowed = frozenset(allowed) | ALWAYS
        self._lock = threading.Lock()
        self._known: dict[bytes, Identity] = {}
        self._version: object = None
        self._looked = self._heard = -math.inf
        self._tries: dict[str, deque[float]] = defaultdict(deque)

    def identity(self, token: str) -> Identity | None:
        """Whom a token belongs to; None if to nobody, or if it is too old."""
        looked = time.monotonic()
        try:
            version = self.store.version()
        except Unavailable:
            # Who was let in lately stays in: what is shown and halted needs no store. It deletes no token meanwhile.
            if _digest(token) not in self._known or looked - self._heard > GRACE_S:
                raise
            version = self._version
        else:
            self._heard = looked
        if version != self._version:
            self._known, self._version = {}, version
        self._looked = looked
        # What is deleted takes another dictionary, so that a row that was read before is not kept after it.
        known, digest = self._known, _digest(token)
        found = known.get(digest)
        if found is None:
            rows = self.store.rows(
                "SELECT id, name, owner, scopes, expires_ns, cookie, portfolios FROM tokens WHERE hash = ?", (digest,)
            )
            if not rows:
                return None
            token_id, name, owner, scopes, expires, cookie, only = rows[0]
            reach = None if only is None else frozenset(only.split())
            found = Identity(token_id, name, owner, _scopes(scopes) & self.allowed, expires, bool(cookie), reach)
            known[digest] = found
        return None if _over(found) else found

    def at_hand(self, token: str) -> Identity | None:
        """The same without a look at the store, if that was looked at a moment ago; None does not mean nobody."""
        if time.monotonic() - self._looked > _MOMENT_S:
            return None
        found = self._known.get(_digest(token))
        return None if found is None or _over(found) else found

    def new_token(
        self, name: str, scopes: Iterable[str], hours: float | None = None, *, owner: str | None = None,
        cookie: bool = False, portfolios: Iterable[str] | None = None,
    ) -> str:  # fmt: skip
        """Make a token; it is shown here and never again.

        Parameters
        ----------
        name
            What it is for.
        scopes
            What it may do.
        hours
            How long it lasts; None = until it is deleted.
        owner
            User that logged in with it.
        cookie
            Whether it is a browser's.
        portfolios
            Ids of portfolios that it is for, and nothing else; None = whatever its scopes allow.

        Raises
        ------
        UserError
            For an unknown scope, or a name that is not 1 to 64 of ``0-9a-z_-``.
        """
        check_name(name)
        wanted = check_scopes(scopes)
        only = None if portfolios is None else " ".join(sorted({_checked(one) for one in portfolios}))
        if only == "":
            raise UserError("name at least one portfolio that the token is for.")
        token, now = _PREFIX + secrets.token_urlsafe(32), time.time_ns()
        expires = None if hours is None else now + int(hours * _HOUR_NS)
        with self.store.writing() as database:
            database.execute(
                "INSERT INTO tokens (id, hash, name, owner, scopes, made_ns, expires_ns, cookie, portfolios) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (secrets.token_hex(8), _digest(token), name, owner, " ".join(wanted), now, expires, cookie, only),
            )
        return token

    def tokens(self) -> list[dict[str, Any]]:
        """All tokens, without what opens anything."""
        rows = self.store.rows(
            "SELECT id, name, owner, scopes, made_ns, expires_ns, cookie, portfolios FROM tokens ORDER BY made_ns"
        )
        return [
            {"id": i, "name": name, "owner": owner, "scopes": scopes.split(), "made_ns": str(made),
             "expires_ns": None if expires is None else str(expires), "browser": bool(cookie),
             "portfolios": None if only is None else only.split()}
            for i, name, owner, scopes, made, expires, cookie, only in rows
        ]  # fmt: skip

    def delete_token(self, token_id: str) -> bool:
        """Whether there was such a token; it opens nothing any more."""
        with self.store.writing() as database:
            gone = database.execute("DELETE FROM tokens WHERE id = ?", (token_id,)).rowcount
        self._known = {}
        return gone > 0

    def new_user(self, name: str, password: str, scopes: Iterable[str]) -> None:
        """Make a user, or give one another password and other scopes.

        Raises
        ------
        UserError
            For an unknown scope, a name as in `new_token`, or a password of less than 10 characters.
        """
        check_name(name)
        wanted = check_scopes(scopes)
        if len(password) < _LEAST_PASSWORD:
            raise UserError(f"a password needs {_LEAST_PASSWORD} characters at least.")
        hashed = _hasher().hash(password)
        with self.store.writing() as database:
            database.execute(
                "INSERT INTO users VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET password = excluded.password, "
                "scopes = excluded.scopes",
                (name, hashed, " ".join(wanted)),
            )
            database.execute("DELETE FROM tokens WHERE owner = ?", (name,))
        self._known = {}

    def users(self) -> list[dict[str, Any]]:
        """All users, without their passwords."""
        rows = self.store.rows("SELECT name, scopes FROM users ORDER BY name")
        return [{"name": name, "scopes": scopes.split()} for name, scopes in rows]

    def delete_user(self, name: str) -> bool:
        """Whether there was such a user; what they logged in with opens nothing any more."""
        with self.store.writing() as database:
            gone = database.execute("DELETE FROM users WHERE name = ?", (name,)).rowcount
            database.execute("DELETE FROM tokens WHERE owner = ?", (name,))
        self._known = {}
        return gone > 0

    def wait_s(self, *who: str) -> float:
        """Count one try by each of ``who``; how long they must wait if one had too many, else 0.

        A try that must wait counts for nobody: it says nothing of the user whom it names.
        """
        now = time.monotonic()
        with self._lock:
            for one, tries in list(self._tries.items()):
                while tries and now - tries[0] >= LOGIN_WINDOW_S:
                    tries.popleft()
                if not tries:
                    del self._tries[one]
            full = [self._tries[one][0] for one in who if one in self._tries and len(self._tries[one]) >= LOGINS]
            if full:
                return LOGIN_WINDOW_S - (now - max(full))
            for one in who:
                self._tries[one].append(now)
        return 0.0

    def forgive(self, who: str) -> None:
        """Take back the last try of one, which was right."""
        with self._lock:
            if self._tries.get(who):
                self._tries[who].pop()

    def right_password(self, name: str, password: str) -> bool:
        """Whether it is this user's password; it takes as long for a user that there is not."""
        from argon2.exceptions import VerificationError

        rows = self.store.rows("SELECT password FROM users WHERE name = ?", (name,))
        stored = rows[0][0] if rows else _nobody()
        try:
            return bool(_hasher().verify(stored, password)) and bool(rows)
        except VerificationError:
            return False

    def login(self, name: str) -> str:
        """A token for a browser in which this user gave the right password."""
        ((scopes,),) = self.store.rows("SELECT scopes FROM users WHERE name = ?", (name,))
        with self.store.writing() as database:
            database.execute("DELETE FROM tokens WHERE cookie = 1 AND expires_ns < ?", (time.time_ns(),))
        return self.new_token(name, scopes.split(), LOGIN_HOURS, owner=name, cookie=True)

    def first_token(self) -> str | None:
        """A token that may read, where there is none and no user yet; it is shown once."""
        if self.store.rows("SELECT 1 FROM tokens UNION SELECT 1 FROM users LIMIT 1"):
            return None
        return self.new_token("first", ["read"])


@cache
def _nobody() -> str:
    """What the password of a user that there is not is compared with."""
    hashed: str = _hasher().hash(secrets.token_hex())
    return hashed


def check_name(name: str) -> None:
    """Refuse a name that is not 1 to 64 of ``0-9a-z_-``; raises UserError."""
    if not _NAME.fullmatch(name):
        raise UserError("a name has 1 to 64 of 0-9, a-z, _ and -.")


def _checked(name: str) -> str:
    check_name(name)
    return name


def check_scopes(scopes: Iterable[str]) -> list[Scope]:
    """Scopes, each once and in their order; raises UserError for an unknown one, or none."""
    wanted = set(scopes)
    for scope in wanted:
        if scope not in SCOPES:
            raise UserError(f"unknown scope {scope[:40]!r}{nearest(scope, SCOPES)}; there are {', '.join(SCOPES)}.")
    if not wanted:
        raise UserError(f"name at least one scope: {', '.join(SCOPES)}.")
    return [scope for scope in SCOPES if scope in wanted]


def _scopes(text: str) -> frozenset[Scope]:
    return frozenset(cast("list[Scope]", text.split()))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _over(identity: Identity) -> bool:
    return identity.expires_ns is not None and identity.expires_ns < time.time_ns()


def _hasher() -> Any:
    from argon2 import PasswordHasher

    return PasswordHasher()
