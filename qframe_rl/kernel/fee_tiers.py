"""A taker fee that falls with what an account traded in the last 30 days.

What an account remembers of it lies behind its own columns: how many bars it lived through since its first trade, and
what it traded in each of the last TIER_DAYS days. A day is the bars of 24 hours, counted from that trade. The fee of a
bar is that of what was traded up to the bar before; see `docs/decisions/0015-a-rule-is-a-line-of-the-stage-list.md`.
"""

from __future__ import annotations

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel import lanes
from qframe_rl.kernel.columns import N_ACCOUNT
from qframe_rl.kernel.lanes import ACCOUNT, INSTRUMENT, LANES
from qframe_rl.kernel.rules import DAY_BARS, N_RULES, TAKER, TIER_DAYS
from qframe_rl.types import Float

# Columns of an account.
BARS, TRADED = N_ACCOUNT, N_ACCOUNT + 1


@compiled
def look_back(first: int, count: int, w: Float, account: Float) -> None:
    """Write what each account of a block traded in the last days."""
    for k in range(count):
        total = 0.0
        for day in range(TIER_DAYS):
            total += account[first + k, TRADED + day]
        w[lanes.TRADED + k] = total
    for k in range(count, LANES):
        w[lanes.TRADED + k] = 0.0


@inlined
def rate_of(traded: float, rule: Float) -> float:
    """Taker fee of who traded so much: the instrument's own, or that of a tier, if it is less."""
    rate = rule[TAKER]
    for j in range(N_RULES, len(rule), 2):
        rate = rule[j + 1] if (traded >= rule[j]) & (rule[j + 1] < rate) else rate
    return float(rate)


@compiled
def discount(v: Float, w: Float, rule: Float) -> None:
    """Write the fee of orders that take."""
    for k in range(LANES):
        v[lanes.RATE + k] = rate_of(w[lanes.TRADED + k], rule)


@compiled
def note(n: int, w: Float, k: int, account: Float, table: Float) -> None:
    """Add what lane ``k`` traded in the bar to its day, and let the bar pass."""
    traded = 0.0
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT + k :]
        traded += abs(v[lanes.FILLED]) * v[lanes.AT] if v[lanes.FILLED] != 0.0 else 0.0
        traded += abs(v[lanes.FORCED]) * v[lanes.FORCED_AT]
    account[TRADED + _day(account[BARS], table[0, DAY_BARS]) % TIER_DAYS] += traded
    if traded > 0.0 or account[BARS] > 0.0:
        _pass(account, 1, table[0, DAY_BARS])


@inlined
def live_through(account: Float, n_bars: int, table: Float) -> None:
    """Let bars pass in which one account, (n_columns,), trades nothing."""
    if account[BARS] > 0.0:
        _pass(account, n_bars, table[0, DAY_BARS])


@inlined
def _pass(account: Float, n_bars: int, day_bars: float) -> None:
    """Forget the days that are too long ago after so many bars."""
    before = _day(account[BARS], day_bars)
    account[BARS] += n_bars
    now = _day(account[BARS], day_bars)
    for day in range(max(before + 1, now - TIER_DAYS + 1), now + 1):
        account[TRADED + day % TIER_DAYS] = 0.0


@inlined
def _day(bars: float, day_bars: float) -> int:
    return int(bars // day_bars)
