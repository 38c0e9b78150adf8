"""Transfers that wait for a session which does not run: it decides on them when it is started."""

from __future__ import annotations

from typing import NamedTuple

from qframe_rl.amounts import money
from qframe_rl.service.booking import TransferRow
from qframe_rl.service.desired import Desired
from qframe_rl.service.portfolios import Portfolios
from qframe_rl.times import iso

_RUNS = ("STARTING", "RUNNING", "STOPPING")


class WaitingTransfer(NamedTuple):
    """One of them."""

    row: TransferRow
    since_ns: int
    """When it was asked for, or its session ended, whichever was later; ns UTC."""

    @property
    def why(self) -> str:
        """Whom it waits for."""
        return f"waiting for {self.row.transfer.member}, which does not run"

    def __str__(self) -> str:
        units = self.row.transfer.units
        way = "to it" if units > 0 else "from it"
        return (
            f"{self.why}, since {iso(self.since_ns)} UTC ({money(abs(units))} {way}, transfer {self.row.transfer.id})"
        )


def waiting(portfolios: Portfolios, portfolio: str) -> list[WaitingTransfer]:
    """Transfers of a portfolio whose sessions do not run, as far as the supervisor knows, the oldest first."""
    pending = portfolios.pending(portfolio)
    if not pending:
        return []
    sessions = {one.name: one for one in Desired(portfolios.store).all()}
    found = []
    for row in pending:
        session = sessions.get(row.transfer.member)
        if session is None or session.state not in _RUNS:
            since = row.asked_ns if session is None else max(row.asked_ns, session.since_ns)
            found.append(WaitingTransfer(row, since))
    return found
