"""What goes out of the API for the cockpit: bars and what happened at one, runs and their curves, comparisons."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from qframe_rl.service.shapes import AlertOut, Nanoseconds, Out, RunOut, SessionId


class SessionAlert(AlertOut):
    """A message, and of which session."""

    session: SessionId
    name: str


class SessionBars(Out):
    """Bars of a session, by columns."""

    symbol: str
    symbols: list[str]
    """Of the session."""
    bar_ns: Nanoseconds
    n: int
    """Bars in all; more than rows where several are in one."""
    time_ns: list[Nanoseconds]
    """Closes."""
    open: list[float | None]
    high: list[float | None]
    low: list[float | None]
    close: list[float | None]
    volume: list[float | None]
    bought: list[float]
    """Base units of the symbol that filled in each row."""
    sold: list[float]
    cuts: list[float]
    """How often the risk engine cut or refused something after the bars of each row."""


class OrderOut(Out):
    """An order."""

    symbol: str
    quantity: float
    """Base units, negative = sell."""
    limit: float | None
    stop: float | None


class InspectedFill(Out):
    """What became of an order, and by which rule."""

    symbol: str
    quantity: float
    price: float | None
    rule: str
    fee: float
    spread: float
    impact: float
    funding: float
    cancelled: float


class InspectedBar(Out):
    """A bar, the decision after it, and what the next bar made of that."""

    time_ns: Nanoseconds
    symbols: list[str]
    bar: list[dict[str, Any]]
    seq: int | None
    """Event of the decision; None where there was none."""
    account: dict[str, Any] | None
    """When it was decided."""
    asked: list[OrderOut] = Field(default=[])
    sent: list[OrderOut] = Field(default=[])
    """What the risk engine let through."""
    reasons: list[str] = Field(default=[])
    """Why it cut or refused."""
    state: str | None = None
    sight: str = ""
    """SHA-256 of what the agent saw."""
    settled: int | None = None
    settled_ns: Nanoseconds | None = None
    after: dict[str, Any] | None = None
    fills: list[InspectedFill] = Field(default=[])
    news: list[dict[str, Any]] = Field(default=[])
    """What came between the two bars: commands, answers of the exchange."""


class ChainCheck(Out):
    """Whether a journal is what was written."""

    holds: bool
    why: str | None = None
    events: int | None = None
    head: str | None = None


class RunDetail(RunOut):
    """A run: what it is, how far it is, what it came to."""

    under_way: bool
    """Whether it has no outcome yet."""
    leaderboard: list[dict[str, Any]]
    """Rows of scores, each with its ``verdict`` in a few words."""
    verdict: dict[str, Any] | None
    """On a study: headline, tone, reasons."""
    choice: Any
    data: Any
    experiment: Any
    records: list[dict[str, Any]]
    """What can be compared: names of records, and their bars."""
    trained: list[str]
    """Trainings that are done."""
    reports: list[str]


class RunCurves(Out):
    """Curves by training: tags, steps, values, and when each was written, seconds since 1970."""

    trainings: dict[str, list[dict[str, Any]]]


class TrialsOut(Out):
    """What was ever scored on a data set."""

    dataset: str
    fingerprint: str
    rows: int
    trials: int
    effective: float | None
    """Worth so many independent ones."""
    agents: list[str]
    best: str
    best_ratio: float | None
    """Sharpe ratio times the root of its bars: luck alone has a variance of 1."""
    luck_ratio: float
    """What luck alone would show as the best of all."""
    since: str
    until: str
    bars: int


class Comparison(Out):
    """Curves side by side."""

    curves: list[dict[str, Any]]


class Sight(Out):
    """What an agent saw at a bar."""

    names: list[str]
    symbols: list[str]
    raw: list[list[float | None]]
    """By symbol and feature."""
    scaled: list[list[float | None]]
    """As the policy is shown it."""
    exposure: list[float]
    note: str | None


class AgainstBacktest(Out):
    """A session against a backtest of its checkpoint on the same bars."""

    time_ns: list[Nanoseconds]
    live: list[float]
    backtest: list[float]
    drift_bps: list[float]
    """Live over backtest, basis points."""
    last_bps: float
    worst_bps: float
    bars: int
    identical: bool
    """To the last bit."""
    fills: int
