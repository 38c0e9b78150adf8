"""An insider, noise traders and a maker who sees the sum of their orders alone (Kyle, 1985)."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from qframe_rl.arena.game import GameConfig
from qframe_rl.arena.rounds import RoundRules, Rounds
from qframe_rl.gym.chance import normal
from qframe_rl.jit import compiled
from qframe_rl.types import Bool, Float, Int, Single

REACH = 4.0
"""Deviations of the value, or of what noise traders send, that an action of 1 means."""
_VALUE, _FLOW, _SENT, _PRICE = range(4)


class Config(GameConfig):
    """In a round the insider acts first, then the maker; the equilibrium is `qframe_rl.theory.kyle`'s."""

    rounds: int = Field(default=1, ge=1, le=1000)
    """Auctions of an episode, in all of which the value is the same."""
    value_deviation: float = Field(default=1.0, gt=0.0, le=1e6)
    """Standard deviation of the value around the first price, 0."""
    noise_deviation: float = Field(default=1.0, gt=0.0, le=1e6)
    """Standard deviation of what noise traders send in all rounds together."""


# State: value, flow of the round, what the insider sent, price. Parameters: deviation of the value, of noise, of a
# round's noise, rounds.
@compiled
def _begin(active: Bool, draws: Float, params: Float, state: Float) -> None:
    for b in range(len(active)):
        if active[b]:
            state[b, _VALUE] = params[0] * normal(draws[b, 0], draws[b, 1])
            state[b, _FLOW] = state[b, _SENT] = state[b, _PRICE] = 0.0


@compiled
def _move(
    active: Bool, clock: Int, actions: Float, draws: Float, params: Float, state: Float, rewards: Float
) -> None:  # fmt: skip
    for b in range(len(active)):
        if active[b] and clock[b] % 2 == 0:
            state[b, _SENT] = REACH * params[1] * actions[b, 0, 0]
            state[b, _FLOW] = state[b, _SENT] + params[2] * normal(draws[b, 0], draws[b, 1])
        elif active[b]:
            state[b, _PRICE] += REACH * params[0] * actions[b, 1, 0]
            gap = state[b, _VALUE] - state[b, _PRICE]
            rewards[b, 0] = gap * state[b, _SENT]
            rewards[b, 1] = -gap * gap
            state[b, _FLOW] = state[b, _SENT] = 0.0


@compiled
def _show(clock: Int, params: Float, state: Float, out: Single) -> None:
    for b in range(len(out)):
        done = clock[b] // 2
        for i in range(2):
            out[b, i, i] = 1.0
            out[b, i, 2] = 1.0 if clock[b] % 2 == i and done < params[3] else 0.0
            out[b, i, 3] = 1.0 - done / params[3]
        if clock[b] % 2 == 0:
            out[b, 0, 4] = (state[b, _VALUE] - state[b, _PRICE]) / params[0]
        else:
            out[b, 1, 5] = state[b, _FLOW] / params[1]


def make(config: Config, n_markets: int) -> Rounds:
    """Make B markets.

    The insider sends his action times four deviations of noise; the maker moves the price by his times four deviations
    of the value. Rewards: what the insider gains at the price, and what the maker errs by, squared, below 0. Both see
    who they are, whether it is their turn, and the share of rounds left; the insider the value less the price in
    deviations, the maker the flow in deviations of noise.
    """
    c = config
    each = c.noise_deviation / math.sqrt(c.rounds)
    return Rounds(
        RoundRules(
            role_names=("insider", "maker"), counts=(1, 1), numbers=(1, 1), choices=(0, 0),
            turns=((True, False), (False, True)), n_seen=6,
            params=np.array([c.value_deviation, c.noise_deviation, each, float(c.rounds)]), n_state=4, n_draws=2,
            begin=_begin, move=_move, show=_show, episode_steps=2 * c.rounds,
        ),
        n_markets,
    )  # fmt: skip
