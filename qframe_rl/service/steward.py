"""Who carries portfolios out, inside the supervisor: transfers to inboxes and back into ledgers, and the warden.

It remembers nothing that matters: rows say what is wanted, journals what was done, and the ids of transfers join the
two. Whenever it is killed, the next one goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.inbox import left, order, transfer_word
from qframe_rl.journal.lock import beat_of
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.live.kill import mark, portfolio_of, tell
from qframe_rl.portfolio.valuation import PortfolioValue, value
from qframe_rl.portfolio.warden import Vigil, Warden
from qframe_rl.service.booking import (
    JOINED,
    NEW,
    MemberRow,
    PortfolioRow,
    TransferRow,
    balances,
    keep_value,
    keep_vigil,
    members_in,
    vigil_in,
)
from qframe_rl.service.desired import Desired
from qframe_rl.service.membership import apply, bar_of, walked
from qframe_rl.service.notices import PortfolioNotices, noted
from qframe_rl.service.portfolios import Portfolios
from qframe_rl.service.ramping import RampKeeper, Ramps
from qframe_rl.service.rebalancing import Rebalancer
from qframe_rl.service.store import ServiceStore
from qframe_rl.service.waiting import waiting

_AGAIN_S = 60.0
"""Time after which it is looked whether a transfer that no journal tells of still lies in its inbox."""
_REST_S = 2.0
"""Time between two looks at a portfolio in which nothing happens."""
_TOLD_S = 2.0
"""Time between two tellings of a member that does not obey."""
_ILL = (UserError, OSError, ArithmeticError, LookupError, TypeError, ValueError)
"""What holds up one portfolio, or the marks in members' folders, and nothing else."""


