"""Which instruments a strategy may open positions in, by a rule of what was known, instead of a list made today.

A list of coins that was made today knows which of them lived and rose. A rule chooses anew at stated times among all
candidates, from the bars that had closed by then and from no others, so that what it chose in 2019 is what it would
have chosen in 2019. Everything here is a pure function of bars: a history that is read and a session on an exchange
come to the same members, name by name, from the same bars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.config import UserError, nearest
from qframe_rl.feeds.universe_rule import SLACK, UniverseRule, renewal
from qframe_rl.members import MEMBER
from qframe_rl.times import DAY, HOUR, timeframe_name
from qframe_rl.types import CLOSE, RELISTED, VOLUME, Bool, Float, History, Instrument, Int

_CLOSES = 3
"""Closes of which a volatility is made at least: two moves."""


class Membership(NamedTuple):
    """One renewal, by name."""

    time: int
    """When it was, ns UTC: what had closed by then was known."""
    members: tuple[str, ...]
    """Symbols, the largest first; in the order of the instruments where none is larger."""


class MembershipChange(NamedTuple):
    """Who came and went between two bars, by name."""

    time: int
    """Close of the bar from which on it is so, ns UTC."""
    joined: tuple[str, ...]
    left: tuple[str, ...]
    listed: tuple[str, ...]
    """First traded in this bar."""
    delisted: tuple[str, ...]
    """Traded before, and no more for as long as the rule waits."""

    @property
    def empty(self) -> bool:
        """Whether nothing changed."""
        return not any(self[1:])


def check_candidates(
    rule: UniverseRule, instruments: Sequence[Instrument], columns: Sequence[str], bar_ns: int
) -> None:
    """Refuse a rule that names what is not there, or that nobody could ever pass.

    Parameters
    ----------
    rule
        The rule.
    instruments, columns
        Of the bars that it is to choose from.
    bar_ns
        Their length, ns.

    Raises
    ------
    UserError
        For a symbol that is no candidate, a column that the bars do not have, a volatility of fewer than three, or
        where nobody is left.
    """
    symbols = [one.symbol.partition(RELISTED)[0] for one in instruments]
    for symbol in (*rule.allow, *rule.deny):
        if symbol not in symbols:
            raise UserError(f"universe {rule.text!r}: {symbol} is no candidate{nearest(symbol, symbols)}")
    if not (set(rule.allow) or set(symbols)) - set(rule.deny):
        raise UserError(f"universe {rule.text!r}: deny leaves no candidate; leave a symbol out of it.")
    for name in rule.columns:
        if name not in columns:
            raise UserError(
                f"universe {rule.text!r}: the bars have no column {name!r}; add it with --columns {name}=FILE:COLUMN, "
                "or leave the term out."
            )
    if 0 < rule.volatility_ns < _CLOSES * bar_ns:
        raise UserError(
            f"universe {rule.text!r}: of bars of {timeframe_name(bar_ns)} a volatility needs {_CLOSES} at least; "
            f"take volatility{timeframe_name(-(-_CLOSES * bar_ns // HOUR) * HOUR)} or a longer one."
        )


def chosen(history: History, rule: UniverseRule, at: int) -> Membership:
    """Who is a member from a renewal on.

    Parameters
    ----------
    history
        Bars of the candidates; those that close after ``at`` change nothing, nor do those that are older than the
        rule's `lookback_ns`.
    rule
        The rule. Of equal volumes the symbol that comes first in the alphabet counts as larger.
    at
        The renewal, ns UTC.
    """
    until = int(np.searchsorted(history.time, at, side="right"))
    passed = [a for a in range(len(history.instruments)) if _passes(history, rule, a, at, until)]
    if rule.top is None:
        return Membership(at, tuple(history.symbols[a] for a in passed))
    volume = {history.symbols[a]: _volume(history, rule, a, at, until) for a in passed}
    largest = sorted((symbol for symbol in volume if volume[symbol] > 0.0), key=lambda one: (-volume[one], one))
    return Membership(at, tuple(largest[: rule.top]))


def _within(history: History, a: int, at: int, until: int, length: int) -> Int:
    """Rows in which an instrument traded in the ``length`` (ns) up to ``at``."""
    first = int(np.searchsorted(history.time, at - length, side="right"))
    return first + np.flatnonzero(~np.isnan(history.values[first:until, a, CLOSE]))


def _volume(history: History, rule: UniverseRule, a: int, at: int, until: int) -> float:
    """Quote currency traded, each bar's volume at its close."""
    rows = _within(history, a, at, until, rule.volume_ns)
    return float(np.sum(history.values[rows, a, CLOSE] * history.values[rows, a, VOLUME]))


def _passes(history: History, rule: UniverseRule, a: int, at: int, until: int) -> bool:
    """Whether an instrument passes every filter of the rule, apart from notices, which act at once."""
    ticker = history.symbols[a].partition(RELISTED)[0]
    if ticker in rule.deny or (rule.allow and ticker not in rule.allow):
        return False
    lately = _within(history, a, at, until, max(rule.traded_ns, history.bar_ns))
    if not len(lately) or not rule.price.holds(history.values[lately[-1], a, CLOSE]):
        return False
    return (
        _old(history, rule, a, at)
        and (rule.volatility_ns == 0 or rule.volatility.holds(_volatility(history, rule, a, at, until)))
        and (rule.spread is None or _spread(history, rule.spread[0], a, lately) <= rule.spread[1])
    )


def _old(history: History, rule: UniverseRule, a: int, at: int) -> bool:
    """Whether an instrument traded when it had to be there, or shortly before."""
    if rule.age_ns == 0:
        return True
    due = at - rule.age_ns + history.bar_ns  # close of a bar that opened then
    upto = int(np.searchsorted(history.time, due, side="right"))
    return len(_within(history, a, due, upto, SLACK + history.bar_ns)) > 0


