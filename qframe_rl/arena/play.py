"""Episodes of a market whose seats are all taken by policies, and what each of them earned."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from qframe_rl.arena.game import Game
from qframe_rl.arena.seats import BatchPolicy, put, roles_of, seats_of, sitting
from qframe_rl.config import UserError
from qframe_rl.types import Float


def play(
    game: Game, policies: Mapping[str, BatchPolicy], seed: int, guests: Mapping[int, BatchPolicy] | None = None,
    told: Callable[[Float], object] | None = None,
) -> Float:  # fmt: skip
    """Play an episode in each market.

    Parameters
    ----------
    game
        B markets.
    policies
        By role, for all agents but the guests.
    seed
        Market b has seed ``seed + b``: all policies meet the same random numbers.
    guests
        Policies of single agents, by number.
    told
        Told after each step of what is returned, as it is so far.

    Returns
    -------
    Float
        (B, N) sums of rewards, in the units of the roles' rewards.

    Raises
    ------
    UserError
        If a role's policy lacks.
    """
    guests = guests or {}
    rest = np.setdiff1d(np.arange(game.n_agents), np.fromiter(guests, np.int64))
    lacks = [name for name in roles_of(game, rest) if name not in policies]
    if lacks:
        raise UserError(f"no policy of {', '.join(lacks)} is given.")
    sat = [(np.intersect1d(seats_of(game, name), rest), policies[name]) for name in roles_of(game, rest)]
    sat += [(np.array([agent]), act) for agent, act in guests.items()]
    sat = [(agents, sitting(act, game, agents)) for agents, act in sat]
    playing, actions = np.ones(game.n_markets, np.bool_), np.zeros((game.n_markets, *game.mask.shape))
    total = np.zeros((game.n_markets, game.n_agents))
    game.seed_with(seed)
    game.reset(playing)
    while playing.any():
        seen = game.observe()
        for agents, act in sat:
            rows = np.ascontiguousarray(seen[:, agents]).reshape(-1, seen.shape[-1])
            put(actions, slice(None), agents, act(rows))
        rewards, over = game.step(actions, playing)
        total += rewards
        if told is not None:
            told(total)
        playing = playing & ~over
    return total
