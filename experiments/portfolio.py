"""Portfolios of supervised sessions: ``python -m experiments.portfolio --help``."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, console, door, within
from qframe_rl.config import UserError, build

if TYPE_CHECKING:
    from qframe_rl.service.booking import PortfolioRow
    from qframe_rl.service.portfolios import Portfolios

_ACTS = (
    "list", "make", "show", "add", "remove", "transfer", "rebalance", "limits", "plan", "ledger", "report",
    "halt", "flatten", "reduce", "resume",
)  # fmt: skip
_READ = {
    "SESSION": ("add", "remove", "transfer"), "AMOUNT": ("transfer",), "--capital": ("make",), "--currency": ("make",),
    "--share": ("add",), "--ramp": ("add",), "--method": ("make", "plan"), "--every": ("make", "plan"),
    "--band": ("make", "plan"), "--limit": ("make", "limits"), "--out": ("report",), "--id": ("transfer",),
}  # fmt: skip
"""Which acts read what not all do."""
_WHO = "the command line"
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?")


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "portfolio",
        "Capital over several supervised sessions. Say what is wanted here; `supervise` carries it out while it runs,\n"
        "and sessions decide on each transfer by themselves: money that they need stays, and that is said.\n\n"
        "  make ID --capital 10000         a portfolio, and what its owners pay in\n"
        "  add ID SESSION --share 0.4      let a supervised session in, with what it owns; --ramp: its share in steps\n"
        "  transfer ID SESSION AMOUNT      give it money (-AMOUNT: take it back); - for SESSION: pay in or out\n"
        "  plan ID --method hrp --every 7d how capital is divided, and when; rebalance ID: now\n"
        "  limits ID --limit max_drawdown=0.2  what all members together are held to; none: a limit goes\n"
        "  show ID, ledger ID, list        how it stands, every movement, all of them\n"
        "  report ID --out FOLDER          a page and a PDF: curve, members, exposure, limits, ledger\n"
        "  halt, flatten, reduce, resume ID  all members; it stays as tight until resume\n"
        "  remove ID SESSION               let it go, with what it owns",
        [
            "make main --capital 10000 --currency USDT", "add main alpha --share 0.5", "transfer main alpha 2500",
            "plan main --method risk_parity --every 7d --band 0.05", "limits main --limit max_drawdown=0.2",
            "show main",
        ],
        "limits: max_drawdown, daily_loss (fractions), max_gross, max_net (quote currency), max_leverage, on_loss\n"
        "(REDUCE_ONLY, FLATTEN, HALTED), silent_s. Without a database: control --all FOLDER, or --portfolio ID.\n",
    )  # fmt: skip
    add = made.add_argument
    add("act", choices=_ACTS, metavar="ACT", help=", ".join(_ACTS))
    add("portfolio", nargs="?", metavar="ID", help="of the portfolio")
    add("session", nargs="?", metavar="SESSION", help="name of a supervised session; - = the owners")
    add("amount", nargs="?", metavar="AMOUNT", help="of money, at most 8 digits after the point; - before it = back")
    add("--capital", metavar="AMOUNT", help="what a new portfolio begins with (default: nothing)")
    add("--currency", metavar="CODE", help="quote currency of every member (default: USDT)")
    add("--share", type=within(float, 0.0, 1.0), metavar="SHARE", help="of a member, by hand: 0 to 1")
    add(
        "--ramp", metavar="STEPS",
        help="of a member: how it earns its share, such as 5%%:14d,25%%:30d,100%%: each step for so long inside its "
        "promise, else a step back; none = all of it at once",
    )  # fmt: skip
    add("--method", metavar="NAME", help="hand, equal, inverse_volatility, risk_parity or hrp (default: hand)")
    add("--every", metavar="TIME", help="time between two rebalances, such as 7d; none = when asked for alone")
    add("--band", type=within(float, 0.0, 0.5), metavar="SHARE", help="how far off a share may be (default: 0.02)")
    add("--limit", dest="more", action="append", default=[], metavar="LIMIT=VALUE", help="a limit (repeatable)")
    add("--out", type=Path, metavar="FOLDER", help="of a report (default: runs/portfolios/ID)")
    add("--id", metavar="ID", help="of a transfer: given again it is the same one (default: a new one)")
    made.add_state(Path("runs/.service"), "the service's --state (default: runs/.service)")
    add(
        "--sessions", type=Path, default=Path("runs/supervised"), metavar="FOLDER",
        help="the supervisor's --sessions, to tell members at once (default: runs/supervised)",
    )  # fmt: skip
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Do it."""
    made = parser()
    given = vars(made.parse_args(_amounts(list(sys.argv[1:] if argv is None else argv))))
    made.refuse_unread(given, given["act"], _READ)
    from qframe_rl.service.portfolios import Portfolios
    from qframe_rl.service.store import NAME, ServiceStore, elsewhere

    if given["act"] != "make" and not elsewhere(given["store"]) and not (given["state"] / NAME).is_file():
        raise UserError(f"{given['state'] / NAME} is not there; name the --state of the service.")
    if given["act"] != "list" and given["portfolio"] is None:
        raise UserError(f"{given['act']} what? Give the id of a portfolio.")
    store = ServiceStore(given["state"], given["store"])
    try:
        said = _DONE[given["act"]](Portfolios(store), given)
    finally:
        store.close()
    if given["json"]:
        return {name: what for name, what in said.items() if name != "lines"}
    out = console(to_stderr=False)
    for line in said["lines"] if "lines" in said else _lines(said):
        out.print(line, highlight=False, soft_wrap=True)
    return None


