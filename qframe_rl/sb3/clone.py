"""Behaviour cloning: begin with what hindsight would have done on the training bars."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy

from qframe_rl.agent import Interface, Log, Task
from qframe_rl.config import UserError
from qframe_rl.interface import Exposure, Levels, MarketInterface
from qframe_rl.theory.foresight import hindsight
from qframe_rl.types import OPEN, Float, History, Int, Segment, Single

_BATCH, _STEP = 512, 1e-3


class Lessons(NamedTuple):
    """Observations and what hindsight would have done at each."""

    observations: Single
    """(N, n)."""
    actions: NDArray[Any]
    """(N,) or (N, A) as the action space has them."""


def lessons(task: Task) -> Lessons:
    """Walk the training bars along the best path that hindsight knows.

    Each instrument is taken by itself. A position decided at a close is entered at the next open; its return is from
    there to the open after, its cost the market's largest rate. Funding, impact and lots play no part.

    Raises
    ------
    UserError
        If there are no bars, or if actions are neither levels nor exposures.
    """
    interface = _market(task.spec.interface)
    found = [_walk(interface, task.spec.cost_rate, *part) for part in _pieces(task)]
    if not found:
        raise UserError("agent.sb3.clone_epochs: there are no training bars to learn from; set it to 0.")
    return Lessons(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def clone(policy: ActorCriticPolicy, taught: Lessons, epochs: int, seed: int, log: Log) -> float:
    """Fit the actor to lessons by maximum likelihood; the width of a Gaussian actor is left alone.

    Parameters
    ----------
    policy
        Whose actor is fitted, in place.
    taught
        Observations and the teacher's actions.
    epochs
        Passes over the lessons, in random order.
    seed
        Of the order.
    log
        Told of the loss of each epoch and of the agreement at the end.

    Returns
    -------
    float
        Share of the lessons on which the actor's best action is the teacher's: the same choice, or on the same side of
        its middle.
    """
    width = getattr(policy, "log_std", None)
    optimiser = torch.optim.Adam([p for p in policy.parameters() if p is not width], lr=_STEP)
    rng = np.random.default_rng(seed)
    policy.set_training_mode(True)
    n = len(taught.observations)
    for epoch in range(epochs):
        order, total = rng.permutation(n), 0.0
        for rows in np.array_split(order, -(-n // _BATCH)):
            observations = torch.from_numpy(taught.observations[rows])
            _, likelihood, _ = policy.evaluate_actions(observations, torch.from_numpy(taught.actions[rows]))
            loss = -likelihood.mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(loss.detach()) * len(rows)
        log.scalar("clone/loss", total / n, epoch)
    agreement = agreed(policy, taught)
    log.scalar("clone/agreement", agreement, epochs)
    return agreement


def agreed(policy: ActorCriticPolicy, taught: Lessons) -> float:
    """Share of lessons on which the actor agrees, see `clone`."""
    chosen, _ = policy.predict(taught.observations, deterministic=True)
    if isinstance(policy.action_space, spaces.Box):
        return float((np.sign(chosen) == np.sign(taught.actions)).mean())
    return float((chosen == taught.actions).mean())


def _market(interface: Interface) -> MarketInterface:
    if not isinstance(interface, MarketInterface) or not isinstance(interface.scheme, Levels | Exposure):
        raise UserError("agent.sb3.clone_epochs: hindsight can teach levels and exposures alone; set it to 0.")
    return interface


def _pieces(task: Task) -> list[tuple[History, Segment]]:
    return [(history, segment) for history, segments in task.train for segment in segments]


def _walk(interface: MarketInterface, cost: float, history: History, segment: Segment) -> Lessons:
    observer, scheme = interface.observer, interface.scheme
    at = np.arange(max(segment.start, observer.window) - 1, segment.stop - 1)
    assert isinstance(scheme, Levels | Exposure)
    levels = scheme.levels if isinstance(scheme, Levels) else _grid(scheme)
    flat = float(levels[np.argmin(np.abs(levels))])
    paths = [hindsight(gain, levels, cost, flat)[0] for gain in _gains(history, at).T]
    target = np.stack(paths, axis=1)
    held = np.concatenate([np.zeros((1, target.shape[1])), target[:-1]])
    window = observer.matrix(history)[at[:, None] + np.arange(1 - observer.n_rows, 1)]
    trades = ~np.isnan(history.values[at, :, OPEN])
    rows = np.concatenate([window.reshape(len(at), -1), held, trades], axis=1).astype(np.float32)
    return Lessons(rows, _actions(interface, levels, target))


def _gains(history: History, at: Int) -> Float:
    """(N, A) returns from the open after each decision to the open after that; 0 where one is missing."""
    opening = history.values[:, :, OPEN]
    after = np.where(at[:, None] + 2 < len(history), opening[np.minimum(at + 2, len(history) - 1)], np.nan)
    return np.nan_to_num(after / opening[at + 1] - 1.0, nan=0.0)


def _grid(scheme: Exposure) -> Float:
    """Bounds of the exposure, and nothing where it lies between them."""
    ends = [scheme.low, scheme.high]
    return np.array(sorted({*ends, 0.0} if scheme.low < 0.0 < scheme.high else ends))


def _actions(interface: MarketInterface, levels: Float, target: Float) -> NDArray[Any]:
    scheme = interface.scheme
    if isinstance(scheme, Exposure):
        return (2.0 * (target - scheme.low) / (scheme.high - scheme.low) - 1.0).astype(np.float32)
    index: Int = np.argmin(np.abs(target[:, :, None] - levels), axis=2)
    return index[:, 0] if isinstance(interface.action_space, spaces.Discrete) else index
