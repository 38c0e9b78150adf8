"""How often forecasts came true: over all pairs of the windows so far and the next one, of studies that are done.

Neighbouring strategies and windows say nearly the same: beside the number of pairs stands how many independent ones
they are worth, by the correlation of the strategies' returns. That markets move together is not taken off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.evaluate.inference.bootstrap import LEVEL
from qframe_rl.evaluate.inference.prediction import Forecast, forecast, long_run
from qframe_rl.evaluate.inference.sharpe import effective_trials
from qframe_rl.evaluate.metrics import by_day, returns, sharpe, volatility
from qframe_rl.runner.files import read_json
from qframe_rl.runner.log import Screen
from qframe_rl.runner.report import read_journal
from qframe_rl.types import Bool, Record, parse_time

_AGES = ((1, 1), (2, 3), (4, 999))
"""Windows so far, from and to, that the table tells apart."""


class ForecastPair(NamedTuple):
    """Some windows of a strategy, and the one after them."""

    market: str
    strategy: str
    windows: int
    """Windows so far."""
    held: bool
    """Whether the next window's Sharpe ratio lay in the forecast."""
    mean_held: bool
    """Whether it lay in the interval of the past's mean."""
    worth: float
    """Independent pairs that this one stands for."""


class CoverageRow(NamedTuple):
    """A line of the table."""

    name: str
    pairs: int
    effective: float
    held: float
    """Share of the pairs whose next window lay in the forecast."""
    error: float
    """Standard error of that share, by the effective number."""
    mean_held: float
    """Share of those whose next window lay in the interval of the past's mean."""


@dataclass(frozen=True)
class Coverage:
    """What all studies came to."""

    level: float
    shares: tuple[CoverageRow, ...]
    """All pairs first, then by windows so far, then by market."""
    idle: int
    """Strategies that never traded, which are left out."""
    pauses: int
    """Pairs left out because nothing moved in the windows so far, or in the next one."""

    def markdown(self) -> str:
        """The table."""
        lines = [
            f"| nominal {self.level:.0%} | pairs | worth | in the forecast | in the interval of the mean |",
            "|---|---|---|---|---|",
        ]
        for one in self.shares:
            held = f"{one.held:.0%} ± {one.error:.0%}"
            lines.append(f"| {one.name} | {one.pairs} | {one.effective:.0f} | {held} | {one.mean_held:.0%} |")
        return "\n".join(lines)


def coverage(places: Sequence[Path], screen: Screen, level: float = LEVEL) -> Coverage:
    """Measure how often the next window's Sharpe ratio lay in what the windows before it promised.

    Parameters
    ----------
    places
        Folders of studies; a strategy that is in several studies of the same bars counts once.
    screen
        Told of the progress.
    level
        Of the intervals.

    Raises
    ------
    UserError
        If a folder is not that of a study, or if no study has two windows in which something was traded.
    """
    markets: dict[str, tuple[str, dict[str, Record], list[tuple[int, int]]]] = {}
    for place in places:
        screen.begin(f"read {place}")
        facts, records, spans = _read(place)
        key = f"{facts['data']['fingerprint']} {spans}"
        kept = markets.setdefault(key, (_called(facts["data"]), {}, spans))[1]
        for name, record in records.items():
            kept.setdefault(_free(name, record, kept), record)
        screen.end(f"read {place}", f"{len(records)} strategies, {len(spans)} windows")
    found: list[ForecastPair] = []
    idle = pauses = 0
    for market, records, spans in markets.values():
        trading = {name: record for name, record in records.items() if record.fills.quantity.any()}
        idle += len(records) - len(trading)
        worth = _independent(list(trading.values())) / max(len(trading), 1)
        for name, record in trading.items():
            pairs, left = pairs_of(market, name, record, spans, level, worth)
            found += pairs
            pauses += left
    if not found:
        raise UserError("no study has two windows in a row in which something was traded: give others.")
    shares = [_share("all", found, lambda _: True)]
    for low, high in _AGES:
        name = (
            f"{low} window{'s' * (high > 1)} so far" if low == high else f"{low} to {min(high, _longest(found))} so far"
        )
        shares.append(_share(name, found, lambda pair, low=low, high=high: low <= pair.windows <= high))  # type: ignore[misc]
    shares += [
        _share(market, found, lambda pair, market=market: pair.market == market)  # type: ignore[misc]
        for market in dict.fromkeys(pair.market for pair in found)
    ]
    return Coverage(level, tuple(share for share in shares if share.pairs), idle, pauses)


