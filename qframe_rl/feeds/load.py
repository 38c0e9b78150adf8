"""The one door to market data: a `DataConfig` becomes a `History`, or a live feed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.feeds.cash import with_cash
from qframe_rl.feeds.ccxt import CcxtFeed
from qframe_rl.feeds.check import checked
from qframe_rl.feeds.clock import Clock
from qframe_rl.feeds.columns import extend, is_of_ticks, name_of
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.download import Report, download
from qframe_rl.feeds.exchange import Note
from qframe_rl.feeds.files import load_file
from qframe_rl.feeds.finer import check_length, with_finer, with_made_up
from qframe_rl.feeds.gauge import gauges
from qframe_rl.feeds.presets import unknown_minimums
from qframe_rl.feeds.quality import describe, quarantine, suspects
from qframe_rl.feeds.relist import relisted
from qframe_rl.feeds.settlements import settlements
from qframe_rl.feeds.store import holes, load_store, stored_symbols
from qframe_rl.feeds.universe import with_members
from qframe_rl.feeds.universe_rule import UniverseRule, universe_rule
from qframe_rl.servers import POSTGRES, POSTGRES_EXAMPLE, address_of, is_address, unlocked
from qframe_rl.types import CLOSE, History, iso, parse_time, timeframe_ns

_EXCHANGE, _SYNTHETIC, _SETTLEMENTS = "ccxt:", "synthetic:", "settlements:"


class _How(TypedDict):
    """How bars of a store are taken."""

    funding: str
    sparse: bool


def data_root() -> Path:
    """Folder of the user's store: ``$QFRAME_DATA``, else ``data`` in the working folder."""
    named = os.environ.get("QFRAME_DATA") or "data"
    return Path("data" if is_address(named, *POSTGRES) else named)


def data_place() -> str:
    """The same, or the address of the database that ``$QFRAME_DATA`` names."""
    named = os.environ.get("QFRAME_DATA") or "data"
    return unlocked(named) if is_address(named, *POSTGRES) else named


def load(config: DataConfig, report: Report | None = None) -> History:
    """Bars that a configuration asks for, their bad prints taken out (or, with quarantine off, listed only).

    A coin that came back as another one under its old ticker is two instruments, as in `relist.relisted`. With a rule
    of who may be bought, bars of before the span are read as well: they decide on its first members.

    Parameters
    ----------
    config
        ``synthetic:NAME`` makes them, ``ccxt:EXCHANGE`` downloads what `data_place` lacks of them and reads them from
        there, a folder or ``postgresql://...`` is read as a store, a file as one instrument, ``settlements:FILE`` as
        days of many contracts.
    report
        Told of a download's progress.

    Returns
    -------
    History
        Checked, cut to the configuration's span, with its exogenous columns and what idle cash earns.

    Raises
    ------
    UserError
        For a source that does not exist or does not hold what is asked for.
    Unavailable
        If a download fails for longer than patience lasts.
    """
    asked, config = config, _candidates(config)
    history = _load(config, report)
    if config.quarantine == "on":
        history = quarantine(history)
    else:
        listed = tuple(s._replace(quarantined=False) for s in suspects(history))
        history = replace(history, quarantine="off", suspects=listed)
    history = replace(history, notes=(*history.notes, *_lacks(history, asked)))
    history = relisted(history, config.relist)
    if asked.universe is not None:
        history = _within(history, universe_rule(asked.universe), asked)
    known = [line for gauge in gauges(history, list(map(name_of, config.columns))) for line in gauge.lines()]
    history = replace(history, notes=(*history.notes, *known))
    history = with_cash(history, config.risk_free, _root(config))
    return history if asked.detail is None else _detailed(history, asked.detail, config, report)


def _candidates(config: DataConfig) -> DataConfig:
    """The same bars with all that a universe is chosen from: other symbols, and those of the time before the span."""
    if config.universe is None:
        return config
    rule, changed, path = universe_rule(config.universe), dict[str, object](), Path(config.data).expanduser()
    if not config.symbols and path.is_dir():
        changed["symbols"] = stored_symbols(path, config.exchange, config.timeframe)
    if config.since is not None:
        since = parse_time(config.since) - rule.lookback_ns(timeframe_ns(config.timeframe))
        changed["since"] = iso(max(0, since))
    return config.model_copy(update=changed)