def _amounts(argv: list[str]) -> list[str]:
    """Let an amount that is taken back, such as -2500, stand where an option could."""
    if len(argv) > 3 and argv[0] == "transfer" and argv[3][:1] == "-" and argv[3][1:2].isdigit():
        return [*argv[:3], "--", argv[3], *argv[4:]] if len(argv) == 4 else [*argv[4:], *argv[:3], "--", argv[3]]
    return argv


def units_of(text: str | None, what: str) -> int:
    """Units of an amount as people write it.

    Raises
    ------
    UserError
        For anything else, or more than 8 digits after the point.
    """
    if "," in (text or "") and _GROUPED.fullmatch(text or "") is None:
        raise UserError(f"{what} {text}: write a point before the decimals, and commas between thousands alone.")
    try:
        # With as many digits as were written: one that is rounded away is not refused.
        digits = Context(prec=len(text or "") + 16, traps=[InvalidOperation])
        exact = digits.multiply(Decimal((text or "").replace(",", "").replace("_", "")), Decimal(10**8))
    except InvalidOperation:
        raise UserError(f"{what} {text or ''}: give an amount of money, such as 2500 or 0.5.") from None
    if not exact.is_finite() or exact != exact.to_integral_value() or abs(exact) >= 10**18:
        raise UserError(f"{what} {text}: an amount has 8 digits after the point at most, and is under 10,000,000,000.")
    return int(exact)


def _make(rows: Portfolios, given: Mapping[str, Any]) -> dict[str, Any]:
    from qframe_rl.service.booking import PortfolioSpec

    name = given["portfolio"]
    if name in {row.id for row in rows.all()}:
        raise UserError(f"there is a portfolio {name!r} already; take another id.")
    capital = 0 if given["capital"] is None else units_of(given["capital"], "--capital")
    spec = build(PortfolioSpec, {"currency": given["currency"] or "USDT", **_planned(given), **_bound(given, {})}, name)
    rows.make(name, spec, capital, _WHO)
    return _stands(rows, name)


def _add(rows: Portfolios, given: Mapping[str, Any]) -> dict[str, Any]:
    from qframe_rl.service.membership import check_newcomers
    from qframe_rl.service.portfolios import PortfolioChanges

    name, session, steps = given["portfolio"], _session(given), given["ramp"]
    check_newcomers(rows, name, [session])
    ramps = {} if steps is None else {session: None if steps == "none" else steps}
    rows.change(name, PortfolioChanges(members={session: given["share"]}, ramps=ramps), _WHO)
    return _stands(rows, given["portfolio"])


def _remove(rows: Portfolios, given: Mapping[str, Any]) -> dict[str, Any]:
    from qframe_rl.service.portfolios import PortfolioChanges

    rows.change(given["portfolio"], PortfolioChanges(remove=[_session(given)]), _WHO)
    return _stands(rows, given["portfolio"])


def _transfer(rows: Portfolios, given: Mapping[str, Any]) -> dict[str, Any]:
    from qframe_rl.portfolio.ledger import CapitalTransfer
    from qframe_rl.service.waiting import waiting

    name, session, entry = given["portfolio"], _session(given), given["id"] or secrets.token_hex(16)
    units = units_of(given["amount"], "transfer")
    if session == "-":
        rows.contribute(name, entry, units, _WHO)
        return {"id": entry, "state": "SETTLED", **_stands(rows, name)}
    rows.one(name)
    done = rows.transfer(name, CapitalTransfer(entry, session, units), _WHO).transfer
    said = {"id": done.id, "member": session, "units": str(units), "state": str(done.state), "why": done.why}
    lines = [f"{done.id}  {done.state}: the session decides on it when `supervise` runs"]
    lines += [str(one) for one in waiting(rows, name) if one.row.transfer.id == done.id]
    return said | {"lines": lines}


