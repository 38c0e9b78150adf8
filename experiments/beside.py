"""What `download` takes besides candles and ticks: feeds that it records, and what exchanges say of positions."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qframe_rl.servers import POSTGRES, is_address


@contextlib.contextmanager
def stoppable() -> Iterator[tuple[threading.Event, list[int]]]:
    """What Ctrl-C or a kill sets, and the signals that came."""
    stop, came = threading.Event(), list[int]()

    def stopped(number: int, _frame: object) -> None:
        came.append(number)
        stop.set()

    before = {number: signal.signal(number, stopped) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop, came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def record_feeds(options: argparse.Namespace) -> dict[str, Any] | None:
    """Record feeds until told to stop."""
    from qframe_rl.config import UserError
    from qframe_rl.feeds import feed_record
    from qframe_rl.feeds.load import data_place

    for name in ("timeframe", "since", "until", "symbols", "url", "sandbox"):
        if getattr(options, name):
            raise UserError(f"--{name} is for candles; --feeds records from now on, for --hours or until Ctrl-C.")
    place = options.to or data_place()
    if is_address(place, *POSTGRES):
        raise UserError(f"--data {place.partition('://')[0]}://... is a database; feeds are kept in a folder.")
    urls = [url.strip() for url in options.feeds.split(",") if url.strip()]
    with stoppable() as (stop, came):
        found = feed_record.record_feeds(
            urls, Path(place), every_s=options.every or 60.0, stop=stop, note=lambda text: print(text, file=sys.stderr),
            seconds=None if options.hours is None else 3600.0 * options.hours,
        )  # fmt: skip
    for one in found:
        said = f"{one.new:,} new in {one.place}" if one.place else "no answer that is a feed"
        failed = f", {one.failures:,} failed, last: {one.last}" if one.failures else ""
        print(f"{one.url}: {said}, asked {one.polls:,} times{failed}", file=sys.stderr if options.json else sys.stdout)
    if came:
        print("stopped; everything that came is written, and the same command goes on.", file=sys.stderr)
    return {"feeds": [one._asdict() for one in found]} if options.json else None


def download_statistics(options: argparse.Namespace) -> dict[str, Any] | None:
    """Fetch open interest and ratios of accounts."""
    from qframe_rl.config import UserError
    from qframe_rl.feeds import positioning
    from qframe_rl.feeds.load import data_place
    from qframe_rl.types import iso

    place = options.to or data_place()
    if is_address(place, *POSTGRES):
        raise UserError(f"--data {place.partition('://')[0]}://... is a database; statistics are kept in a folder.")
    saved = positioning.download_statistics(
        [kind.strip() for kind in options.statistics.split(",")], options.exchange, asked_symbols(options),
        options.timeframe or "1h", *asked_span(options), root=Path(place), url=options.url, sandbox=options.sandbox,
        note=lambda text: print(text, file=sys.stderr),
    )  # fmt: skip
    times = [
        (None if one.first is None else iso(one.first), None if one.last is None else iso(one.last)) for one in saved
    ]
    for one, (first, last) in zip(saved, times, strict=True):
        span = "the exchange has nothing in this span" if first is None else f"{one.rows:,} rows, {first} to {last}"
        odd = f", {one.odd:,} without a time or a value left out" if one.odd else ""
        out = sys.stderr if options.json else sys.stdout
        print(f"{one.path} {one.symbol}: {span}, {one.added:,} new{odd}", file=out)
    if not options.json:
        return None
    plain = [one._asdict() | {"path": os.fspath(one.path)} for one in saved]
    return {"statistics": [one | {"first": a, "last": b} for one, (a, b) in zip(plain, times, strict=True)]}


def asked_symbols(options: argparse.Namespace) -> list[str]:
    """Symbols that were asked for."""
    return [symbol.strip() for symbol in options.symbols.split(",") if symbol.strip()]


def asked_span(options: argparse.Namespace) -> tuple[int, int | None]:
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