def _detailed(history: History, detail: str, config: DataConfig, report: Report | None) -> History:
    """The same bars with the finer ones of the same place, made up within them where they are made up themselves."""
    ns = timeframe_ns(detail)
    check_length(ns, history.bar_ns)
    if config.data.startswith(_SYNTHETIC):
        return with_made_up(history, ns, config.seed)
    stored = config.data.startswith(_EXCHANGE) or is_address(config.data, *POSTGRES)
    if not stored and not Path(config.data).expanduser().is_dir():
        raise UserError(f"detail {detail}: {config.data} has bars of one length; take a store or an exchange.")
    if config.relist:
        raise UserError("detail and relist cannot be had together: finer bars keep the prices of before a relisting.")
    plain = {"timeframe": detail, "columns": (), "funding": "zero", "detail": None}
    return with_finer(history, _load(config.model_copy(update=plain), report))


def _within(history: History, rule: UniverseRule, asked: DataConfig) -> History:
    """The bars that were asked for, with the column of who is a member; candidates without one of them are left out."""
    since, until = (None if text is None else parse_time(text) for text in (asked.since, asked.until))
    whole = with_members(history, rule)
    rows = whole.between(since, until)
    cut = checked(whole.rows(*rows), sparse=True)
    first = int(cut.time[0])
    cut = replace(cut, suspects=tuple(one for one in cut.suspects if one.time >= first))
    there = ~np.isnan(cut.values[:, :, CLOSE]).all(axis=0)
    return cut if asked.symbols or there.all() else _of(cut, np.flatnonzero(there).tolist())


def _of(history: History, kept: list[int]) -> History:
    """The same bars of some of the instruments."""
    names = {history.symbols[a] for a in kept}
    return replace(
        history,
        instruments=tuple(history.instruments[a] for a in kept),
        values=history.values[:, kept],
        funding=history.funding[:, kept],
        final=history.final[:, kept],
        suspects=tuple(one for one in history.suspects if one.symbol in names),
    )


def _load(config: DataConfig, report: Report | None) -> History:
    since, until = (None if text is None else parse_time(text) for text in (config.since, config.until))
    if since is not None and until is not None and since >= until:
        raise UserError(f"since {config.since} is not before until {config.until}.")
    if config.data.startswith(_EXCHANGE):
        place = _downloaded(config, since, until, report)
        return _stored(config.model_copy(update={"data": place, "exchange": _exchange(config)}), since, until)
    if is_address(config.data, *POSTGRES):
        return _stored(config, since, until)
    if config.data.startswith(_SYNTHETIC):
        return _cut(_synthetic(config), config, Path(), since, until)
    if config.data.startswith(_SETTLEMENTS):
        path = data_root() / Path(config.data.removeprefix(_SETTLEMENTS)).expanduser()
        history = settlements(path, config.exchange, config.symbols, since, until)
        return extend(history, config.columns, data_root())
    path = Path(config.data).expanduser()
    if path.is_dir():
        return _stored(config, since, until)
    if path.is_file():
        history = load_file(path, config.exchange, config.symbols, config.timeframe, config.funding, config.map)
        return _cut(history, config, path.parent, since, until)
    raise UserError(
        f"data {config.data!r}: no such file or folder, and none of {_SYNTHETIC}NAME, {_EXCHANGE}EXCHANGE, "
        f"{_SETTLEMENTS}FILE and postgresql://..."
    )


def _stored(config: DataConfig, since: int | None, until: int | None) -> History:
    """Bars of a store, or of this machine's copy of a database."""
    root, what = store_root(config), (config.exchange, config.symbols, config.timeframe)
    how = _How(funding=config.funding, sparse=config.universe is not None)
    assert root is not None
    if not is_address(config.data, *POSTGRES):
        return extend(load_store(root, *what, since, until, **how), config.columns, root)
    place = address_of(config.data, POSTGRES, POSTGRES_EXAMPLE, hostless=True).place
    try:
        history = load_store(root, *what, since, until, **how)
    except UserError as error:
        raise UserError(str(error).replace(str(root), place)) from None
    history = replace(history, source=replace(history.source, origin=place))
    return extend(history, config.columns, data_root())


