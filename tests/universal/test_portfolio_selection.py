"""U10: published terminal wealths of on-line portfolio selection, through our portfolio environment and kernel.

Cover's NYSE(O) and four other sets (Li and Hoi, Online portfolio selection, 2014): what one unit becomes under buying
and holding, the best stock, uniform and best constant rebalancing, exponentiated gradient (0.05) and PAMR (0.5).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from scipy.optimize import minimize

from qframe_rl.gym.make import make_vec
from qframe_rl.gym.vector import VectorTradingEnv
from qframe_rl.types import DAY, Float, History, Instrument, Source

DATA = Path(os.environ.get("QFRAME_DATA") or "no data") / "olps"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="QFRAME_DATA has no olps")

WEALTH = {
    "nyse_o": (14.50, 54.14, 27.08, 250.60, 27.09),
    "tse": (1.61, 6.28, 1.60, 6.78, 1.59),
    "sp500": (1.34, 3.78, 1.65, 4.07, 1.63),
    "msci": (0.91, 1.50, 0.93, 1.51, 0.93),
    "djia": (0.76, 1.19, 0.81, 1.24, 0.81),
}
"""Buy and hold, best stock, uniform CRP, best CRP, EG(.05)."""


def prices(name: str) -> Float:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(DATA / f"{name}.parquet")
    columns = [c.to_numpy() for c in table.columns if str(c.type) in ("double", "float")]
    close = np.stack(columns, axis=1).astype(np.float64)
    return np.vstack([np.ones((1, close.shape[1])), close])


def history(close: Float) -> History:
    """Bars that open where the last one closed, after one more bar of ones for the observation."""
    close = np.vstack([np.ones((1, close.shape[1])), close])
    opening = np.vstack([close[:1], close[:-1]])
    volume = np.full_like(close, 1e30)
    values = np.stack([opening, np.maximum(opening, close), np.minimum(opening, close), close, volume], axis=-1)
    none = np.zeros(close.shape)
    return History(
        tuple(Instrument(f"S{k}/USD") for k in range(close.shape[1])), DAY, DAY * np.arange(1, len(close) + 1), values,
        none, none > 0.0, Source("olps", "production", "olps"),
    )  # fmt: skip


class Shares:
    """An action scheme that holds what it is told: shares of equity in the instruments, and in cash."""

    band = 0.0

    def __init__(self, n_instruments: int):
        self.space = spaces.Box(0.0, 1.0, (n_instruments + 1,), np.float64)

    def targets(self, actions: Float, exposure: Float) -> Float:
        return actions[:, :-1] / actions.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def environment(close: Float, n: int, fee_bps: float = 0.0) -> VectorTradingEnv:
    envs = make_vec(
        "portfolio", n, history(close), features=("log_return:1",), episode_bars=None, cash=1.0, taker_fee_bps=fee_bps,
        half_spread_bps=0.0, impact=0.0, volume_share=1.0, actions=Shares,
    )  # fmt: skip
    envs.reset(seed=0)
    return envs


def best_constant(move: Float) -> Float:
    """Weights that maximise the growth of constant rebalancing in hindsight: a concave problem."""
    n = move.shape[1]
    found = minimize(
        lambda w: -np.mean(np.log(move @ w)), np.full(n, 1.0 / n),
        jac=lambda w: -np.mean(move / (move @ w)[:, None], axis=0), method="SLSQP", bounds=[(0.0, 1.0)] * n,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like},
        options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    weight = np.maximum(found.x, 0.0)
    return weight / weight.sum()


def simplex(v: Float) -> Float:
    """Nearest point whose coordinates are not negative and sum to one (Duchi et al., 2008)."""
    ordered = np.sort(v)[::-1]
    excess = np.cumsum(ordered) - 1.0
    last = np.flatnonzero(ordered - excess / np.arange(1, len(v) + 1) > 0.0)[-1]
    return np.maximum(v - excess[last] / (last + 1.0), 0.0)


def walk(close: Float) -> Float:
    """Terminal wealths of all six strategies, side by side in one batch."""
    move = close[1:] / close[:-1]
    n = close.shape[1]
    equal = np.full(n, 1.0 / n)
    weights = np.stack([equal, np.eye(n)[np.argmax(close[-1])], equal, best_constant(move), equal, equal])
    envs = environment(close, len(weights))
    engine = envs.engine
    for t, x in enumerate(move):
        if t > 0:
            weights[0] = engine.position[0] * engine.mark[0] / engine.equity[0]
        _, _, terminated, truncated, _ = envs.step(
            np.clip(np.concatenate([weights, np.zeros((len(weights), 1))], axis=1), 0.0, 1.0)
        )
        assert not terminated.any()
        eg, pamr = weights[4], weights[5]
        weights[4] = eg * np.exp(0.05 * x / (eg @ x))
        weights[4] /= weights[4].sum()
        centred = x - x.mean()
        loss = max(0.0, float(pamr @ x) - 0.5)
        size = float(centred @ centred)
        weights[5] = simplex(pamr - (loss / size if size > 0.0 else 0.0) * centred)
    assert truncated.all()
    return engine.equity.copy()


@pytest.mark.parametrize("name", list(WEALTH))
def test_published_wealths(name: str) -> None:
    found = walk(prices(name))
    assert [round(float(w), 2) for w in found[:5]] == list(WEALTH[name])
    if name == "nyse_o":
        assert found[5] == pytest.approx(5.14e15, rel=0.001)


def test_uniform_rebalancing_after_costs() -> None:
    """NYSE(O) with 0.1 % of what is traded: 25.36."""
    close = prices("nyse_o")
    n = close.shape[1]
    envs = environment(close, 1, 10.0)
    action = np.concatenate([np.full(n, 1.0 / n), [0.0]])[None]
    for _ in range(len(close) - 1):
        envs.step(action)
    assert float(envs.engine.equity[0]) == pytest.approx(25.36, abs=0.04)
