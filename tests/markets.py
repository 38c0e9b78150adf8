"""Histories for tests: random walks with all that real panels have, and hand-made disasters."""

from __future__ import annotations

import numpy as np

from qframe_rl.types import HOUR, History, Instrument, Source

START = 1_600_000_000_000_000_000 // HOUR * HOUR


def panel(
    n_bars: int = 400,
    n_instruments: int = 2,
    seed: int = 0,
    *,
    volatility: float = 0.02,
    kind: str = "perpetual",
    ragged: bool = True,
    column: bool = True,
) -> History:
    """A random panel; ragged: one instrument is listed late, one is delisted early, and there are gaps.

    ``mixed``: coins and perpetuals by turns.
    """
    rng = np.random.default_rng(seed)
    shape = (n_bars, n_instruments)
    close = 100.0 * np.exp(np.cumsum(volatility * rng.standard_normal(shape), axis=0))
    opening = np.concatenate([np.full((1, n_instruments), 100.0), close[:-1]]) * np.exp(
        0.3 * volatility * rng.standard_normal(shape)
    )
    high = np.maximum(opening, close) * np.exp(volatility * rng.random(shape))
    low = np.minimum(opening, close) * np.exp(-volatility * rng.random(shape))
    volume = 1e4 * np.exp(rng.standard_normal(shape))
    signal = rng.standard_normal(shape)
    channels = [opening, high, low, close, volume] + ([signal] if column else [])
    values = np.stack(channels, axis=-1)
    final = np.zeros(shape, dtype=np.bool_)
    if ragged:
        values[rng.random(shape) < 0.01, :5] = np.nan
        if n_instruments > 1:
            values[: n_bars // 5, 1, :5] = np.nan
        if n_instruments > 2:
            values[4 * n_bars // 5 :, 2, :5] = np.nan
            final[np.flatnonzero(~np.isnan(values[:, 2, 3]))[-1], 2] = True
    funding = np.zeros(shape)
    if kind != "spot":
        funding[::8] = (1e-4 * rng.standard_normal(shape) * opening)[::8]
        funding[:, [kind_of(kind, a, n_instruments) == "spot" for a in range(n_instruments)]] = 0.0
    return history_of(values, funding=funding, final=final, kind=kind, columns=("signal",) if column else ())


def kind_of(kind: str, a: int, n: int) -> str:
    """Kind of instrument ``a`` of ``n``."""
    if kind == "mixed":
        return "spot" if a % 2 == 0 and n > 1 else "perpetual"
    return kind


def history_of(
    values: np.ndarray,
    *,
    funding: np.ndarray | None = None,
    final: np.ndarray | None = None,
    kind: str = "perpetual",
    columns: tuple[str, ...] = (),
    **rules: float,
) -> History:
    """A history of (T, A, C) values with plain rules."""
    n_bars, n = values.shape[:2]
    rules = {"lot": 1e-3, "tick": 1e-2, "min_notional": 5.0, "maker_fee": 2e-4, "taker_fee": 5e-4, **rules}
    instruments = tuple(_instrument(a, n, kind, rules) for a in range(n))
    return History(
        instruments,
        HOUR,
        START + HOUR * np.arange(n_bars, dtype=np.int64),
        np.ascontiguousarray(values),
        np.zeros((n_bars, n)) if funding is None else funding,
        np.zeros((n_bars, n), dtype=np.bool_) if final is None else final,
        Source("test", "synthetic", "test"),
        columns,
    )


def _instrument(a: int, n: int, kind: str, rules: dict[str, float]) -> Instrument:
    own = kind_of(kind, a, n)
    base = a // 2 if kind == "mixed" else a
    if own == "spot":
        return Instrument(f"C{base}/USDT", "spot", **rules)
    return Instrument(f"C{base}/USDT:USDT", "perpetual", **{"maintenance": 0.01, **rules})


def prices(close: np.ndarray, *, volume: float = 1e6, kind: str = "perpetual", **rules: float) -> History:
    """A history of one instrument that opens where it closed, with thin wicks."""
    close = np.asarray(close, dtype=np.float64)
    opening = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(opening, close), np.minimum(opening, close)
    values = np.stack([opening, high, low, close, np.full(len(close), volume)], axis=-1)
    return history_of(values[:, None], kind=kind, **rules)
