"""Sessions that are to run, as rows: what each is, what is wanted of it, and how far the supervisor is."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, field_validator

from qframe_rl.config import Base, UserError
from qframe_rl.live.accounts import account_name
from qframe_rl.service.auth import check_name
from qframe_rl.service.store import ServiceStore

Wanted = Literal["RUNNING", "STOPPED"]
STATES = ("STOPPED", "STARTING", "RUNNING", "STOPPING", "BACKOFF", "FAILED")
_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|localhost):[0-9]{1,5}/?")
"""Whole: `http://127.0.0.1:1@elsewhere` is an address of elsewhere, which would be sent the keys."""
Share = Annotated[float | None, Field(gt=0.0, lt=1.0)]


class SupervisedSpec(Base):
    """What a supervised session is: a checkpoint of the service's list, and options of `paper`, no others."""

    checkpoint: Annotated[str, Field(pattern=r"^[0-9a-z_-]{1,64}$")]
    """The id of a checkpoint, the name of its folder."""
    feed: Literal["replay", "ccxt"] = "ccxt"
    orders: Literal["paper", "testnet"] = "paper"
    """Real orders are not started from here."""
    exchange: Annotated[str | None, Field(pattern=r"^[0-9a-z_]{1,32}$")] = None
    """The name of an exchange, as CCXT spells it."""
    symbols: Annotated[str | None, Field(pattern=r"^[0-9A-Z/:,#_-]{1,500}$")] = None
    """Symbols such as BTC/USDT, with commas between them."""
    timeframe: Annotated[str | None, Field(pattern=r"^[0-9]{1,3}[mhdw]$")] = None
    """The length of a bar, such as 1h."""
    fills: Literal["bar", "book"] = "bar"
    speed: Annotated[str | None, Field(pattern=r"^(max|[0-9]{1,7}(\.[0-9]{1,3})?x)$")] = None
    """The speed of a replay, or of a rehearsal exchange's clock: max, or a number and x such as 60x."""
    url: Annotated[str | None, Field(max_length=100)] = None
    """A rehearsal exchange on this machine."""
    account: Annotated[str | None, AfterValidator(lambda text: None if text is None else account_name(text))] = None
    """The name of the account that it trades; its keys are in the supervisor's environment."""
    daily_loss: Share = None
    max_drawdown: Share = None

    @field_validator("url")
    @classmethod
    def _near(cls, url: str | None) -> str | None:
        if url is not None and not _LOOPBACK.fullmatch(url):
            raise ValueError("only a rehearsal exchange on this machine, such as http://127.0.0.1:8765")
        return url

    def options(self) -> list[str]:
        """Of `paper`."""
        given: Mapping[str, str | None] = {
            "--feed": self.feed, "--exchange": self.exchange, "--symbols": self.symbols, "--timeframe": self.timeframe,
            "--speed": self.speed, "--account": self.account,
            "--daily-loss": _text(self.daily_loss), "--max-drawdown": _text(self.max_drawdown),
        }  # fmt: skip
        live = {"--orders": self.orders, "--fills": self.fills, "--url": self.url} if self.feed == "ccxt" else {}
        return [part for name, value in {**given, **live}.items() if value is not None for part in (name, value)]


class SupervisedSession(NamedTuple):
    """A row."""

    name: str
    spec: SupervisedSpec
    desired: str
    revision: int
    """Rises with every change of what is wanted."""
    state: str
    pid: int | None
    begun: str | None
    """When the system began the process, by which another one of the same number is told from it."""
    since_ns: int
    """When it came into this state."""
    starts: tuple[float, ...]
    """When it was started lately, seconds since 1970."""
    due_ns: int
    """When it is tried again."""
    why: str
    """Why it is in this state."""
    folder: str
    """Where the supervisor keeps it; empty until one has looked."""

    def told(self) -> dict[str, Any]:
        """For others."""
        return {
            "name": self.name, "spec": self.spec.model_dump(mode="json"), "desired": self.desired,
            "revision": self.revision, "state": self.state, "pid": self.pid, "since_ns": str(self.since_ns),
            "why": self.why,
        }  # fmt: skip


