"""What a learner is handed: bars to learn on, a way to make environments of them, and a score to stop by."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from gymnasium.vector import AutoresetMode, VectorEnv

from qframe_rl.agent import Agent, Transitions
from qframe_rl.deploy import window_of
from qframe_rl.evaluate.metrics import bars_per_year, excess, sharpe
from qframe_rl.evaluate.splits import Fold, tail
from qframe_rl.gym.market import Market
from qframe_rl.interface import Parts
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.interrupted import Interruptible
from qframe_rl.runner.policies import chooser, sharpes
from qframe_rl.types import History, Segment, Segments


class MarketTask(Interruptible):
    """The `Task` of one fold: it holds no row that judges the fold, neither of its validation nor of its test bars.

    What a learner stops and chooses by is the tail of its training part, see `qframe_rl.evaluate.splits.tail`: a score
    that was looked at while learning says nothing about skill.

    Parameters
    ----------
    market
        The market, its scaler fitted on the fold's training rows; its limits bind in training and in validation.
    history
        All bars.
    fold
        Which of them to learn on, and which not to show.
    seed
        Root of the learner's randomness.
    snapshot
        File in which an interrupted training is kept; None = nowhere.
    """

    def __init__(self, market: Market, history: History, fold: Fold, seed: int, snapshot: Path | None = None):
        self.market = market
        self.snapshot = snapshot
        self.spec = market.spec(history.columns, seed, history.theory)
        learning, stopping = tail(fold)
        hidden = (*fold.validation, *fold.test)
        self.train = market.lessons(pieces(history, learning, hidden, 0), seed)
        self.validation = pieces(history, stopping, hidden, len(history))
        last = max(segment.stop for segment in fold.train)
        self._known = int(history.time[min(last, *(segment.start for segment in hidden), len(history)) - 1])

    def envs(self, n_envs: int, *, indexed: bool = False) -> VectorEnv[Any, Any, Any]:
        """Training environments with autoreset mode SAME_STEP, seeded."""
        kind = "index" if indexed else "window"
        envs = self.market.vec(self.market.tape(self.train), n_envs, AutoresetMode.SAME_STEP, kind)
        envs.reset(seed=self.spec.seed)
        return envs

    def transitions(self, dataset: str) -> Transitions:
        """Steps of a Minari dataset, as `qframe_rl.offline.fits.market_transitions` scales them and what it refuses.

        It may know no bar after the training part, nor any after the first bar that judges.
        """
        from qframe_rl.offline.fits import market_transitions

        return market_transitions(dataset, self.market, self._known)

    def validate(self, agent: Agent) -> float:
        """Annual Sharpe ratio in excess of cash, net of costs, over the training part's tail; the mean of pieces.

        Where the agent's policy alone decides, pieces are walked side by side, see `qframe_rl.runner.policies`.
        """
        window, alone = window_of(self.market, agent), chooser(agent)
        jobs = [(piece, segment) for piece, segments in self.validation for segment in segments]
        if alone is not None:
            scores = sharpes(self.market, alone, jobs, window)
        else:
            walked = [backtest(self.market, agent, *job, window) for job in jobs]
            scores = [sharpe(excess(record), bars_per_year(record)) for record in walked]
        return sum(scores) / len(scores)


def pieces(history: History, segments: Segments, hidden: Segments, warm_up: int) -> Parts:
    """Copy segments out of a history, each with the bars before it that warm up an agent.

    Parameters
    ----------
    history
        The bars.
    segments
        Rows to learn on.
    hidden
        Rows that must not be seen: a warm-up is cut short where it would reach into those before it.
    warm_up
        Bars before each segment, at most.
    """
    cut = []
    for segment in segments:
        floor = max((h.stop for h in hidden if h.stop <= segment.start), default=0)
        start = max(floor, segment.start - warm_up)
        cut.append((_copied(history, start, segment.stop), (Segment(segment.start - start, segment.stop - start),)))
    return cut


def _copied(history: History, start: int, stop: int) -> History:
    """Rows of a history in memory of their own: from a slice, all other rows could be reached."""
    part = history.rows(start, stop)
    arrays = {name: getattr(part, name).copy() for name in ("time", "values", "funding", "final", "cash_rate")}
    known = tuple(suspect for suspect in part.suspects if suspect.time <= part.time[-1])
    return replace(part, **arrays, suspects=known)


def seed_for(root: int, agent: str, fold: int, run: int) -> int:
    """Seed of one training, in [0, 2³¹): it does not depend on which others run beside it.

    Parameters
    ----------
    root
        Seed of the experiment.
    agent
        Name, or label, of the strategy.
    fold, run
        Which fold, and which of the trainings on it.
    """
    return zlib.crc32(f"{root}/{agent}/{fold}/{run}".encode()) & 0x7FFFFFFF
