"""The records that everything speaks in.

Axes are named once, here: ``B`` accounts (any leading axes), ``A`` instruments, ``W`` bars of a window, ``T`` bars of a
history, ``C`` channels of a bar. The first five channels are open, high, low, close and volume; the rest are the named
columns of the feed. Times are int64 nanoseconds UTC and mean the instant at which something became *knowable*: a bar's
time is its close. Prices and money are in the quote currency, quantities in base units.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qframe_rl.orders import PER_INSTRUMENT as PER_INSTRUMENT
from qframe_rl.orders import POST_ONLY as POST_ONLY
from qframe_rl.orders import REDUCE_ONLY as REDUCE_ONLY
from qframe_rl.orders import Fills as Fills
from qframe_rl.orders import Orders as Orders
from qframe_rl.orders import SlotFills as SlotFills
from qframe_rl.orders import alone as alone
from qframe_rl.times import DAY as DAY
from qframe_rl.times import FIRST_YEAR as FIRST_YEAR
from qframe_rl.times import HOUR as HOUR
from qframe_rl.times import LAST_NS as LAST_NS
from qframe_rl.times import LAST_YEAR as LAST_YEAR
from qframe_rl.times import MINUTE as MINUTE
from qframe_rl.times import SECOND as SECOND
from qframe_rl.times import WEEK as WEEK
from qframe_rl.times import YEAR as YEAR
from qframe_rl.times import iso as iso
from qframe_rl.times import parse_time as parse_time
from qframe_rl.times import timeframe_name as timeframe_name
from qframe_rl.times import timeframe_ns as timeframe_ns

Float = NDArray[np.float64]
Single = NDArray[np.float32]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)
OHLCV = ("open", "high", "low", "close", "volume")

RELISTED = "#"
"""Between a symbol and its number, where an exchange listed several instruments under one ticker: ``LUNA/USDT#2``."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable thing and the exchange's rules for it."""

    symbol: str
    """Unified symbol, such as ``BTC/USDT`` or ``BTC/USDT:USDT``."""
    kind: Literal["spot", "perpetual"] = "spot"
    """Spot coins are owned; perpetuals can be short and pay funding."""
    lot: float = 0.0
    """Smallest step of a quantity, base units; 0 = any."""
    tick: float = 0.0
    """Smallest step of a price, quote currency; 0 = any."""
    min_amount: float = 0.0
    """Smallest quantity of an order, base units."""
    min_notional: float = 0.0
    """Smallest value of an order, quote currency; on perpetuals it does not bind what closes a position."""
    maker_fee: float = 0.0
    """Fee on resting orders, fraction of notional."""
    taker_fee: float = 0.0
    """Fee on orders that take, fraction of notional."""
    maintenance: float = 0.0
    """Maintenance margin, fraction of notional."""

    def plain(self) -> dict[str, Any]:
        """As JSON; a rule of a later version is left out where it does not bind, so that old names stay."""
        fields = asdict(self)
        return fields if self.min_amount else {name: fields[name] for name in fields if name != "min_amount"}

    def __repr__(self) -> str:
        return f"Instrument({', '.join(f'{name}={value!r}' for name, value in self.plain().items())})"

    @property
    def pair(self) -> str:
        """The symbol without what it is settled in: the same for a coin and its perpetual."""
        ticker, mark, number = self.symbol.partition(RELISTED)
        return ticker.partition(":")[0] + mark + number

    @property
    def quote(self) -> str:
        """Currency that it is priced in; empty where the symbol names none."""
        return self.pair.partition(RELISTED)[0].partition("/")[2]


@dataclass(frozen=True, slots=True)
class Source:
    """Where market data came from; every report states it."""

    exchange: str
    """Exchange id as CCXT spells it, or the generator's name."""
    environment: Literal["production", "testnet", "synthetic", "unknown"]
    """Only ``production`` data may stand in a performance report unmarked."""
    origin: str
    """File, folder or name that it was loaded from."""


class Suspect(NamedTuple):
    """A bar that looks like a bad print, or at which another instrument began under an old ticker."""

    symbol: str
    time: int
    """Close of the bar, ns UTC."""
    rule: str
    """What is wrong with it."""
    size: float
    """Log distance from the price before."""
    quarantined: bool
    """Whether it was taken out; else it is only listed."""


class Finer(NamedTuple):
    """Finer bars within bars, at which the kernel looks where an order is near; `qframe_rl.feeds.finer` makes them."""

    start: Int
    """(T + 1,) bar t consists of finer bars ``start[t]`` to ``start[t + 1]``, exclusive; (0,) = there are none."""
    bars: Float
    """(F, A, 4) open, high, low and close; NaN where an instrument did not trade."""
    ns: int
    """Length of a finer bar, ns."""
    extremes: Float = np.zeros((0, 0, 2))
    """(F // 4, A, 2) highest high and lowest low of each four of them, infinite where none traded, by which most need
    not be looked at; or empty: then they are taken from the bars."""

    @property
    def of_rows(self) -> tuple[Int, Float]:
        """``start`` counted from its first, and no other bars than those between its ends."""
        first, last = self.start[[0, -1]].tolist()
        return self.start - first, self.bars[first:last]