def _volatility(history: History, rule: UniverseRule, a: int, at: int, until: int) -> float:
    """Standard deviation of log moves of a day; NaN with fewer than two moves."""
    close = history.values[_within(history, a, at, until, rule.volatility_ns), a, CLOSE]
    moves = np.diff(np.log(close))
    return float(np.std(moves) * np.sqrt(DAY / history.bar_ns)) if len(moves) > 1 else np.nan


def _spread(history: History, column: str, a: int, rows: Int) -> float:
    """Last value of a column among rows; infinite where there is none."""
    values = history.values[rows, a, 5 + history.columns.index(column)]
    known = values[~np.isnan(values)]
    return float(known[-1]) if len(known) else np.inf


def memberships(history: History, rule: UniverseRule) -> tuple[Membership, ...]:
    """All renewals that the rows of a history hold by, in order of time; the first may lie before its first row."""
    at = dict.fromkeys(renewal(time, rule) for time in history.time.tolist())
    return tuple(chosen(history, rule, moment) for moment in at)


def member_column(history: History, rule: UniverseRule, known: Sequence[Membership] | None = None) -> Float:
    """Membership of every row: who may be bought after its bar.

    Parameters
    ----------
    history
        Bars of the candidates, without the column.
    rule
        The rule.
    known
        The renewals; None = those of these bars.

    Returns
    -------
    Float
        (T, A) 1 in, 0 out, NaN where an instrument did not trade. Row t depends on no bar after t.
    """
    members = {one.time: one.members for one in (memberships(history, rule) if known is None else known)}
    inside: Bool = np.zeros(history.values.shape[:2], dtype=np.bool_)
    moments = [renewal(time, rule) for time in history.time.tolist()]
    for moment in dict.fromkeys(moments):
        row = np.array([symbol in members.get(moment, ()) for symbol in history.symbols])
        inside[np.array(moments) == moment] = row
    if rule.notice is not None:
        noticed = history.values[:, :, 5 + history.columns.index(rule.notice)] > 0.0
        inside &= ~noticed
    return np.where(np.isnan(history.values[:, :, CLOSE]), np.nan, inside.astype(np.float64))


def with_members(history: History, rule: UniverseRule, known: Sequence[Membership] | None = None) -> History:
    """Add the column `MEMBER`, by which envs, observers and sessions know who may be bought.

    Parameters
    ----------
    history, rule, known
        As in `member_column`.

    Raises
    ------
    UserError
        If a column of that name is there, or for a rule that names what is not there.
    """
    if MEMBER in history.columns:
        raise UserError(f"the name {MEMBER!r} of a column is taken by the universe; give yours another.")
    check_candidates(rule, history.instruments, history.columns, history.bar_ns)
    column = member_column(history, rule, known)
    values = np.concatenate([history.values, column[:, :, None]], axis=2)
    return replace(history, values=values, columns=(*history.columns, MEMBER))


class MembersWatch:
    """Who is in and who trades, bar by bar: tells what changed, by name.

    Parameters
    ----------
    instruments
        The A instruments.
    rule
        The rule, for how long a coin without trades is waited for; None = a day.
    """

    def __init__(self, instruments: Sequence[Instrument], rule: UniverseRule | None = None):
        self._symbols = tuple(one.symbol for one in instruments)
        self._patience = DAY if rule is None else rule.traded_ns
        self._inside: Bool = np.zeros(len(self._symbols), dtype=np.bool_)
        self._last: Int = np.full(len(self._symbols), -1, dtype=np.int64)
        self._gone: Bool = np.zeros(len(self._symbols), dtype=np.bool_)

    def take(self, time: int, close: Float, member: Float) -> MembershipChange:
        """Look at one bar.

        Parameters
        ----------
        time
            Its close, ns UTC.
        close, member
            (A,) closes and the column `MEMBER`, NaN where an instrument did not trade.
        """
        traded = ~np.isnan(close)
        listed_now = traded & ((self._last < 0) | self._gone)
        self._last = np.where(traded, time, self._last)
        gone = (self._last >= 0) & (time - self._last >= self._patience)
        delisted_now, self._gone = gone & ~self._gone, gone
        # A bar without a trade says nothing about membership, until the coin is gone.
        inside = np.where(traded, member == 1.0, self._inside & ~gone)
        joined, left = inside & ~self._inside, self._inside & ~inside
        self._inside = inside
        return MembershipChange(time, *(self._named(of) for of in (joined, left, listed_now, delisted_now)))

    def carried(self) -> dict[str, list[Any]]:
        """What it knows, as JSON."""
        return {"inside": self._inside.tolist(), "last": self._last.tolist(), "gone": self._gone.tolist()}

    def carry(self, memory: Mapping[str, list[Any]]) -> None:
        """Take over what `carried` returned."""
        self._inside, self._gone = (np.array(memory[name], dtype=np.bool_) for name in ("inside", "gone"))
        self._last = np.array(memory["last"], dtype=np.int64)

    def _named(self, which: Bool) -> tuple[str, ...]:
        return tuple(symbol for symbol, is_it in zip(self._symbols, which.tolist(), strict=True) if is_it)


def changes(history: History, rule: UniverseRule | None = None) -> list[MembershipChange]:
    """Every change of a history with the column `MEMBER`, by name, the first bar being compared with nothing."""
    standing, channel = MembersWatch(history.instruments, rule), 5 + history.columns.index(MEMBER)
    rows = (
        standing.take(time, history.values[row, :, CLOSE], history.values[row, :, channel])
        for row, time in enumerate(history.time.tolist())
    )
    return [one for one in rows if not one.empty]
