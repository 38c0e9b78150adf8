"""The best weights of a training by a score on bars that it does not learn from, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qframe_rl.policy.net import Net
from qframe_rl.policy.plan import Arrays
from qframe_rl.policy.training import PpoTraining
from qframe_rl.times import YEAR

_BEST = "best/"


class BestWeights:
    """Scores a training at equal intervals, keeps the best weights and says when to stop; a `Watcher`.

    Parameters
    ----------
    score
        Score of the network as it is now; higher is better.
    n
        Times it is scored in a training; 0 = never.
    patience
        Scores in a row that are no better than the best, after which the training ends; 0 = never.
    """

    def __init__(self, score: Callable[[], float], n: int, patience: int):
        self.score, self.n, self.patience = score, n, patience
        self.best, self.worse = -math.inf, 0
        self.weights: Arrays = {}

    @property
    def waits(self) -> bool:
        """Whether a better score may still come."""
        return self.patience == 0 or self.worse < self.patience

    def __call__(self, training: PpoTraining) -> bool:
        """Score after an update, if it is time to."""
        if falls_due(training, self.n):
            found = self.score()
            training.log.scalar("validation/score", found, training.done)
            if found > self.best:
                self.best, self.worse = found, 0
                self.weights = weights_of(training.net)
            else:
                self.worse += 1
        return self.waits

    def state(self) -> Arrays:
        """What was found so far."""
        return {_BEST + k: v for k, v in self.weights.items()} | {"judged": np.array([self.best, self.worse])}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from `state`."""
        self.weights = {k.removeprefix(_BEST): np.array(v) for k, v in state.items() if k.startswith(_BEST)}
        self.best, self.worse = float(state["judged"][0]), int(state["judged"][1])


def falls_due(training: PpoTraining, n: int) -> bool:
    """Whether one of ``n`` equal parts of a training ended with its last update."""
    done, of = training.update * n, training.n_updates
    return done // of > (done - n) // of


def weights_of(net: Net) -> Arrays:
    """Copies of a network's weights, by name."""
    return {name: value.numpy(force=True).copy() for name, value in net.state_dict().items()}


def sharpe_error(n_bars: int, bar_ns: int) -> float:
    """Standard error of an annual Sharpe ratio over so many bars of noise: 1 / sqrt(years).

    That is Lo's (2002) for returns without autocorrelation and a ratio near 0.
    """
    return math.sqrt(YEAR / (n_bars * bar_ns))
