"""What a live session says about each bar on one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qframe_rl.agent import View
from qframe_rl.types import Orders, iso


class Line:
    """A listener that hands one line about each bar to ``show``; ``what`` it calls a bar."""

    def __init__(self, show: Callable[[str], None], what: str = "bar"):
        self.show, self._what = show, what
        self.bars = 0

    def carried(self) -> dict[str, Any]:
        """The number of bars."""
        return {"bars": self.bars}

    def carry(self, memory: Mapping[str, Any], view: View) -> None:
        """Go on counting."""
        self.bars = memory["bars"]
        self._line(view)

    def started(self, view: View) -> None:
        """Show the state before the first bar."""
        self._line(view)

    def settled(self, view: View, orders: Orders) -> None:
        """Show a bar."""
        self.bars += 1
        self._line(view)

    def ended(self, view: View) -> None:
        """Nothing more to show."""

    def _line(self, view: View) -> None:
        exposure = " ".join(f"{share:+.2f}" for share in view.account.exposure)
        self.show(
            f"{iso(view.time)}  {self._what} {self.bars}  equity {float(view.account.equity):,.2f}  exposure {exposure}"
        )


def drift_said(drift_bps: float | None, n_fills: int) -> str:
    """What the drift meter says at the end, as a sentence; empty where it has nothing to say."""
    if drift_bps is None:
        return ""
    return f"real books cost {drift_bps:+.1f} bps more than the backtest's rule, mean of {n_fills} fills"