NO_FINER = Finer(np.zeros(0, dtype=np.int64), np.zeros((0, 0, 4)), 0)
"""Every bar is one step."""


class Bar(NamedTuple):
    """One closed bar of every instrument."""

    time: int
    """Close, ns UTC."""
    values: Float
    """(*B, A, C) channels; NaN in all of an instrument's channels where it did not trade."""
    funding: Float
    """(*B, A) quote currency due per base unit held long: rate x mark, summed over the stamps in the bar."""
    final: Bool
    """(*B, A) whether this is the instrument's last bar: what is held is paid out at its close."""
    cash_rate: float = 0.0
    """What idle cash earns over this bar, fraction of it: the rate known when the bar began, actual/365."""
    finer: Float | None = None
    """(F, A, 4) the finer bars that it consists of, as in `Finer`; None = it is looked at as a whole. For venues alone:
    no strategy sees them."""


class Account(NamedTuple):
    """Money, holdings, and what the holdings are valued at."""

    cash: Float
    """(*B,) quote currency."""
    position: Float
    """(*B, A) signed base units."""
    mark: Float
    """(*B, A) last traded close; NaN until the first."""

    @property
    def equity(self) -> Float:
        """(*B,) cash plus positions at their marks, added instrument by instrument as the kernel does."""
        if self.position.ndim == 1:  # one account: plain numbers are a tenth of the cost, and the same bits
            worth = float(self.cash)
            for held, mark in zip(self.position.tolist(), self.mark.tolist(), strict=True):
                worth += held * mark if held != 0.0 else 0.0
            return np.float64(worth)  # type: ignore[return-value]
        equity = self.cash
        for a in range(self.position.shape[-1]):
            held = self.position[..., a]
            equity = equity + np.where(held == 0.0, 0.0, held * self.mark[..., a])
        return equity

    @property
    def exposure(self) -> Float:
        """(*B, A) value of each position as a signed share of equity; 0 where equity is gone."""
        equity = self.equity[..., None]
        value = np.where(self.position == 0.0, 0.0, self.position * self.mark)
        share = np.zeros_like(value)
        return np.divide(value, equity, out=share, where=np.broadcast_to(equity > 0.0, value.shape))


class SlotRecord(NamedTuple):
    """What stood in the slots of a session, bar by bar."""

    orders: Float
    """(N, A, 8, K) the fields of `Orders` as they met each bar; a quantity of 0 where there was none."""
    fills: Float
    """(N, A, 3, K) the fields of `SlotFills`."""


@dataclass(frozen=True, eq=False)
class Record:
    """What happened in a session, bar by bar: the journal as columns. Row 0 is the state before the first bar."""

    instruments: tuple[Instrument, ...]
    bar_ns: int
    time: Int
    """(N,) closes, ns UTC."""
    account: Account
    """(N,) cash, (N, A) positions and marks after each bar."""
    orders: Orders
    """(N, A) orders that met each bar; where there were several, the sum of those that filled or are over."""
    fills: Fills
    """(N, A) what each bar did to them."""
    cash_rate: Float
    """(N,) what idle cash earned in each bar, fraction of it."""
    digest: str
    """SHA-256 over every number above, chained row by row."""
    skipped: int = 0
    """Time that no bar covers, ns: where pieces were laid end to end that do not touch; negative where they overlap."""
    flow: Float = field(default_factory=lambda: np.zeros(0))
    """(N,) what was paid in (out where negative) between the bar before and this one, quote currency; empty = none."""
    slots: SlotRecord | None = None
    """Each of several orders by itself; None where there was at most one per instrument in every bar."""

    def __len__(self) -> int:
        return len(self.time)

    @property
    def worth(self) -> Float:
        """(N,) what the first equity has become: equity with all that was paid in or out taken out (time-weighted)."""
        equity = self.account.equity
        if not self.flow.any():
            return equity
        after = equity[:-1] + self.flow[1:]
        held = np.divide(equity[:-1], after, out=np.ones(len(after)), where=after > 0.0)
        return np.asarray(equity * np.concatenate([[1.0], np.cumprod(held)]))

    @property
    def years(self) -> float:
        """Time from the first close to the last, years of 365 days, whatever bars there were in it."""
        return float(int(self.time[-1]) - int(self.time[0]) - self.skipped) / YEAR


class Segment(NamedTuple):
    """Rows ``start`` to ``stop`` (exclusive) of a history: the bars in which orders settle."""

    start: int
    stop: int

    @property
    def n_bars(self) -> int:
        """Number of bars."""
        return self.stop - self.start


Segments = tuple[Segment, ...]


