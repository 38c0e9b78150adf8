"""Whether a live session keeps what its checkpoint promised, told after every bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qframe_rl.agent import View
from qframe_rl.checkpoint import Checkpoint
from qframe_rl.evaluate.inference.bootstrap import LEVEL
from qframe_rl.evaluate.inference.sequential import Promise, SequentialTest
from qframe_rl.listeners import CashFlow
from qframe_rl.types import Orders

_SPLITS = ("test", "validation", "walk-forward")


def promise_of(checkpoint: Checkpoint) -> Promise | None:
    """What the scores of a checkpoint forecast, those of its test bars first; None where none of them does."""
    name, level = checkpoint.agent["name"], float(checkpoint.provenance.get("level", LEVEL))
    for split in _SPLITS:
        for row in checkpoint.scores:
            found = Promise.of(row, level) if row.get("split") == split and row.get("agent") == name else None
            if found is not None:
                return found
    return None


class PromiseWatch:
    """A listener that tests what a session earns against a promise; what is paid in or out is not earned.

    Parameters
    ----------
    promise
        Of its checkpoint.
    bar_ns
        Length of a bar, ns.
    """

    option = "the promise"

    def __init__(self, promise: Promise, bar_ns: int):
        self.test = SequentialTest(promise, bar_ns)
        self._equity = 0.0

    def carried(self) -> dict[str, Any]:
        """What was earned so far."""
        return {"test": self.test.carried(), "equity": self._equity}

    def carry(self, memory: Mapping[str, Any], view: View) -> None:
        """Take over what `carried` returned."""
        self.test.carry(memory["test"])
        self._equity = memory["equity"]

    def started(self, view: View) -> None:
        """Begin with the first equity."""
        self._equity = float(view.account.equity)

    def paid(self, flow: CashFlow) -> None:
        """Take it out of what is earned."""
        self._equity *= flow.scale

    def settled(self, view: View, orders: Orders) -> None:
        """Look at a bar; of an account that is gone nothing more."""
        before, self._equity = self._equity, float(view.account.equity)
        if before > 0.0:
            self.test.add(np.array([self._equity / before - 1.0]))

    def ended(self, view: View) -> None:
        """Nothing more to look at."""
