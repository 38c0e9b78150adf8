"""From a checkpoint that quotes and a wish to all that a session on an order book is made of, and the same again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from qframe_rl.book.growing import HOLD_NS
from qframe_rl.checkpoint import Checkpoint
from qframe_rl.config import Strict, UserError, build
from qframe_rl.deploy import data_for, known_data, own_data
from qframe_rl.evaluate.inference.sequential import Promise
from qframe_rl.exchanges import order_rates
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.listing import Listing, listings
from qframe_rl.feeds.tick_load import load_ticks
from qframe_rl.gym.replay.market import BookMarket
from qframe_rl.gym.replay.packed import TickSpan, whole_run
from qframe_rl.journal.codec import Plain
from qframe_rl.journal.lock import corrupt
from qframe_rl.journal.shapes import parsed
from qframe_rl.journal.store import read
from qframe_rl.live.open import ran_with, usual_folder
from qframe_rl.live.quoting_terms import QuotingTerms
from qframe_rl.live.tapes import ReplayTape, TapeSource
from qframe_rl.live.tick_tape import StreamTape
from qframe_rl.quoter import Quoter
from qframe_rl.runner.books.evaluate import check_fits, judged_spans
from qframe_rl.runner.books.packing import deployed_book

_PART_S, _SOON_S = 2.0, 0.2
"""Length of a part on a live market, seconds: on paper, and where orders go out."""
_CASH = 10_000.0
"""Quote currency at the start, where the environment names none."""


@dataclass(frozen=True)
class OpenedBook:
    """What `qframe_rl.live.paper_quoting.run_quoter` takes."""

    market: BookMarket
    quoter: Quoter
    source: TapeSource
    terms: QuotingTerms
    folder: Path
    promise: Promise | None = None
    """Scores of quoting forecast nothing."""


def opened_replay(
    place: Path, checkpoint: Checkpoint, given: Mapping[str, Any], folder: Path | None, speed: float,
    hold_ns: int = HOLD_NS,
) -> OpenedBook:  # fmt: skip
    """Open a session on recorded ticks: those that the checkpoint was judged on, or all of others.

    Parameters
    ----------
    place, checkpoint
        The folder, and what was loaded from it.
    given
        Data settings instead of the checkpoint's.
    folder
        Where the journal is; None = a folder of its own under ``runs/paper``.
    speed
        Times the clock.
    hold_ns
        The hold-back.

    Raises
    ------
    UserError
        For ticks that do not fit.
    """
    config = data_for(checkpoint, given)
    source: Plain = {"feed": "replay", "load": config.model_dump(mode="json"), "judged": own_data(given)}
    return _opened(place, checkpoint, source, folder, speed, hold_ns)


def opened_stream(
    place: Path, checkpoint: Checkpoint, given: Mapping[str, Any], folder: Path | None, url: str | None,
    note: Callable[[str], None], hold_ns: int = HOLD_NS, settling_s: float = 5.0,
    orders: Literal["paper", "testnet"] = "paper", account: str | None = None,
) -> OpenedBook:  # fmt: skip
    """Open a session on the book and the trades of a market as they come.

    Parameters
    ----------
    place, checkpoint, given, folder, hold_ns
        As in `opened_replay`.
    url
        Where every request goes instead of the exchange.
    note
        Told in one line of every run that ends.
    settling_s
        As in `StreamTape`.
    orders, account
        Where orders go, and the name of the account there; those that go out decide without a hold-back.

    Raises
    ------
    UserError
        For another market than the checkpoint's.
    """
    known = known_data(checkpoint)
    exchange = str(given.get("exchange", known["exchange"]))
    symbols = tuple(given.get("symbols") or [checkpoint.instruments[0].symbol])
    (of, *more) = listings(exchange, symbols)
    if more:
        raise UserError(f"a strategy quotes in one order book, not in {1 + len(more)}; name one with --symbols.")
    source: Plain = {
        "feed": "ticks", "exchange": of.exchange, "environment": "production" if orders == "paper" else orders,
        "symbols": [of.symbol],
    }  # fmt: skip
    real = orders != "paper"
    opened = _opened(place, checkpoint, source, folder, 1.0, 0 if real else hold_ns)
    tape = StreamTape(
        of.exchange, of, opened.folder, opened.market.instrument, url=url, note=note, settling_s=settling_s,
        sandbox=orders == "testnet" and url is None, part_s=_SOON_S if real else _PART_S,
    )  # fmt: skip
    terms = replace(opened.terms, orders=orders, account=account) if real else opened.terms
    return OpenedBook(opened.market, opened.quoter, tape, terms, opened.folder)


def _opened(
    place: Path, checkpoint: Checkpoint, source: Plain, folder: Path | None, speed: float, hold_ns: int
) -> OpenedBook:
    """All of it, for rows from a source."""
    market, quoter, _ = deployed_book(checkpoint)
    loaded, of = _source(market, checkpoint, source, folder or Path(), speed, place)
    one = market.instrument
    cash = float(getattr(market.config, "cash", _CASH))
    rates = order_rates(of.client, one.kind)
    terms = QuotingTerms(
        checkpoint.agent["name"], checkpoint.digest, source, dict(checkpoint.env), one, cash, hold_ns, rates
    )  # fmt: skip
    where = folder or usual_folder(place, terms.model, terms.source, terms.hold_ns)
    return OpenedBook(market, quoter, loaded, terms, where)


def _source(
    market: BookMarket, checkpoint: Checkpoint, source: Plain, folder: Path, speed: float, place: Path
) -> tuple[TapeSource, Listing]:
    """The tape that a source means; of a live market that which its session wrote."""
    if source["feed"] == "ticks":
        (of,) = listings(source["exchange"], source["symbols"])
        return StreamTape(of.exchange, of, folder, market.instrument), of
    config = build(DataConfig, source["load"], "the session's data")
    history = load_ticks(config)
    check_fits(market, history, place)
    spans: list[TickSpan] = (
        judged_spans(checkpoint, history) if source["judged"] else [whole_run(run) for run in history.runs]
    )
    return ReplayTape(spans, speed), Listing(history.source.exchange, history.instrument.symbol)


class QuotingEvent(Strict):
    """Terms of a session on an order book as its journal has them."""

    kind: str = Field(pattern="^book$")
    name: str
    model: str
    source: Plain
    env: Plain
    instruments: list[Plain] = Field(min_length=1, max_length=1)
    bar_ns: int
    cash: float = Field(gt=0.0, le=1e15)
    hold_ns: int = Field(ge=0, le=10**12)
    rates: list[Annotated[list[int], Field(min_length=2, max_length=2)]] = Field(max_length=100)
    orders: Literal["paper", "testnet", "real"] = "paper"
    account: str | None = None


def quotes(path: Path) -> bool:
    """Whether a journal is that of a session on an order book."""
    said = _terms(path)
    return said is not None and said.get("kind") == "book"


def reopened_book(path: Path, place: Path | None, data: str | None = None) -> OpenedBook:
    """All that a recorded session was made of, to run it again.

    Parameters
    ----------
    path
        The journal.
    place
        Folder of the checkpoint; None = where it was when the session last began.
    data
        Folder of the ticks; None = where they were.

    Raises
    ------
    UserError
        If the journal is corrupt or empty, or the checkpoint or the tape is gone or another one.
    """
    said = _terms(path)
    if said is None:
        raise UserError(f"{path} is not there, or nothing is in it yet; name the journal of a session.")
    try:
        stated = build(QuotingEvent, said, "its terms")
    except UserError as error:
        raise corrupt(path, str(error).rstrip(".")) from None
    place, checkpoint = ran_with(path, place, stated.model)
    market, quoter, _ = deployed_book(checkpoint)
    source = dict(stated.source)
    if data is not None:
        if source["feed"] != "replay":
            raise UserError(f"the rows of a live order book lie beside its journal {path}; leave --data out.")
        source["load"] = {**source["load"], "data": data}
    tape, _ = _source(market, checkpoint, source, path.parent, float("inf"), place)
    rates = tuple((one[0], one[1]) for one in stated.rates)
    terms = QuotingTerms(
        stated.name, stated.model, stated.source, stated.env, market.instrument, stated.cash, stated.hold_ns, rates,
        stated.orders, stated.account, stated.bar_ns,
    )  # fmt: skip
    return OpenedBook(market, quoter, tape, terms, path.parent)


def _terms(path: Path) -> Plain | None:
    first = next((event for event in read(path) if event.kind == "session"), None)
    return None if first is None else parsed(path, first.seq, first.kind, first.payload)
