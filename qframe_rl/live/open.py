"""From a checkpoint and a wish to all that a live session is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from qframe_rl.agent import Agent
from qframe_rl.checkpoint import Checkpoint, load_checkpoint
from qframe_rl.config import UserError, fingerprint
from qframe_rl.deploy import asked_over, data_for, deployed, known_data, period_of, window_of
from qframe_rl.evaluate.inference.sequential import Promise
from qframe_rl.feeds.clock import Clock
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.download import Report
from qframe_rl.feeds.finer import check_finer
from qframe_rl.feeds.live_finer import refuse_venues
from qframe_rl.feeds.load import live, load
from qframe_rl.feeds.universe_rule import UniverseRule, universe_rule
from qframe_rl.gym.market import Market
from qframe_rl.journal.codec import Plain
from qframe_rl.journal.shapes import parsed
from qframe_rl.journal.store import NAME, read
from qframe_rl.live.books import BookSource
from qframe_rl.live.followed import FollowedFeed, followed_terms
from qframe_rl.live.promise import promise_of
from qframe_rl.live.quotes import LiveQuotes
from qframe_rl.live.recorded import Live, ReplayFeed
from qframe_rl.live.refits import JournalledModels, procedure
from qframe_rl.live.spec import FOLLOWED, Rule, SessionSpec, terms_of
from qframe_rl.types import Bar, timeframe_name, timeframe_ns

DEPTH = 20
"""Levels of each side of the order books that are recorded."""


@dataclass(frozen=True)
class Opened:
    """What `qframe_rl.live.paper.paper` takes."""

    market: Market
    agent: Agent
    feed: Live
    terms: SessionSpec
    folder: Path
    quotes: BookSource | None = None
    promise: Promise | None = None
    """What the scores of the checkpoint forecast."""
    wider: Callable[[int], Live] | None = None
    """Makes a feed of the same bars with a warm-up of so many; None where bars are not of an exchange."""


def opened_replay(
    place: Path,
    checkpoint: Checkpoint,
    given: Mapping[str, Any],
    since: str | None,
    until: str | None,
    folder: Path | None,
    speed: float,
    report: Report | None = None,
    account: str | None = None,
    execute: str | None = None,
    refit: Plain | None = None,
) -> Opened:
    """Open a session on bars of the past.

    Parameters
    ----------
    place, checkpoint
        The folder, and what was loaded from it.
    given
        Data settings instead of the checkpoint's.
    since, until
        The period; the checkpoint's test period where neither they nor other bars are given.
    folder
        Where the journal is; None = a folder of its own under ``runs/paper``.
    speed
        As in `HistoryFeed`.
    report
        Told of a download's progress.
    account
        Name of the account that the session trades; on paper it is a name alone.
    execute
        As in `qframe_rl.deploy.deployed`.
    refit
        The procedure that it trades, as `qframe_rl.live.refits.stated` says; its agent is the first model.

    Raises
    ------
    UserError
        For data that do not fit, or a period without bars.
    """
    given = asked_over(checkpoint, given, since, until)
    config = data_for(checkpoint, given)
    history = load(config, report)
    market, agent = deployed(
        checkpoint, history.instruments, history.columns, history.bar_ns, history.source.origin, history.theory,
        execute,
    )  # fmt: skip
    check_finer(history, market.rules.detail_ns)
    segment = period_of(checkpoint, history, given, since, until)
    window = window_of(market, agent)
    terms = SessionSpec(
        checkpoint.agent["name"],
        checkpoint.digest,
        {"feed": "replay", "data": history.fingerprint, "rows": list(segment)}
        | ({} if history.finer is None else {"detail": timeframe_name(history.finer.ns)})
        | _waiting(config.universe),
        history.instruments,
        history.columns,
        history.bar_ns,
        window,
        theory=None if history.theory is None else dict(history.theory),
        account=account,
        execute=execute,
        refit=refit,
    )
    return Opened(market, agent, ReplayFeed(history, segment, window, speed), terms, folder or _folder(place, terms),
        promise=promise_of(checkpoint),
    )  # fmt: skip


def opened_live(
    place: Path,
    checkpoint: Checkpoint,
    given: Mapping[str, Any],
    folder: Path | None,
    url: str | None,
    note: Callable[[str], None],
    *,
    orders: Literal["paper", "testnet", "real"] = "paper",
    fills: Rule = "bar",
    latency_s: float = 0.0,
    speed: float = 1.0,
    clock: Clock | None = None,
    account: str | None = None,
    execute: str | None = None,
    refit: Plain | None = None,
) -> Opened:
    """Open a session on the candles of an exchange as they close.

    Market and strategy know the rules of the instruments that the exchange stated when the session began; changes since
    are on record as they come, see `qframe_rl.feeds.stated`.

    Parameters
    ----------
    place, checkpoint, given, folder
        As in `opened_replay`.
    url, note, speed, clock
        As in `qframe_rl.feeds.load.live`.
    orders
        Where orders go; ``testnet`` takes bars from the exchange's test environment as well.
    fills
        Whose fills count; order books are recorded either way.
    latency_s
        As in `LiveQuotes`.
    account
        As in `opened_replay`; orders go out with its keys.
    execute, refit
        As in `opened_replay`.

    Raises
    ------
    UserError
        For markets that the exchange does not have or that do not fit the checkpoint.
    Unavailable
        If the exchange cannot be reached.
    """
    # Not the symbols that were asked for: one of them may have been several instruments, of which none trades now.
    known = {"symbols": tuple(i.symbol for i in checkpoint.instruments), "columns": known_data(checkpoint)["columns"]}
    config = data_for(checkpoint, known | dict(given), live=True)
    market, agent = deployed(
        checkpoint, checkpoint.instruments, checkpoint.columns,
        checkpoint.bar_ns if execute is None else timeframe_ns(config.timeframe), "the checkpoint itself",
        execute=execute,
    )  # fmt: skip
    if market.rules.detail_ns:
        refuse_venues(orders, fills)
    window = window_of(market, agent)
    feed = live(config, window, url, orders == "testnet" and url is None, note, clock=clock, speed=speed, depth=DEPTH)
    if orders != "paper" and feed.unlisted():
        raise UserError(
            f"{feed.source.exchange} does not list {', '.join(feed.unlisted())}: orders go out only where it lists "
            "every candidate; name the others with --symbols, or leave --orders out."
        )
    source = {
        "feed": "ccxt",
        "exchange": feed.source.exchange,
        "environment": feed.source.environment,
        "symbols": [i.symbol for i in feed.instruments],
        "timeframe": timeframe_name(feed.bar_ns),
        **({} if config.risk_free == DataConfig().risk_free else {"risk_free": config.risk_free}),
        **({} if config.universe is None else {"universe": config.universe}),
        **({} if config.detail is None else {"detail": config.detail}),
    }
    terms = SessionSpec(
        checkpoint.agent["name"], checkpoint.digest, source, feed.instruments, feed.columns, feed.bar_ns, window,
        fills, quoted=True, orders=orders, account=account, execute=execute, refit=refit,
    )  # fmt: skip
    folder = folder or _folder(place, terms)
    begun = terms_of(folder / NAME)
    if begun is not None and [i.symbol for i in begun.instruments] == source["symbols"]:
        terms = replace(terms, instruments=begun.instruments)
    market, agent = deployed(
        checkpoint, terms.instruments, terms.columns, terms.bar_ns, feed.source.origin, execute=execute
    )

    def wider(warm_up: int) -> Live:
        return live(config, warm_up, url, orders == "testnet" and url is None, note, clock=clock, speed=speed)

    return Opened(market, agent, feed, terms, folder, LiveQuotes(feed, DEPTH, latency_s), promise_of(checkpoint), wider)


def opened_followed(
    place: Path,
    checkpoint: Checkpoint,
    journal: Path,
    begin: Literal["start", "now"],
    folder: Path | None,
    execute: str | None = None,
) -> Opened:
    """Open a session on the bars that another session records.

    Parameters
    ----------
    place, checkpoint, folder, execute
        As in `opened_replay`.
    journal
        Of the session that is followed.
    begin
        As in `FollowedFeed`.

    Raises
    ------
    UserError
        For a journal that cannot be followed, or whose bars do not fit the checkpoint.
    """
    followed = followed_terms(journal)
    market, agent = deployed(
        checkpoint, followed.instruments, followed.columns, followed.bar_ns, str(journal), followed.theory,
        execute,
    )  # fmt: skip
    if market.rules.detail_ns and detail_of(followed.market) != market.rules.detail_ns:
        raise UserError(
            f"env.detail: the session of {journal} does not record what its bars consist of; follow one that has the "
            "same detail."
        )
    feed = FollowedFeed(journal, window_of(market, agent), begin)
    terms = SessionSpec(
        checkpoint.agent["name"], checkpoint.digest, {"feed": FOLLOWED, "of": followed.market}, followed.instruments,
        followed.columns, followed.bar_ns, window_of(market, agent), theory=followed.theory,
        execute=execute,
    )  # fmt: skip
    return Opened(market, agent, feed, terms, folder or _folder(place, terms), promise=promise_of(checkpoint))


def _waiting(universe: str | None) -> Plain:
    """What the source of a replay says of a universe: that of who waits for coins as by default never said any."""
    waits = universe is not None and universe_rule(universe).traded_ns != UniverseRule.traded_ns
    return {"universe": universe} if waits else {}


def detail_of(source: Mapping[str, Any]) -> int:
    """Length of the finer bars that a session's bars are recorded with, ns; 0 = none."""
    return timeframe_ns(source["detail"]) if "detail" in source else 0


