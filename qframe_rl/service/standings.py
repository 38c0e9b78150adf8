"""Portfolios in the words of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qframe_rl.portfolio.ramp import steps_text
from qframe_rl.portfolio.valuation import PortfolioValue, value
from qframe_rl.service.booking import JOINED, MemberRow, PortfolioRow, TransferRow
from qframe_rl.service.notices import PortfolioNotices
from qframe_rl.service.portfolio_shapes import (
    LedgerEntry,
    LimitOut,
    MemberOut,
    NoticeOut,
    PortfolioOut,
    PortfolioRisk,
    PositionOut,
    RampOut,
    TransferOut,
    WaitOut,
    WorthPoint,
)
from qframe_rl.service.portfolios import Portfolios
from qframe_rl.service.projection import thinned
from qframe_rl.service.ramping import RampRow, Ramps
from qframe_rl.service.waiting import WaitingTransfer, waiting


def standing(portfolios: Portfolios, row: PortfolioRow, sessions: Mapping[str, str]) -> PortfolioOut:
    """How a portfolio stands.

    Parameters
    ----------
    portfolios, row
        The rows, and which of them.
    sessions
        Ids of sessions by name.
    """
    members, ledger, now = portfolios.members(row.id), portfolios.ledger(row.id), valued(portfolios, row)
    settled, ramps = ledger.settled, Ramps(portfolios).all()
    return PortfolioOut(
        id=row.id, currency=row.spec.currency, revision=row.revision, state=row.vigil.state, why=list(row.vigil.why),
        equity=now.equity, worth=now.equity * row.vigil.scale, contributions=str(ledger.contributions),
        unallocated=str(ledger.unallocated), in_transit=str(ledger.in_transit), method=row.spec.method,
        every=row.spec.every, band=row.spec.band, limits=row.spec.limits,
        due_ns=str(row.due_ns) if row.due_ns else None, rebalancing=bool(row.plan), not_rebalanced=row.why,
        waiting=[_wait(one) for one in waiting(portfolios, row.id)],
        looked_ns=str(row.looked_ns) if row.looked_ns else None,
        members=[_member(one, now, settled, sessions, ramps.get(one.name)) for one in members],
    )  # fmt: skip


def valued(portfolios: Portfolios, row: PortfolioRow) -> PortfolioValue:
    """What a portfolio comes to, by its ledger and the last values of its members."""
    ledger = portfolios.ledger(row.id)
    return value(ledger.unallocated, ledger.in_transit, joined(portfolios, row))


def joined(portfolios: Portfolios, row: PortfolioRow) -> list[Any]:
    """Values of the members that have come."""
    return [one.value for one in portfolios.members(row.id) if one.joined == JOINED]


def positions(portfolios: Portfolios, row: PortfolioRow) -> list[PositionOut]:
    """Positions of all members, none netted with another's."""
    now = valued(portfolios, row)
    return [
        PositionOut(member=one.id, pair=pair, value=worth, weight=_share(worth, now.equity))
        for one in joined(portfolios, row) for pair, worth in one.positions.items() if worth
    ]  # fmt: skip


def risk(portfolios: Portfolios, row: PortfolioRow) -> PortfolioRisk:
    """How a portfolio stands to its limits."""
    now, vigil = valued(portfolios, row), row.vigil
    peak = max(vigil.peak, now.equity)
    fall, loss = (1.0 - _share(now.equity, start) if start > 0.0 else 0.0 for start in (peak, vigil.day_start))
    largest = max((abs(net) for net in now.net.values()), default=0.0)
    leverage = _share(now.gross, now.equity)
    figures = {
        "max_drawdown": fall, "daily_loss": max(loss, 0.0), "max_gross": now.gross, "max_leverage": leverage,
        "max_net": largest,
    }  # fmt: skip
    bounds = {name: getattr(row.spec.limits, name) for name in figures}
    limits = [
        LimitOut(name=name, bound=bound, now=figures[name], used=figures[name] / bound)
        for name, bound in bounds.items() if bound is not None
    ]  # fmt: skip
    return PortfolioRisk(
        state=vigil.state, why=list(vigil.why), equity=now.equity, peak=peak, day_start=vigil.day_start, drawdown=fall,
        daily_loss=max(loss, 0.0), gross=now.gross, leverage=leverage, net=dict(now.net), limits=limits,
        marked=list(now.marked),
    )  # fmt: skip