class Desired:
    """The rows.

    Parameters
    ----------
    store
        Where they lie.
    """

    def __init__(self, store: ServiceStore):
        self.store = store

    def all(self) -> list[SupervisedSession]:
        """All rows, by name."""
        rows = self.store.rows("SELECT * FROM supervised ORDER BY name")
        return [_row(row) for row in rows]

    def one(self, name: str) -> SupervisedSession:
        """The row of a name.

        Raises
        ------
        UserError
            If there is none.
        """
        rows = self.store.rows("SELECT * FROM supervised WHERE name = ?", (name,))
        if not rows:
            raise UserError(f"no session {name[:64]!r} is supervised.")
        return _row(rows[0])

    def add(self, name: str, spec: SupervisedSpec, desired: Wanted = "RUNNING") -> SupervisedSession:
        """Add a session.

        Raises
        ------
        UserError
            If there is one of this name, the name is not 1 to 64 of ``0-9a-z_-``, a replay is asked for what an
            exchange alone does, or an account's orders go where the checkpoint alone says.
        """
        check_name(name)
        if spec.feed == "replay" and (spec.orders, spec.fills, spec.url) != ("paper", "bar", None):
            raise UserError("orders, fills and url are of feed=ccxt: a replay fills by its own bars; leave them out.")
        if spec.orders != "paper" and spec.account is not None and spec.exchange is None and spec.url is None:
            raise UserError("account: give exchange too, such as binance; keys go only where you say so yourself.")
        with self.store.writing() as database:
            done = database.execute(
                "INSERT INTO supervised VALUES (?, ?, ?, 1, 'STOPPED', NULL, NULL, ?, '[]', 0, '', '') "
                "ON CONFLICT DO NOTHING",
                (name, spec.model_dump_json(), desired, time.time_ns()),
            ).rowcount
        if not done:
            raise UserError(f"a session {name!r} is supervised already; take another name.")
        return self.one(name)

    def want(self, name: str, desired: Wanted, revision: int | None = None) -> SupervisedSession:
        """Say what is wanted; one that had failed is tried anew.

        Parameters
        ----------
        name
            Of the session.
        desired
            What is wanted.
        revision
            That of the row as it was seen; None = whatever it is.

        Raises
        ------
        UserError
            If there is none.
        LookupError
            If the row has changed since.
        """
        with self.store.writing() as database:
            done = database.execute(
                "UPDATE supervised SET desired = ?, revision = revision + 1, starts = '[]', due_ns = 0, "
                "state = CASE WHEN state IN ('FAILED', 'BACKOFF') THEN 'STOPPED' ELSE state END "
                "WHERE name = ? AND (? IS NULL OR revision = ?)", (desired, name, revision, revision),
            ).rowcount  # fmt: skip
        found = self.one(name)
        if not done:
            raise LookupError(f"{name} is at revision {found.revision} by now")
        return found

    def remove(self, name: str) -> None:
        """Forget a session that is stopped; its folder stays.

        Raises
        ------
        UserError
            If there is none, or it is not stopped.
        """
        found = self.one(name)
        member = self.store.rows("SELECT portfolio FROM members WHERE member = ?", (name,))
        if member:
            raise UserError(f"{name} is a member of portfolio {member[0][0]}; let it go from there first.")
        with self.store.writing() as database:
            done = database.execute(
                "DELETE FROM supervised WHERE name = ? AND desired = 'STOPPED' AND state IN ('STOPPED', 'FAILED')",
                (name,),
            ).rowcount
        if not done:
            raise UserError(f"{name} is {found.state} and {found.desired} is wanted; stop it first.")

    def note(self, name: str, **fields: Any) -> None:
        """Note how far a session is: any of its columns but name, spec and revision."""
        columns = ", ".join(f"{column} = ?" for column in fields)
        with self.store.writing() as database:
            database.execute(f"UPDATE supervised SET {columns} WHERE name = ?", (*fields.values(), name))


def _row(row: tuple[Any, ...]) -> SupervisedSession:
    name, spec, desired, revision, state, pid, begun, since, starts, due, why, folder = row
    return SupervisedSession(
        name, SupervisedSpec.model_validate_json(spec), desired, revision, state, pid, begun, since,
        tuple(json.loads(starts)), due, why, folder,
    )  # fmt: skip


def _text(number: float | None) -> str | None:
    return None if number is None else repr(number)