def longer_memory(opened: Opened, window: int) -> list[Bar]:
    """Bars that a session would have been shown before its own warm-up, had its window been ``window``.

    The session has not begun yet. Of an exchange these are its last bars, so the newest may be of the warm-up.
    """
    more = window - opened.terms.window
    if more <= 0:
        return []
    if isinstance(opened.feed, ReplayFeed):
        start, history = opened.feed.start, opened.feed.history
        return [history.bar(row) for row in range(max(0, start - more), start)]
    return [] if opened.wider is None else list(islice(opened.wider(window), window))


def reopened(path: Path, place: Path | None) -> tuple[Market, Agent, SessionSpec]:
    """All that a recorded session was made of, to run it again.

    Parameters
    ----------
    path
        The journal.
    place
        Folder of the checkpoint; None = where it was when the session last began.

    Raises
    ------
    UserError
        If the journal is corrupt or empty, or if the checkpoint is gone or another one.
    """
    terms = terms_of(path)
    if terms is None:
        raise UserError(f"{path} is not there, or nothing is in it yet; name the journal of a session.")
    _, checkpoint = ran_with(path, place, terms.model)
    market, agent = deployed(
        checkpoint, terms.instruments, terms.columns, terms.bar_ns, str(path), terms.theory, terms.execute
    )
    if terms.refit is not None:
        agent = procedure(agent, terms, JournalledModels(path.parent, terms))
    return market, agent, terms


