"""Steps of environments: native batches, one environment, peers, and a bare loop that copies rows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from qframe_rl.bench.measure import BenchmarkRow, Work, rates, rows
from qframe_rl.bench.peers import Peers
from qframe_rl.bench.worlds import ROWS, bars, world
from qframe_rl.gym.engine import copy_windows
from qframe_rl.gym.market import Market
from qframe_rl.gym.packed import PackedHistory
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.log import Screen

PROTECTED = {
    "cooldown_bars": 4, "stop_guard": 3, "low_profit": -0.02, "drawdown_pause": 0.2, "max_entries_per_day": 20,
    "volatility_halt": 0.1,
}  # fmt: skip
"""Every protection at once."""
CALM = 0.05
"""Share of accounts whose action is another one at a step, where they seldom trade."""
_ACTIONS = 64
"""Batches of random actions that are used in turn: drawing them is not part of the work."""


def env(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """One instrument: windows of 32 bars x 8 features written, or places handed out."""
    n_bars, steps = (20_000, 50) if small else (500_000, 2000)
    work: dict[str, Work] = {
        "rowcopy": _row_copy(n_bars, 1024, steps),
        "window-64": batch(world(n_bars), 64, steps, "window"),
        "window-1024": batch(world(n_bars), 1024, steps, "window"),
        "index-1024": batch(world(n_bars), 1024, steps, "index"),
        "single": _single(n_bars, 5 * steps),
    }
    if peers is not None:
        work |= peers.work(bars(n_bars), steps, "gym-trading-env", "gym-trading-env-64", "torchtrade")
    found = rates(work, repeats, screen, "env")
    peer_64 = {"gym-trading-env": found["gym-trading-env-64"]} if peers is not None else {}
    torchtrade = {"torchtrade": 1.0}
    return [
        BenchmarkRow("rowcopy", 1024, found["rowcopy"], "rows/s", "", None),
        *rows("env.window", 64, found["window-64"], "steps/s", {"gym-trading-env": 1.0}, peer_64),
        *rows("env.window", 1024, found["window-1024"], "steps/s", {"rowcopy": 1.0} | torchtrade, found),
        *rows("env.index", 1024, found["index-1024"], "steps/s", torchtrade, found),
        *rows("env.single", 1, found["single"], "steps/s", {"gym-trading-env": 1.0}, found),
        *(BenchmarkRow(f"peer.{k}", b, found[k], "steps/s", "", None) for k, b in _PEERS.items() if k in found),
    ]


_PEERS = {"gym-trading-env": 1, "gym-trading-env-64": 64, "torchtrade": 1024}


def protections(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """The same environments free, with limits, and with protections beside these; and where actions seldom change."""
    n_bars, steps = (20_000, 50) if small else (500_000, 500)
    limits = Limits(max_leverage=2.0, max_drawdown=0.9)
    ways = {"free": Limits(), "limits": limits, "protections": limits.model_copy(update=PROTECTED)}
    market, tape = world(n_bars)
    kinds = {"index": ("index", 1.0), "window": ("window", 1.0), "calm": ("index", CALM)}
    work = {
        f"{name}.{kind}": batch((replace(market, limits=way), tape), 1024, steps, observation, changing)
        for kind, (observation, changing) in kinds.items()
        for name, way in ways.items()
    }
    found = rates(work, repeats, screen, "protections")
    made = []
    for kind in kinds:
        beside = {f"free.{kind}": 1.0}
        for name in ("limits", "protections"):
            made += rows(f"{name}.{kind}", 1024, found[f"{name}.{kind}"], "steps/s", beside, found)
            beside = beside | {f"limits.{kind}": 1.0}
    return made


def portfolio(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Sixteen perpetuals in one cross-margined account with funding."""
    n_bars, steps = (2000, 20) if small else (50_000, 300)
    work = {
        "portfolio.index": batch(world(n_bars, 16), 1024, steps, "index"),
        "portfolio.window": batch(world(n_bars, 16), 1024, steps // 10, "window"),
    }
    found = rates(work, repeats, screen, "portfolio")
    return [BenchmarkRow(name, 1024, value, "steps/s", "", None) for name, value in found.items()]


def memory(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Bytes that one more environment takes, beyond the bars and features that all share."""
    market, tape = world(2000)
    n = 4096
    engine = market.engine(tape, n)
    held = sum(value.nbytes for value in engine.snapshot().values())
    cursor, account = engine.point()
    handed = cursor.nbytes + account.nbytes
    return [BenchmarkRow("memory.index", n, (held + handed) / n, "bytes", "", None)]


def batch(
    of: tuple[Market, PackedHistory], n_envs: int, steps: int, observation: str, changing: float = 1.0
) -> Work:  # fmt: skip
    """Steps of a batch of environments, at random actions, a share of which is drawn anew at each step."""
    market, tape = of
    n_instruments = len(market.instruments)
    envs = market.vec(tape, n_envs, AutoresetMode.SAME_STEP, observation)
    shape = (_ACTIONS, n_envs) if n_instruments == 1 else (_ACTIONS, n_envs, n_instruments)
    rng = np.random.default_rng(0)
    actions = rng.integers(3, size=shape)
    for before, now in pairwise(actions if changing < 1.0 else ()):
        kept = rng.random(now.shape) >= changing
        now[kept] = before[kept]

    def do() -> float:
        envs.reset(seed=1)
        for t in range(steps):
            envs.step(actions[t % _ACTIONS])
        return steps * n_envs

    return do


def _single(n_bars: int, steps: int) -> Work:
    market, tape = world(n_bars)
    one: gymnasium.Env = market.env(tape)  # type: ignore[type-arg]
    actions = np.random.default_rng(0).integers(3, size=steps).tolist()

    def do() -> float:
        one.reset(seed=1)
        for action in actions:
            if any(one.step(action)[2:4]):
                one.reset()
        return steps

    return do


def _row_copy(n_bars: int, n_rows: int, steps: int) -> Work:
    """The limit of window observations: rows of 1 KB, copied from random places in the same matrix."""
    _, tape = world(n_bars)
    rng = np.random.default_rng(0)
    cursors = rng.integers(ROWS, n_bars, size=(_ACTIONS, n_rows))
    every, out = (
        np.ones(n_rows, dtype=np.bool_),
        np.empty((2, n_rows, ROWS * tape.features.shape[1] + 3), dtype=np.float32),
    )

    def do() -> float:
        for t in range(steps):
            copy_windows(tape.features, cursors[t % _ACTIONS], ROWS, every, out[t % 2])
        return steps * n_rows

    return do
