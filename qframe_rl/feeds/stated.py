"""Rules of instruments as their exchange states them, read again now and then: they change while sessions run."""

from __future__ import annotations

import time
from collections.abc import Sequence

from qframe_rl.config import Unavailable, UserError
from qframe_rl.feeds.exchange import MarketDataClient, Note
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.task import PendingRequest
from qframe_rl.types import Instrument

EVERY_S = 86_400.0
"""Time between two readings, seconds."""


class StatedRules:
    """The rules of some markets of one exchange.

    Parameters
    ----------
    exchange, url, sandbox
        As in `qframe_rl.feeds.client.client`.
    markets
        The markets.
    known
        Their rules now.
    note
        Told in one line where they could not be read; they are read again a day later.
    """

    def __init__(
        self,
        exchange: str,
        markets: Sequence[Listing],
        known: tuple[Instrument, ...],
        url: str | None,
        sandbox: bool,
        note: Note | None,
    ):
        self._where = exchange, url, sandbox
        self._markets, self._known, self._note = markets, known, note or (lambda text: None)
        self._read_at = time.monotonic()
        self._task: PendingRequest[tuple[Instrument, ...] | None] | None = None

    def learn(self, rules: tuple[Instrument, ...]) -> None:
        """Take over rules that were read elsewhere, and count from now until they are read again."""
        self._known, self._read_at = rules, time.monotonic()

    def now(self) -> tuple[Instrument, ...]:
        """The rules as they were read last; nobody is waited for."""
        if self._task is None and time.monotonic() - self._read_at >= EVERY_S:
            self._read_at, self._task = time.monotonic(), PendingRequest(self._read)
        if self._task is not None and self._task.done:
            self._known, self._task = self._task.result() or self._known, None
        return self._known

    def _read(self) -> tuple[Instrument, ...] | None:
        """Read them with clients of their own; None where a market or an answer is lacking."""
        name, url, sandbox = self._where
        try:
            kinds = dict.fromkeys(market.kind for market in self._markets)
            exchanges = {kind: MarketDataClient(name, kind, url, sandbox, tries=3) for kind in kinds}
            return tuple(exchanges[market.kind].instrument(market) for market in self._markets)
        except (Unavailable, UserError, LookupError) as error:
            self._note(f"the rules of the markets were not read again: {error}")
            return None
