"""What goes in and out of the API, version 1: fields are only ever added."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from qframe_rl.config import Base
from qframe_rl.service.desired import SupervisedSpec, Wanted
from qframe_rl.service.jobs import JobSpec

Id = Annotated[str, Field(pattern=r"^[0-9a-z_-]{1,64}$")]
SessionId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Nanoseconds = Annotated[str, Field(pattern=r"^-?[0-9]{1,19}$", description="ns UTC, as text: it is larger than 2^53")]
Word = Literal["halt", "flatten", "reduce", "resume"]


class In(Base):
    """A request's body: nothing but what is asked for."""


class Out(BaseModel):
    """An answer's body; what a later version adds is let through."""

    model_config = ConfigDict(extra="allow")


class ServiceHealth(Out):
    """Whether the service works."""

    ok: bool
    version: str
    allow: list[str]
    """Scopes that it allows; what is not here its page shows as dead."""
    sessions: int
    broken: int
    listeners: int


class Login(In):
    """Name and password of a user."""

    name: Annotated[str, Field(max_length=64)]
    password: Annotated[str, Field(max_length=1024)]


class Me(Out):
    """Who asks."""

    name: str
    scopes: list[str]
    allow: list[str]
    expires_ns: Nanoseconds | None


class PromiseOut(Out):
    """How what a session earns stands to what its checkpoint's scores forecast; Sharpe ratios a year."""

    answer: Literal["inside", "below", "too early"]
    bars: int
    """Looked at so far."""
    sharpe: float | None
    """What it earned."""
    log_evidence: float
    """Logarithm of how much likelier that is under lower ratios than under the forecast."""
    centre: float
    """Of the forecast; its interval for the next window, and the deviation of the true ratio."""
    low: float
    high: float
    spread: float
    drawdown: float | None = None
    """Deepest of the bars that the checkpoint was judged on, as a fraction."""


class ShadowOut(Out):
    """How a shadow stands to its session."""

    answer: Literal["ahead", "behind", "open"]
    bars: int
    """Settled by both so far."""
    mean: float | None
    """Log growth of a bar more than the session's, and its interval; None while nothing is said."""
    low: float | None
    high: float | None
    gone: bool
    """Whether its account is."""


class ModelOut(Out):
    """The last exchange of models of a session that trades a procedure."""

    number: int
    state: Literal["taken", "refused", "late", "failed"]
    time_ns: Nanoseconds
    """Close of the bar after which it decides; where it is not taken, the one before goes on."""
    until_ns: Nanoseconds
    """Close of the last bar that it was trained on."""
    digest: str = ""
    reason: str = ""


class SessionSummary(Out):
    """How a session stands."""

    id: SessionId
    name: str
    """Where its folder lies below a root."""
    state: str
    """ACTIVE, REDUCE_ONLY, FLATTEN, HALTED; ``broken`` where its journal cannot be read."""
    running: bool
    agent: str | None = None
    orders: str | None = None
    account: str | None = None
    """Name of the account that it trades; None where it has none."""
    environment: str | None = None
    symbols: list[str] = []
    position: list[float | None] = []
    locked: list[str] = []
    """Symbols that were closed by hand and are held flat until they are released."""
    paused: list[str] = []
    """What protections lock, until when and by which rule, in words."""
    equity: float | None = None
    peak: float | None = None
    bars: int | None = None
    time_ns: Nanoseconds | None = None
    """Close of the last bar."""
    decided_ns: Nanoseconds | None = None
    """When it was last written."""
    bar_ns: Nanoseconds | None = None
    drift_bps: float | None = None
    promise: PromiseOut | None = None
    """None where its checkpoint forecast nothing."""
    shadows: dict[str, ShadowOut] = {}
    """By the names of their folders."""
    model: ModelOut | None = None
    """None where it trades no procedure, and before its first exchange."""
    day_start: float | None = None
    """Equity with which its day began, 00:00 UTC."""
    alerts_waiting: int | None = None
    ill: str | None = None
    """What is wrong with it."""


class EquityPoint(Out):
    """An account after a bar."""

    seq: int
    time_ns: Nanoseconds
    equity: float
    cash: float
    gross: float
    """Sum of exposures, share of equity."""
    net: float
    paid: Nanoseconds = "0"
    """Paid in less paid out so far, 1e-8 of the currency, as text."""
    worth: float | None = None
    """Equity without what was paid in or out (time-weighted)."""


