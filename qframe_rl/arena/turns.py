"""Who is to act in which step of an episode, in markets where some answer others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from qframe_rl.arena.game import Game
from qframe_rl.config import UserError
from qframe_rl.types import Bool, Int


class Rollout(NamedTuple):
    """What is collected between two updates: any number of steps where all act in each, else whole episodes."""

    n_steps: int
    """Steps of each market."""
    turns: dict[str, int]
    """In how many of them each role acts."""


def rollout(one: Game, seats: Mapping[str, Int], n_steps: int) -> Rollout:
    """Steps that a rollout takes, so that at its end every action of every role has been answered for.

    Parameters
    ----------
    one
        A market of its own; an episode of it is lived through.
    seats
        Agents of each role.
    n_steps
        Steps that are asked for; whole episodes are at least as many.

    Raises
    ------
    UserError
        If agents of a role act at different times, or a role never does.
    """
    acting = turns_of(one)
    if acting.all():
        return Rollout(n_steps, dict.fromkeys(seats, n_steps))
    for role, agents in seats.items():
        own = acting[:, agents]
        if (own != own[:, :1]).any() or not own.any():
            raise UserError(f"self-play: agents of {role} never act, or not all at once; they cannot learn as one.")
    episodes = -(-n_steps // len(acting))
    return Rollout(
        episodes * len(acting), {role: episodes * int(acting[:, agents[0]].sum()) for role, agents in seats.items()}
    )


def turns_of(one: Game) -> Bool:
    """(T, N) who acts in each step of an episode of one market."""
    everyone, over, found = np.ones(1, np.bool_), False, []
    one.seed_with(0)
    one.reset(everyone)
    while not over:
        found.append(one.acting[0].copy())
        over = bool(one.step(np.zeros((1, *one.mask.shape)), everyone)[1][0])
    return np.array(found)
