"""What a session on an order book is, and what follows from it for its account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qframe_rl.config import UserError
from qframe_rl.gym.replay.market import BookMarket
from qframe_rl.journal.codec import Plain
from qframe_rl.types import SECOND, Instrument
from qframe_rl.venues.paper_terms import PaperTerms


@dataclass(frozen=True)
class QuotingTerms:
    """What a session on an order book is."""

    name: str
    """Of the strategy in the catalogue."""
    model: str
    """Digest of the checkpoint."""
    source: Plain
    """Where rows come from."""
    env: Plain
    """Name and parameters of the environment, by which it was trained."""
    instrument: Instrument
    cash: float
    """Quote currency at the start."""
    hold_ns: int
    """The hold-back."""
    rates: tuple[tuple[int, int], ...]
    """Most messages, and in how many ns."""
    orders: Literal["paper", "testnet", "real"] = "paper"
    """Where orders go."""
    account: str | None = None
    """Name of the account that it trades; None = it has none."""
    bar_ns: int = SECOND
    """What takes the place of a bar's length: so often is told at least how the session stands."""

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """The one."""
        return (self.instrument,)

    @property
    def columns(self) -> tuple[str, ...]:
        """A book has none."""
        return ()

    def plain(self) -> Plain:
        """As JSON."""
        return ({} if self.orders == "paper" else {"orders": self.orders, "account": self.account}) | {
            "kind": "book", "name": self.name, "model": self.model, "source": self.source, "env": self.env,
            "instruments": [self.instrument.plain()], "bar_ns": self.bar_ns, "cash": self.cash, "hold_ns": self.hold_ns,
            "rates": [list(rate) for rate in self.rates],
        }  # fmt: skip


def paper_terms(market: BookMarket, terms: QuotingTerms) -> PaperTerms:
    """What holds for the account of a session.

    Raises
    ------
    UserError
        If the market is not one of makers.
    """
    if market.ends:
        raise UserError(f"env {market.name} has a deadline; paper trading on books is for strategies that go on.")
    rules = market.rules
    return PaperTerms(
        rules.power, rules.maker_fee, rules.taker_fee, market.every, market.config.latency, terms.hold_ns, terms.rates
    )
