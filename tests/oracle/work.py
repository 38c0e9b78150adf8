"""A bar in progress, and the decisions in it that no double can be trusted with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from tests.oracle.grids import ZERO, settled
from tests.oracle.records import Candle, Fill, Order, Rulebook, State

EDGE = Decimal("1e-13")
"""Two sums of money closer than this, relative to their terms, lie on a knife's edge."""
ROUNDING = Decimal("4e-15")
"""What a dozen roundings of doubles can amount to, relative to the largest term."""


@dataclass
class Work:
    """One account in one bar.

    A comparison of computed numbers that differ by no more than their rounding is an *edge*: the decimal outcome is
    taken, unless its number (in the order of the bar) is among ``flips``; then the other one is. What is compared as
    whole steps, or as it was given, is never an edge.
    """

    book: Rulebook
    state: State
    candles: tuple[Candle, ...]
    orders: tuple[Order, ...]
    cash_rate: Decimal
    flips: frozenset[int] = frozenset()
    fills: list[Fill] = field(default_factory=list)
    edges: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    interest: Decimal = ZERO
    absorbed: Decimal = ZERO
    sold: Decimal = ZERO
    """What owned coins brought in this bar without being on its way: it pays for nothing either."""
    failed: bool = False
    """Whether a test for liquidation failed."""
    terminated: bool = False
    held: tuple[Decimal, ...] = ()
    """Positions when the bar began, which are given; later ones are sums."""
    size: Decimal = ZERO
    """How large the account was when the bar began: its money and its positions, without signs."""

    def __post_init__(self) -> None:
        self.held = tuple(self.state.position)
        self.fills = [Fill() for _ in self.orders]
        self.size = self.state.size

    def note(self, what: str) -> None:
        self.notes[what] += 1

    def edge(self, outcome: bool, what: str) -> bool:
        """The outcome of a decision on a knife's edge."""
        self.edges.append(what)
        return outcome != (len(self.edges) - 1 in self.flips)

    def below(self, a: Decimal, b: Decimal, scale: Decimal, what: str) -> bool:
        """Whether ``a < b``, for numbers made of terms as large as ``scale``."""
        return self.edge(a < b, what) if abs(a - b) <= EDGE * scale else a < b

    def down(self, value: Decimal, step: Decimal, noise: Decimal, what: str) -> Decimal:
        """``value`` rounded down to whole steps without any allowance, where a double may miss it by ``noise``."""
        if not step:
            return value
        n = value / step
        whole = n.to_integral_value(ROUND_HALF_EVEN)
        if abs(n - whole) > noise / step:
            return n.to_integral_value(ROUND_FLOOR) * step
        return max(ZERO, whole if self.edge(n >= whole, what) else whole - 1) * step

    def worth(self, i: int) -> Decimal:
        """The open, or the mark where the instrument does not trade; 0 for what never traded."""
        return self.candles[i].open or self.state.mark[i] or ZERO

    def worst(self, i: int, side: Decimal) -> Decimal:
        """The worst price of what is held long (``side`` > 0) or short (< 0)."""
        candle = self.candles[i]
        if not candle.trades:
            return self.state.mark[i] or ZERO
        return (candle.low if side > 0 else candle.high) or ZERO

    @property
    def contracts(self) -> list[int]:
        return [i for i in range(len(self.orders)) if self.book.contract(i)]

    def money(self) -> Decimal:
        """Cash that is not on its way."""
        return self.state.cash - self.state.on_way

    def move(self, i: int, quantity: Decimal, price: Decimal, fee: Decimal) -> None:
        """Let a signed quantity change hands."""
        state = self.state
        state.cash -= quantity * price + fee
        state.position[i] = settled(state.position[i] + quantity, self.book.listings[i].lot)

    def send(self, proceeds: Decimal) -> None:
        """What an owned coin was sold for goes on its way, and all of it waits anew."""
        if self.book.transfer_bars == 0:
            self.sold += proceeds
            return
        if self.state.on_way:
            self.note("money waits anew")
        self.state.on_way += proceeds
        self.state.wait = self.book.transfer_bars
