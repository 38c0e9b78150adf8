"""One agent of an order book, watched through an episode."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qframe_rl.arena import state as s
from qframe_rl.arena.crowd import Crowd
from qframe_rl.arena.seats import BatchPolicy, put, roles_of, seats_of, sitting
from qframe_rl.book.state import BUY, SELL
from qframe_rl.evaluate.arena_plot import SeatRecord


def watched_seat(crowd: Crowd, seat: int, policies: Mapping[str, BatchPolicy], seed: int) -> SeatRecord:
    """Play an episode and write down what an agent quoted and held.

    Parameters
    ----------
    crowd
        One market.
    seat
        Number of the agent.
    policies
        By role, of all.
    seed
        Of the market.
    """
    everyone, actions = np.ones(1, np.bool_), np.zeros((1, *crowd.mask.shape))
    there = [(seats_of(crowd, role), policies[role]) for role in roles_of(crowd, np.arange(crowd.n_agents))]
    sat = [(agents, sitting(act, crowd, agents)) for agents, act in there]
    crowd.seed_with(seed)
    crowd.reset(everyone)
    rows = [_row(crowd, seat)]
    over = False
    while not over:
        seen = crowd.observe()
        for agents, act in sat:
            put(actions, slice(None), agents, act(seen[0, agents]))
        over = bool(crowd.step(actions, everyone)[1][0])
        rows.append(_row(crowd, seat))
    told = np.array(rows)
    return SeatRecord(told[:, :2], told[:, 2:4], told[:, 4], told[:, 5])


def _row(crowd: Crowd, seat: int) -> list[float]:
    best, quotes = crowd.state.seen[0], crowd.state.quotes[0, seat]
    shown = [float(best[side, 0]) if best[side, 1] > 0 else np.nan for side in (BUY, SELL)]
    own = [float(quotes[side, s.AT]) if quotes[side, s.LIVE] >= 0 else np.nan for side in (BUY, SELL)]
    return [*shown, *own, float(crowd.state.accounts[0, seat, s.STOCK]), float(crowd.worth()[0, seat])]