def _read(place: Path) -> tuple[dict[str, Any], dict[str, Record], list[tuple[int, int]]]:
    if not (place / "study.json").is_file():
        raise UserError(f"{place} is not the folder of a study: it has no study.json; experiments.evaluate writes one.")
    facts = read_json(place / "study.json")
    records = {name: read_journal(place / "journals" / f"{name}.parquet", facts["data"]) for name in facts["agents"]}
    spans = [(parse_time(fold["test"][0][0]), parse_time(fold["test"][-1][1])) for fold in facts["folds"]]
    return facts, records, spans


def _free(name: str, record: Record, kept: dict[str, Record]) -> str:
    """Name under which a record is kept: another one where the same name did something else."""
    while name in kept and not np.array_equal(kept[name].account.equity, record.account.equity):
        name += "'"
    return name


def _independent(records: Sequence[Record]) -> float:
    """How many independent strategies these are worth."""
    if not records:
        return 0.0
    return effective_trials(
        np.stack([by_day(returns(one.account.equity)[:, None], one.time[1:])[:, 0] for one in records], axis=1)
    )


def pairs_of(
    market: str, name: str, record: Record, spans: Sequence[tuple[int, int]], level: float, worth: float
) -> tuple[list[ForecastPair], int]:
    """Pairs of one strategy, and how many were left out.

    Parameters
    ----------
    market, name
        What they are called by.
    record
        Of all windows.
    spans
        Of each window, from the open of its first bar to the close of its last, ns.
    level
        Of the intervals.
    worth
        Independent pairs that each stands for.

    Returns
    -------
    tuple
        The pairs, and how many were left out because returns did not vary on one side.
    """
    rate, time = returns(record.account.equity), record.time[1:]
    parts = [rate[(time > begin) & (time <= end)] for begin, end in spans]
    found, left = [], 0
    for k in range(1, len(parts)):
        before, after = parts[:k], parts[k]
        past = np.concatenate(before)
        if volatility(past) == 0.0 or volatility(after) == 0.0:
            left += 1
            continue
        variance, degrees = long_run(past)
        mean = Forecast(sharpe(past, 1.0), variance / len(past), degrees)
        measured, ahead = sharpe(after, 1.0), forecast(before, len(after))
        held, mean_held = (_in(one, measured, level) for one in (ahead, mean))
        found.append(ForecastPair(market, name, k, held, mean_held, worth))
    return found, left


def _in(of: Forecast, measured: float, level: float) -> bool:
    interval = of.interval(1.0, level)
    return interval.low <= measured <= interval.high


def _share(name: str, pairs: Sequence[ForecastPair], which: Callable[[ForecastPair], bool]) -> CoverageRow:
    own = [pair for pair in pairs if which(pair)]
    held: Bool = np.array([pair.held for pair in own], dtype=np.bool_)
    if not own:
        return CoverageRow(name, 0, 0.0, 0.0, 0.0, 0.0)
    effective, share = sum(pair.worth for pair in own), float(held.mean())
    error = math.sqrt(share * (1.0 - share) / max(effective, 1.0))
    return CoverageRow(name, len(own), effective, share, error, float(np.mean([pair.mean_held for pair in own])))


def _longest(pairs: Sequence[ForecastPair]) -> int:
    return max(pair.windows for pair in pairs)


def _called(data: dict[str, Any]) -> str:
    symbols = list(data["symbols"])
    shown = ", ".join(symbols) if len(symbols) <= 3 else f"{len(symbols)} symbols"
    return f"{shown}, {data['timeframe']}"
