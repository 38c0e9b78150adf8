"""Order books as environments: what they all are configured by, and how spans of ticks become batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from qframe_rl.book.arrived import arrived_quotes
from qframe_rl.book.events import Events
from qframe_rl.book.features import book_features
from qframe_rl.book.intensity import Intensity, fit_intensity
from qframe_rl.book.micro import MicroPrice, fit_micro
from qframe_rl.book.moments import DecisionClock, Latency, check_recorded, every, mid_volatility
from qframe_rl.book.queue import POWER, QueueRule, exponent
from qframe_rl.book.tape import tape_of
from qframe_rl.config import Base, UserError
from qframe_rl.gym.replay.engine import Objective, ReplayEngine, ReplayRules
from qframe_rl.gym.replay.packed import PackedTicks, SpanMoments, TickSpan, TooShort, packed_ticks, span_moments
from qframe_rl.interface import Scaler
from qframe_rl.interface.books import BookActions, QuotingInterface
from qframe_rl.quoter import BookSpec
from qframe_rl.types import Instrument, Int

MAKER_FEATURES = (
    "spread", "micro", "imbalance:1", "imbalance:5", "ofi:1s", "ofi:3s", "ofi:10s", "flow:1s", "flow:3s", "flow:10s",
    "volatility:10s",
)  # fmt: skip
_MS = 1_000_000
_MOST_HELD = 10**9


class BookConfig(Base):
    """What every environment on order books has. A file in ``envs/`` with a ``Config`` of this kind is one of them."""

    every: str = "100ms"
    """When is decided: each 100ms, 1s and so on by the clock, or as each 20 prints have arrived."""
    features: tuple[str, ...] = Field(default=MAKER_FEATURES, min_length=1, max_length=200)
    """What is seen of the book, names of qframe_rl.book.features."""
    n_rows: int = Field(default=1, ge=1, le=10_000)
    """Moments of decisions whose features are seen."""
    episode_steps: int | None = Field(default=600, ge=1, le=100_000_000)
    """Decisions of an episode, begun at a random moment; null = whole runs."""
    size: int = Field(default=10, ge=1, le=10**9)
    """Lots of a whole quote."""
    limit: int = Field(default=5, ge=1, le=10**6)
    """Largest inventory in whole quotes, what lives and what is on its way counted."""
    queue: QueueRule = "share"
    """Where cancels of others happen: share, trades (never ahead, the other end of the band) or power."""
    queue_power: float = Field(default=POWER, gt=0.0, le=100.0)
    """Of power."""
    entry_ms: float = Field(default=5.0, ge=0.0, le=60_000.0)
    """How long a message travels to the exchange, ms."""
    answer_ms: float = Field(default=5.0, ge=0.0, le=60_000.0)
    """How long its answer travels back, ms."""
    feed_share: float = Field(default=0.0, ge=0.0, le=100.0)
    """Added to both: this times what the feed is late at that moment."""
    latencies: str | None = None
    """A Parquet file of latencies as they were, columns sent_ns, exchange_ns, answered_ns: the last one before each
    moment holds there; null = those above."""
    maker_fee_bps: float | None = Field(default=None, gt=-100.0, lt=1000.0)
    """Fee on orders that rest, basis points of notional, negative for a rebate; null = the instrument's own."""
    taker_fee_bps: float | None = Field(default=None, ge=0.0, lt=1000.0)
    """Fee on orders that take; null = the instrument's own."""

    @field_validator("every")
    @classmethod
    def _told(cls, text: str) -> str:
        every(text)
        return text

    @field_validator("features")
    @classmethod
    def _named(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        book_features(names)
        return tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _held(self) -> Self:
        if self.size * self.limit > _MOST_HELD:
            raise ValueError(f"size times limit is at most {_MOST_HELD:,} lots")
        return self

    @property
    def latency(self) -> Latency:
        """What travels how long."""
        recorded = None if self.latencies is None else _recorded(Path(self.latencies))
        return Latency(round(self.entry_ms * _MS), round(self.answer_ms * _MS), self.feed_share, recorded)


def _recorded(path: Path) -> Int:
    """(R, 3) of a file."""
    import pyarrow.parquet as pq

    names = ("sent_ns", "exchange_ns", "answered_ns")
    if not path.is_file():
        raise UserError(f"env.latencies: there is no file {path}.")
    found = pq.read_schema(path).names
    lacks = [name for name in names if name not in found]
    if lacks:
        raise UserError(f"{path} lacks the column {lacks[0]}; recorded latencies have {', '.join(names)}.")
    table = pq.read_table(path, columns=list(names))
    rows = np.stack([table[name].to_numpy().astype(np.int64) for name in names], axis=1)
    return check_recorded(np.ascontiguousarray(rows), str(path))


class BookFacts(Base):
    """What was measured on training rows."""

    volatility: float = 0.0
    """Standard deviation of the mid price, ticks per root of a second."""
    intensity: float = 0.0
    """A of A exp(-k d), a second."""
    decay: float = 1.0
    """k, per tick."""
    decide_ns: int = 0
    """Mean time between decisions, ns, where prints say when; 0 = the clock does."""


@dataclass(frozen=True)
class BookMarket:
    """An order book as one account meets it."""

    name: str
    """In the catalogue."""
    instrument: Instrument
    config: BookConfig
    interface: QuotingInterface
    objective: Objective
    ends: bool
    """Whether episodes have a deadline; else one is cut off, and an account does not know of it."""
    facts: BookFacts = field(default_factory=BookFacts)

    @property
    def every(self) -> DecisionClock:
        """When is decided."""
        return every(self.config.every)

    @property
    def horizon(self) -> int:
        """Decisions until the deadline; 0 = there is none, or it is the run's end."""
        return (self.config.episode_steps or 0) if self.ends else 0

    @property
    def rules(self) -> ReplayRules:
        """Fees, queue, length of episodes."""
        c, one = self.config, self.instrument
        maker = one.maker_fee if c.maker_fee_bps is None else c.maker_fee_bps / 1e4
        taker = one.taker_fee if c.taker_fee_bps is None else c.taker_fee_bps / 1e4
        return ReplayRules(exponent(c.queue, c.queue_power), maker, taker, c.episode_steps or 0, self.ends)

    def fit(self, spans: Sequence[TickSpan]) -> BookMarket:
        """Return the same market with its scaler, micro-price and facts fitted on these spans alone."""
        tapes = [tape_of(_until(span), span.run.clock_shift_ns) for span in spans]
        micro = None
        if "micro" in self.interface.specs:
            quotes = [
                came.quotes[came.at >= span.start, 0]
                for span, came in zip(spans, (arrived_quotes(tape) for tape in tapes), strict=True)
            ]
            micro = fit_micro(np.concatenate(quotes))
        laid = self._laid(spans, micro)
        raw = np.concatenate([one.features for one in laid.values()])
        told = np.isfinite(raw)
        count = np.maximum(told.sum(axis=0), 1)
        mean = np.where(told, raw, 0.0).sum(axis=0) / count
        scale = np.sqrt((np.where(told, raw - mean, 0.0) ** 2).sum(axis=0) / count)
        scale[~(scale > 0.0)] = 1.0
        fitted = [fit_intensity(tapes[k], spans[k].start, spans[k].stop) for k in laid]
        facts = _facts(list(laid.values()), fitted, by_prints=self.every.ns == 0)
        return replace(self, interface=self.interface.with_scaler(Scaler(mean, scale), micro), facts=facts)

    def pack(self, spans: Sequence[TickSpan]) -> PackedTicks:
        """Spans to walk, for all environments to share."""
        return packed_ticks(list(self._laid(spans, self.interface.micro).values()), self.interface.scaler)

    def pack_each(self, spans: Sequence[TickSpan]) -> list[PackedTicks]:
        """Spans to walk, each by itself."""
        laid = self._laid(spans, self.interface.micro)
        return [packed_ticks([one], self.interface.scaler) for one in laid.values()]

    def engine(self, ticks: PackedTicks, n_envs: int, n_fills: int = 0) -> ReplayEngine:
        """A batch of accounts.

        Parameters
        ----------
        ticks
            From `pack`.
        n_envs
            B.
        n_fills
            Own fills that are written down.
        """
        return ReplayEngine(ticks, self.interface, self.objective, self.rules, n_envs, n_fills)

    def spec(self, seed: int) -> BookSpec:
        """What a strategy may know before the first row."""
        rules, c = self.rules, self.config
        one = replace(self.instrument, maker_fee=rules.maker_fee, taker_fee=rules.taker_fee)
        return BookSpec(
            (one,), (), 0, leverage=1.0, shorting=True, cost_rate=rules.taker_fee, interface=self.interface, seed=seed,  # type: ignore[arg-type]
            features=self.interface.specs, size=c.size, limit=c.size * c.limit, horizon=self.horizon,
            **{**self.facts.model_dump(), "decide_ns": self.every.ns or self.facts.decide_ns},
        )  # fmt: skip

    def _laid(self, spans: Sequence[TickSpan], micro: MicroPrice | None) -> dict[int, SpanMoments]:
        """Spans as they are walked, by number; those in which nobody decides twice are left out.

        Raises
        ------
        UserError
            If none is left.
        """
        short = UserError(f"env {self.name}: there are no ticks to walk.")
        named, latency, found = book_features(self.interface.specs), self.config.latency, {}
        for k, span in enumerate(spans):
            try:
                found[k] = span_moments(span, self.every, latency, named, micro)
            except TooShort as error:
                short = error
        if not found:
            raise short
        return found


def book_market(
    name: str, config: BookConfig, instrument: Instrument, actions: BookActions, objective: Objective, *,
    ends: bool = False,
) -> BookMarket:  # fmt: skip
    """Join a configuration, an instrument and what an environment is about into a market.

    Parameters
    ----------
    name
        Name in the catalogue.
    config, instrument
        What was asked for, and whose book it is.
    actions, objective
        The environment's own.
    ends
        As in `BookMarket`.
    """
    n = len(config.features)
    plain = QuotingInterface(config.features, config.n_rows, actions, Scaler(np.zeros(n), np.ones(n)))
    return BookMarket(name, instrument, config, plain, objective, ends)


def _until(span: TickSpan) -> Events:
    events = span.run.events
    return events.where(events.local_ns + span.run.clock_shift_ns <= span.stop)


def _facts(laid: Sequence[SpanMoments], fitted: Sequence[Intensity], *, by_prints: bool) -> BookFacts:
    """Means over spans, each by its length."""
    seconds = np.array([(span.at[-1] - span.at[0]) / 1e9 for span in laid])
    variance = np.array([mid_volatility(span.mid2, span.at) ** 2 for span in laid])
    share = seconds / seconds.sum()
    return BookFacts(
        volatility=float(np.sqrt(share @ variance)), intensity=float(share @ [one.intensity for one in fitted]),
        decay=float(share @ [one.decay for one in fitted]),
        decide_ns=round(1e9 * seconds.sum() / sum(len(span.at) - 1 for span in laid)) if by_prints else 0,
    )  # fmt: skip
