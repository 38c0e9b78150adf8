"""What goes in and out of the API about portfolios, version 1: fields are only ever added. Money is text, in units."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from qframe_rl.portfolio.limits import PortfolioLimits
from qframe_rl.portfolio.shares import Method
from qframe_rl.service.shapes import Id, In, Nanoseconds, Out, SessionId, Word

Units = Annotated[
    str, Field(pattern=r"^-?[0-9]{1,18}$", description="1e-8 of the currency, as text: it is larger than 2^53")
]
Password = Annotated[str | None, Field(max_length=1024)]
Every = Annotated[str | None, Field(pattern=r"^[1-9][0-9]{0,3}[mhdw]$")]
Band = Annotated[float, Field(ge=0.0, le=0.5)]
StepsOf = Annotated[str | None, Field(max_length=400)]
ShareOf = Annotated[float | None, Field(ge=0.0, le=1.0)]


class PortfolioIn(In):
    """A portfolio that is wanted."""

    id: Id
    currency: Annotated[str, Field(pattern=r"^[0-9A-Z]{2,12}$")] = "USDT"
    limits: PortfolioLimits = PortfolioLimits()
    method: Method = "hand"
    every: Every = None
    band: Band = 0.02
    capital: Units | None = None
    """What its owners pay in at once."""
    password: Password = None
    """Of the user once more, where a browser asks."""


class PortfolioChange(In):
    """What becomes of a portfolio; what is not named stays."""

    limits: PortfolioLimits | None = None
    method: Method | None = None
    every: Every = None
    """An empty schedule is asked for by ``unscheduled``."""
    unscheduled: bool = False
    band: Annotated[float | None, Field(ge=0.0, le=0.5)] = None
    members: Annotated[dict[Id, ShareOf], Field(default={}, max_length=1000)]
    """Supervised sessions that come in, or whose share by hand changes."""
    ramps: Annotated[dict[Id, StepsOf], Field(default={}, max_length=1000)]
    """Members that earn their share in steps, such as 5%:14d,25%:30d,100%; null = all of it at once."""
    remove: Annotated[list[Id], Field(default=[], max_length=1000)]
    """Members that go, with what they own."""
    password: Password = None


class RampOut(Out):
    """How far a member is with what it earns in steps."""

    steps: str
    step: int
    """From 0."""
    share: float
    """Of its whole share, so much it gets now."""
    served_ns: Nanoseconds
    """How long it has kept to this step, inside its promise."""
    moving: bool
    """Whether its money is still to be moved."""
    why: str
    """The last decision."""


class MemberOut(Out):
    """A member."""

    name: str
    session: SessionId | None = None
    """Its id, once its journal has begun."""
    share: float | None
    """By hand."""
    joined: bool
    """Whether it has come, with what it owns."""
    equity: float
    weight: float
    """Of the portfolio's equity."""
    gross: float
    positions: dict[str, float]
    """Signed value by pair."""
    state: str
    time_ns: Nanoseconds
    """Close of its last bar."""
    mark: str
    """Empty; ``silent``, ``corrupt`` or ``not begun``: its figures are the last ones then."""
    why: str
    settled: Units
    """What it was given, less what it gave back."""
    ramp: RampOut | None = None


class WaitOut(Out):
    """A transfer that waits for a session which does not run; it decides when it is started."""

    transfer: str
    member: str
    units: Units
    since_ns: Nanoseconds
    """When it was asked for, or its session ended, whichever was later."""
    why: str


class PortfolioOut(Out):
    """A portfolio, as it was looked at last."""

    id: Id
    currency: str
    revision: int
    state: str
    why: list[str]
    """What led to the state."""
    equity: float
    worth: float
    """Equity without what was paid in or out since the portfolio was made (time-weighted)."""
    contributions: Units
    unallocated: Units
    in_transit: Units
    method: Method
    every: str | None
    band: float
    limits: PortfolioLimits
    due_ns: Nanoseconds | None
    """When it is rebalanced next."""
    rebalancing: bool
    not_rebalanced: str
    """Why it was not when it was due."""
    waiting: list[WaitOut]
    """What a rebalance, a ramp or somebody asked for and a session that does not run has yet to decide on."""
    looked_ns: Nanoseconds | None
    """When the supervisor looked at its members last; old = it does not run, and so are all figures."""
    members: list[MemberOut]


class PositionOut(Out):
    """A position of a member."""

    member: str
    pair: str
    value: float
    """Signed, quote currency."""
    weight: float
    """Of the portfolio's equity."""


class WorthPoint(Out):
    """A portfolio after a close."""

    time_ns: Nanoseconds
    equity: float
    worth: float
    """Without what was paid in or out."""
    gross: float
    unallocated: Units
    in_transit: Units


class BenchmarkOut(Out):
    """What the portfolio would be worth had it held its members' instruments in equal parts from its first close on."""

    symbols: list[str]
    """Those whose bars are known here."""
    time_ns: list[Nanoseconds]
    worth: list[float]
    """Beside `WorthPoint.worth`: no costs, no funding; a part is cash until the first bar of its instrument."""


class LimitOut(Out):
    """A limit, and how much of it is used."""

    name: str
    bound: float
    now: float
    used: float
    """Share of the bound; 1 = it is reached."""


class PortfolioRisk(Out):
    """How a portfolio stands to its limits."""

    state: str
    why: list[str]
    equity: float
    peak: float
    day_start: float
    drawdown: float
    """Loss since the highest, fraction; money that was paid in or out is none."""
    daily_loss: float
    gross: float
    leverage: float
    net: dict[str, float]
    """Signed value by pair over all members."""
    limits: list[LimitOut]
    marked: list[str]
    """Members whose figures are old, and why."""


class LedgerEntry(Out):
    """A posting."""

    seq: int
    time_ns: Nanoseconds
    entry: str
    kind: str
    source: str
    target: str
    units: Units
    who: str


class TransferIn(In):
    """Money that is to move."""

    units: Units
    """To the member, or into the portfolio; negative = from it, or out."""
    member: Id | None = None
    """None = the owners pay in or take out what is unallocated."""
    password: Password = None


class TransferOut(Out):
    """A transfer, and what became of it."""

    id: str
    member: str | None
    units: Units
    state: str
    """PENDING, SETTLED, REFUSED."""
    why: str
    who: str
    asked_ns: Nanoseconds
    sent_ns: Nanoseconds | None
    ended_ns: Nanoseconds | None
    waiting_ns: Nanoseconds | None = None
    """Since when it waits for a session that does not run; None = it does not."""


class NoticeOut(Out):
    """Something that happened to a portfolio."""

    seq: int
    time_ns: Nanoseconds
    rule: str
    """ramp, state, rebalance or waits."""
    text: str
    alert: bool
    """Whether it is sent to people."""
    sent_ns: Nanoseconds | None
    """When all channels of the supervisor had it."""


class PasswordIn(In):
    """Nothing but a password, where a browser asks."""

    password: Password = None


class PortfolioCommand(In):
    """What a portfolio is told."""

    word: Word
    password: Password = None


class PortfolioTold(Out):
    """What became of it."""

    state: str
    told: list[dict[str, Any]]
    """Of each member the ways by which it was told, or ``failed``: why it was not."""
