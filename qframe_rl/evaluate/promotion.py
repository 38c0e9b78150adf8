"""Whether a result is good enough to be deployed: the one rule of runs, searches, verdicts and boards.

It must be told from luck, it must have grown, and it must have ended with more: a Sharpe ratio is of arithmetic means,
and an account that loses half and gains 60 % in turn has a fine one on its way to nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from qframe_rl.evaluate.table import ScoreRow

PROMOTED = 0.95
"""An agent is deployed only if its DSR is above this: if, net of costs, its true Sharpe ratio in excess of cash lies
above 0 and above what the best of all trials shows by luck, with at least this probability."""


class Standing(NamedTuple):
    """The figures that the rule asks for; all net of costs."""

    initial: float
    """Equity at the beginning, quote currency."""
    final: float
    """Equity at the end."""
    cash: float
    """What it would have been at the end if all had been left in cash."""
    growth_low: float
    """Lower end of the bootstrap interval of log growth per year in excess of cash."""
    dsr: float
    """Deflated Sharpe ratio of returns in excess of cash."""
    luck: str = ""
    """More about the DSR, for sentences."""

    @classmethod
    def of(cls, row: ScoreRow) -> Standing:
        """Figures of a row of a leaderboard."""
        luck = f"PSR {row['psr']:.3f} before {row['trials']} trial{'s are' if row['trials'] != 1 else ' is'} counted; "
        return cls(
            row["initial_equity"], row["final_equity"], row["cash_equity"], row["growth_low"], row["dsr"], luck
        )  # fmt: skip

    @property
    def lost(self) -> bool:
        """Whether less is left than there was."""
        return self.final < self.initial

    @property
    def passed(self) -> bool:
        """Whether it may be deployed."""
        return self.rich and self.growth_low > 0.0 and self.dsr > PROMOTED

    @property
    def rich(self) -> bool:
        """Whether it ended with more than it began with, and with more than cash would have given."""
        return self.final > max(self.initial, self.cash)

    def ended(self) -> str:
        """What became of the money, where that alone forbids to deploy; else empty."""
        if self.lost:
            return f"it lost money: {amount(self.final)} of {amount(self.initial)} is left"
        if self.rich:
            return ""
        if self.final <= self.initial:
            return "it made no money"
        return f"it ended with {amount(self.final)}, and cash alone would have given {amount(self.cash)}"

    def failures(self) -> tuple[str, ...]:
        """Why it is not deployed, a clause for each condition that it does not meet; empty if it passed."""
        found = [self.ended()] if not self.rich else []
        if self.growth_low <= 0.0:
            found.append(
                "that it grows is not shown: the lower end of its log growth a year in excess of cash is "
                f"{self.growth_low:+.3f}, more than 0 is asked for"
            )
        if not self.dsr > PROMOTED:
            found.append(
                f"it cannot be told from luck: DSR {self.dsr:.3f} ({self.luck}more than {PROMOTED} is asked for)"
            )
        return tuple(found)


def amount(money: float) -> str:
    """Money for a sentence: whole units, and cents of what is less than a hundred."""
    return f"{money:,.0f}" if abs(money) >= 100.0 else f"{money:,.2f}"
