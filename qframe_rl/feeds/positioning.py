"""What exchanges publish of their traders' positions: open interest, and accounts that are long over those short.

A row speaks of the time up to its stamp or of the period that begins there; exchanges do not say which. So it counts as
published when that period is over, and a minute more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl.config import UserError, nearest
from qframe_rl.feeds import fields
from qframe_rl.feeds.answer import answer, shaped
from qframe_rl.feeds.exchange import MarketDataClient, Note
from qframe_rl.feeds.feed_record import SERIES
from qframe_rl.feeds.listing import Listing, listings
from qframe_rl.feeds.parquet import alone, replacing
from qframe_rl.feeds.rows import MS
from qframe_rl.times import DAY, MINUTE, timeframe_ns

_ROWS_A_PAGE = 100
_LONGEST_STEP = 30 * DAY


class _Kind(NamedTuple):
    """One statistic: CCXT's request, and which of its answer's fields go into which columns."""

    method: str
    has: str
    columns: dict[str, str]


KINDS = {
    "open_interest": _Kind(
        "fetch_open_interest_history",
        "fetchOpenInterestHistory",
        {"open_interest": "openInterestAmount", "open_interest_value": "openInterestValue"},
    ),
    "long_short": _Kind(
        "fetch_long_short_ratio_history", "fetchLongShortRatioHistory", {"long_short_ratio": "longShortRatio"}
    ),
}
"""By their names on the command line."""


class SavedStatistic(NamedTuple):
    """One symbol's rows of a file."""

    path: Path
    symbol: str
    rows: int
    """That the file has."""
    added: int
    odd: int
    """Rows of this run without a time, or none of whose values is a number: they are left out."""
    first: int | None
    """First stamp, ns UTC; None where there is none."""
    last: int | None


_Row = tuple[int, tuple[float, ...]]


def download_statistics(
    kinds: Sequence[str],
    exchange: str,
    symbols: Sequence[str],
    timeframe: str,
    since: int,
    until: int | None = None,
    *,
    root: Path,
    url: str | None = None,
    sandbox: bool = False,
    pause_s: float = 1.0,
    note: Note = lambda text: None,
) -> tuple[SavedStatistic, ...]:
    """Fetch statistics of perpetuals into ``series/EXCHANGE_um/KIND_TIMEFRAME.parquet``.

    One long table of all symbols: ``timestamp``, ``published``, ``symbol`` and values as CCXT states them, amounts of
    open interest in its unit of the exchange. Rows that are there stay; what lies after the last one is fetched, or
    before the first one where ``since`` does.

    Parameters
    ----------
    kinds
        Of `KINDS`.
    exchange, symbols, timeframe, root, url, sandbox, pause_s
        As in `download.download`.
    since, until
        First and last stamp, ns UTC; None = the last whose period is over.
    note
        Told in one line of every wait.

    Returns
    -------
    tuple of SavedStatistic
        One for each kind and symbol.

    Raises
    ------
    UserError
        For an unknown kind, symbol or timeframe, spot, or an exchange that has no such statistic, or not that far back.
    Unavailable
        If the exchange fails for longer than patience lasts. What came before is stored.
    """
    markets, step = listings(exchange, symbols), timeframe_ns(timeframe)
    for market in markets:
        if market.kind != "perpetual":
            raise UserError(f"{market.symbol} is spot, which has no positions; ask for its perpetual.")
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"unknown statistic {kind!r}{nearest(kind, KINDS)}")
    line = MarketDataClient(exchange, "perpetual", url, sandbox, pause_s=pause_s, note=note)
    for market in markets:
        line.check_symbol(market)
    for kind in kinds:
        if not line.client.has.get(KINDS[kind].has):
            raise UserError(f"{line.name} has no {kind} of the past.")
    stop = line.now() - step if until is None else min(until, line.now() - step)
    made = []
    for kind in kinds:
        path = root / SERIES / markets[0].folder / f"{kind}_{timeframe}.parquet"
        for market in markets:
            ask = partial(_page, line, KINDS[kind], market, timeframe)
            made.append(_filled(path, KINDS[kind], market.symbol, ask, since, stop, step))
    return tuple(made)


