"""Markets with a planted truth, for tests of strategies."""

from __future__ import annotations

import numpy as np

from qframe_rl.types import History
from tests.markets import history_of


def bars_of(close: np.ndarray, *, columns: dict[str, np.ndarray] | None = None, **rules: float) -> History:
    """Hourly perpetuals of (T, A) closes that open where they closed, in a deep market; ``columns`` are (T,) each."""
    opening = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(opening, close) * (1 + 1e-5), np.minimum(opening, close) * (1 - 1e-5)
    channels = [opening, high, low, close, np.full_like(close, 1e9)]
    channels += [np.broadcast_to(c[:, None], close.shape) for c in (columns or {}).values()]
    free = {"lot": 0.0, "tick": 0.0, "min_notional": 0.0} | rules
    return history_of(np.stack(channels, axis=-1), columns=tuple(columns or {}), **free)


def switching(n_bars: int, seed: int, *, stay: float = 0.998, half_life: float = 5.0) -> History:
    """Stretches that revert and stretches that trend, one after the other, with the regime as a column (0 and 1).

    While it reverts, the log price is pulled back to where the stretch began (half-life in bars, deviation 1.2 %);
    while it trends, it drifts by a fifth of its volatility a bar, up or down. A stretch has 1 / (1 - stay) bars on
    average.
    """
    rng = np.random.default_rng([seed, 41])
    regime = np.zeros(n_bars)
    price = np.zeros(n_bars)
    pull, shock = 1.0 - 0.5 ** (1.0 / half_life), 0.012 * np.sqrt(1.0 - 0.5 ** (2.0 / half_life))
    centre, side = 0.0, 1.0
    for t in range(1, n_bars):
        regime[t] = regime[t - 1]
        if rng.random() > stay:
            regime[t] = 1.0 - regime[t]
            centre, side = price[t - 1], rng.choice([-1.0, 1.0])
        step = shock * rng.standard_normal()
        price[t] = price[t - 1] + step + (0.2 * side * shock if regime[t] else pull * (centre - price[t - 1]))
    return bars_of(100.0 * np.exp(price)[:, None], columns={"regime": regime}, taker_fee=1e-4)


def wandering(n_bars: int, seed: int) -> History:
    """A random walk of 0.6 % a bar: nothing can be won; the column of regimes says that it never reverts."""
    moves = 0.006 * np.random.default_rng([seed, 43]).standard_normal(n_bars)
    return bars_of(100.0 * np.exp(np.cumsum(moves))[:, None], columns={"regime": np.ones(n_bars)}, taker_fee=1e-4)
