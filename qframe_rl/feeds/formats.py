"""What usual exporters of candles write, as data: by which columns a table is known, and which of them are what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from qframe_rl.config import UserError, nearest

ROLES = ("time", "close_time", "open", "high", "low", "close", "volume", "quote_volume")
"""What a column may be: ``close_time`` is a stamp of the bar's end, ``quote_volume`` a volume that counts money."""
ANY = ""
"""Stands for a column that nobody needs."""


class Format(NamedTuple):
    """A table whose columns have names."""

    name: str
    marks: frozenset[str]
    """Columns that only it has, normalised."""
    roles: Mapping[str, str] = {}
    """Which column is what, where that is not what its name says."""


class Layout(NamedTuple):
    """A table without names."""

    name: str
    columns: tuple[str, ...]
    stamp: str
    """Pattern of the first column's texts."""


def _format(name: str, marks: str, **roles: str) -> Format:
    return Format(name, frozenset(marks.split()), roles)


FORMATS = (
    _format("Poloniex chart data", "quotevolume weightedaverage", volume="quotevolume"),
    _format("HTX klines", "id vol amount", time="id", volume="amount"),
    _format("CryptoDataDownload", "unix date symbol", time="unix"),
    _format("CryptoDataDownload", "unix_timestamp date symbol", time="unix_timestamp"),
    _format("CryptoDataDownload", "date symbol"),
    _format("Binance klines", "open_time close_time"),
    _format("Bybit klines", "start_at turnover"),
    _format("Bybit klines", "starttime turnover"),
    _format("Bybit klines", "start_time turnover"),
    # Yahoo counts what was traded of a coin in money.
    _format("Yahoo Finance", "adj_close", quote_volume="volume"),
    _format("Yahoo Finance", "dividends stock_splits", quote_volume="volume"),
    _format("Yahoo Finance", "yahoo_ticker", quote_volume="volume"),
)
"""The first one whose marks are all there is meant."""

_BAR = ("time", "open", "high", "low", "close", "volume")
LAYOUTS = (
    Layout("Binance klines", (*_BAR, *(ANY,) * 6), r"\d{13,16}"),
    Layout("LEAN hours or days", _BAR, r"\d{8} \d\d:\d\d"),
    Layout("LEAN seconds or minutes", ("since_midnight", *_BAR[1:]), r"\d{1,8}"),
    Layout("Bybit klines for MetaTrader", _BAR, r"\d{4}\.\d\d\.\d\d \d\d:\d\d"),
    Layout("Kraken OHLCVT", (*_BAR, ANY), r"\d{10}"),
    Layout("Bybit klines", (*_BAR, "quote_volume"), r"\d{13}"),
    Layout("HTX klines", (*_BAR[:5], "quote_volume", "volume", ANY), r"\d{10}"),
    Layout("HTX klines", (*_BAR[:5], ANY, "volume", ANY, ANY), r"\d{10}"),
    Layout("rows of time, open, high, low, close and volume", _BAR, r".+"),
    Layout("Coinbase candles", ("time", "low", "high", "open", "close", "volume"), r".+"),
)
"""The first one of which number of columns, stamp and prices fit is meant."""

_TIMES = (
    "timestamp", "open_time", "opentime", "time", "datetime", "date", "unix", "unix_timestamp", "start_at", "starttime",
    "start_time", "gmt_time", "unnamed_0", "index_level_0", "index", ANY,
)  # fmt: skip
_CLOSES = ("close_time", "closetime", "end_time", "endtime")
_VOLUMES = ("volume", "vol", "base_volume", "basevolume")


def normalised(name: str) -> str:
    """A column's name without case, spaces and signs."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def known(names: Sequence[str]) -> Format | None:
    """Which exporter's columns these are; None for anybody's."""
    there = {normalised(name) for name in names}
    return next((one for one in FORMATS if one.marks <= there), None)


def roles(
    names: Sequence[str], found: Format | None, stated: Mapping[str, str], where: str, mend: str = ""
) -> dict[str, str]:
    """Which column is what.

    Parameters
    ----------
    names
        Columns as the file names them.
    found
        As `known` says.
    stated
        What the user says: roles to names.
    where
        The file, for a refusal.
    mend
        What to do where a column cannot be told; empty = how ``--map`` would name it.

    Returns
    -------
    dict
        Roles to names; ``time`` or ``close_time`` is there, and the four prices.

    Raises
    ------
    UserError
        If a column that is needed cannot be told, with what to say.
    """
    chosen = {role: _named(names, name, where) for role, name in stated.items()}
    own = {} if found is None else found.roles
    for role, candidates in (("time", _TIMES), ("close_time", _CLOSES), *((r, (r,)) for r in _BAR[1:5])):
        if role not in chosen and not (role in ("time", "close_time") and {"time", "close_time"} & set(chosen)):
            name = _first(names, (own[role],) if role in own else candidates, where)
            if name is not None:
                chosen[role] = name
    if not {"volume", "quote_volume"} & set(chosen):
        role = "quote_volume" if "quote_volume" in own else "volume"
        name = _first(names, (own[role],) if role in own else _VOLUMES, where)
        # `Volume BTC` stands before `Volume USDT`.
        name = name or next((one for one in names if normalised(one).startswith("volume_")), None)
        if name is not None:
            chosen[role] = name
    lacks = [
        role for role in _BAR if role not in chosen and not (f"close_{role}" in chosen or f"quote_{role}" in chosen)
    ]
    if lacks:
        mend = mend or "add " + " ".join(f"--map {role}=NAME" for role in lacks)
        raise UserError(f"{where}: no column for {', '.join(lacks)} among {', '.join(names) or 'none'}; {mend}.")
    return chosen


def stated_roles(texts: Sequence[str]) -> dict[str, str]:
    """What ``--map`` says: roles to names of columns.

    Raises
    ------
    UserError
        For another spelling, or an unknown role.
    """
    found = {}
    for text in texts:
        role, equals, name = text.partition("=")
        if not equals or role not in ROLES:
            raise UserError(f"map {text!r} is not ROLE=COLUMN with one of {', '.join(ROLES)}{nearest(role, ROLES)}")
        found[role] = name
    return found


def _named(names: Sequence[str], wanted: str, where: str) -> str:
    name = _first(names, (normalised(wanted),), where)
    if name is None:
        raise UserError(f"{where}: no column {wanted!r}; it has {', '.join(names) or 'none'}.")
    return name


def _first(names: Sequence[str], candidates: Sequence[str], where: str) -> str | None:
    for candidate in candidates:
        found = [name for name in names if normalised(name) == candidate]
        if len(found) > 1:
            raise UserError(f"{where}: two columns are named {candidate!r}; rename one, or name it with --map.")
        if found:
            return found[0]
    return None
