"""What an agent could still gain against others that stay as they are: a best reply, trained, and its gain.

At an equilibrium nobody gains by changing his policy alone, so the gain of a best reply is how far from one a set of
policies is (NashConv of Lanctot et al., 2017, is its sum over agents). A reply that was trained is no perfect one: the
gain that it found is a lower bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode

from qframe_rl.agent import Log, State
from qframe_rl.arena.game import Game
from qframe_rl.arena.play import play
from qframe_rl.arena.seats import BatchPolicy, VectorSeatEnv, roles_of, seats_of
from qframe_rl.arena.selfplay import RoleLearner
from qframe_rl.policy.apart import one_thread
from qframe_rl.policy.best import BestWeights
from qframe_rl.types import Float

_CHECKS = 10
_TRAINED, _CHECKED, _MEASURED = 1 << 40, 1 << 41, 1 << 42
"""Between seeds of the market in which a reply is trained, chosen and measured."""


class ReplyPlan(NamedTuple):
    """How a reply is trained and measured."""

    markets: int
    """In which it is trained, one agent in each."""
    n_steps: int
    """Steps between two updates."""
    n_updates: int
    episodes: int
    """That it is measured on; a quarter of them are played to choose among its weights."""
    level: float
    """Of the interval."""
    resamples: int
    seed: int


class Gain(NamedTuple):
    """What one agent of a role would gain an episode if it alone played the best reply that was found."""

    gain: float
    """Mean over the same episodes of the reply's return less that of the policy in its place."""
    low: float
    high: float
    """Bootstrap interval of it."""
    frozen: float
    """Mean return of the policy."""


def best_reply(
    make: Callable[[int], Game], learner: RoleLearner, role: str, policies: Mapping[str, BatchPolicy],
    plan: ReplyPlan, log: Log, start: State | None = None,
) -> BatchPolicy:  # fmt: skip
    """Train one agent of a role against all others, which stay as they are.

    Parameters
    ----------
    make
        Makes so many markets.
    learner
        Trained here.
    role
        Whose first agent is trained.
    policies
        Of all roles, that of the same role included.
    plan
        How.
    log
        Told of each update.
    start
        Weights to begin with, which stay unless others are surely better; None = new ones.
    """
    game = make(plan.markets)
    seat = int(seats_of(game, role)[0])
    rest = np.setdiff1d(np.arange(game.n_agents), [seat])
    others = {name: policies[name] for name in roles_of(game, rest)}
    envs = VectorSeatEnv(game, role, others, [0], AutoresetMode.SAME_STEP)
    envs.reset(seed=plan.seed + _TRAINED)
    total, trial = plan.markets * plan.n_steps * plan.n_updates, make(max(plan.episodes // 4, 1))
    training = learner.training(envs, total, plan.n_steps, log, start)

    frozen = play(trial, policies, plan.seed + _CHECKED)[:, seat]

    def score() -> float:
        """Gain that is left after two standard errors, so that noise does not choose."""
        more = play(trial, policies, plan.seed + _CHECKED, {seat: learner.policy()})[:, seat] - frozen
        return float(more.mean() - 2.0 * more.std() / np.sqrt(len(more)))

    best = BestWeights(score, _CHECKS, 0)
    with one_thread():
        if start is not None:
            best.best, best.weights = score(), dict(start)
        training([best])
    learner.restore(best.weights)
    return learner.policy()


def gain_of(
    game: Game, role: str, policies: Mapping[str, BatchPolicy], reply: BatchPolicy, plan: ReplyPlan
) -> Gain:  # fmt: skip
    """Measure a reply on episodes that it was neither trained nor chosen on.

    Parameters
    ----------
    game
        ``plan.episodes`` markets.
    role, policies
        As of `best_reply`.
    reply
        What it returned.
    plan
        Seed and interval.
    """
    seat = int(seats_of(game, role)[0])
    seed = plan.seed + _MEASURED
    before = play(game, policies, seed)[:, seat]
    more = play(game, policies, seed, {seat: reply})[:, seat] - before
    low, high = mean_interval(more, plan.level, plan.resamples, plan.seed)
    return Gain(float(more.mean()), low, high, float(before.mean()))


def mean_interval(values: Float, level: float, resamples: int, seed: int) -> tuple[float, float]:
    """Percentile bootstrap of a mean (Efron, 1979).

    Parameters
    ----------
    values
        (n,) independent ones.
    level
        Share of resamples inside.
    resamples, seed
        How many, and of which draws.
    """
    rng = np.random.default_rng([seed, len(values)])
    means = values[rng.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
    return float(low), float(high)
