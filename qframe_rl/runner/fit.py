"""One training by a line of Python: the task, learner and backtest of the commands, without their ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from qframe_rl import catalog
from qframe_rl.agent import Agent, Log
from qframe_rl.config import Ref, UserError, build
from qframe_rl.custom import in_params
from qframe_rl.deploy import make_agent, window_of
from qframe_rl.evaluate.splits import Fold
from qframe_rl.gym.given import Given, histories_of
from qframe_rl.gym.market import Market, whole
from qframe_rl.runner.auto_features import FoldMarkets
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.executors import Mute, one_thread
from qframe_rl.runner.log import Silent
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import History, Instrument, Record, Segment


class FittedAgent(NamedTuple):
    """A strategy and the market that it was fitted in."""

    agent: Agent
    market: Market
    """Its scaler is that of the training bars."""
    fitted: int
    """Close of the last bar that it was fitted on, ns UTC."""
    instruments: tuple[Instrument, ...]
    """Those of the bars, with the fees that the exchange states; the market may charge others."""

    def backtest(self, history: Given) -> Record:
        """Let it trade all bars that closed after those that it was fitted on; earlier ones serve as warm-up.

        Each look at the result is a trial that nobody counts: what is to be believed comes from `experiments.train`
        and `experiments.evaluate`, which count.

        Raises
        ------
        UserError
            If there are no later bars, or other instruments.
        """
        bars = _one(history)
        if bars.instruments != self.instruments or bars.bar_ns != self.market.bar_ns:
            raise UserError("history: other instruments, or bars of another length, than those that it was fitted on.")
        first = int((bars.time <= self.fitted).sum())
        if first == len(bars):
            raise UserError("history: no bar closes after those that it was fitted on; hand over later ones as well.")
        window = window_of(self.market, self.agent)
        return backtest(self.market, self.agent, bars, Segment(first, len(bars)), window)


def fit(
    agent: str,
    history: Given,
    env: str = "auto",
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    log: Log | None = None,
    **market: Any,
) -> FittedAgent:
    """Make a strategy of the catalogue for these bars, and train it on them if it learns.

    Parameters
    ----------
    agent
        Its name, or a dotted path.
    history
        Training bars and no others, as `qframe_rl.gym.given.histories_of` takes them. A learner stops by their tail.
    env
        Name of the market; ``auto`` by the kind of the instruments.
    params
        Fields of the strategy's ``Config``.
    seed
        Root of all randomness.
    log
        Told of the training.
    **market
        Fields of the market's ``Config``, as in `qframe_rl.gym.make.make_env`.

    Raises
    ------
    UserError
        For an unknown name or parameter, several histories, or too few bars.
    """
    bars = _one(history)
    module = catalog.load("agents", agent)
    made = FoldMarkets(Ref(name=env, params=in_params(market)), bars, None, seed, Silent()).fitted(whole(bars))
    strategy = make_agent(
        agent, build(module.Config, params or {}, f"agent {agent}"), made, bars.columns, seed, bars.theory
    )
    if hasattr(strategy, "fit"):
        fold = Fold(train=whole(bars), validation=(), test=())
        with one_thread():
            strategy.fit(MarketTask(made, bars, fold, seed), log or Mute())
    return FittedAgent(strategy, made, int(bars.time[-1]), bars.instruments)


def _one(given: Given) -> History:
    found = histories_of(given)
    if len(found) > 1:
        raise UserError(f"history: one is needed here, not {len(found)}.")
    return found[0]