_Ask = Callable[[int], tuple[list[_Row], int]]


def _page(line: MarketDataClient, kind: _Kind, market: Listing, timeframe: str, since: int) -> tuple[list[_Row], int]:
    """Rows from a time on, in their order, and how many were no rows."""

    def request() -> list[dict[str, Any]]:
        call = getattr(line.client, kind.method)
        said = shaped(list[dict[str, Any]], answer(call, market.symbol, timeframe, -(-since // MS), _ROWS_A_PAGE))
        return list(said)

    rows, odd = {}, 0
    for row in line.retry(request):
        stamp, values = row.get("timestamp"), tuple(_number(row.get(name)) for name in kind.columns.values())
        if isinstance(stamp, int) and stamp > 0 and not all(map(math.isnan, values)):
            rows[stamp * MS] = values
        else:
            odd += 1
    return sorted((at, values) for at, values in rows.items() if at >= since), odd


def _number(value: object) -> float:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else math.nan  # type: ignore[arg-type]


def _pages(ask: _Ask, since: int, until: int, step: int) -> Iterator[tuple[list[_Row], int]]:
    """All of [since, until], page by page; an empty page is stepped over."""
    cursor = since
    while cursor <= until:
        rows, odd = ask(cursor)
        yield [row for row in rows if row[0] <= until], odd
        cursor = rows[-1][0] + 1 if rows else cursor + min(_ROWS_A_PAGE * step, _LONGEST_STEP)


def _filled(path: Path, kind: _Kind, symbol: str, ask: _Ask, since: int, until: int, step: int) -> SavedStatistic:
    """Fetch what a file lacks of a symbol, and say what it has then."""
    there = [row[0] for row in _read(path, kind) if row[2] == symbol]
    spans = [(since, until)]
    if there:
        spans = [(since, min(until, there[0] - 1)), (max(since, there[-1] + 1), until)]
    added = odd = 0
    for start, stop in spans:
        for rows, bad in _pages(ask, start, stop, step):
            odd += bad
            added += _merged(path, kind, symbol, rows, step) if rows else 0
    stamps = [row[0] for row in _read(path, kind) if row[2] == symbol]
    return SavedStatistic(path, symbol, len(stamps), added, odd, *((stamps[0], stamps[-1]) if stamps else (None, None)))


_Stored = tuple[int, int, str, tuple[float, ...]]


def _read(path: Path, kind: _Kind) -> list[_Stored]:
    """Rows of a file, by their stamps; none where there is no file."""
    if not path.exists():
        return []
    table = fields.open_columns(path)
    times = [fields.times(table.column(name), path, name).tolist() for name in ("timestamp", "published")]
    values = [fields.numeric(table, name, path).tolist() for name in kind.columns]
    named = table.column("symbol").to_pylist()
    return list(zip(*times, named, zip(*values, strict=True), strict=True))


def _merged(path: Path, kind: _Kind, symbol: str, rows: Sequence[_Row], step: int) -> int:
    """Add rows that a file lacks; return how many."""
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path.parent):
        stored = _read(path, kind)
        known = {row[0] for row in stored if row[2] == symbol}
        new = [(at, at + step + MINUTE, symbol, values) for at, values in rows if at not in known]
        if not new:
            return 0
        stored = sorted([*stored, *new], key=lambda row: row[:3])
        stamp = pyarrow.timestamp("ns", "UTC")
        columns = {
            "timestamp": pyarrow.array([row[0] for row in stored], stamp),
            "published": pyarrow.array([row[1] for row in stored], stamp),
            "symbol": pyarrow.array([row[2] for row in stored], pyarrow.string()),
        }
        for k, name in enumerate(kind.columns):
            columns[name] = pyarrow.array([row[3][k] for row in stored], pyarrow.float64())
        with replacing(path) as temporary:
            parquet.write_table(pyarrow.table(columns), temporary, compression="zstd")
    return len(new)
