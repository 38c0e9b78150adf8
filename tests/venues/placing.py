"""One order at a gate, until it is known what became of it."""

from __future__ import annotations

import time
from typing import Any

from qframe_rl.journal.ledger import Ledger
from qframe_rl.venues.order_sender import Intent, OrderSender


def placed(sender: OrderSender, ledger: Ledger, number: int, intent: Intent) -> dict[str, Any]:
    """Send an order, or go on where an earlier process was; wait for what became of it."""
    outcome = sender.send({number: intent})[number]
    if outcome["status"] != "unknown":
        return outcome

    def attempt() -> dict[str, Any] | None:
        time.sleep(0.01)
        return next(iter(sender.look()), None)

    outcome = ledger.awaited("resolved", attempt, lambda: None)
    sender.learn(outcome)
    ledger.commit()
    return outcome