class ReadOnly:
    """A dataclass whose constructor makes its arrays read-only; its copies and what is unpickled are made by it too.

    NumPy forgets the flag in both, and compiled code would be compiled once more for arrays that can be written to.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class History(ReadOnly):
    """A panel of closed bars, aligned over instruments.

    A row exists where at least one instrument traded; an instrument that did not trade in it is NaN there. Nothing is
    filled in.
    """

    instruments: tuple[Instrument, ...]
    bar_ns: int
    """Nominal length of a bar, ns."""
    time: Int
    """(T,) close times, ns UTC, strictly increasing."""
    values: Float
    """(T, A, C) channels."""
    funding: Float
    """(T, A), as in `Bar`."""
    final: Bool
    """(T, A), as in `Bar`."""
    source: Source
    columns: tuple[str, ...] = ()
    """Names of the channels after the first five; each value is what had been published by the row's time."""
    theory: Mapping[str, float] | None = field(default=None)
    """Constants of the known optimum, for synthetic markets that have one."""
    quarantine: Literal["on", "off", "not checked"] = "not checked"
    """Whether bad prints were looked for and taken out, looked for and kept, or not looked for."""
    suspects: tuple[Suspect, ...] = ()
    """Bars that look like bad prints."""
    notes: tuple[str, ...] = ()
    """What loading has to say of them, a line each: what they were taken for, and what is not there."""
    cash_rate: Float = field(default_factory=lambda: np.zeros(0))
    """(T,) as in `Bar`; empty stands for zeros."""
    finer: Finer | None = None
    """The finer bars that its bars consist of; None where they were not asked for."""

    def __post_init__(self) -> None:
        shape = (len(self.time), len(self.instruments))
        if len(self.cash_rate) == 0:
            object.__setattr__(self, "cash_rate", np.zeros(len(self.time)))
        if self.values.shape != (*shape, 5 + len(self.columns)):
            raise ValueError(f"values have shape {self.values.shape}, expected {(*shape, 5 + len(self.columns))}")
        if self.funding.shape != shape or self.final.shape != shape or self.cash_rate.shape != shape[:1]:
            raise ValueError("funding and final must be (T, A), and cash_rate (T,)")
        if self.finer is not None and len(self.finer.start) != len(self.time) + 1:
            raise ValueError("finer bars must be those of the T rows")
        for array in (self.time, self.values, self.funding, self.final, self.cash_rate):
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.time)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols of the A instruments."""
        return tuple(i.symbol for i in self.instruments)

    @cached_property
    def marks(self) -> Float:
        """(T, A) last traded close at each row, NaN before the first: what a position is valued at."""
        close = self.values[:, :, CLOSE]
        rows = np.where(np.isnan(close), 0, np.arange(len(self))[:, None])
        return np.take_along_axis(close, np.maximum.accumulate(rows, axis=0), axis=0)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (16 hex digits) over the instruments, the columns and every number; no cash rate adds nothing."""
        digest = hashlib.sha256(repr((self.instruments, self.columns, self.bar_ns)).encode())
        rate: tuple[Float | Int, ...] = (self.cash_rate,) if self.cash_rate.any() else ()
        rate += () if self.finer is None else self.finer.of_rows
        for array in (self.time, self.values, self.funding, self.final, *rate):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def rows(self, start: int, stop: int) -> History:
        """Bars ``start`` to ``stop`` (exclusive), without copying."""
        part = slice(start, stop)
        return replace(
            self,
            time=self.time[part],
            values=self.values[part],
            funding=self.funding[part],
            final=self.final[part],
            cash_rate=self.cash_rate[part],
            finer=None if self.finer is None else self.finer._replace(start=self.finer.start[start : stop + 1]),
        )

    def between(self, since: int | None, until: int | None) -> Segment:
        """Rows whose bars lie in [since, until): they open at or after ``since`` and close at or before ``until``."""
        start = 0 if since is None else int(np.searchsorted(self.time, since + self.bar_ns))
        stop = len(self) if until is None else int(np.searchsorted(self.time, until, side="right"))
        return Segment(start, max(start, stop))

    def bar(self, row: int) -> Bar:
        """One row as a `Bar`."""
        return Bar(
            int(self.time[row]), self.values[row], self.funding[row], self.final[row], float(self.cash_rate[row]),
            self.inside(row),
        )  # fmt: skip

    def inside(self, row: int) -> Float | None:
        """(F, A, 4) the finer bars of a row; None where there are none, or it is its only one."""
        if self.finer is None:
            return None
        first, last = self.finer.start[row : row + 2].tolist()
        return self.finer.bars[first:last] if last - first > 1 else None

    def describe(self) -> dict[str, object]:
        """Provenance as plain data: source, symbols, span, bars, fingerprint."""
        return {
            **asdict(self.source),
            "symbols": list(self.symbols),
            "timeframe": timeframe_name(self.bar_ns),
            "first": iso(int(self.time[0]) - self.bar_ns),
            "last": iso(int(self.time[-1])),
            "bars": len(self),
            "fingerprint": self.fingerprint,
            "risk_free": float(self.cash_rate.sum() * YEAR / (self.time[-1] - self.time[0] + self.bar_ns)),
            "quarantine": self.quarantine,
            "suspects": [{**s._asdict(), "time": iso(s.time)} for s in self.suspects],
        }
