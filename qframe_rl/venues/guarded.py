"""The risk engine in front of a venue, for backtests and sessions without a journal."""

from __future__ import annotations

from qframe_rl.risk.engine import Conditions, RiskDecision, RiskEngine, State
from qframe_rl.types import Account, Bar, Fills, Float, Int, Orders
from qframe_rl.venues.venue import Slotted, Venue


class GuardedVenue:
    """A venue that hands on only what the risk engine lets through.

    Parameters
    ----------
    venue
        Where orders become fills.
    engine
        The engine; it is told of every bar.
    """

    def __init__(self, venue: Venue, engine: RiskEngine):
        self.venue = venue
        self.engine = engine
        self.verdict: RiskDecision | None = None
        """On the last orders; None before the first."""
        self.trips: list[tuple[int, State, tuple[str, ...]]] = []
        """Closes (ns UTC) at which the state changed, to what, and why."""
        self._time = -1

    @property
    def account(self) -> Account:
        """That of the venue."""
        return self.venue.account

    @property
    def terminated(self) -> bool:
        """Whether the account was liquidated or ruined."""
        return self.venue.terminated

    @property
    def locks(self) -> Int | None:
        """What the engine's protections lock now."""
        return self.engine.left

    @property
    def limit_use(self) -> Float:
        """How much of the engine's loss limits was used up after the last bar."""
        return self.engine.limit_use

    @property
    def resting(self) -> Orders | None:
        """What stands at the venue."""
        return self.venue.resting if isinstance(self.venue, Slotted) else None

    def submit(self, orders: Orders) -> None:
        """Hand on what passes."""
        if self.verdict is None:
            self.engine.begin(self._time, self.account)
        self.verdict = self.engine.check(self._time, orders, self.account, Conditions(), self.resting)
        self.venue.submit(self.verdict.orders)

    def advance(self, bar: Bar) -> Fills:
        """Settle one closed bar, and let the engine look at the account."""
        fills = self.venue.advance(bar)
        self._time = bar.time
        if self.verdict is not None:
            reasons = self.engine.settled(bar.time, self.account, self.verdict.orders, fills)
            if reasons:
                self.trips.append((bar.time, self.engine.state, reasons))
        return fills