class Fill(Out):
    """One fill."""

    seq: int
    time_ns: Nanoseconds
    symbol: str
    quantity: float
    """Base units, negative where sold."""
    price: float
    fee: float
    """Quote currency."""
    cost: float
    """Fee, spread and impact, quote currency."""
    forced: bool = False
    """Whether the venue closed by itself: a liquidation, a delisting, a settlement."""


class Event(Out):
    """An event of a journal."""

    seq: int
    kind: str
    time_ns: Nanoseconds
    """When it was written."""
    data: dict[str, Any]


class AlertOut(Out):
    """A message of a session."""

    id: int
    time_ns: Nanoseconds
    rule: str
    text: str
    tries: int
    sent_ns: Nanoseconds | None


class CommandIn(In):
    """What a session is told."""

    word: Word
    password: Annotated[str | None, Field(max_length=1024)] = None
    """Of the user once more, where a browser asks for what may raise risk."""
    symbol: Annotated[str | None, Field(max_length=64)] = None
    """With flatten and resume: the one instrument to close and lock, or to release; None = all."""


class CommandOut(Out):
    """A command, and what became of it."""

    number: str
    word: str
    """With the symbol after it where it is about one instrument; transfers and adoptions with what they move."""
    asked_ns: Nanoseconds | None
    by: str | None = None
    obeyed: int | None = None
    """Event by which the journal says so."""
    obeyed_at_ns: Nanoseconds | None = None
    """Close of the bar after which it was obeyed."""
    refused: str | None = None
    """Why a transfer or an adoption moved nothing; None where it did, or is not decided."""


class SupervisedIn(In):
    """A session that is wanted."""

    name: Id
    spec: SupervisedSpec
    password: Annotated[str | None, Field(max_length=1024)] = None
    """Of the user once more, where a browser asks."""


class DesiredIn(In):
    """What is wanted of a session."""

    desired: Wanted
    password: Annotated[str | None, Field(max_length=1024)] = None
    """Of the user once more, where a browser asks for RUNNING."""


class SupervisedOut(Out):
    """A supervised session: what is wanted, and how far the supervisor is."""

    name: str
    session: SessionId | None = None
    """Its id, once its journal has begun."""
    spec: SupervisedSpec
    desired: str
    revision: int
    state: str
    """STOPPED, STARTING, RUNNING (it decides), STOPPING, BACKOFF, FAILED."""
    pid: int | None
    since_ns: Nanoseconds
    why: str


class JobOut(Out):
    """A job."""

    id: Id
    spec: JobSpec
    state: str
    """QUEUED, RUNNING, DONE, FAILED, CANCELLED."""
    who: str
    asked_ns: Nanoseconds
    ended_ns: Nanoseconds | None
    tries: int
    cancel: bool
    """Whether its end was asked for."""
    why: str


class Killed(Out):
    """What was told to every session."""

    told: list[dict[str, Any]]
    """Of each session the ``ways`` by which it was told (inbox, file, signal); with inbox the command as it was left;
    without any, ``failed``: why it could not be."""


class RunOut(Out):
    """A run."""

    id: Id
    kind: str
    name: str


class CheckpointOut(Out):
    """A checkpoint."""

    id: Id
    name: str
    agent: str | None = None
    market: str | None = None
    symbols: list[str] = []
    bar_ns: Nanoseconds | None = None
    promoted: bool | None = None
    broken: str | None = None


class BarOut(Out):
    """A bar, or several in one."""

    time_ns: Nanoseconds
    """Open."""
    open: float
    high: float
    low: float
    close: float
    volume: float


class TokenIn(In):
    """A token that is wanted."""

    name: Id
    scopes: Annotated[list[str], Field(min_length=1, max_length=5)]
    hours: Annotated[float | None, Field(gt=0.0, le=24 * 366 * 10)] = None
    portfolios: Annotated[list[Id] | None, Field(min_length=1, max_length=100)] = None
    """The portfolios that it is for, and nothing else; none named = whatever its scopes allow."""


class TokenOut(Out):
    """A token; what opens is shown once, where it is made."""

    id: str
    name: str
    owner: str | None
    scopes: list[str]
    made_ns: Nanoseconds
    expires_ns: Nanoseconds | None
    browser: bool
    portfolios: list[str] | None = None
    """Those that it is for, and nothing else."""


class UserIn(In):
    """A user that is wanted."""

    name: Id
    password: Annotated[str, Field(min_length=10, max_length=1024)]
    scopes: Annotated[list[str], Field(min_length=1, max_length=5)]


class AuditOut(Out):
    """Who did what."""

    id: int
    time_ns: Nanoseconds
    who: str
    what: str
    on_what: str
    outcome: str
