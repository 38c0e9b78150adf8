"""What a list of coins that is made today pretends: the same money on it, and on the list as it was known then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qframe_rl.agent import Runs
from qframe_rl.config import Ref, UserError
from qframe_rl.deploy import make_market
from qframe_rl.feeds.universe import chosen
from qframe_rl.feeds.universe_rule import UniverseRule, renewal
from qframe_rl.gym.market import Market
from qframe_rl.members import member_channel
from qframe_rl.runner.batch import Lane, batch
from qframe_rl.times import iso
from qframe_rl.types import CLOSE, Bool, Float, History, Segment


class HindsightRow(NamedTuple):
    """What one unit of money became over one period."""

    since: int
    """First decision, ns UTC."""
    until: int
    """Close of the last bar, ns UTC."""
    known: float
    """On the members as they were known then."""
    ahead: float
    """On the list that the rule makes at the end of all bars, as far as its instruments traded."""


def hindsight(
    history: History, rule: UniverseRule, periods: Sequence[tuple[int | None, int | None]], cost: float
) -> tuple[tuple[str, ...], list[HindsightRow]]:
    """Hold the members in equal shares, made equal again at each renewal, through the kernel.

    Orders are decided at the close at which a renewal is known and fill at the open of the next bar, in lots of the
    exchange, without spread and impact.

    Parameters
    ----------
    history
        Bars with the column of the members by ``rule``.
    rule
        The rule.
    periods
        Each from and to, ns UTC; None = as far as there are bars.
    cost
        Fee of what is traded, fraction of its value.

    Returns
    -------
    tuple
        The list that is made at the end, and a row for each period.

    Raises
    ------
    UserError
        If a period has fewer than two bars.
    """
    ahead = chosen(history, rule, int(history.time[-1])).members
    listed: Bool = np.array([symbol in ahead for symbol in history.symbols])
    market, traded = _market(history, cost), ~np.isnan(history.values[:, :, CLOSE])
    inside = history.values[:, :, member_channel(history.columns)] == 1.0
    free = history.values.copy()
    free[:, :, member_channel(history.columns)] = np.where(traded, 1.0, np.nan)
    # What is held ahead of its time is no universe: nothing may confine it.
    unbound = History(
        history.instruments, history.bar_ns, history.time, free, history.funding, history.final, history.source,
        history.columns, cash_rate=history.cash_rate,
    )  # fmt: skip
    rows = []
    for since, until in periods:
        segment = history.between(since, until)
        first = max(segment.start - 1, 0)
        if segment.stop - 1 <= first:
            raise UserError(
                f"the period from {iso(since or 0)[:10]} to {iso(until or int(history.time[-1]))[:10]} has fewer than "
                f"two of the bars, which close from {iso(int(history.time[0]))} to {iso(int(history.time[-1]))}."
            )
        lanes = [
            _equal(history, rule, Segment(first, segment.stop), inside),
            _equal(unbound, rule, Segment(first, segment.stop), traded & listed),
        ]
        known, then = (float(one.equity[-1] / one.equity[0]) for one in batch(market, lanes))
        rows.append(HindsightRow(int(history.time[first]), int(history.time[segment.stop - 1]), known, then))
    return ahead, rows


def _market(history: History, cost: float) -> Market:
    params = {"features": ["log_return:1"], "taker_fee_bps": 1e4 * cost, "half_spread_bps": 0.0, "impact": 0.0,
              "volume_share": 1.0}  # fmt: skip
    return make_market(Ref(name="auto", params=params), history.instruments, history.columns, history.bar_ns)


def _equal(history: History, rule: UniverseRule, rows: Segment, held: Bool) -> Lane:
    """Equal shares of what is held, asked for at the first row and whenever a renewal is first known."""
    renewals = [renewal(time, rule) for time in history.time[rows.start : rows.stop - 1].tolist()]
    asked = [k for k in range(len(renewals)) if k == 0 or renewals[k] != renewals[k - 1]]
    starts, values = [], []
    for k in asked:
        starts.append(k)
        values.append(_shares(held[rows.start + k]))
        if k + 1 < len(renewals) and k + 1 not in asked:  # what is held is left to drift
            starts.append(k + 1)
            values.append(np.full(held.shape[1], np.nan))
    runs = Runs(len(renewals), np.array(starts), np.array(values))
    return Lane(history, rows.start, runs, 0.0, rows.start + 1)


def _shares(held: Bool) -> Float:
    return np.where(held, 1.0 / max(1, held.sum()), 0.0)
