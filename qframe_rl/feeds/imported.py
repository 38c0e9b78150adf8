"""Candles of strangers: what a file is taken for, and its bars at their opens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.feeds import formats
from qframe_rl.feeds.containers import Raw, opened
from qframe_rl.feeds.fields import numeric, times
from qframe_rl.types import DAY, MINUTE, OHLCV, SECOND, Float, Int, parse_time

_QUOTES = "USDT|USDC|BUSD|FDUSD|TUSD|DAI|USD|EUR|GBP|TRY|JPY|BTC|ETH|BNB"
_LAST_MOMENTS = (1, 1_000, 1_000_000, SECOND)
"""How long before the end of a bar its last moment is, for those who count in ns, us, ms or s."""


class Imported(NamedTuple):
    """Bars of a file."""

    opens: Int
    """(N,) ns UTC, as they stand in the file or, where that is newest first, turned round."""
    bars: Float
    """(N, 5) volume in base units."""
    symbol: str
    """That the file names, BASE/QUOTE; empty if it names none."""
    said: str
    """What it was taken for; empty for the columns of our own files."""


def imported(path: Path, bar_ns: int, stated: Sequence[str] = ()) -> Imported:
    """Read candles as an exporter wrote them.

    Parameters
    ----------
    path
        The file; what it is, is told by its content.
    bar_ns
        Length of a bar.
    stated
        Which column is what, where it cannot be told: texts ``ROLE=COLUMN``.

    Raises
    ------
    UserError
        If it cannot be read, or a column that is needed cannot be told.
    """
    return interpreted(opened(path), path, bar_ns, stated)


def interpreted(raw: Raw, path: Path, bar_ns: int, stated: Sequence[str] = ()) -> Imported:
    """Candles of a table.

    Parameters
    ----------
    raw
        The table.
    path
        Names it, for messages and remarks.
    bar_ns, stated
        As in `imported`.

    Raises
    ------
    UserError
        If a column that is needed cannot be told.
    """
    where = str(path)
    if raw.headed:
        names = raw.table.column_names
        found = formats.known(names)
        roles = formats.roles(names, found, formats.stated_roles(stated), where)
        name = found.name if found is not None else "columns by their names"
    else:
        layout = _laid_out(raw, path)
        roles = {role: f"f{k}" for k, role in enumerate(layout.columns) if role}
        roles |= formats.roles(raw.table.column_names, None, formats.stated_roles(stated), where) if stated else {}
        name = layout.name
    remarks: list[str] = []
    bars = _bars(raw, roles, path, remarks)
    opens = _opens(raw, roles, path, bar_ns, remarks)
    if len(opens) > 1 and (np.diff(opens) < 0).all():
        opens, bars = opens[::-1].copy(), bars[::-1].copy()
        remarks.append("newest first")
    own = not remarks and raw.headed and {formats.normalised(c) for c in roles.values()} == {"timestamp", *OHLCV}
    which = ", ".join(f"{role} is {column!r}" for role, column in roles.items()) if raw.headed else "no header"
    said = "" if own else f"{path.name}: taken for {name} ({'; '.join((which, *remarks))})"
    return Imported(opens, bars, _symbol(raw, path), said)


def _laid_out(raw: Raw, path: Path) -> formats.Layout:
    """Which layout a table without names has."""
    for layout in formats.LAYOUTS:
        if len(layout.columns) == raw.table.num_columns and re.fullmatch(layout.stamp, raw.first):
            o, h, low, c = (numeric(raw.table, f"f{layout.columns.index(role)}", path) for role in OHLCV[:4])
            if ((low <= np.minimum(o, c)) & (np.maximum(o, c) <= h)).mean() > 0.5:
                return layout
    raise UserError(
        f"{path}: {raw.table.num_columns} columns without names, of which the prices cannot be told; write "
        "a first line such as time,open,high,low,close,volume."
    )


def _bars(raw: Raw, roles: dict[str, str], path: Path, remarks: list[str]) -> Float:
    prices = [numeric(raw.table, roles[role], path) for role in OHLCV[:4]]
    if "volume" in roles:
        return np.column_stack([*prices, numeric(raw.table, roles["volume"], path)])
    remarks.append("its volume counts money and is divided by the middle of high, low and close")
    with np.errstate(divide="ignore", invalid="ignore"):
        volume = numeric(raw.table, roles["quote_volume"], path) / np.mean(prices[1:], axis=0)
    return np.column_stack([*prices, volume])


def _opens(raw: Raw, roles: dict[str, str], path: Path, bar_ns: int, remarks: list[str]) -> Int:
    if "since_midnight" in roles:
        return _of_day(raw, roles["since_midnight"], path)
    found = stamps(raw, roles, path)
    if len(found) == 0:
        return found
    before = next((b for b in _LAST_MOMENTS if bar_ns >= MINUTE and not ((found + b) % MINUTE).any()), 0)
    if before:
        found = found + before
    elif bar_ns >= MINUTE and (found % SECOND).any():
        whole = (found + SECOND // 2) // SECOND * SECOND
        remarks.append(f"stamps up to {np.abs(found - whole).max() / 1e6:g} ms beside the second")
        found = whole
    if before or "time" not in roles:
        remarks.append("stamped by its closes")
        found = found - bar_ns
    return found


def stamps(raw: Raw, roles: dict[str, str], path: Path) -> Int:
    """Times of a table as they stand in it.

    Parameters
    ----------
    raw
        The table.
    roles
        Which column is what; ``time`` or ``close_time`` is there.
    path
        Names it, for messages.

    Returns
    -------
    Int
        (N,) ns UTC.
    """
    name = roles["time"] if "time" in roles else roles["close_time"]
    return times(raw.table.column(name), path, name)


def _of_day(raw: Raw, name: str, path: Path) -> Int:
    """Times that are counted from a midnight, which the file's name states."""
    day = re.search(r"(?<!\d)(\d{4})(\d\d)(\d\d)(?!\d)", raw.name) or re.search(
        r"(?<!\d)(\d{4})(\d\d)(\d\d)(?!\d)", path.name
    )
    since = numeric(raw.table, name, path)
    if day is None or not ((since >= 0) & (since < DAY // 1_000_000)).all():
        raise UserError(f"{path}: its times seem to be ms since midnight, but its name has no day such as 20240131.")
    return parse_time("-".join(day.groups())) + since.astype(np.int64) * 1_000_000


def _symbol(raw: Raw, path: Path) -> str:
    """The one symbol that a column names."""
    named = [name for name in raw.table.column_names if formats.normalised(name) in ("symbol", "pair", "ticker")]
    values = {str(value) for name in named[:1] for value in raw.table.column(name).to_pylist()}
    if len(values) > 1:
        raise UserError(f"{path}: one file holds one symbol, but its column {named[0]!r} has {len(values)}; split it.")
    pair = pair_in(next(iter(values))) if values else None
    return f"{pair[1]}/{pair[2]}".upper() if pair else ""


def pair_in(text: str) -> re.Match[str] | None:
    """Base and quote in a text such as BTCUSDT-1h-2024-01 or Binance_BTCUSDT_1h."""
    pattern = re.compile(rf"(?:^|.*[^A-Za-z0-9])([A-Z0-9]{{2,12}})[/-]?({_QUOTES})(?![A-Za-z0-9])", re.IGNORECASE)
    return pattern.match(text)
