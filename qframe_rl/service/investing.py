"""Routes of portfolios: what they are, what they come to, and the money between them and their members."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Annotated, Any

import numpy as np
from fastapi import Query
from fastapi.responses import Response

from qframe_rl.config import UserError
from qframe_rl.live.kill import tell
from qframe_rl.portfolio.benchmark import held_growth
from qframe_rl.portfolio.ledger import CapitalTransfer
from qframe_rl.service import portfolio_shapes as shapes
from qframe_rl.service import standings
from qframe_rl.service.booking import MemberRow, PortfolioRow, PortfolioSpec
from qframe_rl.service.candles import POINTS
from qframe_rl.service.commanding import ordered
from qframe_rl.service.guard import needs
from qframe_rl.service.membership import check_newcomers
from qframe_rl.service.portfolios import PortfolioChanges
from qframe_rl.service.problems import ApiProblem
from qframe_rl.service.steering import steered
from qframe_rl.service.supervising import Match
from qframe_rl.service.wiring import (
    LATEST_NS,
    After,
    It,
    Key,
    Limit,
    Moment,
    Operator,
    PortfolioId,
    Reader,
    Service,
    Trader,
    once,
    once_more,
    routes,
    sessions_of,
    who,
)  # fmt: skip
from qframe_rl.types import Float, Int

investing = routes()


@investing.get("/portfolios")
def portfolios(it: It, identity: Reader) -> list[shapes.PortfolioOut]:
    """All portfolios that the token may see."""
    rows = it.portfolios.all()
    return [_told(it, row) for row in rows if identity.portfolios is None or row.id in identity.portfolios]


@investing.get("/portfolios/{portfolio}")
def portfolio(it: It, answer: Response, portfolio: PortfolioId, _: Reader) -> shapes.PortfolioOut:
    """One of them, with its members; its revision is the ETag."""
    return _tagged(it, answer, _row(it, portfolio))


@investing.get("/portfolios/{portfolio}/positions")
def positions(it: It, portfolio: PortfolioId, _: Reader) -> list[shapes.PositionOut]:
    """Positions of all members, none netted with another's."""
    return standings.positions(it.portfolios, _row(it, portfolio))


@investing.get("/portfolios/{portfolio}/equity")
def equity(
    it: It, portfolio: PortfolioId, _: Reader, since: Moment = 0, until: Moment = LATEST_NS,
    points: Annotated[int, Query(ge=4, le=POINTS)] = 2000,
) -> list[shapes.WorthPoint]:  # fmt: skip
    """Equity after each close; of more than ``points`` each stretch's first, lowest, highest and last."""
    return standings.curve(it.portfolios, _row(it, portfolio).id, since, until, points)


@investing.get("/portfolios/{portfolio}/benchmark")
def benchmark(
    it: It, portfolio: PortfolioId, _: Reader, points: Annotated[int, Query(ge=4, le=POINTS)] = 2000
) -> shapes.BenchmarkOut:
    """What it would be worth had it bought its members' instruments in equal parts, and held them."""
    row = _row(it, portfolio)
    curve = standings.curve(it.portfolios, row.id, 0, LATEST_NS, points)
    series: dict[str, tuple[Int, Float]] = {}
    for found in sessions_of(it, it.portfolios.members(row.id)).values():
        series = it.tapes.closes(found) | series
    times = np.array([int(one.time_ns) for one in curve], dtype=np.int64)
    growth = held_growth(list(series.values()), times)
    return shapes.BenchmarkOut(
        symbols=sorted(series), time_ns=[one.time_ns for one in curve],
        worth=[curve[0].worth * part for part in growth.tolist()],
    )  # fmt: skip


@investing.get("/portfolios/{portfolio}/risk")
def risk(it: It, portfolio: PortfolioId, _: Reader) -> shapes.PortfolioRisk:
    """State, losses, gross and net over all members, and how much of each limit is used."""
    return standings.risk(it.portfolios, _row(it, portfolio))


