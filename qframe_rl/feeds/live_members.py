"""Members of a universe in a session: chosen from the bars of an exchange as a history chooses them from a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from qframe_rl.feeds.columns import extend
from qframe_rl.feeds.universe import Membership, chosen, with_members
from qframe_rl.feeds.universe_rule import UniverseRule, renewal
from qframe_rl.types import History


class LiveMembers:
    """The column of who may be bought, for coming bars.

    What it knows is what it was handed: bars of before the session, as far back as the rule looks, and then each bar.
    A process that goes on with a session is handed the same ones again, and comes to the same members.

    Parameters
    ----------
    rule
        The rule.
    specs, root
        Exogenous columns of the bars, as in `columns.extend`; the rule may read them.
    """

    def __init__(self, rule: UniverseRule, specs: Sequence[str], root: Path):
        self.rule = rule
        self._specs, self._root = tuple(specs), root
        self._known: History | None = None
        self._renewals: dict[int, Membership] = {}

    def begin(self, past: History) -> None:
        """Take the bars of before the session; their exogenous columns are read here.

        Raises
        ------
        UserError
            As in `columns.extend`.
        """
        self._known = extend(past, self._specs, self._root) if len(past) else None

    def joined(self, bars: History) -> History:
        """Bars with the column, the last ones of all columns.

        Parameters
        ----------
        bars
            (T, A, C), after those of the last call.
        """
        if not len(bars):
            return bars
        self._known = bars if self._known is None else _after(self._known, bars)
        for time in bars.time.tolist():
            at = renewal(time, self.rule)
            if at not in self._renewals:
                self._renewals[at] = chosen(self._known, self.rule, at)
        made = with_members(bars, self.rule, tuple(self._renewals.values()))
        oldest = int(bars.time[-1]) - self.rule.lookback_ns(bars.bar_ns)
        first = int(np.searchsorted(self._known.time, oldest))
        self._known = self._known.rows(first, len(self._known))
        return made

    @property
    def last(self) -> Membership | None:
        """The last renewal; None before the first."""
        return self._renewals[max(self._renewals)] if self._renewals else None


def _after(known: History, bars: History) -> History:
    """Bars and those that follow them."""
    return replace(
        known,
        time=np.concatenate([known.time, bars.time]),
        values=np.concatenate([known.values, bars.values]),
        funding=np.concatenate([known.funding, bars.funding]),
        final=np.concatenate([known.final, bars.final]),
        cash_rate=np.zeros(len(known) + len(bars)),
    )
