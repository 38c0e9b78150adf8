"""Training: our learner, Stable-Baselines3's, and what matrix products alone would allow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from qframe_rl import catalog
from qframe_rl.bench.frames import LESSONS, SEEDS, frames_to_optimum
from qframe_rl.bench.measure import BenchmarkRow, Work, rates, rows
from qframe_rl.bench.offline import Quiet, offline
from qframe_rl.bench.peers import Peers
from qframe_rl.bench.worlds import WorldTask, bars, world
from qframe_rl.config import Ref, UserError
from qframe_rl.gym.make import make_problem
from qframe_rl.gym.problem import Act, Problem
from qframe_rl.runner.log import Screen
from qframe_rl.runner.solve.solve import ProblemTask, scores

THREADS = 2
_BARS = 50_000
FLOPS = 4 * (2 * 2 * 259 * 128 + 3 * 2 * 2 * 64 * 64) + 2 * 259 * 128 + 2 * 2 * 64 * 64
"""Floating-point operations a frame of PPO with two 64 x 64 networks on 259 numbers, four epochs, all samples encoded
one by one: one pass forward in the rollout, and four forward and back (none back into the observation)."""
_OURS = {
    "n_steps": 64, "precision": "bfloat16", "threads": THREADS, "batch_size": 65536, "n_envs": 4096, "n_epochs": 4,
}  # fmt: skip
_GATE, _MOST = 0.98, 800_000


def train(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Frames a second from environment to updated weights, two threads; and frames and time to known optima, one."""
    frames = 2048 if small else 524_288
    shape = {"n_envs": 64, "n_steps": 16, "batch_size": 512} if small else {}
    recurrent = {"network": "lstm"} | shape
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        work: dict[str, Work] = {
            "gemm": _gemm(),
            "train.ppo": _ours(_OURS | shape, frames),
            "train.ppo_lstm": _ours(_OURS | recurrent, frames // 2),
            "sb3-default": _sb3_default(256 if small else 6144),
            "sb3-tuned": _sb3_tuned(frames // 4, small),
            "recurrent-ppo": _recurrent(512 if small else 32_768),
        }
        found = rates(work, repeats, screen, "train")
        torch.set_num_threads(1)
        seconds = {} if small else _seconds_to_optimum(3, screen)
        arrivals = frames_to_optimum(["kelly_gbm"] if small else list(LESSONS), 1 if small else SEEDS, screen)
    finally:
        torch.set_num_threads(before)
    plain = {"gemm": 1.0 / FLOPS, "sb3-default": 1.0, "sb3-tuned": 1.0}
    return [
        *rows("train.ppo", 4096, found["train.ppo"], "frames/s", plain, found),
        *rows("train.ppo_lstm", 4096, found["train.ppo_lstm"], "frames/s", {"recurrent-ppo": 1.0}, found),
        *(
            [
                BenchmarkRow(
                    "train.time_to_gp", 64, seconds["ppo"], "s", "sb3-tuned", seconds["ppo"] / seconds["sb3-tuned"]
                )
            ]
            if seconds
            else []
        ),
        *arrivals,
        *offline(small, repeats, peers, screen),
        BenchmarkRow("gemm", 1, found["gemm"], "flop/s", "", None),
        *(
            BenchmarkRow(f"peer.{k}", 1, found[k], "frames/s", "", None)
            for k in ("sb3-default", "sb3-tuned", "recurrent-ppo")
        ),
    ]


def _gemm() -> Work:
    """The rate of bfloat16 products of the first layer's shape."""
    x, w = torch.randn(4096, 256).bfloat16(), torch.randn(256, 64).bfloat16()
    out = torch.empty(4096, 64, dtype=torch.bfloat16)

    def do() -> float:
        for _ in range(500):
            torch.mm(x, w, out=out)
        return 500 * 2.0 * 4096 * 256 * 64

    return do


def _task(n_rows: int = 32) -> WorldTask:
    market, tape = world(_BARS, 1, n_rows)
    return WorldTask(market, tape, bars(_BARS).columns, 0)


def _ours(params: dict[str, Any], frames: int) -> Work:
    module, task = catalog.load("agents", "ppo"), _task()
    config = module.Config(total_steps=frames, **params)

    def do() -> float:
        module.make(config, task.spec).fit(task, Quiet())
        per_update = config.n_envs * config.n_steps  # both are given
        return float(-(-frames // per_update) * per_update)

    return do


def _sb3_default(frames: int) -> Work:
    """PPO as it comes, on eight single environments."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    market, tape = world(_BARS)

    def do() -> float:
        model = PPO(
            "MlpPolicy",
            DummyVecEnv([lambda: market.env(tape)] * 8),
            n_steps=min(2048, frames // 8),
            seed=0,
            device="cpu",
        )
        model.learn(frames)
        return float(model.num_timesteps)

    return do


def _sb3_tuned(frames: int, small: bool) -> Work:
    """PPO at its best here: our batch of 1,024 with copied windows, large minibatches, four epochs."""
    from stable_baselines3 import PPO

    from qframe_rl.sb3.batch import BatchVecEnv

    task, n_envs = _task(), 64 if small else 1024

    def do() -> float:
        model = PPO(
            "MlpPolicy", BatchVecEnv(task.envs(n_envs)), n_steps=16 if small else 64,
            batch_size=512 if small else 16384, n_epochs=4, seed=0, device="cpu",
        )  # fmt: skip
        model.learn(frames)
        return float(model.num_timesteps)

    return do


def _recurrent(frames: int) -> Work:
    """RecurrentPPO at its best here: 64 environments that show one bar at a time."""
    from sb3_contrib import RecurrentPPO

    from qframe_rl.sb3.batch import BatchVecEnv

    task = _task(1)
    options = {"lstm_hidden_size": 64, "shared_lstm": True, "enable_critic_lstm": False, "net_arch": [64]}
    n_envs, n_steps, batch_size = (8, 32, 256) if frames < 1000 else (64, 128, 2048)

    def do() -> float:
        model = RecurrentPPO(
            "MlpLstmPolicy", BatchVecEnv(task.envs(n_envs)), n_steps=n_steps, batch_size=batch_size, n_epochs=4,
            policy_kwargs=options, seed=0, device="cpu",
        )  # fmt: skip
        model.learn(frames)
        return float(model.num_timesteps)

    return do


class _Reached(Exception):
    """The gate is reached."""


class _Clock(Quiet):
    """Runs while a learner learns, stands still while its policy is measured, and ends the training at the gate."""

    def __init__(self, problem: Problem, optimum: float, policy: Callable[[], Act]):
        self.problem, self.optimum, self.policy = problem, optimum, policy
        self.seconds, self._since = 0.0, time.perf_counter()

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Measure the policy after an update."""
        self.seconds += time.perf_counter() - self._since
        if scores(self.problem, self.policy()).mean() >= _GATE * self.optimum:
            raise _Reached(self.seconds)
        self._since = time.perf_counter()


def _seconds_to_optimum(seeds: int, screen: Screen) -> dict[str, float]:
    """Mean seconds until 98 % of the Gârleanu-Pedersen optimum, of ours and of Stable-Baselines3's PPO, one thread."""
    title, problem = "time to the optimum", make_problem(Ref(name="garleanu_pedersen"))
    optimum = float(scores(problem, problem.theory().policy()).mean())
    ways = {"ppo": _ours_to_optimum, "sb3-tuned": _sb3_to_optimum}
    total = dict.fromkeys(ways, 0.0)
    screen.begin(title)
    for k in range(seeds):
        for name, way in ways.items():
            screen.advance(title, k, seeds, name)
            try:
                clock = way(ProblemTask(problem, k), optimum)
            except _Reached as reached:
                total[name] += reached.args[0]
                continue
            raise UserError(f"{name} did not reach {_GATE:.0%} of the optimum in {_MOST:,} steps ({clock} s).")
    screen.end(title, f"mean of {seeds} seeds")
    return {name: value / seeds for name, value in total.items()}


def _ours_to_optimum(task: ProblemTask, optimum: float) -> float:
    module = catalog.load("agents", "ppo")
    agent = module.make(
        module.Config(
            gamma=0.95,
            total_steps=_MOST,
            log_std=-1.5,
            ent_coef=0.003,
            n_envs=64,
            n_steps=128,
            batch_size=1024,
            n_epochs=8,
        ),
        task.spec,
    )
    clock = _Clock(task.problem, optimum, agent.policy)
    agent.fit(task, clock)
    return clock.seconds


def _sb3_to_optimum(task: ProblemTask, optimum: float) -> float:
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    from qframe_rl.deep.scale import return_scale
    from qframe_rl.sb3.batch import BatchVecEnv

    scale = return_scale(task.envs(64), 0.95, 200, 0)
    model = PPO(
        "MlpPolicy", BatchVecEnv(task.envs(64), scale), gamma=0.95, n_steps=128, batch_size=1024, n_epochs=8,
        gae_lambda=0.9, learning_rate=lambda left: 1e-3 * (0.1 + 0.9 * left), ent_coef=0.003,
        seed=task.spec.seed, device="cpu", policy_kwargs={"net_arch": [64, 64], "log_std_init": -1.5},
    )  # fmt: skip
    clock = _Clock(task.problem, optimum, lambda: lambda seen: model.predict(seen, deterministic=True)[0])

    class Updates(BaseCallback):
        def _on_rollout_start(self) -> None:
            clock.progress(self.num_timesteps, _MOST)

        def _on_step(self) -> bool:
            return True

    model.learn(_MOST, Updates())
    return clock.seconds
