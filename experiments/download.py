"""Fetch market data from an exchange into a Parquet store: ``python -m experiments.download --help``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from experiments.beside import asked_span, asked_symbols, download_statistics, record_feeds, stoppable
from experiments.cli import Interrupted, Parser, door, within
from experiments.screen import downloads, recordings
from qframe_rl.servers import POSTGRES, is_address, unlocked

if TYPE_CHECKING:
    from qframe_rl.feeds.download import Saved
    from qframe_rl.feeds.tick_record import RecordedTicks

_MOST_HOURS = 24 * 366
_SHOWN_GAPS = 5


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Download, or list what can be."""
    options = parser().parse_args(argv)
    from qframe_rl.config import Unavailable, UserError

    if options.list:
        return _list(options)
    if sum(map(bool, (options.ticks, options.feeds, options.statistics))) > 1:
        raise UserError("--ticks, --feeds and --statistics each work by themselves; start a command for each.")
    if options.ticks:
        return _record(options)
    if options.feeds:
        return record_feeds(options)
    if options.hours is not None or options.every is not None:
        raise UserError(
            "--hours and --every are for --ticks and --feeds; candles are asked for by --since and --until."
        )
    try:
        return download_statistics(options) if options.statistics else _download(options)
    except Unavailable as error:
        raise Unavailable(f"{error} What came is stored; the same command resumes.") from None


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "download",
        "Fetch candles, and for perpetuals funding rates and hourly mark prices, through CCXT into a Parquet store or\n"
        "into PostgreSQL. Only what is missing is fetched; after an interruption the same command resumes. The\n"
        "open candle is never stored, and gaps are reported and never filled.\n\n"
        "With --ticks, record order books and trades as they happen instead, until --hours are over or Ctrl-C: every\n"
        "change of the book with the exchange's stamp and the moment of its arrival, in ticks/ of the store. What is\n"
        "written stays, whatever ends the recording; the same command goes on in new files. Bitcoin takes some 0.3 GB\n"
        "a day, what trades less takes less; how much yours takes is shown.\n\n"
        "With --feeds, ask addresses of news (RSS, Atom, JSON) and of daily indices again and again, and write down\n"
        "each text and reading with the hour of its publication and of its reception: docs/texts.md.",
        [
            "--symbols BTC/USDT,ETH/USDT --timeframe 1h --since 2020-01-01",
            "--exchange bybit --symbols BTC/USDT:USDT --timeframe 4h --since 2023-01-01",
            "--symbols BTC/USDT --since 2020-01-01 --data postgresql://qframe@127.0.0.1/qframe",
            "--ticks --hours 2 --symbols BTC/USDT:USDT,ETH/USDT:USDT",
            "--feeds https://example.org/rss,https://example.org/index.json --hours 24",
            "--list symbols --exchange kraken",
        ],
    )
    _add_candles(made)
    _add_statistics(made)
    _add_ticks(made)
    _add_places(made)
    return made


def _add_candles(made: Parser) -> None:
    """Options of what is fetched."""
    add = made.add_argument
    add(
        "--exchange",
        default="binance",
        metavar="NAME",
        help="exchange as CCXT spells it; NAME_um means its USD-margined perpetuals (default: binance)",
    )
    add(
        "--symbols",
        default="",
        metavar="A,B",
        help="symbols separated by commas: BTC/USDT is spot, BTC/USDT:USDT a perpetual (required)",
    )
    add(
        "--timeframe",
        metavar="LENGTH",
        help="length of a bar: a number and s, m, h, d or w (default: 1h)",
    )
    add(
        "--since",
        metavar="TIME",
        help="bars that open at or after this time, ISO 8601 UTC, such as 2020-01-01 (required)",
    )
    add(
        "--until",
        metavar="TIME",
        help="bars that close at or before this time, ISO 8601 UTC (default: the last closed bar)",
    )


