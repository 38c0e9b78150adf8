"""What is asked for in a word: ``now``, ``twap:30m``, ``pov:5%`` or ``passive``."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, cast

from qframe_rl.config import UserError, shortened
from qframe_rl.times import timeframe_name, timeframe_ns

Way = Literal["now", "twap", "pov", "passive"]
NOW = "now"
"""The way that others are compared with."""
_LENGTH = re.compile(r"[1-9]\d{0,5}[smhdw]")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%")


class ExecutionPlan(NamedTuple):
    """How a parent is worked."""

    way: Way
    length_ns: int = 0
    """Of twap, over which the slices are; of passive, after which what is left crosses. 0 = the strategy's bar."""
    share: float = 0.0
    """Of pov, of the volume that is known."""

    def slices(self, bar_ns: int, fine_ns: int) -> int:
        """Finer bars that a parent is worked in.

        Parameters
        ----------
        bar_ns, fine_ns
            Length of the strategy's bars, and of those that it is worked on.

        Raises
        ------
        UserError
            If the length is no whole number of finer bars, or longer than the strategy's bar: its next decision
            replaces what is left of the last.
        """
        length = self.length_ns or bar_ns
        if length % fine_ns or length > bar_ns:
            raise UserError(
                f"execute: {self.way}:{timeframe_name(length)} must be whole bars of {timeframe_name(fine_ns)}, and no "
                f"longer than the {timeframe_name(bar_ns)} after which the strategy decides anew."
            )
        return 1 if self.way == "now" else length // fine_ns


def plan_of(text: str) -> ExecutionPlan:
    """Read a plan.

    Raises
    ------
    UserError
        For what is none.
    """
    way, _, more = text.partition(":")
    percent = _PERCENT.fullmatch(more)
    if way == "pov" and percent is not None and 0.0 < float(percent[1]) <= 100.0:
        return ExecutionPlan("pov", share=float(percent[1]) / 100.0)
    if way in ("twap", "passive") and _LENGTH.fullmatch(more):
        return ExecutionPlan(cast(Way, way), timeframe_ns(more))
    if text in ("now", "passive"):
        return ExecutionPlan(cast(Way, text))
    raise UserError(
        f"execute {shortened(text)}: it is now, twap:LENGTH (such as twap:30m), pov:SHARE% (such as pov:5%), passive, "
        "or passive:LENGTH."
    )
