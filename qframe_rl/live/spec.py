"""What a live session is begun with: the part of it that stands first in its journal, and names it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field

from qframe_rl.config import Strict, UserError, build
from qframe_rl.instruments import instrument_of
from qframe_rl.journal.codec import Plain
from qframe_rl.journal.ledger import Differs, Ledger
from qframe_rl.journal.lock import corrupt
from qframe_rl.journal.secrets import Redactor
from qframe_rl.journal.shapes import parsed
from qframe_rl.journal.store import read
from qframe_rl.refit import Recipe
from qframe_rl.risk.limits import Limits
from qframe_rl.types import DAY, SECOND, YEAR, Instrument
from qframe_rl.versions import code_fingerprint, versions

Rule = Literal["bar", "book"]
FOLLOWED = "journal"
"""The feed of a session on the bars that another one records."""
ACCOUNT = "[a-z0-9_]{1,32}"
"""Form of an account's name."""
_LATER = ("account", "execute", "refit")
"""Terms that records of before had not."""


@dataclass(frozen=True)
class SessionSpec:
    """What makes a session the one it is; a journal that was begun on other terms is refused."""

    name: str
    """Name of the strategy."""
    model: str
    """Digest of the checkpoint."""
    source: Plain
    """Where bars come from: feed, exchange or data, symbols, timeframe, period."""
    instruments: tuple[Instrument, ...]
    columns: tuple[str, ...]
    bar_ns: int
    window: int
    """Bars shown at each decision."""
    fills: Rule = "bar"
    """Whose fills count: the rule for bars, or the order book."""
    quoted: bool = False
    """Whether order books are recorded at each decision."""
    orders: Literal["paper", "testnet", "real"] = "paper"
    """Where orders go."""
    theory: Plain | None = None
    """Constants of the known optimum, where the market has one."""
    account: str | None = None
    """Name of the account that it trades; None = it has none."""
    execute: str | None = None
    """How its orders are worked on these bars, which are finer than its own; None = each on its next bar."""
    refit: Plain | None = None
    """Recipe of the procedure that it trades, as plain data, and its digest; None = the one checkpoint."""

    @property
    def market(self) -> Plain:
        """Where bars came from in the first place: of a session that follows another, that one's source."""
        source = self.source
        while source.get("feed") == FOLLOWED and isinstance(source.get("of"), dict):
            source = source["of"]
        return source

    @property
    def universe(self) -> str | None:
        """The rule of who may be bought, where the terms have it."""
        rule: str | None = self.market.get("universe")
        return rule

    def plain(self) -> Plain:
        """As JSON; what records of before have not is left out where there is none."""
        plain = asdict(self) | {"instruments": [i.plain() for i in self.instruments], "columns": list(self.columns)}
        return {name: value for name, value in plain.items() if value is not None or name not in _LATER}


class StatedRefit(Strict):
    """A procedure as a journal has it."""

    recipe: Recipe
    digest: str


class StatedSpec(Strict):
    """Terms as a journal has them."""

    name: str
    model: str
    source: Plain
    instruments: list[Plain] = Field(min_length=1, max_length=1000)
    columns: list[str] = Field(max_length=1000)
    bar_ns: int = Field(ge=SECOND, le=YEAR + DAY)
    window: int = Field(ge=1, le=10_000_000)
    fills: Rule = "bar"
    quoted: bool = False
    orders: Literal["paper", "testnet", "real"] = "paper"
    theory: dict[str, float] | None = None
    account: str | None = Field(default=None, pattern=f"^{ACCOUNT}$")
    execute: str | None = Field(default=None, max_length=64)
    refit: StatedRefit | None = None


def terms_of(path: Path) -> SessionSpec | None:
    """Terms of a journal; None where there is none yet, or nothing in it.

    Raises
    ------
    UserError
        If it is corrupt.
    """
    if not path.exists():
        return None
    first = next((event for event in read(path) if event.kind == "session"), None)
    if first is None:
        return None
    plain = parsed(path, first.seq, first.kind, first.payload)
    try:
        build(StatedSpec, plain, f"event {first.seq}, its terms")
        instruments = tuple(instrument_of(i, "its terms") for i in plain["instruments"])
    except UserError as error:
        raise corrupt(path, str(error).rstrip(".")) from None
    return SessionSpec(**{**plain, "instruments": instruments, "columns": tuple(plain["columns"])})


class Terms(Protocol):
    """What a session is begun with, on bars or on an order book."""

    def plain(self) -> Plain:
        """As JSON."""


def agree(ledger: Ledger, terms: Terms) -> None:
    """Begin the record with the terms, or refuse to go on with others.

    Parameters
    ----------
    ledger, terms
        The record, and what the session is begun with.

    Raises
    ------
    UserError
        Where it was begun on others.
    """
    try:
        ledger.put("session", terms.plain())
    except Differs as error:
        raise UserError(
            f"{error} It belongs to another session: give the same options again, or another --out."
        ) from None


def check_hidden(hidden: Mapping[str, str], terms: Terms, limits: Limits) -> None:
    """Refuse a session whose own terms hold what must not be written: its record could not be read again.

    Parameters
    ----------
    hidden
        Texts that must never be written, by where they come from.
    terms, limits
        Of the session.

    Raises
    ------
    UserError
        Naming where the first one comes from.
    """
    public = terms.plain() | {"limits": limits.model_dump(mode="json")}
    for name, secret in hidden.items():
        if Redactor([secret]).plain(public) != Redactor().plain(public):
            raise UserError(
                f"{name} holds a word of the session's own terms (strategy, symbols, exchange, limits), and what it "
                "holds must not be written; unset it for this command, or give it another name."
            )


def this_process(more: Plain | None) -> Plain:
    """What a record says of the process that writes on: its number, its code, its libraries, and what else there is."""
    return {"pid": os.getpid(), "code": code_fingerprint(), "versions": versions()} | (more or {})


def run_id(ledger: Ledger) -> str:
    """Name of the session in the ids of its orders: random once, then on record, so that no two sessions share ids."""
    name: str = ledger.take("run", lambda: {"id": secrets.token_hex(8)})["id"]
    return name
