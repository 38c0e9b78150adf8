"""Walks through a problem or a market, episode by episode, as a dataset has them.

An episode is known by its seed, so that ``env.reset(seed=..., options=...)`` begins it again and its actions lead
through the same observations and rewards. What is drawn depends on the seed of the walk and the episode's number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from qframe_rl.agent import Agent, View
from qframe_rl.config import UserError
from qframe_rl.deploy import venue_of, window_of
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.gym.env import SessionEnv
from qframe_rl.gym.market import Market
from qframe_rl.gym.problem import Act, Problem
from qframe_rl.interface import Exposure, Levels
from qframe_rl.offline.write import Episode
from qframe_rl.session import Session
from qframe_rl.types import Float, History, Int, Orders, Segment, Single, alone

By = Literal["episode", "step"]
Report = Callable[[int], None]
"""Told of the steps so far."""
_BATCH = 64
"""Episodes of a problem that are walked together; another number would draw other chances."""
_SEEDS, _CHANCES = 0, 1


def seeds_for(seed: int, start: int, count: int) -> list[int]:
    """Seeds of ``count`` episodes from the ``start``-th on, in [0, 2³²).

    Parameters
    ----------
    seed
        Of the walk.
    start, count
        Which episodes.
    """
    return [int(np.random.SeedSequence([_SEEDS, seed, k]).generate_state(1)[0]) for k in range(start, start + count)]


def enough(episodes: Iterator[Episode], n_steps: int, report: Report | None = None) -> Iterator[Episode]:
    """Episodes of ``n_steps`` steps together, the last one cut off.

    Parameters
    ----------
    episodes
        As they are lived, without end.
    n_steps
        How many are wanted.
    report
        Told of the steps so far, after each episode.
    """
    done = 0
    while done < n_steps:
        episode = next(episodes).until(n_steps - done)
        done += len(episode.rewards)
        yield episode
        if report is not None:
            report(done)


def walk_problem(
    problem: Problem, actors: Sequence[Callable[[], Act] | None], weights: Float, by: By, seed: int
) -> Iterator[Episode]:
    """Episodes of a problem without end.

    Parameters
    ----------
    problem
        What is walked.
    actors
        M makers of policies, each made anew for a batch of episodes; None = a policy of chance.
    weights
        (M,) shares, of sum 1.
    by
        Whether who acts is drawn for an episode or for each step.
    seed
        Of everything.
    """
    start = 0
    while True:
        yield from _problem_batch(problem, actors, weights, by, seed, start)
        start += _BATCH


def _problem_batch(
    problem: Problem, actors: Sequence[Callable[[], Act] | None], weights: Float, by: By, seed: int, start: int
) -> Iterator[Episode]:
    rng = np.random.default_rng([_CHANCES, seed, start])
    seeds = seeds_for(seed, start, _BATCH)
    acts = [None if make is None else make() for make in actors]
    walk, playing = problem.episodes(_BATCH), np.ones(_BATCH, dtype=np.bool_)
    walk.seed_with(seeds)
    walk.reset(playing)
    who = rng.choice(len(acts), _BATCH, p=weights)
    rows, done, paid, ends, cuts, alive = [walk.observe()], [], [], [], [], []
    while playing.any():
        if by == "step":
            who = rng.choice(len(acts), _BATCH, p=weights)
        actions = _chosen(acts, who, rows[-1], problem.action_space, rng)
        reward, ended, cut = walk.step(actions, playing)
        alive.append(playing)
        playing = playing & ~ended & ~cut
        rows.append(walk.observe())
        done.append(actions)
        paid.append(reward)
        ends.append(ended)
        cuts.append(cut)
    lengths = np.sum(alive, axis=0)
    for b, n in enumerate(lengths):
        lived = [np.stack(part[:k])[:, b] for part, k in ((rows, n + 1), (done, n), (paid, n), (ends, n), (cuts, n))]
        yield Episode(seeds[b], None, *lived)


def _chosen(acts: Sequence[Act | None], who: Int, rows: Single, space: Any, rng: np.random.Generator) -> NDArray[Any]:
    """Actions of those whose turn it is; all are asked, so that what they remember stays whole."""
    asked = [_by_chance(space, len(rows), rng) if act is None else np.asarray(act(rows)) for act in acts]
    out = np.stack([np.asarray(one, dtype=space.dtype).reshape(len(rows), *space.shape) for one in asked])
    return np.asarray(out[who, np.arange(len(rows))])


def _by_chance(space: Any, n: int, rng: np.random.Generator) -> NDArray[Any]:
    if isinstance(space, spaces.Discrete):
        return rng.integers(0, int(space.n), n)
    if isinstance(space, spaces.MultiDiscrete):
        return rng.integers(0, space.nvec, (n, *space.shape))
    return rng.uniform(-1.0, 1.0, (n, *space.shape)).astype(np.float32)


def walk_market(
    market: Market, history: History, actors: Sequence[Agent | None], weights: Float, by: By, seed: int
) -> Iterator[Episode]:
    """Episodes of a market without end, each through a session of its own.

    A strategy asks for orders, and the action that comes nearest to them is taken and recorded: the level next to the
    exposure that they lead to, or that exposure itself.

    Parameters
    ----------
    market
        Its scaler fitted on ``history``.
    history
        The bars.
    actors
        M strategies; None = actions by chance.
    weights, by, seed
        As in `walk_problem`.

    Raises
    ------
    UserError
        If there are too few bars, or a strategy is to be followed by actions that are neither levels nor exposures.
    """
    scheme = market.interface.scheme
    if any(actor is not None for actor in actors) and not isinstance(scheme, Levels | Exposure):
        raise UserError("strategies are followed by levels or exposures; set env.actions=levels, or let chance walk.")
    window = window_of(market, *(actor for actor in actors if actor is not None))
    first, last = window - 1, len(history) - 1
    length = min(market.episode_bars or last - first, last - first)
    if length < 1:
        raise UserError(f"{len(history)} bars are too few: the first decision looks back over {window}.")
    k = 0
    while True:
        rng = np.random.default_rng([_CHANCES, seed, k])
        start = int(rng.integers(first, last - length + 1))
        feed = HistoryFeed(history, Segment(start + 1, start + length + 1), window)
        env = SessionEnv(Session(feed, venue_of(market), window), market.interface, market.reward)
        (episode_seed,) = seeds_for(seed, k, 1)
        yield Episode(episode_seed, {"start": start}, *_lived(env, length, actors, weights, by, rng))
        k += 1


def _lived(
    env: SessionEnv, length: int, actors: Sequence[Agent | None], weights: Float, by: By, rng: np.random.Generator
) -> list[NDArray[Any]]:
    """Observations, actions, rewards, terminations and truncations of one episode."""
    row, _ = env.reset()
    rows, ended = [row], False
    done: list[NDArray[Any]] = []
    paid: list[float] = []
    who = int(rng.choice(len(actors), p=weights))
    while len(done) < length and not ended:
        if by == "step":
            who = int(rng.choice(len(actors), p=weights))
        turns = actors if by == "step" else [actors[who]]
        asked = [None if actor is None else actor.decide(env.view) for actor in turns]
        orders = asked[who] if by == "step" else asked[0]
        action = _by_chance(env.action_space, 1, rng)[0] if orders is None else action_for(env, orders)
        row, reward, ended, _, _ = env.step(action)
        rows.append(row)
        done.append(action)
        paid.append(float(reward))
    ends = np.zeros((2, len(done)), dtype=np.bool_)
    ends[0 if ended else 1, -1] = True
    space = env.action_space
    return [np.stack(rows), np.asarray(done, dtype=space.dtype), np.array(paid), ends[0], ends[1]]


def action_for(env: SessionEnv, orders: Orders) -> NDArray[Any]:
    """The action that comes nearest to what orders lead to, see `walk_market`."""
    scheme, wanted = env.interface.scheme, led_to(env.view, orders)
    if isinstance(scheme, Levels):
        nearest = np.abs(wanted[:, None] - scheme.levels).argmin(axis=1)
        return np.asarray(nearest.reshape(scheme.space.shape), dtype=np.int64)
    assert isinstance(scheme, Exposure)
    middle, half = 0.5 * (scheme.high + scheme.low), 0.5 * (scheme.high - scheme.low)
    return np.asarray(np.clip((wanted - middle) / half, -1.0, 1.0), dtype=np.float32)


def led_to(view: View, orders: Orders) -> Float:
    """(A,) exposures once orders have filled at the mark; what is not ordered stays as it is."""
    account = view.account
    equity = float(account.equity)
    worth = np.nan_to_num(alone(orders, "a teacher").quantity) * np.nan_to_num(account.mark)
    exposure: Float = account.exposure + (worth / equity if equity > 0.0 else 0.0 * worth)
    return exposure
