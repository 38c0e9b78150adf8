"""What is watched while Stable-Baselines3 trains: curves, progress, validation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from qframe_rl.agent import Log

_REPORTS = 200


class Reporter(BaseCallback):
    """Tells a log of the returns of episodes and of the algorithm's own curves, some 200 times in a training.

    Parameters
    ----------
    log
        Told.
    total
        Steps of the whole training.
    """

    def __init__(self, log: Log, total: int):
        super().__init__()
        self.log, self.total = log, total
        self._next = 0

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._next = self.num_timesteps + self.total // _REPORTS
            self._report()
        return True

    def _on_training_end(self) -> None:
        self._report()

    def _report(self) -> None:
        episodes, note = list(self.model.ep_info_buffer or ()), ""
        if episodes:
            mean = float(np.mean([episode["r"] for episode in episodes]))
            note = f"return of an episode {mean:,.4g}"
            self.log.scalar("train/episode_return", mean, self.num_timesteps)
        for name, value in self.model.logger.name_to_value.items():
            if name.startswith("train/"):
                self.log.scalar(name, float(value), self.num_timesteps)
        self.log.progress(min(self.num_timesteps, self.total), self.total, note)


class Every(BaseCallback):
    """Does something between two rollouts, at about equal intervals.

    Parameters
    ----------
    every
        Steps between.
    do
        What is done.
    """

    def __init__(self, every: int, do: Callable[[], None]):
        super().__init__()
        self.every, self.do = max(every, 1), do
        self._next = 0

    def _on_training_start(self) -> None:
        self._next = after(self.num_timesteps, self.every)

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self._next:
            self._next = after(self.num_timesteps, self.every)
            self.do()

    def _on_step(self) -> bool:
        return True


class Validation(BaseCallback):
    """Scores the policy at equal intervals, keeps the best and may end the training early.

    Parameters
    ----------
    score
        Score of the policy as it is now; higher is better.
    keep
        Called when it is the best so far.
    log
        Told of every score.
    every
        Steps between two scores.
    patience
        Scores in a row that are no better than the best, after which training ends; 0 = never.
    """

    def __init__(self, score: Callable[[], float], keep: Callable[[], None], log: Log, every: int, patience: int):
        super().__init__()
        self.score, self.keep, self.log, self.every, self.patience = score, keep, log, max(every, 1), patience
        self.best, self.worse = -np.inf, 0
        self._next = 0

    def _on_training_start(self) -> None:
        self._next = after(self.num_timesteps, self.every)

    def _on_step(self) -> bool:
        if self.num_timesteps < self._next:
            return True
        self._next = after(self.num_timesteps, self.every)
        score = self.score()
        self.log.scalar("validation/score", score, self.num_timesteps)
        if score > self.best:
            self.best, self.worse = score, 0
            self.keep()
        else:
            self.worse += 1
        return self.patience == 0 or self.worse < self.patience


def after(step: int, every: int) -> int:
    """The next multiple of ``every``: the same whether a training was resumed on the way there or not."""
    return (step // every + 1) * every
