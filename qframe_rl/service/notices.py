"""What happened to portfolios, as rows: told on their pages, and some of it sent to people by Apprise."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from qframe_rl.alerts.sender import Channel
from qframe_rl.config import Unavailable
from qframe_rl.listeners import Soft
from qframe_rl.service.store import ServiceStore, Statements
from qframe_rl.types import DAY

_COLUMNS = "portfolio, seq, time_ns, rule, text, alert, sent_ns"
_WAIT_S = (1.0, 300.0)
"""Between two tries to send what a channel did not take: the first, and the longest."""


class PortfolioNotice(NamedTuple):
    """Something that happened to a portfolio."""

    portfolio: str
    seq: int
    time_ns: int
    rule: str
    """ramp, state, rebalance or waits."""
    text: str
    alert: int
    """1 = it is sent to people, where there are channels."""
    sent_ns: int | None
    """When all channels had it."""


class PortfolioNotices:
    """The rows.

    Parameters
    ----------
    store
        Where they lie.
    """

    def __init__(self, store: ServiceStore):
        self.store = store

    def say(self, portfolio: str, rule: str, text: str, *, key: str = "", alert: bool = False) -> bool:
        """Note what happened; whether it is new.

        Parameters
        ----------
        portfolio, rule, text
            Of what, of which kind, and what, in a sentence.
        key
            The same key is noted once for ever, whoever is killed meanwhile; empty = always.
        alert
            Whether people are to be told.
        """
        with self.store.writing() as database:
            return noted(database, portfolio, rule, text, key=key, alert=alert)

    def latest(self, portfolio: str, n: int) -> list[PortfolioNotice]:
        """The newest, first."""
        rows = self.store.rows(
            f"SELECT {_COLUMNS} FROM notices WHERE portfolio = ? ORDER BY seq DESC LIMIT ?", (portfolio, n)
        )
        return [PortfolioNotice(*row) for row in rows]

    def unsent(self, n: int = 20) -> list[PortfolioNotice]:
        """Alerts of the last day that wait to be sent, the oldest first; older ones are news to nobody."""
        rows = self.store.rows(
            f"SELECT {_COLUMNS} FROM notices WHERE alert = 1 AND sent_ns IS NULL AND time_ns > ? "
            "ORDER BY time_ns, portfolio, seq LIMIT ?", (time.time_ns() - DAY, n),
        )  # fmt: skip
        return [PortfolioNotice(*row) for row in rows]

    def sent(self, one: PortfolioNotice) -> None:
        """Note that all channels had it."""
        with self.store.writing() as database:
            database.execute(
                "UPDATE notices SET sent_ns = ? WHERE portfolio = ? AND seq = ?",
                (time.time_ns(), one.portfolio, one.seq),
            )


def noted(database: Statements, portfolio: str, rule: str, text: str, *, key: str = "", alert: bool = False) -> bool:
    """As `PortfolioNotices.say`, in a transaction that is under way."""
    ((last,),) = database.execute(
        "SELECT coalesce(max(seq), 0) FROM notices WHERE portfolio = ?", (portfolio,)
    ).fetchall()
    done = database.execute(
        "INSERT INTO notices (portfolio, seq, once, time_ns, rule, text, alert) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        (portfolio, last + 1, key or f"#{last + 1}", time.time_ns(), rule, text[:500], int(alert)),
    ).rowcount
    return bool(done)


class NoticeSender:
    """Sends alerts of portfolios, each at least once to each channel.

    Parameters
    ----------
    notices
        The rows.
    to
        The channels.
    soft
        Says that a channel does not take messages, and that it takes them again.
    """

    def __init__(self, notices: PortfolioNotices, to: Sequence[Channel], soft: Soft):
        self._notices, self._to, self._soft = notices, list(to), soft
        self._had: dict[tuple[str, int], set[int]] = {}
        self._wait_s, self._due = 0.0, 0.0

    def step(self) -> None:
        """Send what waits, if it is time; while the store does not answer, it waits there."""
        if time.monotonic() < self._due:
            return
        try:
            taken = [self._delivered(one) for one in self._notices.unsent()]
        except Unavailable:
            return
        first, longest = _WAIT_S
        self._wait_s = 0.0 if all(taken) else min(longest, 2.0 * self._wait_s or first)
        self._due = time.monotonic() + self._wait_s

    def _delivered(self, one: PortfolioNotice) -> bool:
        """Whether every channel has it by now; one that had it already is not asked again."""
        had = self._had.setdefault((one.portfolio, one.seq), set())
        for k, channel in enumerate(self._to):
            if k not in had and self._soft.run(channel.name, _sent, channel, one):
                had.add(k)
        if len(had) < len(self._to):
            return False
        self._notices.sent(one)
        del self._had[one.portfolio, one.seq]
        return True


def _sent(channel: Channel, one: PortfolioNotice) -> bool:
    if not channel.send(f"QFrame: {one.rule} of portfolio {one.portfolio}", f"{one.portfolio}: {one.text}"):
        raise OSError("it does not take messages; they wait")
    return True
