"""What one record says of the strategy behind it: figures, intervals, and the probabilities that it is no luck."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from qframe_rl.evaluate.inference.bootstrap import LEVEL, RESAMPLES
from qframe_rl.evaluate.inference.sharpe import min_backtest_years, min_track_record, moments, probabilistic_sharpe
from qframe_rl.evaluate.metrics import bars_per_year, excess, metrics
from qframe_rl.evaluate.table import intervals, next_window
from qframe_rl.evaluate.trials import Luck
from qframe_rl.types import Record


def significance(
    record: Record,
    luck: Luck,
    *,
    level: float = LEVEL,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
    windows: int = 1,
) -> dict[str, Any]:
    """Say it as plain data.

    Parameters
    ----------
    record
        Of the judged bars.
    luck
        What all trials on the data set say about luck.
    level, n_resamples, seed
        Of the intervals.
    windows
        Windows of equal length that the record is made of.
    """
    frequency, of = bars_per_year(record), moments(excess(record))
    drawn, above = intervals(record, level=level, n_resamples=n_resamples, seed=seed)
    benchmark = luck.benchmark(of.n_bars)
    needed, annual = min_track_record(of, benchmark), of.sharpe * math.sqrt(frequency)
    return {
        "sharpe": drawn.sharpe._asdict(),
        "next_window": next_window(record, windows).interval(frequency, level)._asdict(),
        "excess_sharpe": above.sharpe._asdict(),
        "growth": above.growth._asdict(),
        "annual_return": drawn.annual_return._asdict(),
        "max_drawdown": drawn.max_drawdown._asdict(),
        "block": drawn.block,
        "skew": of.skew,
        "kurtosis": of.kurtosis,
        "psr": {form: probabilistic_sharpe(of, 0.0, form) for form in ("2012", "2025")},
        "dsr": {form: probabilistic_sharpe(of, benchmark, form) for form in ("2012", "2025")},
        "benchmark": benchmark * math.sqrt(frequency),
        "years": record.years,
        "min_track_record_years": needed / frequency if math.isfinite(needed) else None,
        "min_backtest_years": min_backtest_years(max(luck.trials, 1), annual) if annual > 0.0 else None,
        "figures": asdict(metrics(record)),
    }
