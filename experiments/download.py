"""Fetch market data from an exchange into a Parquet store: ``python -m experiments.download --help``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from experiments.cli import Interrupted, Parser, door
from experiments.screen import downloads
from qframe_rl.servers import POSTGRES, is_address, unlocked

if TYPE_CHECKING:
    from qframe_rl.feeds.download import Saved

_SHOWN_GAPS = 5


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Download, or list what can be."""
    options = parser().parse_args(argv)
    from qframe_rl.config import Unavailable

    if options.list:
        return _list(options)
    try:
        return _download(options)
    except Unavailable as error:
        raise Unavailable(f"{error} What came is stored; the same command resumes.") from None


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "download",
        "Fetch candles, and for perpetuals funding rates and hourly mark prices, through CCXT into a Parquet store or\n"
        "into PostgreSQL. Only what is missing is fetched; after an interruption the same command resumes. The\n"
        "open candle is never stored, and gaps are reported and never filled.",
        [
            "--symbols BTC/USDT,ETH/USDT --timeframe 1h --since 2020-01-01",
            "--exchange bybit --symbols BTC/USDT:USDT --timeframe 4h --since 2023-01-01",
            "--symbols BTC/USDT --since 2020-01-01 --data postgresql://qframe@127.0.0.1/qframe",
            "--list symbols --exchange kraken",
        ],
    )
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
        default="1h",
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
    _add_places(made)
    return made


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
    symbols = [symbol.strip() for symbol in options.symbols.split(",") if symbol.strip()]
    since, until = _span(options)
    try:
        with downloads() as report:
            what = (options.exchange, symbols, options.timeframe, since, until)
            if into:
                from qframe_rl.feeds.database import download_into

                saved = download_into(place, *what, exchange_url=options.url, sandbox=options.sandbox, report=report)
            else:
                saved = download(*what, root=Path(place), url=options.url, sandbox=options.sandbox, report=report)
    except KeyboardInterrupt:
        saved = () if into else inventory(Path(place), options.exchange, symbols, options.timeframe)
        _show(saved, options)
        print("what came is stored, and the same command resumes.", file=sys.stderr)
        raise Interrupted(_result(saved, options, started)) from None
    _show(saved, options)
    return _result(saved, options, started)


def _result(saved: Sequence[Saved], options: argparse.Namespace, started: float) -> dict[str, Any] | None:
    if not options.json:
        return None
    return {"files": [_plain(file) for file in saved], "seconds": round(time.monotonic() - started, 3)}


def _span(options: argparse.Namespace) -> tuple[int, int | None]:
    """First and last moment, ns UTC."""
    from qframe_rl.config import UserError
    from qframe_rl.types import parse_time

    if options.since is None:
        raise UserError("--since is missing: the first moment to download, such as --since 2020-01-01.")
    since = parse_time(options.since)
    until = None if options.until is None else parse_time(options.until)
    if since >= (time.time_ns() if until is None else until):
        raise UserError(f"--since {options.since} is not before {'now' if until is None else options.until}.")
    return since, until


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
