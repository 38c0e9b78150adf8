"""A strategy as a user writes one: long below two standard deviations under the mean, out above the mean.

`peer_worker.py` has the same for backtesting.py, in both ways.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from qframe_rl.agent import Memoryless, View
from qframe_rl.interface import rebalance
from qframe_rl.types import CLOSE, History, Orders

BARS = 50
"""Of the mean."""
_ENTRY = 2.0
_COLUMN = 5
_LONG, _OUT, _STAY = np.array([1.0]), np.array([0.0]), np.array([0.0])


def scored(history: History) -> History:
    """The history with a column of z-scores, as a user adds one; 0 in the first bars."""
    windows = sliding_window_view(history.values[:, :, CLOSE], BARS, axis=0)
    score = np.zeros((len(history), len(history.instruments), 1))
    score[BARS - 1 :, :, 0] = (windows[..., -1] - windows.mean(axis=-1)) / windows.std(axis=-1)
    return replace(history, columns=("score",), values=np.concatenate([history.values, score], axis=-1))


class ReversionByColumn(Memoryless):
    """The rule where the score is a column of the bars."""

    window = BARS

    def decide(self, view: View) -> Orders:
        """Enter, leave, or do nothing."""
        return _decided(view, view.bars[-1, 0, _COLUMN])


class ReversionByWindow(Memoryless):
    """The rule where the score is reckoned from the window in each bar."""

    window = BARS

    def decide(self, view: View) -> Orders:
        """Enter, leave, or do nothing."""
        close = view.close[:, 0]
        away = close - np.add.reduce(close) / BARS
        return _decided(view, away[-1] / math.sqrt(away.dot(away) / BARS))


def _decided(view: View, score: float) -> Orders:
    if view.account.position[0] > 0.0:
        return rebalance(view, _OUT) if score > 0.0 else Orders.market(_STAY)
    return rebalance(view, _LONG) if score < -_ENTRY else Orders.market(_STAY)
