"""The half of ``paper`` and ``replay`` that is for strategies that quote in order books."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import called, console
from experiments.settings import given_under
from experiments.watched import SessionNotes, stopped_by, watch_config
from qframe_rl.alerts.config import AlertConfig
from qframe_rl.config import UserError
from qframe_rl.risk.limits import Limits

if TYPE_CHECKING:
    from rich.console import Console

    from qframe_rl.checkpoint import Checkpoint
    from qframe_rl.journal.ledger import Ledger
    from qframe_rl.live.paper_quoting import QuotingResult
    from qframe_rl.runner.books.paper import OpenedBook
    from qframe_rl.venues.paper_book import PaperBook

_BARS_ALONE = {
    "fills": "bar", "latency_ms": 100.0, "paper_record": None, "i_accept_real_money_risk": False, "snapshot_bars": 100,
}  # fmt: skip
"""Options of ``paper`` that mean nothing here, and their defaults."""


def quoted(
    given: dict[str, Any], given_data: Mapping[str, Any], checkpoint: Checkpoint, limits: Limits, alerts: AlertConfig,
    speed: float, note: SessionNotes,
) -> dict[str, Any] | None:  # fmt: skip
    """Let a checkpoint quote on paper.

    Parameters
    ----------
    given, given_data
        Options, and those of the data.
    checkpoint
        Of a book.
    limits, alerts
        Of the options.
    speed
        Of a replay.
    note
        Takes lines of the session.
    """
    from qframe_rl.live.expiry import expired_said, expiry_of
    from qframe_rl.live.paper_quoting import run_quoter
    from qframe_rl.live.status import Line
    from qframe_rl.live.watching import Windows
    from qframe_rl.runner.books.paper import opened_replay, opened_stream

    _check(given)
    expires = None if given["expires"] is None else expiry_of(given["expires"], checkpoint.provenance)
    orders, out, hold_ns = given["orders"], console(to_stderr=True), round(given["hold_ms"] * 1e6)
    if checkpoint.warning is not None:
        out.print(f"Warning: {checkpoint.warning}", style="yellow", highlight=False)
    if given["feed"] == "ticks":
        opened = opened_stream(
            given["checkpoint"], checkpoint, given_data, given["out"], given["url"], note, hold_ns, orders=orders,
            account=given["account"],
        )  # fmt: skip
    else:
        period = {name: given[name] for name in ("since", "until") if given[name] is not None}
        opened = opened_replay(given["checkpoint"], checkpoint, {**given_data, **period}, given["out"], speed, hold_ns)
    watching = watch_config(given, alerts, speed)
    with ExitStack() as stack:
        account = None
        if orders != "paper":
            limits, account = _exchange(given, opened, limits, note, stack)
        came = stopped_by(opened.source.stopped)
        windows = Windows(opened, watching, stack, note)
        note.also = lambda text: windows.say(text)
        line = Line(stack.enter_context(out.status("waiting for the first rows")).update, "part")

        def begun(session: Any, ledger: Any, operator: Any) -> None:
            session.listeners.append(line)
            operator.expires = expires
            operator.expired = lambda at: note(expired_said(given["expires"], at))
            windows.open(session, ledger)

        result = run_quoter(
            opened.market, opened.quoter, opened.source, opened.terms, opened.folder, limits=limits,
            process={"checkpoint": str(given["checkpoint"].absolute())}, durable=given["feed"] == "ticks",
            hidden=watching.hidden, begun=begun, note=note, account=account,
        )  # fmt: skip
    return _said(result, out, came, as_json=given["json"])


def _check(given: Mapping[str, Any]) -> None:
    """Refuse options that say nothing of order books, or do not go together."""
    if given["shadow"] or given["feed"] == "journal" or given["execute"] is not None:
        raise UserError(
            f"--shadow, --feed journal and --execute are of strategies on bars; {given['checkpoint']} quotes, and says "
            "itself how it rests and takes."
        )
    from experiments.paper import HOLD_MS

    if given["feed"] == "ccxt":
        raise UserError("--feed ccxt brings bars, and this strategy quotes in an order book: take --feed ticks.")
    for name, default in _BARS_ALONE.items():
        if given[name] != default:
            raise UserError(f"--{name.replace('_', '-')} is for strategies that trade bars.")
    if given["feed"] == "ticks":
        _refuse_unread(given)
    if given["orders"] == "real":
        raise UserError("--orders real is for strategies that trade bars; one that quotes trades on a testnet.")
    if given["orders"] == "paper" and given["account"] is not None:
        raise UserError("--account names an account on an exchange: add --orders testnet.")
    if given["orders"] != "paper" and given["hold_ms"] != HOLD_MS:
        raise UserError("--hold-ms is of paper: orders that go out are decided at once.")


def _exchange(
    given: Mapping[str, Any], opened: OpenedBook, limits: Limits, note: SessionNotes, stack: ExitStack
) -> tuple[Limits, Callable[[Ledger], PaperBook]]:  # fmt: skip
    """Limits and account of a session whose orders go out; its symbol is its own until the stack is closed."""
    from qframe_rl.feeds.presets import opening_cash
    from qframe_rl.live.accounts import claim
    from qframe_rl.live.permit import account_client, exchange_book

    stack.callback(claim(opened.terms, opened.folder, given["url"]).close)
    made = account_client(opened.terms, given["url"])
    if limits.max_order is None:
        limits = limits.model_copy(update={"max_order": opening_cash((opened.terms.instrument,))})
    return limits, exchange_book(opened.market, opened.terms, made, note)


def _refuse_unread(given: Mapping[str, Any]) -> None:
    """Refuse what a live order book does not read."""
    if given["speed"] != "max":
        raise UserError("--speed is that of a replay: a live order book comes as time passes.")
    for name in given_under(given, "data").keys() - {"exchange", "symbols"}:
        option = {"seed": "data-seed"}.get(name, name.replace("_", "-"))
        raise UserError(f"--{option} says nothing of a live order book, which --exchange and --symbols name.")


def _said(result: QuotingResult, out: Console, came: list[str], *, as_json: bool) -> dict[str, Any] | None:
    """Say how it ended; the JSON object where one is asked for."""
    from qframe_rl.live.capital import paid_in

    how = f"{result.state} by {came[0]}" if result.state == "stopped" and came else result.state
    more = f", {result.late:,} rows came late" if result.late else ""
    more += f", {result.held_back:,} decisions waited for the exchange's limits" if result.held_back else ""
    out.print(
        f"{how} after {result.decisions:,} decisions in {result.runs} run{'s' * (result.runs != 1)} of the tape, "
        f"{result.sent:,} messages, "
        f"{result.fills:,} fills{more}, with equity {result.final_equity:,.2f}{paid_in(result.paid)}; journal "
        f"{result.journal}\nRun it again from its record: {called('replay', result.journal)}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if not as_json:
        return None
    return {
        "state": result.state, "final_equity": result.final_equity, "decisions": result.decisions,
        "fills": result.fills, "runs": result.runs, "sent": result.sent, "held_back": result.held_back,
        "late": result.late, "journal": str(result.journal), "journal_hash": result.digest,
        "paid_in": result.paid / 1e8,
    }  # fmt: skip


def replayed(path: Path, checkpoint: Path | None, data: str | None, out: Console) -> dict[str, Any]:
    """Run a recorded session again, and say whether it comes out the same.

    Parameters
    ----------
    path, checkpoint, data
        The journal, and where checkpoint and ticks are, if not where they were.
    out
        The screen.
    """
    from qframe_rl.live.paper_quoting import replay_quoter
    from qframe_rl.live.permit import exchange_book
    from qframe_rl.runner.books.paper import reopened_book

    opened = reopened_book(path, checkpoint, data)
    account = None if opened.terms.orders == "paper" else exchange_book(opened.market, opened.terms, None)
    again = replay_quoter(opened.market, opened.quoter, opened.source, opened.terms, path, account)
    out.print(
        f"identical: {again.decisions:,} decisions, {again.fills:,} fills, equity {again.final_equity:,.2f}, hash "
        f"{again.digest}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return {
        "decisions": again.decisions, "fills": again.fills, "final_equity": again.final_equity,
        "journal_hash": again.digest,
    }  # fmt: skip
