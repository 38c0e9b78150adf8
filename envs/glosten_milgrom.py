"""Makers on a grid of prices who are asked by traders some of whom know the value (Glosten & Milgrom, 1985)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from qframe_rl.arena.game import GameConfig
from qframe_rl.arena.rounds import RoundRules, Rounds
from qframe_rl.arena.solved import EquilibriumCheck, GameSolution
from qframe_rl.config import UserError
from qframe_rl.gym.problem import Act, Curve
from qframe_rl.jit import compiled, inlined
from qframe_rl.theory.glosten_milgrom import ask
from qframe_rl.types import Bool, Float, Int, Single

_VALUE, _BELIEF, _BUYS = range(3)
_SLACK = 1e-9


class Config(GameConfig):
    """In a round one trader comes and all makers name a price at once: the best one trades, those that tie share."""

    makers: int = Field(default=2, ge=1, le=64)
    """Agents that name prices."""
    informed: float = Field(default=0.3, ge=0.0, lt=1.0)
    """Share of traders that know the value, 0 or 1; the others buy or sell with even chances."""
    grid: float = Field(default=0.025, ge=0.001, le=0.5)
    """Between two prices; half of the value must be a whole number of them."""
    rounds: int = Field(default=4, ge=1, le=1000)
    """Traders of an episode, in all of which the value is the same."""

    reward_mode: Literal["expected", "sampled"] = "expected"
    """What a trade pays: the expectation of its gain given the trader's side and all before, or what it comes to."""

    @model_validator(mode="after")
    def _whole(self) -> Config:
        if abs(0.5 / self.grid - round(0.5 / self.grid)) > _SLACK:
            raise ValueError(f"grid {self.grid} does not divide 0.5; take 0.025 or another that does")
        return self

    @property
    def prices(self) -> int:
        """Choices of a maker: prices from the belief to the value's end."""
        return round(0.5 / self.grid) + 1


@inlined
def _updated(belief: float, informed: float, buys: bool) -> float:
    """What is believed once the trader's side is known: the price of no profit."""
    lean = informed if buys else -informed
    return belief * (1.0 + lean) / (1.0 + lean * (2.0 * belief - 1.0))


@inlined
def _arrive(draws: Float, params: Float, state: Float, b: int) -> None:
    """Let the next trader come; first draw whether he is informed, then his side where he is not."""
    knows = draws[b, 0] < params[0]
    state[b, _BUYS] = state[b, _VALUE] if knows else (1.0 if draws[b, 1] < 0.5 else 0.0)


# State: value, belief of all before the trader came, whether he buys. Parameters: share of the informed, grid, rounds,
# sampled rewards, prices.
@compiled
def _begin(active: Bool, draws: Float, params: Float, state: Float) -> None:
    for b in range(len(active)):
        if active[b]:
            state[b, _VALUE] = 1.0 if draws[b, 2] < 0.5 else 0.0
            state[b, _BELIEF] = 0.5
            _arrive(draws, params, state, b)


@compiled
def _move(
    active: Bool, clock: Int, actions: Float, draws: Float, params: Float, state: Float, rewards: Float
) -> None:  # fmt: skip
    n = actions.shape[1]
    for b in range(len(active)):
        if active[b]:
            belief, buys = state[b, _BELIEF], state[b, _BUYS] != 0.0
            known = _updated(belief, params[0], buys)
            best, ties = actions[b, 0, 0], 0
            for i in range(n):
                best = min(best, actions[b, i, 0])
            for i in range(n):
                ties += 1 if actions[b, i, 0] == best else 0
            # Prices of a buyer are counted up from the belief, those of a seller down.
            from_belief = belief if buys else 1.0 - belief
            price = (
                min(math.ceil(from_belief / params[1] - _SLACK) + best, math.ceil(1.0 / params[1] - _SLACK)) * params[1]
            )
            worth = known if params[3] == 0.0 else state[b, _VALUE]
            gain = price - (worth if buys else 1.0 - worth)
            for i in range(n):
                if actions[b, i, 0] == best:
                    rewards[b, i] = gain / ties
            state[b, _BELIEF] = known
            _arrive(draws, params, state, b)