def store_root(config: DataConfig) -> Path | None:
    """Folder of the Parquet store that a configuration's bars are read from; None if they are not from one.

    Raises
    ------
    UserError
        If a database lacks them.
    Unavailable
        If it does not answer.
    """
    if is_address(config.data, *POSTGRES):
        from qframe_rl.feeds.database import MarketDatabase

        return MarketDatabase(config.data).bring(config.exchange, config.symbols, config.timeframe)
    path = Path(config.data).expanduser()
    return path if path.is_dir() else None


def _lacks(history: History, config: DataConfig) -> Iterator[str]:
    """Where bars begin after what was asked for, and how many are missing between an instrument's first and last."""
    asked = None if config.since is None else parse_time(config.since)
    for a, symbol in enumerate(history.symbols):
        opens = history.time[~np.isnan(history.values[:, a, CLOSE])] - history.bar_ns
        if asked is not None and len(opens) and opens[0] >= asked + history.bar_ns:
            yield f"{symbol}: asked from {iso(asked)[:16]}, its bars begin at {iso(int(opens[0]))[:16]}"
        missing = holes(opens, history.bar_ns)
        # Contracts that settle on working days lack nothing.
        if missing and not config.data.startswith(_SETTLEMENTS):
            start, most = max(missing, key=lambda hole: hole[1])
            yield (
                f"{symbol}: {sum(n for _, n in missing):,} bars are missing between its first and its last, at most "
                f"{most:,} in a row (from {iso(start)[:16]})"
            )


def remarks(history: History) -> Iterator[str]:
    """One line for each thing about loaded bars that a user should hear, for a screen."""
    yield from history.notes
    yield from describe(history.suspects)
    yield from unknown_minimums(history.instruments)


def live(
    config: DataConfig,
    window: int,
    url: str | None = None,
    sandbox: bool = False,
    note: Note | None = None,
    *,
    clock: Clock | None = None,
    speed: float = 1.0,
    depth: int | None = None,
) -> CcxtFeed:
    """Feed of the bars that close from now on, of the same instruments, columns and bar length as `load` gives.

    Parameters
    ----------
    config
        Its exchange (or the one of ``ccxt:EXCHANGE``), symbols, timeframe and columns; their files are looked up in
        the store where ``data`` is one, else in `data_root`.
    window
        Bars of the warm-up.
    url, sandbox, note, clock, speed, depth
        As in `CcxtFeed`.

    Raises
    ------
    UserError
        As in `CcxtFeed`, and for a column of ticks, which are recorded ones.
    """
    for spec in filter(is_of_ticks, config.columns):
        raise UserError(f"column {spec!r} is of recorded ticks, which a session on coming bars does not have.")
    return CcxtFeed(
        _exchange(config), config.symbols, config.timeframe, window, url=url, sandbox=sandbox,
        universe=config.universe, detail=config.detail, columns=config.columns,
        risk_free=config.risk_free, root=_root(config), note=note, clock=clock, speed=speed, depth=depth,
    )  # fmt: skip


def _root(config: DataConfig) -> Path:
    """Folder in which files that the configuration names besides its bars are looked up."""
    path = Path(config.data).expanduser()
    return path if path.is_dir() else path.parent if path.is_file() else data_root()


def _exchange(config: DataConfig) -> str:
    return config.data.removeprefix(_EXCHANGE) if config.data.startswith(_EXCHANGE) else config.exchange


def _downloaded(config: DataConfig, since: int | None, until: int | None, report: Report | None) -> str:
    """The store or database that holds the span by now."""
    if since is None:
        raise UserError(f"{config.data} needs a first moment to download from; set since, such as 2022-01-01.")
    place, what = data_place(), (_exchange(config), config.symbols, config.timeframe, since, until)
    if is_address(place, *POSTGRES):
        from qframe_rl.feeds.database import download_into

        download_into(place, *what, report=report)
    else:
        download(*what, root=Path(place), report=report)
    return place


def _synthetic(config: DataConfig) -> History:
    from qframe_rl.feeds.synthetic import synthetic

    if config.symbols:
        raise UserError(f"{config.data} names its own symbols; leave symbols out.")
    name, bar_ns = config.data.removeprefix(_SYNTHETIC), timeframe_ns(config.timeframe)
    return synthetic(name, n_bars=config.bars, seed=config.seed, bar_ns=bar_ns)


def _cut(history: History, config: DataConfig, root: Path, since: int | None, until: int | None) -> History:
    if since is not None or until is not None:
        history = checked(history.rows(*history.between(since, until)))
    return extend(history, config.columns, root)
