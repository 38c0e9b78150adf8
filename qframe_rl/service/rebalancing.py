"""Bringing members to their shares: when it is due, what is taken, then what is given, each by a transfer of its own.

The plan is a row, and the ids of its transfers follow from it, so whoever goes on with it asks for nothing twice.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.evaluate.metrics import returns
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.live.record import journal_record
from qframe_rl.portfolio.ledger import CapitalTransfer
from qframe_rl.portfolio.shares import Move, moves, shares_of
from qframe_rl.service.booking import JOINED, MemberRow, PortfolioRow, balances, begin, members_in, units_in
from qframe_rl.service.portfolios import Portfolios
from qframe_rl.times import timeframe_ns
from qframe_rl.types import Float

WHO = "rebalance"
RETURNS = 1000
"""The last returns that shares by risk go by, at most."""


class Rebalancer:
    """Carries plans out.

    Parameters
    ----------
    portfolios
        The rows.
    root
        Folder in which each member has one of its name.
    """

    def __init__(self, portfolios: Portfolios, root: Path):
        self.portfolios, self.root = portfolios, root
        self.part: Callable[[], Mapping[str, float]] = dict
        """Of its share a member gets so much now, where it does not get all of it."""
        self.running: frozenset[str] | None = None
        """Sessions that are wanted running: the others would decide on no transfer; None = all."""

    def step(self, row: PortfolioRow) -> str:
        """Do what is next; what happened, in words, or empty."""
        if row.plan:
            return self._on(row)
        if not row.due_ns or time.time_ns() < row.due_ns:
            return ""
        members = self.portfolios.members(row.id)
        why = self.obstacle(row, members)
        if not why:
            try:
                plan = self._planned(row, members)
            except UserError as error:
                why = str(error).rstrip(".")
        due = time.time_ns() + timeframe_ns(row.spec.every) if row.spec.every else 0
        if why:
            # Not now: it is tried again in a minute where it is on a schedule, and not again where it was asked for.
            due = time.time_ns() + 60 * 10**9 if row.spec.every else 0
            self.portfolios.note(row.id, due_ns=due, why=why[:500])
            return f"not rebalanced: {why}" if why != row.why else ""
        self.portfolios.note(row.id, due_ns=due, why="", plan=json.dumps(plan))
        return f"rebalancing to {', '.join(f'{name} {share:.1%}' for name, share in plan['shares'].items())}"

    def obstacle(self, row: PortfolioRow, members: list[MemberRow]) -> str:
        """Why nothing can be moved now; empty if it can."""
        if row.vigil.state != "ACTIVE":
            return f"it is {row.vigil.state}"
        if not members:
            return "it has no members"
        for one in members:
            if one.joined != JOINED or one.value.mark:
                return f"{one.name} is {one.value.mark or 'not begun'}"
            if self.running is not None and one.name not in self.running:
                return f"{one.name} is stopped"
        return "transfers are under way" if self.portfolios.pending(row.id) else ""

    def shares(self, row: PortfolioRow, members: list[MemberRow]) -> dict[str, float]:
        """What each member gets now, as a share of the portfolio; raises UserError as `shares_of` does."""
        names, part = [one.name for one in members], self.part()
        by_hand = {one.name: one.share for one in members if one.share is not None}
        by_risk = row.spec.method not in ("hand", "equal")
        shares = shares_of(row.spec.method, names, by_hand, self._returns(names) if by_risk else np.zeros((0, 0)))
        return {name: share * part.get(name, 1.0) for name, share in shares.items()}

    def _planned(self, row: PortfolioRow, members: list[MemberRow]) -> dict[str, Any]:
        shares = self.shares(row, members)
        have = {one.name: units_in(one.value) for one in members}
        whole = self.portfolios.ledger(row.id).unallocated + sum(have.values())
        return {
            "key": f"{row.id} {time.time_ns()}", "phase": "take", "shares": shares,
            "moves": [list(move) for move in moves(shares, have, whole, row.spec.band)],
        }  # fmt: skip

    def _returns(self, names: list[str]) -> Float:
        """(N, M) returns of the members between the closes that all of them have, without what was paid in or out."""
        curves: list[dict[int, float]] = []
        for name in names:
            record = journal_record(self.root / name / JOURNAL)
            curves.append(dict(zip(record.time.tolist(), record.worth.tolist(), strict=True)))
        common = sorted(set.intersection(*(set(curve) for curve in curves)))[-RETURNS - 1 :]
        if len(common) < 2:
            return np.zeros((0, len(names)))
        return np.stack([returns(np.array([curve[at] for at in common])) for curve in curves], axis=1)

    def _on(self, row: PortfolioRow) -> str:
        """Go on with a plan once nothing is under way."""
        plan = row.plan
        if any(one.who == WHO for one in self.portfolios.pending(row.id)):
            return ""
        if plan["phase"] == "done":
            self.portfolios.note(row.id, plan="{}")
            return "rebalanced"
        if row.vigil.state != "ACTIVE":
            why = f"it is {row.vigil.state}"
            self.portfolios.note(row.id, plan="{}", why=why)
            return f"not rebalanced: {why}; what came in stays unallocated"
        gives = plan["phase"] == "give"
        part = [Move(*move) for move in plan["moves"] if (move[1] > 0) == gives]
        after = plan | {"phase": "done" if gives else "give"}
        with self.portfolios.store.writing() as database:
            if gives:
                part = _afforded(part, balances(database, row.id).unallocated)
            here = {one.name for one in members_in(database, row.id)}
            for move in part:
                if move.member in here:
                    begin(database, row.id, CapitalTransfer(_id(plan["key"], move, gives), *move), WHO)
            database.execute("UPDATE portfolios SET plan = ? WHERE id = ?", (json.dumps(after), row.id))
        return ""


def _afforded(part: list[Move], unallocated: int) -> list[Move]:
    """What is given, less in proportion where less came in than was planned."""
    wanted = sum(move.units for move in part)
    if wanted <= unallocated:
        return part
    return [move for move in (Move(m.member, m.units * unallocated // wanted) for m in part) if move.units]


def _id(key: str, move: Move, gives: bool) -> str:
    return hashlib.sha256(f"{key} {move.member} {gives}".encode()).hexdigest()[:32]