@compiled
def _show(clock: Int, params: Float, state: Float, out: Single) -> None:
    for b in range(len(out)):
        for i in range(out.shape[1]):
            out[b, i, 0] = state[b, _BELIEF]
            out[b, i, 1] = 1.0 if state[b, _BUYS] != 0.0 else -1.0
            out[b, i, 2] = 1.0 - clock[b] / params[2]


def make(config: Config, n_markets: int) -> Rounds:
    """Make B markets.

    A maker's choice k is the price k steps of the grid away from what is believed, rounded away from it: above for a
    buyer, below for a seller, and no farther than the value can be. All see the belief, which follows from all sides so
    far, the trader's side and the share of rounds left. A reward is what a trade at the best price gains, shared among
    ties: in expectation, or with ``reward_mode`` sampled what it came to.
    """
    c = config
    return Rounds(
        RoundRules(
            role_names=("maker",), counts=(c.makers,), numbers=(1,), choices=(c.prices,), turns=((True,),), n_seen=3,
            params=np.array([c.informed, c.grid, float(c.rounds), float(c.reward_mode == "sampled"), float(c.prices)]),
            n_state=3, n_draws=3, begin=_begin, move=_move, show=_show, episode_steps=c.rounds,
        ),
        n_markets,
    )  # fmt: skip


def _margins(config: Config) -> Float:
    """(prices,) by which each price of a first buyer beats that of no profit; a first seller's are the same."""
    priced = np.minimum(0.5 + config.grid * np.arange(config.prices), 1.0)
    return np.asarray(priced - ask(0.5, config.informed))


def _chosen(act: Act) -> Int:
    """(2,) prices of a first buyer and a first seller."""
    return np.asarray(act(np.array([[0.5, 1.0, 1.0], [0.5, -1.0, 1.0]], np.float32))).reshape(-1).astype(np.int64)


def _judge(config: Config, policies: Mapping[str, Act]) -> EquilibriumCheck:
    """Mark-up in steps of the grid, and what the best other price would gain a maker, over a monopoly's gain."""
    margins, n = _margins(config), config.makers
    chosen, gained = _chosen(policies["maker"]), []
    for k in chosen:
        better = margins[:k].max(initial=0.0) if n > 1 else margins.max()
        gained.append(max(better - margins[k] / n, 0.0))
    steps = round(float(margins[chosen].mean() / config.grid), 9)
    return EquilibriumCheck({"steps above no profit": steps}, {"maker": float(np.mean(gained)) / float(margins.max())})


def _best(config: Config) -> int:
    """The highest price that is an equilibrium; a monopoly's."""
    margins, n = _margins(config), config.makers
    if n == 1:
        return int(margins.argmax())
    stays = [k for k in range(len(margins)) if margins[k] / n >= margins[:k].max(initial=0.0) - _SLACK]
    return max(stays)


def _portrait(config: Config, policies: Mapping[str, Act]) -> tuple[Curve, ...]:
    """What a first seller is offered and a first buyer is asked."""
    buyer, seller = _chosen(policies["maker"])
    price = np.array([0.5 - config.grid * seller, 0.5 + config.grid * buyer])
    return (Curve("Prices of the first trade", "", "seller (-1) and buyer (1)", "price", np.array([-1.0, 1.0]), price),)


def solution(config: Config) -> GameSolution:
    """Equilibria of a single round: no profit, and so many steps above it as nobody undercuts; a monopoly's price.

    Raises
    ------
    UserError
        For several rounds.
    """
    if config.rounds != 1:
        raise UserError(f"env glosten_milgrom: policies of {config.rounds} rounds cannot be judged; set rounds to 1.")
    best = _best(config)
    most = float(_margins(config)[best] / config.grid)
    band = (0.0 if config.makers > 1 else most) - _SLACK, most + _SLACK
    return GameSolution(
        {"steps above no profit": band}, partial(_judge, config),
        lambda: {"maker": lambda seen: np.full(len(seen), best)}, partial(_portrait, config),
    )  # fmt: skip
