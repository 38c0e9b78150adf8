"""Training on order books: how much of it is the environment."""

from __future__ import annotations

import time
from typing import Any

from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from qframe_rl import catalog
from qframe_rl.bench.measure import BenchmarkRow
from qframe_rl.config import Ref
from qframe_rl.feeds.ticks import TickRun
from qframe_rl.gym.make import make_book
from qframe_rl.gym.replay.doors import VectorBookEnv
from qframe_rl.gym.replay.packed import whole_run
from qframe_rl.runner.books.task import BookTask
from qframe_rl.runner.log import Screen
from qframe_rl.types import Instrument

_STEPS, _SMALL = 400_000, 4_096
_WARM = 8_192
"""Steps of a training before the one that is measured: what is compiled is compiled then."""


class TimedBookEnv(VectorBookEnv):
    """A batch that adds up the time of its steps."""

    seconds = 0.0

    def step(self, actions: NDArray[Any]) -> Any:
        """Step, and add the time."""
        begun = time.perf_counter()
        told = super().step(actions)
        self.seconds += time.perf_counter() - begun
        return told


class TimedBookTask(BookTask):
    """Hands out a batch that is timed."""

    made: TimedBookEnv | None = None

    def envs(self, n_envs: int, *, indexed: bool = False) -> TimedBookEnv:
        """As of `BookTask`."""
        engine = self.market.engine(self._ticks, n_envs)
        self.made = TimedBookEnv(engine, AutoresetMode.SAME_STEP, "index" if indexed else "window")
        self.made.reset(seed=self.spec.seed)
        return self.made


class _Silent:
    """A log that nobody reads."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Nothing."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Nothing."""


def training_rows(run: TickRun, small: bool, screen: Screen) -> list[BenchmarkRow]:
    """Frames a second of ``ppo`` on ``book_making``, and the environment's share of the time.

    Parameters
    ----------
    run
        The ticks.
    small
        Little work.
    screen
        Told of the progress.
    """
    coin = Instrument(run.symbol, "perpetual", lot=run.lot, tick=run.tick, maker_fee=2e-4, taker_fee=5e-4)
    span = whole_run(run)
    market = make_book(Ref(name="book_making"), coin).fit([span])
    module, found = catalog.load("agents", "ppo"), []
    for steps in (_WARM, _SMALL if small else _STEPS):
        task = TimedBookTask(market, [span], [], 0)
        agent = module.make(module.Config(total_steps=steps, evaluations=0), market.spec(0))
        screen.begin(f"train {steps:,} steps")
        begun = time.perf_counter()
        agent.fit(task, _Silent())
        seconds = time.perf_counter() - begun
        screen.end(f"train {steps:,} steps")
        assert task.made is not None
        found = [steps / seconds, task.made.seconds / seconds, float(task.made.num_envs)]
    rate, share, n_envs = found
    return [
        BenchmarkRow("book.train", int(n_envs), rate, "frames/s", "", None),
        BenchmarkRow("book.train_share", int(n_envs), share, "of the training's time", "", None),
    ]
