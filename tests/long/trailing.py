"""Trailing stops on hours, on hours with minutes inside them, and on minutes: ``python -m tests.long.trailing``.

A long of BTC is opened every twelve hours of 2024, with a stop that trails from its entry on, until that fills or the
year ends. Costs are left out: what differs is how each resolves the stop. Needs the hours and minutes of BTC/USDT in
the folder named by ``QFRAME_DATA``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.load import data_root, load
from qframe_rl.kernel.columns import EQUITY, MARK, N_FILLS, POSITION, bars_of, opened
from qframe_rl.kernel.rules import rules_of
from qframe_rl.kernel.slot_rows import parts_of, settle_slots, slot_scratch
from qframe_rl.orders import REDUCE_ONLY, UNTIL_CANCELLED
from qframe_rl.types import CLOSE, NO_FINER, OPEN, Float, History, Int

TOLERANCE = 2.0
"""Basis points of a trade that hours with minutes inside them may be off, on average."""
_CASH = 1e6


def bars(timeframe: str, detail: str | None = None) -> History:
    """BTC in 2024, without fees."""
    config = DataConfig(
        data=str(data_root()), symbols=("BTC/USDT",), timeframe=timeframe, detail=detail, since="2024-01-01",
        until="2025-01-01",
    )  # fmt: skip
    history = load(config)
    return replace(history, instruments=(replace(history.instruments[0], taker_fee=0.0, maker_fee=0.0),))


def gains(history: History, first: Int, trail: float) -> Float:
    """Basis points that longs opened at rows ``first`` (B,) come to."""
    n, rules = len(first), rules_of(history.instruments, volume_share=1.0)
    account, holding, slots = opened(_CASH, n, rules.n_columns), np.zeros((n, 1, 2)), np.zeros((n, 1, 8, 2))
    laid_out = bars_of(history.values, history.funding, history.final, history.cash_rate)
    before, opens = history.values[first - 1, 0, CLOSE], history.values[first, 0, OPEN]
    units = 0.1 * _CASH / before
    holding[:, 0, MARK] = before
    nan, none = np.full(n, np.nan), np.zeros(n)
    slots[:, 0, :, 0] = np.stack([units, nan, nan, none + 1.0, none, nan, none, none], axis=1)
    stop = np.stack([-units, nan, before * (1.0 - trail), none + UNTIL_CANCELLED, none, none + trail], axis=1)
    slots[:, 0, :6, 1], slots[:, 0, 6, 1] = stop, REDUCE_ONLY
    row, active, scratch = first.copy(), np.ones(n, dtype=np.bool_), slot_scratch(1, 2)
    fills, parts, finer = np.zeros((n, 1, N_FILLS)), parts_of(n, 1, 2), history.finer or NO_FINER
    while active.any():
        settle_slots(
            account, holding, slots, laid_out, row, active, rules.table, 1.0, False, fills, parts, scratch, finer
        )  # fmt: skip
        row += active
        active &= (holding[:, 0, POSITION] != 0.0) & (row < len(history))
    return (account[:, EQUITY] - _CASH) / (units * opens) * 1e4


def main() -> int:
    """Compare, and fail where the average is off by more than `TOLERANCE`."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--every", type=int, default=12, help="hours between two entries (default: 12)")
    every, off = made.parse_args().every, 0.0
    hours, inside, minutes = bars("1h"), bars("1h", "1m"), bars("1m")
    first = np.arange(24, len(hours) - 24, every)
    for trail in (0.01, 0.02):
        found, took = [], []
        for history, rows in ((hours, first), (inside, first), (minutes, 60 * first)):
            begun = time.perf_counter()
            found.append(gains(history, rows, trail))
            took.append(time.perf_counter() - begun)
        for name, got, seconds in (("hours", found[0], took[0]), ("hours, detail 1m", found[1], took[1])):
            away = got - found[2]
            error = away.std(ddof=1) / np.sqrt(len(away))
            print(
                f"trail {trail:.0%}, {len(away)} longs, {name}: {away.mean():+.2f} +- {error:.2f} bp a trade off "
                f"minutes, a single one by {abs(away).mean():.2f} ({seconds:.2f} s, minutes {took[2]:.2f} s)"
            )
        off = max(off, abs(float((found[1] - found[2]).mean())))
    return int(off > TOLERANCE)


if __name__ == "__main__":
    raise SystemExit(main())
