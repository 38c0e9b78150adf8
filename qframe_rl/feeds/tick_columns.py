"""What recorded books and trades say of bars: columns such as the order flow imbalance of each bar, known at its close.

A bar has a value where a run of ticks covers all of it. What arrived after the close, by the recorder's clock put
right, is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qframe_rl.book.features import BookFeature, book_features, sampled
from qframe_rl.book.tape import Tape, tape_of
from qframe_rl.config import UserError, nearest, shortened
from qframe_rl.feeds.listing import listing
from qframe_rl.feeds.ticks import TickRun, tick_runs
from qframe_rl.types import CLOSE, Float, History, Int, iso

_SUMS = ("ofi", "flow", "volume", "trades", "volatility", "move", "effective")
"""Over the whole bar."""
_MEANS = ("imbalance", "spread", "weighted")
"""Of what stood, at so many moments of the bar, evenly apart, its close the last."""
_IN_LOTS, _IN_TICKS = ("flow", "volume"), ("volatility", "move", "spread", "weighted")
_MOMENTS = 60
_MS = 1_000_000


def tick_columns(history: History, specs: Sequence[str], root: Path) -> list[Float]:
    """Columns of ticks, for every instrument its own.

    Parameters
    ----------
    history
        The bars.
    specs
        ``NAME=ticks:FEATURE`` each; FEATURE as in `qframe_rl.book.features`, without its window, which is the bar: ofi,
        ofi:3, flow, volume, trades, volatility, move or effective; or the bar's mean of imbalance:5, spread or
        weighted.
    root
        Folder of the store.

    Returns
    -------
    list[Float]
        (T, A) of each; NaN where an instrument has no bar, or no run of ticks covers it.

    Raises
    ------
    UserError
        For another spelling, an instrument without ticks, or one none of whose bars ticks cover.
    """
    features = [_feature(spec, history.bar_ns) for spec in specs]
    out = np.full((len(specs), len(history.time), len(history.instruments)), np.nan)
    for a, one in enumerate(history.instruments):
        there = ~np.isnan(history.values[:, a, CLOSE])
        runs = tick_runs(root, listing(history.source.exchange, one.symbol))
        found = bar_signals(runs, history.time[there], history.bar_ns, features)
        if np.isnan(found).all():
            first, last = (min(int(r.events.local_ns[0]) for r in runs), max(int(r.events.local_ns[-1]) for r in runs))
            raise UserError(
                f"column {specs[0]!r}: no bar of {one.symbol} lies within its recorded ticks, {iso(first)[:19]} to "
                f"{iso(last)[:19]}; ask for bars of that time that are short enough."
            )
        out[:, there, a] = found.T
    return list(out)


def _feature(spec: str, bar_ns: int) -> BookFeature:
    """A feature over one bar."""
    name, *given = spec.split(":")[1:]
    if name not in (*_SUMS, *_MEANS):
        raise UserError(f"column {shortened(spec)}: ticks give bars no {name!r}{nearest(name, (*_SUMS, *_MEANS))}")
    window = [f"{bar_ns // _MS}ms"] if name in _SUMS else []
    return book_features([":".join([name, *window, *given])])[0]


def bar_signals(runs: Sequence[TickRun], close: Int, bar_ns: int, features: Sequence[BookFeature]) -> Float:
    """Features of bars, from all runs.

    Parameters
    ----------
    runs
        Of one instrument.
    close
        (T,) closes, rising, ns UTC.
    bar_ns
        Length of a bar.
    features
        Those with a lookback have the bar's length as their window; of the others the bar's mean is taken.

    Returns
    -------
    Float
        (T, F), in base units and quote currency where features are in lots and ticks; NaN where no run covers the bar.
    """
    out = np.full((len(close), len(features)), np.nan)
    for run in runs:
        tape = tape_of(run.events, run.clock_shift_ns)
        begins = max(int(tape.local_ns.min()), run.ready_ns)
        covered = (close - bar_ns >= begins) & (close <= tape.local_ns.max())
        if covered.any():
            scale = [_unit(feature.name, run) for feature in features]
            out[covered] = scale * _of_run(tape, close[covered], bar_ns, features, run.ready_ns)
    return out


def _unit(name: str, run: TickRun) -> float:
    """What a feature is multiplied by: two files may have been read in other steps."""
    if name.startswith(_IN_LOTS) or (name.startswith("ofi") and name.count(":") == 1):
        return run.lot
    return run.tick if name.startswith(_IN_TICKS) else 1.0


def _of_run(tape: Tape, close: Int, bar_ns: int, features: Sequence[BookFeature], ready_ns: int) -> Float:
    """(T, F) of bars that a tape covers."""
    steps = bar_ns * np.arange(1, _MOMENTS + 1) // _MOMENTS
    at = (close[:, None] - bar_ns + steps[None, :]).ravel()
    seen = sampled(tape, features, at, ready_ns=ready_ns).reshape(len(close), _MOMENTS, len(features))
    standing = np.array([f.lookback_ns == 0 for f in features])
    return np.where(standing, seen.mean(axis=1), seen[:, -1])