def _add_statistics(made: Parser) -> None:
    """The option of what else is fetched."""
    made.add_argument(
        "--statistics",
        default="",
        metavar="A,B",
        help="open_interest or long_short (accounts long over short) of perpetuals instead of candles (default: none)",
    )


def _add_ticks(made: Parser) -> None:
    """Options of a recording."""
    add = made.add_argument
    add(
        "--ticks",
        action="store_true",
        help="record order books and trades from now on instead of fetching candles (default: off)",
    )
    add(
        "--hours",
        type=within(float, 0.0, _MOST_HOURS),
        metavar="N",
        help="with --ticks or --feeds: for how long, such as 2 or 0.5 (default: until Ctrl-C)",
    )
    add(
        "--feeds",
        default="",
        metavar="A,B",
        help="addresses of feeds to record from now on instead of fetching candles (default: none)",
    )
    add(
        "--every",
        type=within(float, 1.0, 86_400.0),
        metavar="S",
        help="with --feeds: seconds between two questions to one address (default: 60)",
    )


def _add_places(made: Parser) -> None:
    """Options of where data come from and go to."""
    add = made.add_argument
    add(
        "--to", "--data", metavar="PLACE",
        help="folder of the store, or postgresql://user@host:5432/database (default: $QFRAME_DATA, else ./data)",
    )  # fmt: skip
    add(
        "--url",
        metavar="URL",
        help="send every request to this address instead of the exchange; Binance only (default: none)",
    )
    add(
        "--sandbox",
        action="store_true",
        help="the exchange's test environment; its data are kept apart from real ones (default: off)",
    )
    add(
        "--list",
        nargs="?",
        const="exchanges",
        choices=("exchanges", "symbols"),
        help="print the names of all exchanges, or of the symbols of --exchange, and stop (default: exchanges)",
    )


def _list(options: argparse.Namespace) -> dict[str, Any] | None:
    if options.list == "exchanges":
        import ccxt

        names = list(ccxt.exchanges)
    else:
        from qframe_rl.feeds.exchange import symbols

        names = symbols(options.exchange, options.url, options.sandbox)
    if options.json:
        return {options.list: names}
    print("\n".join(names))
    return None


def _download(options: argparse.Namespace) -> dict[str, Any] | None:
    from qframe_rl.feeds.download import download, inventory
    from qframe_rl.feeds.load import data_place

    started = time.monotonic()
    place = options.to or data_place()
    into = is_address(place, *POSTGRES)
    if into:
        place = unlocked(place)
    symbols = asked_symbols(options)
    since, until = asked_span(options)
    try:
        with downloads() as report:
            what = (options.exchange, symbols, options.timeframe or "1h", since, until)
            if into:
                from qframe_rl.feeds.database import download_into

                saved = download_into(place, *what, exchange_url=options.url, sandbox=options.sandbox, report=report)
            else:
                saved = download(*what, root=Path(place), url=options.url, sandbox=options.sandbox, report=report)
    except KeyboardInterrupt:
        saved = () if into else inventory(Path(place), options.exchange, symbols, options.timeframe or "1h")
        _show(saved, options)
        print("what came is stored, and the same command resumes.", file=sys.stderr)
        raise Interrupted(_result(saved, options, started)) from None
    _show(saved, options)
    return _result(saved, options, started)


def _record(options: argparse.Namespace) -> dict[str, Any] | None:
    """Record ticks until told to stop."""
    from qframe_rl.config import UserError
    from qframe_rl.feeds.load import data_place
    from qframe_rl.feeds.tick_record import record_ticks

    if options.every is not None:
        raise UserError("--every is for --feeds: every change of a book is recorded; leave it out.")
    for name in ("timeframe", "since", "until"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name} is for candles; --ticks records from now on, for --hours or until Ctrl-C.")
    place = options.to or data_place()
    if is_address(place, *POSTGRES):
        raise UserError(f"--data {place.partition('://')[0]}://... is a database; ticks are kept in a folder.")
    with stoppable() as (stop, came), recordings() as (report, note):
        found = record_ticks(
            options.exchange, asked_symbols(options), Path(place), url=options.url, sandbox=options.sandbox,
            seconds=None if options.hours is None else 3600.0 * options.hours, stop=stop, report=report, note=note,
        )  # fmt: skip
    _show_ticks(found, sys.stderr if options.json else sys.stdout)
    if came:
        print("stopped; everything that came is written, and the same command goes on.", file=sys.stderr)
    return {"ticks": [_plain_ticks(one) for one in found]} if options.json else None


