"""An insider, noise traders and a maker who sees the sum of their orders alone (Kyle, 1985)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
from pydantic import Field

from qframe_rl.arena.game import GameConfig
from qframe_rl.arena.rounds import RoundRules, Rounds
from qframe_rl.arena.solved import EquilibriumCheck, GameSolution
from qframe_rl.config import UserError
from qframe_rl.gym.chance import normal
from qframe_rl.gym.problem import Act, Curve
from qframe_rl.interface import BOUND
from qframe_rl.jit import compiled
from qframe_rl.theory.kyle import kyle, kyle_figures
from qframe_rl.types import Bool, Float, Int, Single

REACH = 4.0
"""Deviations of the value, or of what noise traders send, that an action of 1 means."""
_VALUE, _FLOW, _SENT, _PRICE = range(4)
_N_SEEN = 6


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
            turns=((True, False), (False, True)), n_seen=_N_SEEN,
            params=np.array([c.value_deviation, c.noise_deviation, each, float(c.rounds)]), n_state=4, n_draws=2,
            begin=_begin, move=_move, show=_show, episode_steps=2 * c.rounds,
        ),
        n_markets,
    )  # fmt: skip


def _orders(config: Config, act: Act, value: Float) -> Float:
    """(n,) what an insider sends who sees each value, in the first round."""
    rows = np.zeros((len(value), _N_SEEN), np.float32)
    rows[:, 0] = rows[:, 2] = rows[:, 3] = 1.0
    rows[:, 4] = np.clip(value / config.value_deviation, -BOUND, BOUND)
    return REACH * config.noise_deviation * np.clip(np.asarray(act(rows), np.float64).reshape(-1), -1.0, 1.0)


def _prices(config: Config, act: Act, flow: Float) -> Float:
    """(n,) what a maker asks who sees each flow, in the first round."""
    rows = np.zeros((len(flow), _N_SEEN), np.float32)
    rows[:, 1] = rows[:, 2] = rows[:, 3] = 1.0
    rows[:, 5] = np.clip(flow / config.noise_deviation, -BOUND, BOUND)
    return REACH * config.value_deviation * np.clip(np.asarray(act(rows), np.float64).reshape(-1), -1.0, 1.0)


def _judge(config: Config, policies: Mapping[str, Act]) -> EquilibriumCheck:
    c = config
    found = kyle_figures(
        partial(_orders, c, policies["insider"]), partial(_prices, c, policies["maker"]), c.value_deviation**2,
        c.noise_deviation**2,
    )  # fmt: skip
    figures = {"beta": found.beta, "lambda": found.impact, "profit": found.profit, "variance": found.variance}
    money = c.value_deviation * c.noise_deviation
    gains = {"insider": found.insider_gain / money, "maker": found.maker_gain / c.value_deviation**2}
    return EquilibriumCheck(figures, gains)


def _play(config: Config) -> dict[str, Act]:
    """The linear equilibrium."""
    c = config
    found = kyle(1, c.value_deviation**2, c.noise_deviation**2)
    send = found.beta[0] * c.value_deviation / (REACH * c.noise_deviation)
    price = found.impact[0] * c.noise_deviation / (REACH * c.value_deviation)
    return {"insider": lambda seen: send * seen[:, 4:5], "maker": lambda seen: price * seen[:, 5:6]}


def _portrait(config: Config, policies: Mapping[str, Act]) -> tuple[Curve, ...]:
    """What is sent for each value, and the price for each flow."""
    c, x = config, np.linspace(-2.5, 2.5, 101)
    sent = _orders(c, policies["insider"], c.value_deviation * x)
    price = _prices(c, policies["maker"], c.noise_deviation * x)
    return (
        Curve("Insider", "", "value", "order", c.value_deviation * x, sent),
        Curve("Maker", "", "flow", "price", c.noise_deviation * x, price),
    )


def solution(config: Config) -> GameSolution:
    """The equilibrium of a single round, each figure within 6 %.

    Raises
    ------
    UserError
        For several rounds, of which there is the closed form alone (`qframe_rl.theory.kyle`).
    """
    c = config
    if c.rounds != 1:
        raise UserError(f"env kyle: policies of {c.rounds} rounds cannot be judged yet; set rounds to 1.")
    found = kyle(1, c.value_deviation**2, c.noise_deviation**2)
    expected = {"beta": found.beta[0], "lambda": found.impact[0], "profit": found.profit, "variance": found.variance[0]}
    bands = {name: (0.94 * float(value), 1.06 * float(value)) for name, value in expected.items()}
    return GameSolution(bands, partial(_judge, c), partial(_play, c), partial(_portrait, c))
