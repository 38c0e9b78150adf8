"""Markets that the benchmark runs on: synthetic, so that anybody has them, with every market rule switched on."""

from __future__ import annotations

from functools import cache

from gymnasium.vector import AutoresetMode, VectorEnv

from qframe_rl.config import Ref
from qframe_rl.deploy import make_market
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.market import Market, whole
from qframe_rl.gym.packed import PackedHistory
from qframe_rl.types import History

EIGHT = (
    "log_return:1",
    "log_return:4",
    "log_return:24",
    "volatility:24",
    "range:24",
    "rsi:14",
    "macd:8:24",
    "ma_distance:24",
)
"""Features of a bar; with 32 bars a window is 1 KB of float32."""
ROWS = 32


@cache
def bars(n_bars: int, n_instruments: int = 1) -> History:
    """Perpetual contracts with funding every eight hours."""
    return synthetic("regimes", n_bars, seed=3, n_instruments=n_instruments)


@cache
def world(n_bars: int, n_instruments: int = 1, n_rows: int = ROWS) -> tuple[Market, PackedHistory]:
    """A market with margin, funding, fees, spread, impact, lots and volume caps, and its tape."""
    history = bars(n_bars, n_instruments)
    params = {"features": EIGHT, "n_rows": n_rows}
    market = make_market(Ref(name="perp", params=params), history.instruments, history.columns, history.bar_ns)
    market = market.fit([(history, whole(history))])
    return market, market.tape([(history, whole(history))])


class WorldTask:
    """A learner's task on a world: training environments, and nothing to validate on."""

    train = validation = ()

    def __init__(self, market: Market, tape: PackedHistory, columns: tuple[str, ...], seed: int):
        self.market, self.tape = market, tape
        self.spec = market.spec(columns, seed)

    def envs(self, n_envs: int, *, indexed: bool = False) -> VectorEnv:  # type: ignore[type-arg]
        """Training environments with autoreset mode SAME_STEP, seeded."""
        envs = self.market.vec(self.tape, n_envs, AutoresetMode.SAME_STEP, "index" if indexed else "window")
        envs.reset(seed=self.spec.seed)
        return envs