class Steward:
    """One for all portfolios of a store.

    Parameters
    ----------
    store
        Of the rows.
    root
        Folder in which each supervised session has one of its name.
    told
        Told in one line of what changes.
    """

    def __init__(self, store: ServiceStore, root: Path, told: Callable[[str], None]):
        self.portfolios, self.desired, self.root, self.told = Portfolios(store), Desired(store), root, told
        self.rebalancer = Rebalancer(self.portfolios, root)
        self.ramps = RampKeeper(Ramps(self.portfolios), self.rebalancer, root)
        self.notices = PortfolioNotices(store)
        self._waiting: dict[str, list[str]] = {}
        """Whom money of each portfolio waited for at the last look."""
        self._beats: dict[str, tuple[int | None, float]] = {}
        """Last sign of life of each member, and when it was seen, by this process's own clock."""
        self._tellings: dict[str, tuple[str, int, float]] = {}
        self._ill = ""
        self._seen: dict[str, tuple[Any, float]] = {}
        """What was seen of each portfolio at the last look, and when."""
        self._marked: dict[str, str] | None = None

    def step(self) -> None:
        """Look at every portfolio once, and do what lacks.

        Raises
        ------
        Unavailable
            If the store does not answer; the next step goes on.
        UserError
            If something else failed, once everything else was done: what is wrong with one portfolio holds up no other.
        """
        running = frozenset(one.name for one in self.desired.all() if one.desired == "RUNNING")
        ill = []
        for row in self.portfolios.all():
            try:
                self._look_after(row, running)
            except _ILL as error:
                ill.append(f"{row.id}: {_sentence(error)}")
        try:
            self._mark()
        except OSError as error:
            ill.append(f"members' folders cannot be marked: {_sentence(error)}")
        if ill:
            raise UserError("; ".join(ill))

    def _look_after(self, row: PortfolioRow, running: frozenset[str]) -> None:
        marks = {one.name: self._caught_up(row, one, one.name in running)
                 for one in self.portfolios.members(row.id)}  # fmt: skip
        for one in self.portfolios.pending(row.id):
            self._send(one)
        self._watch(row, marks)
        self.rebalancer.running = running
        self.ramps.step(row, self.told)
        said = self.rebalancer.step(self.portfolios.one(row.id))
        if said:
            self._say(row.id, "rebalance", said)
        self._wait(row.id)

    def _say(self, portfolio: str, rule: str, text: str, *, key: str = "", alert: bool = False) -> None:
        if self.notices.say(portfolio, rule, text, key=key, alert=alert):
            self.told(f"{portfolio}: {text}")

    def _wait(self, portfolio: str) -> None:
        """Tell at once whom money waits for, and people once it has waited for as long as a bar."""
        waits = waiting(self.portfolios, portfolio)
        names = sorted({one.row.transfer.member for one in waits})
        if names and names != self._waiting.get(portfolio):
            self.told(f"{portfolio}: {', '.join(one.why for one in waits)}")
        self._waiting[portfolio] = names
        for one in waits:
            if time.time_ns() - one.since_ns > bar_of(self.root / one.row.transfer.member / JOURNAL):
                self._say(portfolio, "waits", str(one), key=f"waits {one.row.transfer.id}", alert=True)

    def step_or_wait(self) -> None:
        """As `step`; whatever fails is told once and tried again, for nobody else looks after the money."""
        try:
            self.step()
            ill = ""
        except Unavailable as error:
            ill = f"{error} It is tried again; portfolios wait."
        except UserError as error:
            ill = f"portfolios: {self._without_path(str(error))}"
        except _ILL as error:
            ill = f"portfolios: {self._without_path(_sentence(error))}"
        if ill and ill != self._ill:
            self.told(ill)
        self._ill = ill

    def _caught_up(self, row: PortfolioRow, member: MemberRow, runs: bool) -> tuple[str, str]:
        """Take what a member's journal says; what is wrong with it, and why."""
        journal = self.root / member.name / JOURNAL
        if not journal.exists():
            if member.joined == NEW:
                self.portfolios.waits(member.name)
            return ("corrupt", "its journal is gone") if member.joined == JOINED else ("not begun", "")
        while True:
            try:
                walk = walked(member, journal, row.spec.currency)
            except UserError as error:
                return "corrupt", self._without_path(str(error))
            except Unavailable:  # it begins and ends all the time: the next look tells
                return member.value.mark, member.value.why
            if walk.seq == member.seq:
                break
            apply(self.portfolios.store, member, walk)
            found = [one for one in self.portfolios.members(row.id) if one.name == member.name]
            if not found:  # let go meanwhile
                return "", ""
            member = found[0]
        return self._silence(member, journal, row.spec.limits.silent_s if runs else None)

    def _silence(self, member: MemberRow, journal: Path, patience_s: float | None) -> tuple[str, str]:
        """Whether a member that should run has shown no sign of life for too long."""
        beat, now = beat_of(journal), time.monotonic()
        known = self._beats.get(member.name)
        if known is None or known[0] != beat or patience_s is None:
            known = self._beats[member.name] = (beat, now)
        if patience_s is not None and now - known[1] > patience_s:
            return "silent", f"no sign of life for {now - known[1]:.0f} s"
        return ("", "") if member.joined == JOINED else ("not begun", "")

    def _send(self, one: TransferRow) -> None:
        """Put a transfer into its session's inbox, where it is not."""
        transfer, journal = one.transfer, self.root / one.transfer.member / JOURNAL
        members = {member.name: member for member in self.portfolios.members(one.portfolio)}
        found = members.get(transfer.member)
        if found is None or found.joined != JOINED or not journal.exists():
            return
        word = transfer_word(transfer.id, transfer.units)
        try:
            if one.sent_ns and not _lost(one, word, journal):
                return
            order(journal, word, patience_s=2.0)
        except (UserError, Unavailable) as error:
            self.told(f"{one.portfolio}: {self._without_path(str(error))}")
            return
        self.portfolios.sent(transfer.id)

    def _watch(self, row: PortfolioRow, marks: dict[str, tuple[str, str]]) -> None:
        """Value a portfolio, let the warden look, and tell members that are freer than it allows."""
        if not self._moved(row, marks):
            return
        with self.portfolios.store.writing() as database:
            members = [one for one in members_in(database, row.id) if one.name in marks]
            values = []
            for one in members:
                mark, why = marks[one.name]
                standing = one.value._replace(mark=mark, why=why)  # type: ignore[arg-type]
                if standing != one.value:
                    keep_value(database, one.name, standing)
                values += [standing] if one.joined == JOINED else []
            ledger, before = balances(database, row.id), vigil_in(database, row.id)
            now = value(ledger.unallocated, ledger.in_transit, values)
            # Where the member goes whose clock was ahead, time stands still until the others' are there.
            now = now._replace(time_ns=max(now.time_ns, _last_close(database, row.id)))
            found = Warden(row.spec.limits).look(before, now, values)
            if found.vigil != before:
                keep_vigil(database, row.id, found.vigil)
            said = f"{found.vigil.state} ({'; '.join(found.reasons)})" if found.reasons else ""
            if said:
                noted(database, row.id, "state", said, alert=True)
            _drawn(database, row.id, now, found.vigil, ledger.unallocated, ledger.in_transit)
        if said:
            self.told(f"{row.id}: {said}")
        for name, word in found.orders:
            self._tell(name, word, next(one.seq for one in members if one.name == name))

    def _moved(self, row: PortfolioRow, marks: dict[str, tuple[str, str]]) -> bool:
        """Whether anything is new since the last look, or that was a while ago: a look is a write."""
        store, now = self.portfolios.store, time.monotonic()
        ((booked,),) = store.rows("SELECT coalesce(max(seq), 0) FROM ledger WHERE portfolio = ?", (row.id,))
        rows = store.rows("SELECT revision, vigil FROM portfolios WHERE id = ?", (row.id,))
        seqs = [(one.name, one.seq, one.joined) for one in self.portfolios.members(row.id)]
        seen = (booked, rows, seqs, [(name, mark) for name, (mark, _) in marks.items()])
        before = self._seen.get(row.id)
        if before is not None and before[0] == seen and now - before[1] < _REST_S:
            return False
        self._seen[row.id] = (seen, now)
        return True

    def _tell(self, member: str, word: str, seq: int) -> None:
        """Tell a member a word, and again only if it went on without obeying."""
        said, now = self._tellings.get(member), time.monotonic()
        if said is not None and said[0] == word and (seq == said[1] or now - said[2] < _TOLD_S):
            return
        self._tellings[member] = (word, seq, now)
        if (self.root / member / JOURNAL).exists():
            done = tell(self.root / member, word, file=False)
            if not done.ways:
                self.told(f"{member} cannot be told {word}: {self._without_path('; '.join(done.failed))}")

    def _mark(self) -> None:
        """Let each member's folder say which portfolio it is of, for who has no database."""
        wanted = {one.name: one.portfolio for one in self.portfolios.members()}
        if wanted == self._marked or not self.root.is_dir():
            return
        for folder in self.root.iterdir():
            if folder.is_dir() and portfolio_of(folder) != wanted.get(folder.name):
                mark(folder, wanted.get(folder.name))
        if all((self.root / name).is_dir() for name in wanted):
            self._marked = wanted

    def _without_path(self, text: str) -> str:
        return text.replace(f"{self.root}/", "")