def _show_ticks(found: Sequence[RecordedTicks], out: TextIO) -> None:
    """Print what was recorded."""
    for one in found:
        runs = f"{one.runs:,} file{'s' * (one.runs != 1)}"
        print(
            f"{one.folder}: {one.rows:,} changes and {one.trades:,} trades in {runs}, {one.nbytes / 1e6:.1f} MB; a day "
            f"takes {one.bytes_a_day / 1e6:,.0f} MB",
            file=out,
        )
        for why, n in one.ends.items():
            print(f"  a run ended{f' {n:,} times' * (n > 1)}: {why}", file=out)
        if one.repaired:
            print(f"  put in order what an earlier recording had left: {one.repaired:,}", file=out)


def _plain_ticks(one: RecordedTicks) -> dict[str, object]:
    return {
        "symbol": one.symbol,
        "folder": os.fspath(one.folder),
        "rows": one.rows,
        "trades": one.trades,
        "runs": one.runs,
        "bytes": one.nbytes,
        "bytes_a_day": round(one.bytes_a_day),
        "seconds": round(one.seconds, 3),
        "clock_shift_ns": one.clock_shift_ns,
        "ends": one.ends,
    }


def _result(saved: Sequence[Saved], options: argparse.Namespace, started: float) -> dict[str, Any] | None:
    if not options.json:
        return None
    return {"files": [_plain(file) for file in saved], "seconds": round(time.monotonic() - started, 3)}


def _show(saved: Sequence[Saved], options: argparse.Namespace) -> None:
    """Print what the store holds."""
    from qframe_rl.types import iso

    out = sys.stderr if options.json else sys.stdout
    for file in saved:
        if file.first is None or file.last is None:
            print(f"{file.path}: the exchange has nothing in this span.", file=out)
            _show_odd(file, out)
            continue
        missing = sum(n for _, n in file.gaps)
        new = "" if file.added is None else f", {file.added:,} new"
        print(f"{file.path}: {file.rows:,} rows, {iso(file.first)} to {iso(file.last)}{new}", file=out)
        for asked, given in file.short:
            print(f"  asked from {iso(asked)}, the exchange gives from {iso(given)}", file=out)
        _show_odd(file, out)
        for start, n in file.gaps[:_SHOWN_GAPS]:
            print(f"  gap: {n:,} missing from {iso(start)}", file=out)
        if len(file.gaps) > _SHOWN_GAPS:
            print(f"  and more: {len(file.gaps):,} gaps with {missing:,} missing bars in all", file=out)


def _show_odd(file: Saved, out: TextIO) -> None:
    """Print which rows of this run are left out."""
    from qframe_rl.types import iso

    for at, why in file.odd[:_SHOWN_GAPS]:
        print(f"  left out: the row of {iso(at)}, it has {why}" if at else f"  left out: a row with {why}", file=out)
    if len(file.odd) > _SHOWN_GAPS:
        print(f"  and more: {len(file.odd):,} rows are left out in all", file=out)


def _plain(file: Saved) -> dict[str, object]:
    from qframe_rl.types import iso

    return {
        "path": os.fspath(file.path),
        "rows": file.rows,
        "first": None if file.first is None else iso(file.first),
        "last": None if file.last is None else iso(file.last),
        "gaps": [[iso(start), n] for start, n in file.gaps],
        "short": [[iso(asked), iso(given)] for asked, given in file.short],
        "odd": [[iso(at) if at else None, why] for at, why in file.odd],
    }


if __name__ == "__main__":
    sys.exit(door(main))
