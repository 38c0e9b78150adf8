"""What an account on an exchange holds in one market, and what funding it was paid, asked for side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qframe_rl.journal.codec import Plain
from qframe_rl.types import Instrument
from qframe_rl.venues.reading import Reader
from qframe_rl.venues.sweep import FAILURES
from qframe_rl.venues.timely import Asking

_FIRST_S, _LATER_S = 60.0, 2.0
"""So long is asked when a session begins, and while it runs, seconds."""
_FUNDED_MS = 3 * 86_400_000
"""How far back payments of funding are asked for."""


class Holdings:
    """Asks for one account.

    Parameters
    ----------
    client
        Of CCXT, with keys and markets; None in a replay.
    instrument
        The market.
    wall
        The clock, ns UTC.
    note
        Told in one line of every failure.
    """

    def __init__(self, client: Any, instrument: Instrument, wall: Callable[[], int], note: Callable[[str], None]):
        self._client, self._instrument, self._note = client, instrument, note
        self._reader = Reader(client, (instrument,), wall)

    def found(self, now_ms: int) -> Plain:
        """Cash, position, and the payments that lay there before: quote currency, base units, cost by id."""
        return self._asked(now_ms - _FUNDED_MS, _FIRST_S)

    def since(self, begun_ms: int, now_ms: int) -> Plain:
        """The same now, with payments since a session began; ``why`` where the exchange does not say it."""
        try:
            return self._asked(max(begun_ms, now_ms - _FUNDED_MS), _LATER_S)
        except FAILURES as error:
            return {"why": str(error)}

    def _asked(self, since_ms: int, patience_s: float) -> Plain:
        asking = Asking(self._client, patience_s, self._note)
        paid = self._reader.payments(self._instrument, since_ms, asking)
        cash, (position,) = self._reader.agreed(asking)
        return {"cash": cash, "position": position} | ({"funding": paid} if paid else {})