def curve(portfolios: Portfolios, portfolio: str, since_ns: int, until_ns: int, points: int) -> list[WorthPoint]:
    """Equity of a portfolio after each close, thinned out to so many points.

    Parameters
    ----------
    portfolios, portfolio
        The rows, and which of them.
    since_ns, until_ns
        Which closes, ns UTC.
    points
        How many at most, at least 4.
    """
    rows = portfolios.store.rows(
        "SELECT time_ns, equity, worth, gross, unallocated, in_transit FROM worths WHERE portfolio = ? "
        "AND time_ns BETWEEN ? AND ? ORDER BY time_ns", (portfolio, since_ns, until_ns),
    )  # fmt: skip
    return [
        WorthPoint(
            time_ns=str(at), equity=equity, worth=worth, gross=gross, unallocated=str(free), in_transit=str(moving)
        )
        for at, equity, worth, gross, free, moving in thinned(rows, points, 2)
    ]


def entries(portfolios: Portfolios, portfolio: str, after: int, n: int) -> list[LedgerEntry]:
    """Postings after one, in their order."""
    return [
        LedgerEntry(
            seq=one.seq, time_ns=str(one.time_ns), entry=one.posting.entry, kind=one.posting.kind,
            source=one.posting.source, target=one.posting.target, units=str(one.posting.units), who=one.who,
        )
        for one in portfolios.entries(portfolio, after, n)
    ]  # fmt: skip


def transfers(portfolios: Portfolios, portfolio: str, n: int) -> list[TransferOut]:
    """Transfers to members and from them, the newest first."""
    since = {one.row.transfer.id: one.since_ns for one in waiting(portfolios, portfolio)}
    return [told(one, since.get(one.transfer.id)) for one in portfolios.transfers(portfolio, n=n)]


def notices(portfolios: Portfolios, portfolio: str, n: int) -> list[NoticeOut]:
    """What happened to a portfolio, the newest first."""
    return [
        NoticeOut(
            seq=one.seq, time_ns=str(one.time_ns), rule=one.rule, text=one.text, alert=bool(one.alert),
            sent_ns=None if one.sent_ns is None else str(one.sent_ns),
        )
        for one in PortfolioNotices(portfolios.store).latest(portfolio, n)
    ]  # fmt: skip


def told(row: TransferRow, waiting_ns: int | None = None) -> TransferOut:
    """A transfer, and since when it waits for a session that does not run."""
    one = row.transfer
    return TransferOut(
        id=one.id, member=one.member, units=str(one.units), state=str(one.state), why=one.why, who=row.who,
        asked_ns=str(row.asked_ns), sent_ns=str(row.sent_ns) if row.sent_ns else None,
        ended_ns=None if row.ended_ns is None else str(row.ended_ns),
        waiting_ns=None if waiting_ns is None else str(waiting_ns),
    )  # fmt: skip


def _wait(one: WaitingTransfer) -> WaitOut:
    transfer = one.row.transfer
    return WaitOut(
        transfer=transfer.id, member=transfer.member, units=str(transfer.units), since_ns=str(one.since_ns),
        why=one.why,
    )  # fmt: skip


def _member(
    one: MemberRow, now: PortfolioValue, settled: Mapping[str, int], sessions: Mapping[str, str], ramp: RampRow | None
) -> MemberOut:  # fmt: skip
    worth = one.value
    return MemberOut(
        name=one.name, session=sessions.get(one.name), share=one.share, joined=one.joined == JOINED,
        equity=worth.equity, weight=_share(worth.equity, now.equity), gross=worth.gross,
        positions=dict(worth.positions), state=worth.state, time_ns=str(worth.time_ns), mark=worth.mark, why=worth.why,
        settled=str(settled.get(one.name, 0)), ramp=None if ramp is None else _ramp(ramp),
    )  # fmt: skip


def _ramp(one: RampRow) -> RampOut:
    return RampOut(
        steps=steps_text(one.steps), step=one.state.step, share=one.share, served_ns=str(one.state.served_ns),
        moving=one.moving, why=one.why,
    )  # fmt: skip


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else 0.0
