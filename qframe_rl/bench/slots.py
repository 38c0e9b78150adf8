"""Bars of accounts with eight orders each, against bars of the same accounts with one, in the kernel alone."""

from __future__ import annotations

import numpy as np

from qframe_rl.bench.detail import detail_rows, detail_work
from qframe_rl.bench.measure import BenchmarkRow, Work, rates, rows
from qframe_rl.bench.peers import Peers
from qframe_rl.kernel.columns import (
    FLAGS,
    GOOD,
    GROUP,
    LIMIT,
    MARK,
    N_BAR,
    N_FILLS,
    N_SLOT,
    POSITION,
    QUANTITY,
    STOP,
    TRAIL,
    opened,
)
from qframe_rl.kernel.lanes import scratch
from qframe_rl.kernel.rows import settle_rows
from qframe_rl.kernel.rules import Rules, rules_of
from qframe_rl.kernel.slot_rows import parts_of, settle_slots, slot_scratch
from qframe_rl.runner.log import Screen
from qframe_rl.types import (
    CLOSE,
    HIGH,
    LOW,
    MINUTE,
    NO_FINER,
    OPEN,
    REDUCE_ONLY,
    VOLUME,
    Bool,
    Finer,
    Float,
    Instrument,
)

K = 8
KINDS = {"none": None, "far": 0.05, "near": 0.005, "market": 0.0}
"""How far from the last close limits stand, at least a tenth of it and on average half, fraction of it; a bar moves by
some 0.002."""


def slots(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Account-bars a second with eight orders that stand, and how that is to one order of the same kind."""
    work: dict[str, Work] = {}
    for kind in KINDS:
        work |= {f"{kind}.{k}": _bars(kind, k, small) for k in (1, K)}
    work |= {f"detail.{way}": _walked(way == "inside", small) for way in ("whole", "inside")} | detail_work(small)
    found = rates(work, repeats, screen, "slots")
    inside = rows("slots.detail", 2, found["detail.inside"], "account-bars/s", {"detail.whole": 1.0}, found)
    return inside + detail_rows(found) + _orders(found)


def _orders(found: dict[str, float]) -> list[BenchmarkRow]:
    return [
        row
        for kind in KINDS
        for row in rows(f"slots.{kind}", K, found[f"{kind}.{K}"], "account-bars/s", {f"{kind}.1": 1.0}, found)
    ]


def _market(n_bars: int, move: float = 0.002) -> tuple[Float, Rules]:
    """(T, 1, 8) bars that walk by a fifth of a percent each, or by ``move``, and the rules of a perpetual."""
    rng = np.random.default_rng(0)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, move, n_bars)))
    first = np.concatenate([[100.0], close[:-1]])
    bars = np.zeros((n_bars, 1, N_BAR))
    reach = np.abs(rng.normal(0.0, move / 2.0, (2, n_bars)))
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
                    parts, several, NO_FINER,
                )  # fmt: skip
            account[:], holding[:, :, 0] = opened(1e6, n, rules.n_columns), 0.0
        return float(n * steps)

    return settle


def _walked(inside: bool, small: bool) -> Work:
    """Longs with a stop that trails by 2 % and a target at 4 %, opened anew once they are closed; bars as hours of BTC.

    With ``inside`` bars consist of sixty finer ones.
    """
    n, steps = (64, 8) if small else (4096, 100)
    bars, rules = _market(steps + 200, 0.005)
    rng = np.random.default_rng(1)
    finer = _inside(rng, bars) if inside else NO_FINER
    first, active = rng.integers(1, 150, n), np.ones(n, dtype=np.bool_)
    fills, parts, scratch_ = np.empty((n, 1, N_FILLS)), parts_of(n, 1, 3), slot_scratch(1, 3)

    def settle() -> float:
        account, holding, at, slots = opened(1e6, n, rules.n_columns), np.zeros((n, 1, 2)), first.copy(), _none(n)
        holding[:, :, MARK] = 100.0
        for _ in range(steps):
            flat = holding[:, 0, POSITION] == 0.0
            _bracket(slots, flat, bars[at - 1, 0, CLOSE])
            settle_slots(
                account, holding, slots, bars, at, active, rules.table, rules.leverage, rules.shorting, fills, parts,
                scratch_, finer,
            )  # fmt: skip
            at += 1
        return float(n * steps)

    return settle


def _none(n: int) -> Float:
    slots = np.zeros((n, 1, N_SLOT, 3))
    slots[:, :, [LIMIT, STOP, TRAIL]] = np.nan
    return slots


def _bracket(slots: Float, flat: Bool, close: Float) -> None:
    """An entry with its exits for those who hold nothing."""
    slots[flat] = _none(1)
    rows, price = slots[flat, 0], close[flat]
    rows[:, QUANTITY] = np.array([1.0, -1.0, -1.0])
    rows[:, STOP, 1], rows[:, TRAIL, 1], rows[:, LIMIT, 2] = price * 0.98, 0.02, price * 1.04
    rows[:, GOOD], rows[:, FLAGS, 1:], rows[:, GROUP, 1:] = np.array([1.0, np.inf, np.inf]), REDUCE_ONLY, 1.0
    slots[flat, 0] = rows


def _inside(rng: np.random.Generator, bars: Float) -> Finer:
    """Sixty bars a bar that walk from open to close between low and high."""
    n, t = 60, len(bars)
    way = np.linspace(bars[:, 0, OPEN], bars[:, 0, CLOSE], n + 1, axis=1)
    way[:, 1:-1] += rng.normal(0.0, 0.1, (t, n - 1)) * (bars[:, 0, HIGH] - bars[:, 0, LOW])[:, None]
    way = np.clip(way, bars[:, 0, LOW, None], bars[:, 0, HIGH, None])
    begin, end = way[:, :-1], way[:, 1:]
    parts = np.stack([begin, np.maximum(begin, end), np.minimum(begin, end), end], axis=-1)
    parts[np.arange(t), rng.integers(0, n, t), HIGH] = bars[:, 0, HIGH]
    parts[np.arange(t), rng.integers(0, n, t), LOW] = bars[:, 0, LOW]
    return Finer(np.arange(t + 1) * n, parts.reshape(t * n, 1, 4), MINUTE)
