"""Who watches over a portfolio: a rule from figures to commands that only ever tighten.

It sees the portfolio's own members and nobody else's losses. What it remembers is its highest equity, the day's first
one, and the state; money that was paid in or out is neither loss nor profit to it. Only a human loosens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from qframe_rl.portfolio.limits import PortfolioLimits
from qframe_rl.portfolio.valuation import MemberValue, PortfolioValue
from qframe_rl.times import DAY

STATES = ("ACTIVE", "REDUCE_ONLY", "FLATTEN", "HALTED")
"""From free to not at all."""
WORDS = {"REDUCE_ONLY": "reduce", "FLATTEN": "flatten", "HALTED": "halt"}
"""What a member is told so that it is in a state."""


class Vigil(NamedTuple):
    """What is remembered between two looks."""

    state: str = "ACTIVE"
    peak: float = 0.0
    """Highest equity, quote currency, less what was paid out and more what was paid in since (in proportion)."""
    day: int = -1
    """Of the last look, days since 1970 UTC."""
    day_start: float = 0.0
    """First equity of that day, in the same way."""
    scale: float = 1.0
    """Equity times this is what equity would be had nothing been paid in or out (time-weighted)."""
    why: tuple[str, ...] = ()
    """What led to the state."""
    emptied: float = 0.0
    """What equity times `scale` was when all of it was paid out; 0 = there is some, or there never was."""


class Finding(NamedTuple):
    """What came of a look."""

    vigil: Vigil
    reasons: tuple[str, ...]
    """Why the state is tighter than before; empty if it is not."""
    orders: tuple[tuple[str, str], ...]
    """Members that are freer than the portfolio, and the word that tightens each."""


class Warden:
    """The limits of one portfolio.

    Parameters
    ----------
    limits
        What binds.
    """

    def __init__(self, limits: PortfolioLimits):
        self.limits = limits

    def look(self, before: Vigil, now: PortfolioValue, members: Sequence[MemberValue]) -> Finding:
        """Look at a portfolio once.

        Parameters
        ----------
        before
            What is remembered of the look before.
        now
            What the portfolio comes to.
        members
            All of them.
        """
        day = now.time_ns // DAY
        day_start = before.day_start if day == before.day else now.equity
        vigil = before._replace(day=day, day_start=day_start, peak=max(before.peak, now.equity))
        wanted, reasons = self._wanted(vigil, now)
        if STATES.index(wanted) <= STATES.index(vigil.state):
            reasons = ()
        else:
            vigil = vigil._replace(state=wanted, why=reasons)
        return Finding(vigil, reasons, tuple(orders(vigil.state, members)))

    def _wanted(self, vigil: Vigil, now: PortfolioValue) -> tuple[str, tuple[str, ...]]:
        """The tightest state that a limit asks for, and all reasons for it."""
        limits, found = self.limits, [("REDUCE_ONLY", reason) for reason in now.marked]
        for name, share, start in (
            ("max_drawdown", limits.max_drawdown, vigil.peak), ("daily_loss", limits.daily_loss, vigil.day_start),
        ):  # fmt: skip
            if share is not None and start > 0.0 and now.equity <= start * (1.0 - share):
                loss = 1.0 - now.equity / start
                found.append((limits.on_loss, f"{name}: equity {now.equity:,.2f} is {loss:.2%} under {start:,.2f}"))
        most = None if limits.max_leverage is None else limits.max_leverage * max(now.equity, 0.0)
        for name, bound in (("max_gross", limits.max_gross), ("max_leverage", most)):
            if bound is not None and now.gross > bound:
                found.append(("REDUCE_ONLY", f"{name}: positions of {now.gross:,.2f} are more than {bound:,.2f}"))
        for pair, net in now.net.items():
            if limits.max_net is not None and abs(net) > limits.max_net:
                found.append(("REDUCE_ONLY", f"max_net: {pair} is {net:+,.2f}, beyond {limits.max_net:,.2f}"))
        wanted = max((state for state, _ in found), key=STATES.index, default="ACTIVE")
        return wanted, tuple(reason for state, reason in found if state == wanted)


def orders(state: str, members: Sequence[MemberValue]) -> list[tuple[str, str]]:
    """What members are told that are freer than a portfolio in a state; those that have not begun are told as well."""
    if state == "ACTIVE":
        return []
    return [
        (one.id, WORDS[state])
        for one in sorted(members, key=lambda one: one.id)
        if one.state not in STATES or STATES.index(one.state) < STATES.index(state)
    ]


def paid_in(before: Vigil, equity_before: float, equity_after: float) -> Vigil:
    """What is remembered where money came into a portfolio or left it: neither profit nor loss.

    Parameters
    ----------
    before
        What was remembered.
    equity_before, equity_after
        Of the portfolio, at the same prices.
    """
    if equity_before <= 0.0 or equity_after <= 0.0:
        # From nothing, or to nothing: what was is no measure of what comes, but the curve goes on where it was.
        emptied, scale = before.emptied or max(equity_before, 0.0) * before.scale, before.scale
        if equity_after > 0.0 and emptied:
            emptied, scale = 0.0, emptied / equity_after
        return before._replace(
            peak=max(equity_after, 0.0), day_start=max(equity_after, 0.0), scale=scale, emptied=emptied
        )  # fmt: skip
    ratio = equity_after / equity_before
    return before._replace(
        peak=before.peak * ratio, day_start=before.day_start * ratio, scale=before.scale / ratio
    )  # fmt: skip


def tightened(before: Vigil, state: str, why: str) -> Vigil:
    """The portfolio as a human tightened it; nothing where it is as tight already."""
    if STATES.index(state) <= STATES.index(before.state):
        return before
    return before._replace(state=state, why=(why,))


def resumed(before: Vigil, equity: float) -> Vigil:
    """The portfolio as a human resumed it: free, and this equity is the highest and the day's first one."""
    return before._replace(state="ACTIVE", peak=equity, day_start=equity, why=())
