"""Ramps of members as rows, and who carries them out: each decision is noted, and the money moves by transfers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.shapes import said_last
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.journal.store import pulse
from qframe_rl.portfolio.ramp import CapitalRamp, RampDecision, RampFigures, RampState, RampStep, steps_of
from qframe_rl.portfolio.shares import moves
from qframe_rl.service.booking import JOINED, MemberRow, PortfolioRow, units_in
from qframe_rl.service.notices import PortfolioNotices
from qframe_rl.service.portfolios import PortfolioChanges, Portfolios
from qframe_rl.service.rebalancing import Rebalancer

_COLUMNS = "member, steps, state, moving, tried_ns, why"
_AGAIN_S = 600.0
"""Time after which money that a session would not give back is asked for again."""
NO_SHARE = "its share is nothing: it is asked for no money, and gets none"
_NEAR = 0.01
"""How near to its share a member has come when it counts as there, as a part of it."""


class RampRow(NamedTuple):
    """The ramp of a member."""

    member: str
    steps: tuple[RampStep, ...]
    state: RampState
    moving: bool
    """Whether the member is still to be brought to its step's share."""
    tried_ns: int
    """When transfers were last asked for that, ns UTC."""
    why: str
    """What the last decision was, and why."""

    @property
    def share(self) -> float:
        """Of what the member is to get at last, so much it gets now."""
        return CapitalRamp(self.steps).share(self.state)


class Ramps:
    """The rows.

    Parameters
    ----------
    portfolios
        Of the members.
    """

    def __init__(self, portfolios: Portfolios):
        self.portfolios, self.store = portfolios, portfolios.store

    def all(self) -> dict[str, RampRow]:
        """All ramps, by member."""
        return {row[0]: _row(row) for row in self.store.rows(f"SELECT {_COLUMNS} FROM ramps ORDER BY member")}

    def put(self, portfolio: str, member: str, steps: str | None, who: str) -> None:
        """Let a member earn its capital in steps, from the first one on; None = it has all of its share at once.

        Parameters
        ----------
        portfolio, member
            Their names.
        steps
            As `steps_of` reads them; the same again changes nothing.
        who
            Asks.

        Raises
        ------
        UserError
            If they are none, or it is no member.
        """
        self.portfolios.change(portfolio, PortfolioChanges(ramps={member: steps}), who)

    def keep(self, member: str, **fields: Any) -> None:
        """Note any of state (as JSON), moving, tried_ns, why."""
        columns = ", ".join(f"{column} = ?" for column in fields)
        with self.store.writing() as database:
            database.execute(f"UPDATE ramps SET {columns} WHERE member = ?", (*fields.values(), member))


class RampKeeper:
    """Looks at members with a ramp, and has their money moved.

    Parameters
    ----------
    ramps
        The rows.
    rebalancer
        Says what a whole share is; one plan at a time is under way in a portfolio.
    root
        Folder in which each member has one of its name.
    """

    def __init__(self, ramps: Ramps, rebalancer: Rebalancer, root: Path):
        self.ramps, self.rebalancer, self.root = ramps, rebalancer, root
        self.notices = PortfolioNotices(ramps.store)
        rebalancer.part = lambda: {name: one.share for name, one in ramps.all().items()}

    def step(self, row: PortfolioRow, told: Callable[[str], None]) -> None:
        """Look at the members of a portfolio once.

        Parameters
        ----------
        row
            The portfolio.
        told
            Told in one line of each decision.
        """
        ramps, members = self.ramps.all(), self.ramps.portfolios.members(row.id)
        ramped = [one for one in members if one.name in ramps and one.joined == JOINED]
        for member in ramped:
            decision = self._looked(row.id, ramps[member.name], member)
            if decision is not None:
                told(f"{row.id}: {member.name} {_said(decision)}")
        self._move(row, members, [one.name for one in ramped])

    def _looked(self, portfolio: str, ramp: RampRow, member: MemberRow) -> RampDecision | None:
        state, decision = CapitalRamp(ramp.steps).look(
            ramp.state, self._figures(member)._replace(placed=not ramp.moving)
        )
        if state == ramp.state:
            return None
        kept: dict[str, Any] = {"state": json.dumps(state._asdict())}
        if decision is not None:
            kept |= {"moving": 1, "tried_ns": 0, "why": _said(decision)[:500]}
            text, key = f"{member.name} {_said(decision)}", f"ramp {member.name} {state.time_ns}"
            self.notices.say(portfolio, "ramp", text, key=key, alert=True)
            self.ramps.store.audit(
                "ramp", f"{decision.before:.2%} to {decision.after:.2%}", member.name, _said(decision)
            )
        self.ramps.keep(member.name, **kept)
        return decision

    def _figures(self, member: MemberRow) -> RampFigures:
        """How a member stands, by what its session said last."""
        unknown = RampFigures(0, "", 0.0, None, None, None, "not begun")
        journal = self.root / member.name / JOURNAL
        try:
            said = pulse(journal)
            last = {} if said is None else said_last(journal, said[1])
        except (UserError, Unavailable):
            return unknown._replace(mark="corrupt")
        if not last:
            return unknown
        promise: Mapping[str, Any] = last.get("promise") or {}
        equity, peak = last["account"]["equity"], last["peak"]
        fall = 1.0 - equity / peak if peak > 0.0 else 0.0
        return RampFigures(
            last["time"], last["state"], max(fall, 0.0), last["drift_bps"], promise.get("answer"),
            promise.get("drawdown"), member.value.mark,
        )  # fmt: skip

    def _move(self, row: PortfolioRow, members: Sequence[MemberRow], ramped: Sequence[str]) -> None:
        """Ask for the transfers of one member that is not at its step's share, if nothing else is under way."""
        now = time.time_ns()
        due = [
            one for name, one in self.ramps.all().items()
            if name in ramped and one.moving and abs(now - one.tried_ns) > _AGAIN_S * 1e9
        ]  # fmt: skip
        row = self.ramps.portfolios.one(row.id)
        if not due or row.plan or self.rebalancer.obstacle(row, list(members)):
            return
        try:
            shares = self.rebalancer.shares(row, list(members))
        except UserError as error:
            self.ramps.keep(due[0].member, tried_ns=now, why=str(error)[:500])
            return
        for one in due:
            if not shares[one.member]:  # a session never gives all of its money: nothing can come of asking
                self.ramps.keep(one.member, tried_ns=now, why=NO_SHARE)
        names = [one.member for one in due if shares[one.member]]
        if not names:
            return
        name, share = names[0], shares[names[0]]
        have = {one.name: units_in(one.value) for one in members}
        whole = self.ramps.portfolios.ledger(row.id).unallocated + sum(have.values())
        if abs(share * whole - have[name]) <= _NEAR * share * whole:
            self.ramps.keep(name, moving=0)
            return
        found = moves({name: share}, have, whole, 0.0)
        self.ramps.keep(name, tried_ns=now)
        plan = {
            "key": f"{row.id} ramp {now}",
            "phase": "take",
            "shares": {name: share},
            "moves": [list(m) for m in found],
        }
        self.ramps.portfolios.note(row.id, plan=json.dumps(plan))


def _row(row: Sequence[Any]) -> RampRow:
    member, steps, state, moving, tried, why = row
    return RampRow(member, steps_of(steps), RampState(**json.loads(state)), bool(moving), tried, why)


def _said(decision: RampDecision) -> str:
    way = "raised" if decision.after > decision.before else "taken back"
    return f"{way} from {decision.before:g} to {decision.after:g} of its share: {'; '.join(decision.reasons)}"