def _sentence(error: Exception) -> str:
    """What went wrong; of what is no sentence by itself, its kind as well."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def _lost(one: TransferRow, word: str, journal: Path) -> bool:
    """Whether a transfer that was sent a while ago lies in its inbox no more, and no journal told of it."""
    # Either way: a clock that steps back is no reason to wait until it is there again, and a word twice counts once.
    if abs(time.time_ns() - one.sent_ns) < _AGAIN_S * 1e9:
        return False
    return word not in {said for _, _, said in left(journal)}


def _last_close(database: Any, portfolio: str) -> int:
    """Of the curve, ns UTC; 0 where nothing was drawn."""
    ((last,),) = database.execute(
        "SELECT coalesce(max(time_ns), 0) FROM worths WHERE portfolio = ?", (portfolio,)
    ).fetchall()
    return int(last)


def _drawn(database: Any, portfolio: str, now: PortfolioValue, vigil: Vigil, unallocated: int, in_transit: int) -> None:
    """Draw the curve on: one point for each close, the last that was seen."""
    database.execute("UPDATE portfolios SET looked_ns = ? WHERE id = ?", (time.time_ns(), portfolio))
    if now.time_ns:
        database.execute(
            "INSERT INTO worths (portfolio, time_ns, equity, worth, gross, unallocated, in_transit) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (portfolio, time_ns) DO UPDATE SET equity = excluded.equity, "
            "worth = excluded.worth, gross = excluded.gross, unallocated = excluded.unallocated, "
            "in_transit = excluded.in_transit",
            (portfolio, now.time_ns, now.equity, now.equity * vigil.scale, now.gross, unallocated, in_transit),
        )