@investing.get("/portfolios/{portfolio}/ledger")
def ledger(it: It, portfolio: PortfolioId, _: Reader, after: After = 0, limit: Limit = 500) -> list[shapes.LedgerEntry]:
    """Postings after one, in their order: double entry, in units of 1e-8."""
    return standings.entries(it.portfolios, _row(it, portfolio).id, after, limit)


@investing.get("/portfolios/{portfolio}/transfers")
def transfers(it: It, portfolio: PortfolioId, _: Reader, limit: Limit = 100) -> list[shapes.TransferOut]:
    """Transfers to members and from them, newest first."""
    return standings.transfers(it.portfolios, _row(it, portfolio).id, limit)


@investing.get("/portfolios/{portfolio}/events")
def events(it: It, portfolio: PortfolioId, _: Reader, limit: Limit = 100) -> list[shapes.NoticeOut]:
    """What happened to it, newest first: steps of ramps, its state, rebalances, money that waits."""
    return standings.notices(it.portfolios, _row(it, portfolio).id, limit)


@investing.post("/portfolios", status_code=201)
def make(it: It, identity: Trader, given: shapes.PortfolioIn, key: Key = None) -> shapes.PortfolioOut:
    """Make a portfolio, and pay in what it begins with."""
    once_more(it, identity, given.password)
    spec = PortfolioSpec(**given.model_dump(exclude={"id", "capital", "password"}))

    def ask() -> shapes.PortfolioOut:
        known = [row for row in it.portfolios.all() if row.id == given.id]
        if known and key is None:
            raise UserError(f"there is a portfolio {given.id!r} already; take another id.")
        row = it.portfolios.make(given.id, spec, int(given.capital or 0), who(identity))
        it.store.audit(who(identity), "make portfolio", given.id, f"capital {given.capital or 0}")
        return _told(it, row)

    return once(it, identity, key, f"portfolio {_asked(given)}", ask, shapes.PortfolioOut)


@investing.patch("/portfolios/{portfolio}")
def change(
    it: It, answer: Response, identity: Trader, portfolio: PortfolioId, given: shapes.PortfolioChange,
    match: Match = None,
) -> shapes.PortfolioOut:  # fmt: skip
    """Change limits, schedule, method or members. If-Match has the revision that was seen."""
    once_more(it, identity, given.password)
    row = _row(it, portfolio)
    here = {one.name for one in it.portfolios.members(portfolio)}
    if identity.portfolios is not None and set(given.members) - here:
        raise ApiProblem(403, "this token is for portfolios alone: it brings no session into one.")
    if match is None:
        raise ApiProblem(428, "give the revision that you saw as If-Match.")
    check_newcomers(it.portfolios, portfolio, given.members)
    changes = PortfolioChanges(_spec(row.spec, given), given.members, given.remove, given.ramps)
    try:
        row = it.portfolios.change(portfolio, changes, who(identity), int(match.strip('"')))
    except LookupError as error:
        raise ApiProblem(412, f"{error}; look again.") from None
    it.store.audit(who(identity), "change portfolio", portfolio, f"revision {row.revision}")
    return _tagged(it, answer, row)


@investing.post("/portfolios/{portfolio}/transfers", status_code=202)
def transfer(
    it: It, identity: Trader, portfolio: PortfolioId, given: shapes.TransferIn, key: Key = None
) -> shapes.TransferOut:  # fmt: skip
    """Move money: asked when this answers; a session's journal says whether it was settled.

    One Idempotency-Key is one transfer for ever, whatever is killed meanwhile: the transfer's id follows from it.
    """
    once_more(it, identity, given.password)
    _row(it, portfolio)
    name = hashlib.sha256(f"{identity.id} {key or time.time_ns()}".encode()).hexdigest()[:32]

    def ask() -> shapes.TransferOut:
        done = _moved(it, portfolio, given, name, who(identity))
        it.store.audit(who(identity), f"transfer {given.units}", f"{portfolio} {given.member or ''}", name)
        return done

    return once(it, identity, key, f"transfer {portfolio} {_asked(given)}", ask, shapes.TransferOut)