def ran_with(path: Path, place: Path | None, model: str) -> tuple[Path, Checkpoint]:
    """Find the checkpoint of a recorded session.

    Parameters
    ----------
    path
        The journal.
    place
        Its folder; None = where it was when the session last began.
    model
        Digest that the journal states.

    Returns
    -------
    tuple[Path, Checkpoint]
        Its folder, and what was loaded from it.

    Raises
    ------
    UserError
        If it is gone or another one, or the journal does not say where it was.
    """
    place = place or _place(path)
    checkpoint = load_checkpoint(place)
    if checkpoint.digest != model:
        raise UserError(f"{place} is not the checkpoint that the session ran with; name that with --checkpoint.")
    return place, checkpoint


def usual_folder(place: Path, *terms: object) -> Path:
    """Where the journal of a checkpoint's session is unless told: a folder for each set of terms."""
    return Path("runs") / "paper" / f"{place.absolute().name}-{fingerprint(*terms)[:8]}"


def _place(path: Path) -> Path:
    for event in read(path):
        if event.kind == "process":
            where = parsed(path, event.seq, event.kind, event.payload).get("checkpoint")
            if where is not None:
                return Path(where)
    raise UserError(f"{path} does not say where its checkpoint is; name it with --checkpoint.")


def _folder(place: Path, terms: SessionSpec) -> Path:
    refit = None if terms.refit is None else str(terms.refit["digest"])
    named = [text for text in (terms.account, terms.execute, refit) if text is not None]
    return usual_folder(place, terms.model, terms.source, terms.fills, terms.orders, *named)
