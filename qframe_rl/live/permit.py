"""What must hold before a session may send orders to an exchange, and the venue that then sends them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qframe_rl.agent import Interface
from qframe_rl.config import Unavailable, UserError, shortened
from qframe_rl.exchanges import check_orders, check_rests
from qframe_rl.feeds.ccxt import CcxtFeed
from qframe_rl.feeds.client import client
from qframe_rl.feeds.presets import opening_cash
from qframe_rl.gym.replay.market import BookMarket
from qframe_rl.interface import SlotScheme
from qframe_rl.journal.ledger import Ledger
from qframe_rl.journal.store import read, verify
from qframe_rl.live.accounts import keys_of
from qframe_rl.live.quoting_terms import QuotingTerms, paper_terms
from qframe_rl.live.spec import SessionSpec, run_id, terms_of
from qframe_rl.refit import differing
from qframe_rl.risk.limits import Limits
from qframe_rl.types import DAY, Instrument
from qframe_rl.venues.ccxt import ExchangeVenue
from qframe_rl.venues.exchange_book import ExchangeBook
from qframe_rl.venues.order_sender import NAME_LENGTH, OrderSender

PAPER_DAYS = 30
"""Length of the paper period that real orders ask for, days."""
SAFE = Limits(filters=True, stale_s=60.0, max_skew_s=5.0, max_rejects=20, collar=0.1)
"""Limits of a session whose orders go out, where no other ones are given; and `Limits.max_order` is what an account
usually begins with, such as 10,000 dollars."""


def check_real(accepted: bool, limits: Limits, record: Path | None) -> Path:
    """Refuse real orders unless their three conditions hold; the third one's journal is returned to be looked into.

    Parameters
    ----------
    accepted
        Whether ``--i-accept-real-money-risk`` was given.
    limits
        They must bound the daily loss.
    record
        Journal of the paper period.

    Raises
    ------
    UserError
        Naming the first condition that does not hold.
    """
    if not accepted:
        raise UserError("--orders real can lose all the money on the account: add --i-accept-real-money-risk.")
    if limits.daily_loss is None:
        raise UserError("--orders real needs a bound on the daily loss: add --daily-loss, such as 0.03.")
    if record is None:
        raise UserError(
            f"--orders real needs a paper period of {PAPER_DAYS} days with the same checkpoint: name its journal with "
            "--paper-record."
        )
    return record


def safe_limits(limits: Limits, instruments: Sequence[Instrument], speed: float = 1.0) -> Limits:
    """Limits of a session whose orders go out: those that are given, and `SAFE` ones for the others.

    Parameters
    ----------
    limits
        What is given; what does not bind is taken for not given. A limit that shall not bind is given a large value.
    instruments
        The A instruments.
    speed
        How many times faster than ours the exchange's clock runs: bars are late by its clock.
    """
    safe = SAFE.model_dump() | {"max_order": opening_cash(instruments), "stale_s": (SAFE.stale_s or 0.0) * speed}
    given = limits.model_dump()
    missing = {name: value for name, value in safe.items() if given[name] in (None, False) and value is not None}
    return limits.model_copy(update=missing)


def check_period(record: Path, terms: SessionSpec) -> None:
    """Refuse a paper period of another strategy or market, and one that is too short, was halted or lost money."""
    verify(record)
    paper = terms_of(record)
    _check_traded(record, paper, terms)
    assert paper is not None
    if paper.orders != "paper" or paper.market.get("environment") != "production":
        raise UserError(f"{record} is not paper trading on an exchange's own bars; run --feed ccxt without --orders.")
    if paper.market != terms.source:
        raise UserError(f"{record} traded {paper.market}, but the session asks for {terms.source}.")
    if paper.execute != terms.execute:
        raise UserError(f"{record} worked orders by --execute {paper.execute}, but this asks for {terms.execute}.")
    times, equity, scale = [], [], 1.0
    for event in read(record):
        if event.kind == "settled":
            said = json.loads(event.payload)
            times.append(said["time"])
            equity.append(said["account"]["equity"] * scale)
        if event.kind == "transferred" and equity:
            scale = equity[-1] / json.loads(event.payload)["account"]["equity"]
        if event.kind == "state" and json.loads(event.payload)["state"] == "HALTED":
            raise UserError(f"{record}: the risk engine halted it; find out why and begin a new paper period.")
    days = (times[-1] - times[0]) / DAY if times else 0.0
    if days < PAPER_DAYS:
        raise UserError(f"{record} is {days:.1f} days long; {PAPER_DAYS} are needed.")
    if equity[-1] < equity[0]:
        raise UserError(f"{record} lost money ({equity[0]:,.2f} to {equity[-1]:,.2f}); real orders are refused.")


def _check_traded(record: Path, paper: SessionSpec | None, terms: SessionSpec) -> None:
    """Refuse a paper period of another checkpoint, or where models are trained anew, of another procedure."""
    if paper is None or (paper.refit is None and terms.refit is None and paper.model != terms.model):
        raise UserError(f"{record} is not a paper period of this checkpoint.")
    if paper.refit is None and terms.refit is not None:
        raise UserError(
            f"{record} is a paper period of one checkpoint, and --refit trades a procedure: let the procedure trade on "
            f"paper for {PAPER_DAYS} days, by the same command without --orders, and name that record."
        )
    if terms.refit is None and paper.refit is not None:
        raise UserError(
            f"{record} is a paper period of a procedure whose models are trained anew: add --refit as it was there, or "
            "name one of this checkpoint alone."
        )
    if paper.refit is not None and terms.refit is not None and paper.refit["digest"] != terms.refit["digest"]:
        was, now = paper.refit["recipe"], terms.refit["recipe"]
        name = differing(was, now)
        raise UserError(
            f"{record} is a paper period of another procedure: its recipe has {name} = {shortened(was.get(name))}, and "
            f"this session's {shortened(now.get(name))}."
        )


def check_slots(interface: Interface, terms: SessionSpec) -> None:
    """Refuse real orders of policies whose actions become orders that rest, where that was never rehearsed.

    Parameters
    ----------
    interface
        What the actions are.
    terms
        Of the session.

    Raises
    ------
    UserError
        If they do, and it was not.
    """
    if isinstance(getattr(interface, "scheme", None), SlotScheme):
        whose = f"the action scheme {interface.scheme_name!r}"  # type: ignore[attr-defined]
        check_rests(terms.source["exchange"], terms.instruments[0].kind, whose)


def exchange_venue(
    feed: CcxtFeed, terms: SessionSpec, url: str | None, note: Callable[[str], None], **timing: int
) -> Callable[[Ledger], ExchangeVenue]:
    """How to make the venue of a session whose orders go out; `qframe_rl.live.accounts.claim` comes before.

    Parameters
    ----------
    feed
        Its clock says when it is too late for an order.
    terms
        Of the session.
    url
        As in `qframe_rl.feeds.client.client`.
    note
        Told in one line of every failure.
    **timing
        ``recv_window_ms`` and ``margin_ms`` as in `OrderSender`.

    Raises
    ------
    UserError
        If there is no key, or if orders to the exchange cannot be proven to be sent once.
    Unavailable
        If the exchange cannot be reached.
    """
    check_orders(terms.source["exchange"], NAME_LENGTH, real=terms.orders == "real")
    made = account_client(terms, url)

    def venue(ledger: Ledger) -> ExchangeVenue:
        sender = OrderSender(made, ledger, run_id(ledger), note=note, **timing)
        return ExchangeVenue(made, sender, ledger, terms.instruments, terms.bar_ns, feed.now, note=note)

    return venue


def exchange_book(
    market: BookMarket, terms: QuotingTerms, made: Any, note: Callable[[str], None] = lambda text: None, **timing: int
) -> Callable[[Ledger], ExchangeBook]:
    """How to make the account of a session that quotes on an exchange; `qframe_rl.live.accounts.claim` comes before.

    Parameters
    ----------
    market, terms
        Of the session.
    made
        From `account_client`; None in a replay.
    note
        Told in one line of every failure.
    **timing
        As in `exchange_venue`.

    Returns
    -------
    Callable
        Makes it for a journal.

    Raises
    ------
    UserError
        If orders to the exchange cannot be proven to be sent once, or the market is not one of contracts.
    """
    check_orders(terms.source["exchange"], NAME_LENGTH, real=terms.orders == "real")
    if market.instrument.kind == "spot":
        raise UserError(
            f"{market.instrument.symbol} is a spot market, where fees are taken in the coin; orders of a strategy that "
            "quotes go out on perpetuals alone. On paper it may trade."
        )

    def book(ledger: Ledger) -> ExchangeBook:
        def sender(run: str | None) -> OrderSender:
            return OrderSender(made, ledger, run_id(ledger) if run is None else run, note=note, **timing)

        return ExchangeBook(paper_terms(market, terms), market.instrument, made, ledger, sender, note=note)

    return book


def account_client(terms: SessionSpec | QuotingTerms, url: str | None) -> Any:
    """CCXT client with keys, markets and the exchange's time."""
    import ccxt

    exchange = terms.source["exchange"]
    sandbox = terms.orders == "testnet" and url is None
    made = client(exchange, terms.instruments[0].kind, url, sandbox, keys_of(exchange, terms.account).ccxt())
    try:
        made.load_markets()
        made.load_time_difference()
    except ccxt.BaseError as error:
        raise Unavailable(f"{exchange} cannot be reached with the key: {type(error).__name__}.") from error
    return made