@investing.post("/portfolios/{portfolio}/rebalance", status_code=202)
def rebalance(it: It, identity: Trader, portfolio: PortfolioId, given: shapes.PasswordIn) -> shapes.PortfolioOut:
    """Bring members to their shares now: the supervisor does it."""
    once_more(it, identity, given.password)
    row = _row(it, portfolio)
    it.portfolios.note(row.id, due_ns=1, why="")
    it.store.audit(who(identity), "rebalance", portfolio, "asked")
    return _told(it, _row(it, portfolio))


@investing.post("/portfolios/{portfolio}/commands", status_code=202)
def command(
    it: It, identity: Operator, portfolio: PortfolioId, given: shapes.PortfolioCommand, key: Key = None
) -> shapes.PortfolioTold:  # fmt: skip
    """Tell all members to halt, flatten, reduce or resume; the portfolio stays as tight until it is resumed."""
    if given.word == "resume":
        needs("trade", identity, it.keeper.allowed)
        once_more(it, identity, given.password)
    row = _row(it, portfolio)

    def ask() -> shapes.PortfolioTold:
        state = steered(it.portfolios, row.id, given.word, who(identity))
        said = [_commanded(it, one, given.word) for one in it.portfolios.members(row.id)]
        it.store.audit(who(identity), given.word, portfolio, state)
        return shapes.PortfolioTold(state=state, told=said)

    return once(it, identity, key, f"{portfolio} {given.word}", ask, shapes.PortfolioTold)


def _spec(spec: PortfolioSpec, given: shapes.PortfolioChange) -> PortfolioSpec:
    named: dict[str, Any] = {"limits": given.limits, "method": given.method, "every": given.every, "band": given.band}
    fields = {name: value for name, value in named.items() if value is not None}
    return spec.model_copy(update=fields | ({"every": None} if given.unscheduled else {}))


def _moved(it: Service, portfolio: str, given: shapes.TransferIn, name: str, asks: str) -> shapes.TransferOut:
    units = int(given.units)
    if given.member is not None:
        return standings.told(it.portfolios.transfer(portfolio, CapitalTransfer(name, given.member, units), asks))
    it.portfolios.contribute(portfolio, name, units, asks)
    now = str(time.time_ns())
    return shapes.TransferOut(
        id=name, member=None, units=given.units, state="SETTLED", why="", who=asks, asked_ns=now, sent_ns=None,
        ended_ns=now,
    )  # fmt: skip


def _commanded(it: Service, row: MemberRow, word: str) -> dict[str, Any]:
    member, found = row.name, sessions_of(it, [row]).get(row.name)
    if found is None:
        return {"member": member, "failed": "its folder is not below a folder that is shown; the supervisor tells it"}
    if word == "resume":
        try:
            return {"member": member, **ordered(found, word)}
        except (UserError, ApiProblem) as error:
            return {"member": member, "failed": it.without_paths(str(error))}
    done = tell(found.folder, word, file=False)
    if not done.ways:
        return {"member": member, "failed": it.without_paths("; ".join(done.failed))}
    return {"member": member, "ways": list(done.ways)}


def _row(it: Service, portfolio: str) -> PortfolioRow:
    found = [row for row in it.portfolios.all() if row.id == portfolio]
    if not found:
        raise ApiProblem(404, "there is no such portfolio.")
    return found[0]


def _tagged(it: Service, answer: Response, row: PortfolioRow) -> shapes.PortfolioOut:
    answer.headers["etag"] = f'"{row.revision}"'
    return _told(it, row)


def _told(it: Service, row: PortfolioRow) -> shapes.PortfolioOut:
    sessions = sessions_of(it, it.portfolios.members(row.id))
    return standings.standing(it.portfolios, row, {name: one.id for name, one in sessions.items()})


def _asked(given: Any) -> str:
    return json.dumps(given.model_dump(mode="json", exclude={"password"}), sort_keys=True)
