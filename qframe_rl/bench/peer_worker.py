"""A peer at work, in an environment of its own: it knows nothing of this library.

``python peer_worker.py NAME DATA.npz SIZE`` prints a JSON line when it is ready, and after each line on stdin does its
work once and prints how many units that was. Costs: fee 5 bp, slippage or spread where the peer has it 1 bp.
"""

# mypy: ignore-errors
from __future__ import annotations

import json
import sys
from importlib.metadata import version

import numpy as np

FEE = 6e-4
WINDOW = 32


def frame(data):
    """Open, high, low, close, volume with a time index, and eight features."""
    import pandas

    bars = data["bars"]
    table = pandas.DataFrame(bars[:, :5], columns=["open", "high", "low", "close", "volume"])
    table.index = pandas.to_datetime(data["time"])
    close = table["close"]
    for k, n in enumerate((1, 2, 4, 8, 16, 24, 48, 96)):
        table[f"feature_{k}"] = np.log(close / close.shift(n)).fillna(0.0)
    return table


def gym_trading_env(data, size):
    """Steps of one environment."""
    from gym_trading_env.environments import TradingEnv

    env = TradingEnv(
        df=frame(data), positions=[-1, 0, 1], windows=WINDOW, trading_fees=FEE, max_episode_duration=720, verbose=0
    )
    actions = np.random.default_rng(0).integers(3, size=size)

    def do():
        env.reset(seed=1)
        for action in actions:
            if any(env.step(int(action))[2:4]):
                env.reset()
        return size

    return do, version("gym-trading-env")


def gym_trading_env_64(data, size):
    """Steps of 64 of them in Gymnasium's SyncVectorEnv."""
    from gym_trading_env.environments import TradingEnv
    from gymnasium.vector import SyncVectorEnv

    table, steps = frame(data), max(2, size // 20)
    envs = SyncVectorEnv(
        [
            lambda: TradingEnv(
                df=table, positions=[-1, 0, 1], windows=WINDOW, trading_fees=FEE, max_episode_duration=720, verbose=0
            )
            for _ in range(64)
        ]
    )
    actions = np.random.default_rng(0).integers(3, size=(steps, 64))

    def do():
        envs.reset(seed=1)
        for row in actions:
            envs.step(row)
        return steps * 64

    return do, version("gym-trading-env")


def torchtrade(data, size):
    """Steps of its batched environment, 1,024 at once, futures mode."""
    import torch
    from torchtrade.envs.offline.vectorized_sequential import (
        VectorizedSequentialTradingEnv,
        VectorizedSequentialTradingEnvConfig,
    )

    torch.set_num_threads(1)
    table = frame(data).reset_index(names="timestamp")
    columns = [c for c in table.columns if c.startswith("feature_")]
    config = VectorizedSequentialTradingEnvConfig(
        num_envs=1024,
        time_frames="1Hour",
        window_sizes=WINDOW,
        execute_on="1Hour",
        transaction_fee=5e-4,
        slippage=1e-4,
        max_traj_length=720,
        leverage=3,
    )

    def features(bars):
        bars = bars.reset_index()
        for k, n in enumerate((1, 2, 4, 8, 16, 24, 48, 96)):
            bars[f"features_{k}"] = np.log(bars["close"] / bars["close"].shift(n)).fillna(0.0)
        return bars

    env = VectorizedSequentialTradingEnv(table.drop(columns=columns), config, feature_preprocessing_fn=features)
    steps = max(2, size // 10)

    def do():
        state = env.reset()
        for _ in range(steps):
            _, state = env.step_and_maybe_reset(env.rand_action(state))
        return steps * 1024

    return do, version("torchtrade")


def signals(close, window, entry):
    """Positions of the z-score rule: long below -entry, out above 0."""
    import pandas

    price = pandas.Series(close)
    z = (price - price.rolling(window).mean()) / price.rolling(window).std(ddof=0)
    return (z < -entry).to_numpy(), (z > 0.0).to_numpy()


def grid(size):
    """Windows and thresholds of ``size`` settings."""
    windows = np.linspace(20, 200, 10).astype(int)
    return [(int(w), e) for w in windows for e in np.linspace(1.0, 3.0, max(1, size // 10))]


def vectorbt(data, size):
    """Account-bars of a sweep of ``size`` settings."""
    import pandas
    import vectorbt as vbt

    table = frame(data)
    close = table["close"]
    settings = grid(size)

    def do():
        pairs = [signals(close.to_numpy(), w, e) for w, e in settings]
        entries = pandas.DataFrame(np.stack([p[0] for p in pairs], axis=1), index=close.index)
        exits = pandas.DataFrame(np.stack([p[1] for p in pairs], axis=1), index=close.index)
        done = vbt.Portfolio.from_signals(
            close, entries, exits, price=table["open"].shift(-1).fillna(close), fees=5e-4, slippage=1e-4, freq="1h"
        )
        np.asarray(done.final_value())
        return len(settings) * len(close)

    return do, version("vectorbt")


def backtesting_py(data, size):
    """Account-bars of one setting at a time, few of them: it has no batch."""
    import warnings

    from backtesting import Backtest, Strategy

    warnings.filterwarnings("ignore")
    table = frame(data).rename(columns=str.capitalize)
    enter, leave = signals(table["Close"].to_numpy(), 50, 2.0)

    class Reversion(Strategy):
        def init(self):
            self.enter = self.I(lambda: enter.astype(float), name="enter")
            self.leave = self.I(lambda: leave.astype(float), name="leave")

        def next(self):
            if self.position:
                if self.leave[-1]:
                    self.position.close()
            elif self.enter[-1]:
                self.buy()

    def do():
        Backtest(table, Reversion, cash=10_000_000, commission=5e-4, spread=1e-4, finalize_trades=True).run()
        return len(table)

    return do, version("backtesting")


def backtesting_py_window(data, size):
    """The same rule where the score is reckoned from the last closes in each bar."""
    import math
    import warnings

    from backtesting import Backtest, Strategy

    warnings.filterwarnings("ignore")
    table = frame(data).rename(columns=str.capitalize)

    class WindowReversion(Strategy):
        def init(self):
            pass

        def next(self):
            close = self.data.Close[-50:]
            if len(close) < 50:
                return
            away = close - np.add.reduce(close) / 50
            score = away[-1] / math.sqrt(away.dot(away) / 50)
            if self.position:
                if score > 0.0:
                    self.position.close()
            elif score < -2.0:
                self.buy()

    def do():
        Backtest(table, WindowReversion, cash=10_000_000, commission=5e-4, spread=1e-4, finalize_trades=True).run()
        return len(table)

    return do, version("backtesting")


PEERS = {
    "gym-trading-env": gym_trading_env,
    "gym-trading-env-64": gym_trading_env_64,
    "torchtrade": torchtrade,
    "vectorbt": vectorbt,
    "backtesting.py": backtesting_py,
    "backtesting.py-window": backtesting_py_window,
}


def main():
    """Serve until stdin ends."""
    name, place, size = sys.argv[1:]
    do, release = PEERS[name](np.load(place), int(size))
    print(json.dumps({"version": release}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"units": do()}), flush=True)


if __name__ == "__main__":
    main()
