"""The one door to recorded order books: a `DataConfig` becomes runs of ticks of one instrument."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qframe_rl.book.events import OFF_GRID, grid_of
from qframe_rl.config import UserError, shortened
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.listing import Listing, listings
from qframe_rl.feeds.presets import preset
from qframe_rl.feeds.synthetic_ticks import synthetic_ticks
from qframe_rl.feeds.tick_dues import with_dues
from qframe_rl.feeds.ticks import TickRun, tick_runs
from qframe_rl.types import Instrument, Source, iso, parse_time

MADE = "synthetic:ticks"
_MESSAGES, _RUNS = 20_000, 3
_READ = {True: {"data", "seed"}, False: {"data", "exchange", "symbols", "since", "until"}}
"""Fields of a `DataConfig` that say something of made-up order books, and of recorded ones."""


class TickHistory(NamedTuple):
    """Runs of one instrument, in the order of time."""

    instrument: Instrument
    runs: tuple[TickRun, ...]
    source: Source

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the instrument and all rows."""
        digest = hashlib.sha256(repr((self.instrument, [r.clock_shift_ns for r in self.runs])).encode())
        for run in self.runs:
            for column in (*run.events, *(run.dues if len(run.dues.at) else ())):
                digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, object]:
        """What a report says of them."""
        first, last = self.runs[0].events, self.runs[-1].events
        return {
            "fingerprint": self.fingerprint,
            "source": asdict(self.source),
            "symbol": self.instrument.symbol,
            "runs": [run.name for run in self.runs],
            "rows": sum(len(run.events.tick) for run in self.runs),
            "minutes": round(sum(_minutes(run) for run in self.runs), 3),
            "first": iso(int(first.exchange_ns[0])),
            "last": iso(int(last.exchange_ns[-1])),
        }


def _minutes(run: TickRun) -> float:
    return float(run.events.exchange_ns[-1] - run.events.exchange_ns[0]) / 60e9


def load_ticks(config: DataConfig) -> TickHistory:
    """Runs that a configuration asks for.

    Parameters
    ----------
    config
        ``data`` is a folder with a store, of which ``ticks/`` is read, or ``synthetic:ticks``, three made-up runs from
        ``seed`` on; ``exchange`` and one of ``symbols`` say which, ``since`` and ``until`` from when to when: runs that
        lie within.

    Raises
    ------
    UserError
        If it is another source, or there are none, or a field is set that says nothing of order books.
    """
    _refuse_unread(config)
    if config.data == MADE:
        runs = tuple(synthetic_ticks(config.seed * _RUNS + k, _MESSAGES) for k in range(_RUNS))
        of = Listing("binance", runs[0].symbol)
        return TickHistory(_instrument(of, runs[0]), runs, Source("synthetic", "synthetic", MADE))
    root = Path(config.data)
    if not root.is_dir():
        raise UserError(f"--data {config.data}: recorded order books are in a folder with ticks/, or {MADE}.")
    found = listings(config.exchange, config.symbols)
    if len(found) != 1:
        raise UserError(f"an order book is that of one symbol, not of {len(found)}; name one with --symbols.")
    runs = tuple(with_dues(root, found[0], _within(_of_one_grid(root, found[0]), config), config.funding))
    if not runs:
        span = f"{config.since or 'the first'} to {config.until or 'the last'}"
        raise UserError(f"{root} has no run of ticks of {found[0].symbol} that lies within {span} as a whole.")
    return TickHistory(_instrument(found[0], runs[0]), runs, Source(found[0].exchange, "production", str(root)))


def _refuse_unread(config: DataConfig) -> None:
    """Refuse what was set and is not read: who sets it expects something of it."""
    read, what = _READ[config.data == MADE], MADE if config.data == MADE else "recorded order books"
    for name, field in DataConfig.model_fields.items():
        value = getattr(config, name)
        if name not in read and value != field.default:
            raise UserError(f"data.{name} says nothing of {what} (got {shortened(value)}); leave it out.")


def _of_one_grid(root: Path, of: Listing) -> list[TickRun]:
    """All runs in steps that the numbers of all of their files are multiples of."""
    runs = tick_runs(root, of)
    tick, lot = _common([run.tick for run in runs]), _common([run.lot for run in runs])
    if any((run.tick, run.lot) != (tick, lot) for run in runs):
        runs = tick_runs(root, of, tick, lot)
    return runs


def _common(steps: list[float]) -> float:
    """The smallest of some steps; where the others are no multiples of it, such as .5 of .2, one that all are."""
    scaled = np.array(steps) / min(steps)
    return min(steps) if np.allclose(scaled, np.rint(scaled), rtol=0.0, atol=OFF_GRID) else grid_of(np.array(steps))


def _within(runs: list[TickRun], config: DataConfig) -> list[TickRun]:
    first = parse_time(config.since) if config.since else 0
    last = parse_time(config.until) if config.until else 2**62
    return [run for run in runs if run.events.exchange_ns[0] >= first and run.events.exchange_ns[-1] <= last]


def _instrument(of: Listing, run: TickRun) -> Instrument:
    return replace(preset(of), lot=run.lot, tick=run.tick, min_amount=run.lot)
