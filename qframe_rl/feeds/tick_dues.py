"""Funding that falls due within a run of ticks, from the rates and mark prices of a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qframe_rl.book.funding import FundingDues
from qframe_rl.config import UserError
from qframe_rl.feeds import parquet
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.panel import settled
from qframe_rl.feeds.parquet import RATES, Series
from qframe_rl.feeds.store import rates_path, stored_marks
from qframe_rl.feeds.ticks import TickRun
from qframe_rl.types import HOUR, iso

_LONGEST_NS = 8 * HOUR
"""Between two settlements, where a file of rates has but one."""


def with_dues(root: Path, of: Listing, runs: list[TickRun], funding: str) -> list[TickRun]:
    """Give runs of a perpetual what falls due in them; those of coins have none.

    Parameters
    ----------
    root
        Folder of the store.
    of, runs
        The instrument, and its runs.
    funding
        ``require`` refuses a run over a whole hour, at which settlements are, whose rates are not known; ``zero``
        charges what is known.

    Returns
    -------
    list of TickRun
        The same runs.

    Raises
    ------
    UserError
        If rates are required and are not there.
    """
    if of.kind == "spot" or not any(_hours(run) for run in runs):
        return runs
    path = rates_path(root, of)
    rates = parquet.read(path, RATES) if path.is_file() else None
    if rates is None and funding == "require":
        first = next(run for run in runs if _hours(run))
        raise UserError(
            f"{path}: no funding rates of {of.symbol}, and run {first.name} lasts over a whole hour; download them, or "
            "set funding to zero."
        )
    marks, mark_ns = stored_marks(root, of)
    return [run if rates is None else _with(run, path, rates, marks, mark_ns, funding) for run in runs]


def _with(run: TickRun, path: Path, rates: Series, marks: Series | None, mark_ns: int, funding: str) -> TickRun:
    stamps, hours = settled(rates), _hours(run)
    if hours and funding == "require":
        apart = int(np.median(np.diff(stamps))) if len(stamps) > 1 else _LONGEST_NS
        for hour in (hours[0], hours[-1]):
            if not len(stamps) or hour <= stamps[0] - apart or hour >= stamps[-1] + apart:
                raise UserError(
                    f"{path}: no funding rate near {iso(hour)}, which is in run {run.name}; download them, or set "
                    "funding to zero."
                )
    first, last = int(run.events.exchange_ns.min()), int(run.events.exchange_ns.max())
    due = (stamps > first) & (stamps <= last)
    at, terms = stamps[due], np.full((int(due.sum()), 2), np.nan)
    terms[:, 0] = rates.values[due, 0]
    if marks is not None and len(marks.time):
        candle = np.searchsorted(marks.time, at, side="right") - 1
        inside = (candle >= 0) & (at - marks.time[candle] < mark_ns)
        terms[inside, 1] = marks.values[candle[inside], 0] / run.tick
    return run._replace(dues=FundingDues(at, terms))


def _hours(run: TickRun) -> list[int]:
    """Whole hours within a run, ns UTC."""
    first, last = int(run.events.exchange_ns.min()), int(run.events.exchange_ns.max())
    return list(range((first // HOUR + 1) * HOUR, last + 1, HOUR))
