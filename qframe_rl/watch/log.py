"""The session's log: one line of JSON for each bar, decision, change of state and note."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from qframe_rl.agent import View
from qframe_rl.config import UserError
from qframe_rl.journal.secrets import Redactor
from qframe_rl.risk.engine import RiskDecision
from qframe_rl.types import Orders, iso


class JsonLog:
    """A listener that writes JSON lines through structlog.

    Parameters
    ----------
    write
        Takes each line.
    live
        Whether what happens is new; bars that are repeated from a record were logged when they were.
    symbols
        Of the A instruments.
    redactor
        Takes out what must not be written.
    """

    option = "--log"

    def __init__(
        self,
        write: Callable[[str], None],
        live: Callable[[], bool],
        symbols: Sequence[str],
        redactor: Redactor | None = None,
    ):
        try:
            import structlog
        except ImportError:
            raise UserError("the log needs structlog: pip install 'qframe-rl[watch]'.") from None
        self._live, self._symbols = live, symbols
        cleaned = redactor or Redactor()
        self._log = structlog.wrap_logger(
            _Each(write),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                lambda logger, method, event: cleaned.plain(event),
                structlog.processors.JSONRenderer(),
            ],
        )

    def carried(self) -> dict[str, Any]:
        """Nothing: what is in the file is in the file."""
        return {}

    def carry(self, memory: Mapping[str, Any], view: View) -> None:
        """Nothing to take over."""

    def note(self, text: str) -> None:
        """Log what the feed or the exchange had to say."""
        self._log.warning("note", text=text)

    def started(self, view: View) -> None:
        """Log the state before the first decision."""
        if self._live():
            self._log.info("started", bar=iso(view.time), equity=float(view.account.equity))

    def settled(self, view: View, orders: Orders) -> None:
        """Log one bar."""
        if not self._live():
            return
        filled = {
            symbol: {"quantity": float(quantity), "price": float(price)}
            for symbol, quantity, price in zip(self._symbols, view.fills.quantity, view.fills.price, strict=True)
            if quantity != 0.0
        }
        self._log.info("settled", bar=iso(view.time), equity=float(view.account.equity), fills=filled)

    def ended(self, view: View) -> None:
        """Log the end."""
        self._log.info("ended", bar=iso(view.time), equity=float(view.account.equity), terminated=view.terminated)

    def decided(self, view: View, verdict: RiskDecision, seconds: float) -> None:
        """Log one decision."""
        rows = zip(self._symbols, verdict.orders.quantity.tolist(), strict=True)
        asked = {symbol: quantity for symbol, quantity in rows if np.any(quantity)}
        self._log.info(
            "decided",
            bar=iso(view.time),
            orders=asked,
            state=str(verdict.state),
            reasons=list(verdict.reasons),
            seconds=round(seconds, 6),
        )

    def changed(self, time: int, state: str, reasons: Sequence[str]) -> None:
        """Log a change of state."""
        if self._live():
            self._log.warning("state", bar=iso(time), state=state, reasons=list(reasons))


class _Each:
    """What structlog hands its lines to, whatever their level."""

    def __init__(self, write: Callable[[str], None]):
        self.info = self.warning = write
