"""Bars of accounts with eight orders each, against bars of the same accounts with one, in the kernel alone."""

from __future__ import annotations

import numpy as np

from qframe_rl.bench.measure import BenchmarkRow, Work, rates, rows
from qframe_rl.bench.peers import Peers
from qframe_rl.kernel.columns import GOOD, LIMIT, MARK, N_BAR, N_FILLS, N_SLOT, QUANTITY, STOP, TRAIL, opened
from qframe_rl.kernel.lanes import scratch
from qframe_rl.kernel.rows import settle_rows
from qframe_rl.kernel.rules import Rules, rules_of
from qframe_rl.kernel.slot_rows import parts_of, settle_slots, slot_scratch
from qframe_rl.runner.log import Screen
from qframe_rl.types import CLOSE, VOLUME, Float, Instrument

K = 8
KINDS = {"none": None, "far": 0.05, "near": 0.005, "market": 0.0}
"""How far from the last close limits stand, at least a tenth of it and on average half, fraction of it; a bar moves by
some 0.002."""


def slots(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Account-bars a second with eight orders that stand, and how that is to one order of the same kind."""
    work: dict[str, Work] = {}
    for kind in KINDS:
        work |= {f"{kind}.{k}": _bars(kind, k, small) for k in (1, K)}
    found = rates(work, repeats, screen, "slots")
    return [
        row
        for kind in KINDS
        for row in rows(f"slots.{kind}", K, found[f"{kind}.{K}"], "account-bars/s", {f"{kind}.1": 1.0}, found)
    ]


def _market(n_bars: int) -> tuple[Float, Rules]:
    """(T, 1, 8) bars that walk by a fifth of a percent each, and the rules of a perpetual."""
    rng = np.random.default_rng(0)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.002, n_bars)))
    first = np.concatenate([[100.0], close[:-1]])
    bars = np.zeros((n_bars, 1, N_BAR))
    reach = np.abs(rng.normal(0.0, 0.001, (2, n_bars)))
    high, low = np.maximum(first, close) * (1.0 + reach[0]), np.minimum(first, close) * (1.0 - reach[1])
    bars[:, 0, : VOLUME + 1] = np.stack([first, high, low, close, np.full(n_bars, 1e9)], axis=-1)
    coin = Instrument("C", "perpetual", lot=0.001, tick=0.01, maker_fee=0.0002, taker_fee=0.0005, maintenance=0.01)
    return bars, rules_of((coin,), half_spread=1e-4, impact=0.006, leverage=3.0, shorting=True)


def _bars(kind: str, k: int, small: bool) -> Work:
    """Settle a batch of accounts, bar by bar; each bar meets orders that are written anew."""
    n, steps = (64, 4) if small else (4096, 50)
    bars, rules = _market(steps + 200)
    rng = np.random.default_rng(1)
    row, active = rng.integers(1, 150, n), np.ones(n, dtype=np.bool_)
    size = rng.normal(0.0, 1.0, (n, 1, k)).round(3)
    far = KINDS[kind]
    away = np.full((n, 1, k), np.nan) if not far else far * (0.1 + np.abs(rng.normal(0.0, 0.5, (n, 1, k))))
    asked = np.zeros((n, 1, N_SLOT, k))
    fills, parts = np.empty((n, 1, N_FILLS)), parts_of(n, 1, k)
    work, several = scratch(1), slot_scratch(1, k)

    def write(at: Float) -> None:
        asked[:, :, QUANTITY] = 0.0 if far is None else size
        asked[:, :, LIMIT], asked[:, :, STOP], asked[:, :, TRAIL] = at * (1.0 - np.sign(size) * away), np.nan, np.nan
        asked[:, :, GOOD] = 1.0

    def settle() -> float:
        account, holding, at = opened(1e6, n, rules.n_columns), np.zeros((n, 1, 2)), row.copy()
        holding[:, :, MARK] = 100.0
        write(bars[at - 1, :, CLOSE][..., None])
        one = np.ascontiguousarray(asked[:, :, :3, 0])
        for _ in range(steps):
            if k == 1:
                settle_rows(
                    account, holding, one, bars, at, active, rules.table, rules.leverage, rules.shorting, fills, work
                )
            else:
                asked[:, :, QUANTITY] = 0.0 if far is None else size
                asked[:, :, GOOD] = 1.0
                settle_slots(
                    account, holding, asked, bars, at, active, rules.table, rules.leverage, rules.shorting, fills,
                    parts, several,
                )  # fmt: skip
            account[:], holding[:, :, 0] = opened(1e6, n, rules.n_columns), 0.0
        return float(n * steps)

    return settle