def _plan(rows: Portfolios, given: Mapping[str, Any]) -> dict[str, Any]:
    return _changed(rows, given, _planned(given))


def _limits(rows: Portfolios, given: Mapping[str, Any]) -> dict[str, Any]:
    row = rows.one(given["portfolio"])
    if not given["more"]:
        return {"limits": row.spec.limits.model_dump(mode="json")}
    return _changed(rows, given, _bound(given, row.spec.limits.model_dump(mode="json")))


def _changed(rows: Portfolios, given: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    from qframe_rl.service.booking import PortfolioSpec
    from qframe_rl.service.portfolios import PortfolioChanges

    row = rows.one(given["portfolio"])
    spec = build(PortfolioSpec, {**row.spec.model_dump(mode="json"), **fields}, row.id)
    rows.change(row.id, PortfolioChanges(spec), _WHO, row.revision)
    return _stands(rows, row.id)


def _planned(given: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: given[name] for name in ("method", "every", "band") if given[name] is not None}
    return fields | ({"every": None} if fields.get("every") == "none" else {})


def _bound(given: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    limits = dict(before)
    for text in given["more"]:
        name, sign, value = text.partition("=")
        if not sign:
            raise UserError(f"--limit {text}: give LIMIT=VALUE, such as max_drawdown=0.2.")
        limits[name] = None if value == "none" else value
    return {"limits": limits} if limits else {}


def _rebalance(rows: Portfolios, given: Mapping[str, Any]) -> dict[str, Any]:
    row = rows.one(given["portfolio"])
    rows.note(row.id, due_ns=1, why="")
    return {"portfolio": row.id, "lines": [f"{row.id}: rebalanced as soon as `supervise` looks"]}


def _steer(rows: Portfolios, given: Mapping[str, Any]) -> dict[str, Any]:
    from qframe_rl.journal.inbox import order
    from qframe_rl.journal.store import NAME as JOURNAL
    from qframe_rl.live.kill import tell
    from qframe_rl.service.steering import steered

    row, word = rows.one(given["portfolio"]), given["act"]
    state, told = steered(rows, row.id, word, _WHO), []
    for one in rows.members(row.id):
        folder = given["sessions"] / one.name
        if not (folder / JOURNAL).exists():
            told.append(f"{one.name}: not here; `supervise` tells it")
        elif word == "resume" and (folder / "HALT").exists():
            told.append(f"{one.name}: its folder's file HALT keeps it halted; remove it and resume again")
        elif word == "resume":
            order(folder / JOURNAL, word)
            told.append(f"{one.name}: told")
        else:
            done = tell(folder, word, file=False)
            told.append(f"{one.name}: told by {' and '.join(done.ways) or 'nothing: ' + '; '.join(done.failed)}")
    return {"portfolio": row.id, "state": state, "told": told, "lines": [f"{row.id}: {state}", *told]}


def _show(rows: Portfolios, given: Mapping[str, Any]) -> dict[str, Any]:
    return _stands(rows, given["portfolio"])


def _list(rows: Portfolios, given: Mapping[str, Any]) -> dict[str, Any]:
    found = [_stands(rows, row.id) for row in rows.all()]
    lines = [_headline(one["portfolio"]) for one in found] or ["there is no portfolio yet"]
    return {"portfolios": [one["portfolio"] for one in found], "lines": lines}


def _ledger(rows: Portfolios, given: Mapping[str, Any]) -> dict[str, Any]:
    from qframe_rl.amounts import money
    from qframe_rl.service.standings import entries, transfers

    row = rows.one(given["portfolio"])
    booked = [one.model_dump() for one in entries(rows, row.id, 0, 10**6)]
    lines = [
        f"{one['seq']:5}  {one['kind']:12} {money(int(one['units'])):>20}  {one['source']} -> {one['target']}  "
        f"{one['entry']}" for one in booked
    ]  # fmt: skip
    asked = [one.model_dump() for one in transfers(rows, row.id, 1000)]
    return {"ledger": booked, "transfers": asked, "lines": lines or ["nothing was booked yet"]}


def _report(rows: Portfolios, given: Mapping[str, Any]) -> dict[str, Any]:
    from qframe_rl.evaluate.report.page import write_html
    from qframe_rl.evaluate.report.paper import write_pdf
    from qframe_rl.service.accounting import portfolio_report

    made = portfolio_report(rows, given["portfolio"], given["sessions"])
    folder = given["out"] or Path("runs") / "portfolios" / given["portfolio"]
    folder.mkdir(parents=True, exist_ok=True)
    html, pdf = folder / "report.html", folder / "report.pdf"
    write_html([made], html)
    pages = write_pdf([made], pdf)
    lines = [
        made.headline,
        *(f"  - {reason}" for reason in made.reasons),
        f"page    {html}",
        f"PDF     {pdf} ({pages} pages)",
    ]
    return {"html": str(html), "pdf": str(pdf), "pages": pages, "headline": made.headline, "lines": lines}


def _stands(rows: Portfolios, name: str) -> dict[str, Any]:
    from qframe_rl.service.standings import risk, standing

    row: PortfolioRow = rows.one(name)
    return {
        "portfolio": standing(rows, row, {}).model_dump(mode="json"), "risk": risk(rows, row).model_dump(mode="json")
    }  # fmt: skip


def _lines(said: Mapping[str, Any]) -> list[str]:
    if "limits" in said:
        return [f"{name}: {'none' if bound is None else bound}" for name, bound in said["limits"].items()]
    one = said["portfolio"]
    lines = [_headline(one), _cash(one)]
    for member in one["members"]:
        what = f"  {member['mark']}" if member["mark"] else f"  {member['state']}"
        share = "" if member["share"] is None else f"  (share {member['share']:.1%})"
        lines.append(
            f"  {member['name']:20} {member['equity']:>16,.2f}  {member['weight']:6.1%}{share}{what}"
            f"{': ' + member['why'] if member['why'] else ''}"
        )
        lines += _ramp(member["ramp"])
    used = [
        f"  {bound['name']}: {bound['now']:,.4g} of {bound['bound']:,.4g} ({bound['used']:.0%})"
        for bound in said["risk"]["limits"]
    ]
    return [*lines, *used, *(f"  why {one['state']}: {why}" for why in one["why"]), *_schedule(one)]


def _ramp(ramp: Mapping[str, Any] | None) -> list[str]:
    """How far a member is on its way to its share."""
    if ramp is None:
        return []
    days = int(ramp["served_ns"]) / 86_400e9
    moving = ", its money is on the way" if ramp["moving"] else ""
    why = f"; {ramp['why']}" if ramp["why"] else ""
    return [f"    ramp {ramp['steps']}: {ramp['share']:.2%} of its share for {days:.1f} days{moving}{why}"]


def _headline(one: Mapping[str, Any]) -> str:
    profit = one["equity"] - int(one["contributions"]) / 1e8
    return f"{one['id']}  {one['state']}  {one['equity']:,.2f} {one['currency']}  ({profit:+,.2f} on what was paid in)"


def _cash(one: Mapping[str, Any]) -> str:
    from qframe_rl.amounts import money

    moving = "" if one["in_transit"] == "0" else f", in transit {money(int(one['in_transit']))}"
    return f"  paid in {money(int(one['contributions']))}, unallocated {money(int(one['unallocated']))}{moving}"


def _schedule(one: Mapping[str, Any]) -> list[str]:
    from qframe_rl.amounts import money
    from qframe_rl.times import iso

    lines = []
    if one["every"]:
        lines.append(f"  rebalanced by {one['method']} every {one['every']}, next {iso(int(one['due_ns'] or 0))}")
    if one["not_rebalanced"]:
        lines.append(f"  not rebalanced: {one['not_rebalanced']}")
    for wait in one["waiting"]:
        what = f"{money(int(wait['units']))}, transfer {wait['transfer']}"
        lines.append(f"  {wait['why']}, since {iso(int(wait['since_ns']))} UTC: {what}")
    if one["looked_ns"] is None:
        lines.append("  nobody has looked at its members yet: start `supervise`")
    return lines


def _session(given: Mapping[str, Any]) -> str:
    if given["session"] is None:
        raise UserError(f"{given['act']} {given['portfolio']} whom? Give the name of a supervised session.")
    return str(given["session"])


_DONE: dict[str, Callable[[Portfolios, Mapping[str, Any]], dict[str, Any]]] = {
    "list": _list, "make": _make, "show": _show, "add": _add, "remove": _remove, "transfer": _transfer,
    "rebalance": _rebalance, "limits": _limits, "plan": _plan, "ledger": _ledger, "report": _report,
    "halt": _steer, "flatten": _steer,
    "reduce": _steer, "resume": _steer,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(door(main))
