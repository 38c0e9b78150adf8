"""What events look like that a session takes from its record: types and bounds of all that it reads of them.

The chain of hashes tells whether an event is as it was written, not whether a session wrote it: whoever can write the
file can chain it anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from qframe_rl.config import Base, Strict, UserError, build, canonical
from qframe_rl.journal.codec import Plain
from qframe_rl.journal.lock import corrupt

Number = float | None
Stamp = Annotated[int, Field(ge=0, lt=2**62)]
Lateness = Annotated[int, Field(gt=-(2**62), lt=2**62)]
_INSIDE = 4
"""Prices of a finer bar."""
Pair = Annotated[list[float], Field(min_length=2, max_length=2)]


class EventShape(Strict):
    """An event; what is not read of it may be anything."""

    model_config = ConfigDict(extra="allow")


class BarShape(EventShape):
    """A closed bar, and the moment at which it came."""

    time: Stamp
    values: list[list[Number]] = Field(min_length=1)
    funding: list[Number] = Field(default=[])
    final: list[bool] = Field(default=[])
    cash_rate: float = Field(default=0.0, gt=-1.0, lt=1.0)
    finer: list[list[list[Number]]] = Field(default=[])
    late_ns: Lateness = 0
    skew_ns: Lateness = 0
    memory: Plain = Field(default={})


class BookShape(EventShape):
    """An order book."""

    time: Stamp
    bids: list[Pair]
    asks: list[Pair]


class CommandShape(EventShape):
    """What the operator said."""

    word: str
    by: str
    symbol: str | None = None
    """Of the one instrument that it is about; None = of all."""
    number: int = Field(default=0, ge=0, lt=2**63)


class TransferShape(EventShape):
    """Money that is to be paid in, or out."""

    id: str = Field(pattern=r"^[0-9a-z_-]{1,64}$")
    units: int = Field(ge=-(10**18), le=10**18)
    number: int = Field(default=0, ge=0, lt=2**63)


class AdoptShape(TransferShape):
    """What came from outside, and is to be taken in."""

    symbol: str | None = None
    price: int = Field(default=0, ge=0, le=10**18)


class OutcomeShape(EventShape):
    """What became of an order."""

    status: str
    name: str


class ExchangeShape(EventShape):
    """What an exchange said of trades, funding and the account."""

    trades: list[Plain]
    funding: list[Any] | Plain
    position: list[float]
    cash: float
    fired: Plain = Field(default={})


class HeldShape(EventShape):
    """What an exchange said is held."""

    position: list[float] | None


class CancelledShape(EventShape):
    """Which orders are gone."""

    left: list[str] = Field(default=[])


class SweptShape(EventShape):
    """Which orders of a market are gone."""

    market: str


class RunShape(EventShape):
    """Name of the session in the ids of its orders."""

    id: str = Field(pattern="^[0-9a-f]{1,64}$")


class UniverseShape(EventShape):
    """Who came into a universe, or left it."""

    time: Stamp
    joined: list[str] = Field(default=[])
    left: list[str] = Field(default=[])
    listed: list[str] = Field(default=[])
    delisted: list[str] = Field(default=[])


class SnapshotShape(EventShape):
    """That a snapshot was taken."""

    time: Stamp
    hash: str
    made: str = ""


class ProcessShape(EventShape):
    """A process that begins or ends."""

    code: str = ""
    checkpoint: str | None = None


class SessionShape(EventShape):
    """What the session is, as far as everybody reads it."""

    source: Plain
    bar_ns: int = Field(ge=10**9, le=366 * 86_400 * 10**9)


class HoldingShape(EventShape):
    """An account."""

    equity: float
    position: list[float]


class RefitShape(EventShape):
    """Which model a procedure goes on with."""

    number: int = Field(ge=1, lt=2**31)
    time: Stamp
    until: Stamp
    state: Literal["taken", "refused", "late", "failed"]
    digest: str = Field(default="", pattern="^[0-9a-f]{0,64}$")
    reason: str = ""


class PromiseShape(EventShape):
    """How a session stands to what its checkpoint promised."""

    answer: Literal["inside", "below", "too early"]
    bars: int = Field(ge=0, lt=2**62)
    sharpe: Number
    log_evidence: float
    centre: float
    low: float
    high: float
    spread: float
    drawdown: Number = None


class ShadowShape(EventShape):
    """How a shadow stands to its session."""

    answer: Literal["ahead", "behind", "open"]
    bars: int = Field(ge=0, lt=2**62)
    mean: Number
    low: Number
    high: Number
    gone: bool


class PulseShape(EventShape):
    """What the writer of a journal says of itself with each commit."""

    time: Stamp
    bars: int = Field(ge=0, lt=2**62)
    state: str
    account: HoldingShape
    symbols: list[str]
    peak: float
    drift_bps: Number
    locked: list[str] = Field(default=[])
    paused: list[str] = Field(default=[])
    promise: PromiseShape | None = None
    shadows: dict[str, ShadowShape] = Field(default={}, max_length=1000)
    refit: RefitShape | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if len(self.symbols) != len(self.account.position):
            raise ValueError("symbols and position differ in length")
        return self


SHAPES: dict[str, type[Base]] = {
    "command": CommandShape, "transfer": TransferShape, "adopt": AdoptShape,
    "outcome": OutcomeShape, "resolved": OutcomeShape,
    "exchange": ExchangeShape, "held": HeldShape, "cancelled": CancelledShape, "swept": SweptShape, "run": RunShape,
    "universe": UniverseShape, "snapshot": SnapshotShape, "process": ProcessShape, "session": SessionShape,
    "refit": RefitShape,
}  # fmt: skip
"""Of the kinds that have one; any other is a table, and `quotes` a table of books. Bars: `check_bar`."""


def check_bar(path: Path, plain: Plain, n_instruments: int, n_channels: int) -> None:
    """Refuse a recorded bar that is not one of so many instruments and channels.

    Raises
    ------
    UserError
        If it is not what a session writes.
    """
    try:
        build(BarShape, plain, "it")
    except UserError as error:
        raise corrupt(path, f"a bar is not what a session writes ({str(error).rstrip('.')})") from None
    widths = {len(row) for row in plain["values"]}
    lengths = {len(plain[name]) for name in ("values", "funding", "final") if name in plain}
    if widths != {n_channels} or lengths != {n_instruments}:
        raise corrupt(path, f"a bar has not {n_channels} values of {n_instruments} instruments")
    inside = plain.get("finer", [])
    if any(len(part) != n_instruments or any(len(row) != _INSIDE for row in part) for part in inside):
        raise corrupt(path, f"the finer bars of a bar have not {_INSIDE} prices of {n_instruments} instruments")


def said_last(path: Path, text: str) -> Plain:
    """What the writer of a journal said last; it lies outside the chain of hashes.

    Raises
    ------
    UserError
        If it is not what a session writes.
    """
    try:
        plain = json.loads(text)
        build(PulseShape, plain, "it")
    except (ValueError, RecursionError) as error:
        said = f" ({str(error).rstrip('.')})" if isinstance(error, UserError) else ""
        raise corrupt(path, f"what its writer said last is not readable{said}") from None
    return dict(plain)


def parsed(path: Path, seq: int, kind: str, payload: str) -> Plain:
    """Payload of an event of a journal.

    Raises
    ------
    UserError
        If it is not what a session writes.
    """
    try:
        plain = json.loads(payload)
        if not isinstance(plain, dict):
            raise UserError("it is no table")
        canonical(plain)  # which takes no number that is not finite, as JSON itself does
        if kind in SHAPES:
            build(SHAPES[kind], plain, "it")
        if kind == "quotes":
            for symbol, book in plain.items():
                build(BookShape, book, symbol)
    except (ValueError, RecursionError) as error:
        said = f" ({str(error).rstrip('.')})" if isinstance(error, UserError) else ""
        raise corrupt(path, f"event {seq}, a {kind}, is not what a session writes{said}") from None
    return plain
