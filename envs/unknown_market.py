"""A market whose parameters are not shown: drawn for each episode, to be inferred from what is seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import Field, model_validator

from qframe_rl.config import Base, UserError
from qframe_rl.gym.chance import normal
from qframe_rl.gym.problem import Act, Curve, Problem, ProblemConfig, Theory
from qframe_rl.jit import compiled, inlined
from qframe_rl.theory.beliefs import BeliefOptimum, BeliefPolicy, listed, solve_beliefs
from qframe_rl.theory.known_markets import KnownMarkets, KnownPolicy
from qframe_rl.types import Bool, Float, Single

BOUND = 20.0
_SAMPLED_MARKETS, _LONG = 1024, 400
_PORTRAIT_SEED, _PORTRAIT_BARS = 5, 64
Range = tuple[float, float]
Share = Annotated[float, Field(ge=0.0, le=1e6)]
Size = Annotated[float, Field(ge=0.0, le=0.95)]
Drift = Annotated[float, Field(ge=0.0, le=10.0)]
Stay = Annotated[float, Field(ge=0.51, le=0.999)]
Volatility = Annotated[float, Field(ge=1e-6, le=1e6)]
Cost = Annotated[float, Field(ge=0.0, le=1e6)]


class Point(Base):
    """One market of a short list. A return is ``s drift v + rho r + v z``: r the return before, v the volatility."""

    weight: float = Field(default=1.0, gt=0.0, le=1e6)
    """Its share of the episodes, beside the other weights, above 0."""
    rho: float = Field(default=0.0, ge=-0.95, le=0.95)
    """Autocorrelation of returns, in [-0.95, 0.95]."""
    drift: float = Field(default=0.0, ge=-10.0, le=10.0)
    """Expected return of a bar in volatilities, in [-10, 10]; where regimes switch, that of the up regime."""
    stay: float = Field(default=1.0, gt=0.5, le=1.0)
    """Probability that the regime s = ±1 stays for another bar, in (0.5, 1]; 1 = there are none, s is 1."""


SHORT: dict[str, tuple[Point, ...]] = {
    "signs": (Point(weight=0.3, rho=0.4), Point(weight=0.3, rho=-0.4), Point(weight=0.4)),
    "drifts": (Point(weight=0.3, drift=0.2), Point(weight=0.3, drift=-0.2), Point(weight=0.4)),
    "regimes": (Point(weight=0.6, drift=0.5, stay=0.95), Point(weight=0.4)),
}
"""The short lists that have a name."""


class Config(ProblemConfig):
    """The prior that markets are drawn from; the defaults are those of docs/solvable.md."""

    prior: Literal["signs", "drifts", "regimes", "points", "wide"] = "signs"
    """What an episode's market may be. Of a short list, each with 40 % without an edge: autocorrelated by 0.4 or -0.4;
    drifting by 0.2 or -0.2; with two regimes of drift ±0.5 that stay with probability 0.95. One of ``points``. Any of
    the ranges below."""
    points: tuple[Point, ...] = Field(default=(), max_length=64)
    """The list, where the prior is ``points``."""
    kinds: tuple[Share, Share, Share, Share] = (0.4, 0.3, 0.15, 0.15)
    """Shares of ``wide``: without an edge, autocorrelated, drifting, with regimes; each 0 or more."""
    rho: tuple[Size, Size] = (0.1, 0.7)
    """Size of the autocorrelation in ``wide``, of either sign, within [0, 0.95]."""
    drift: tuple[Drift, Drift] = (0.1, 0.5)
    """Size of the drift in ``wide``, of either sign, in volatilities, within [0, 10]."""
    stay: tuple[Stay, Stay] = (0.9, 0.99)
    """Probability in ``wide`` that a regime stays, within [0.51, 0.999]."""
    volatility: tuple[Volatility, Volatility] | None = None
    """Standard deviation of a return around its expectation, above 0; null = 1, or 0.5 to 2 in ``wide``."""
    cost: tuple[Cost, Cost] | None = None
    """Cost of one unit of turnover, in the unit of returns, 0 or more; null = 0.1, or 0 to 0.3 in ``wide``."""
    risk: float = Field(default=0.02, ge=0.0, le=1e3)
    """What a position of 1 is charged for its risk, a bar, in volatilities, 0 or more. Without it nothing is lost by a
    position in a market without an edge, and the best policy keeps one."""
    shown: bool = False
    """Whether a policy sees the parameters: what is then best is a bound for one that does not."""
    episode_steps: int = Field(default=256, ge=2, le=1_000_000)
    """Bars after which an episode is cut off."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.prior == "points") != bool(self.points):
            raise ValueError("points: there are some if, and only if, the prior is points")
        if sum(self.kinds) <= 0.0:
            raise ValueError("kinds: their sum must be above 0")
        for name in ("rho", "drift", "stay", "volatility", "cost"):
            low, high = getattr(self, name) or (0.0, 0.0)
            if low > high:
                raise ValueError(f"{name}: the second must not be below the first")
        return self

    @property
    def listed(self) -> tuple[Point, ...]:
        """The short list; none in ``wide``."""
        return self.points or SHORT.get(self.prior, ())

    @property
    def volatilities(self) -> Range:
        """Lowest and highest volatility."""
        return self.volatility or ((1.0, 1.0) if self.listed else (0.5, 2.0))

    @property
    def costs(self) -> Range:
        """Lowest and highest cost."""
        return self.cost or ((0.1, 0.1) if self.listed else (0.0, 0.3))

    @property
    def exact(self) -> bool:
        """Whether a market is one of the list and of nothing else."""
        return bool(self.listed) and all(low == high for low, high in (self.volatilities, self.costs))

    @property
    def unit(self) -> float:
        """Returns are shown in it: the middle of the volatilities."""
        low, high = self.volatilities
        return math.sqrt(low * high)


# State: position, last return, what the last bar earned, regime of the coming bar; autocorrelation, drift in
# volatilities, probability of staying, volatility, cost. Parameters: sampled rewards, unit, shown, length of the list;
# three cumulated shares of kinds; ranges of autocorrelation, drift, staying, volatility, cost; charge for risk; the
# list, each point with its cumulated share.
_MARKET, _RISK, _LIST = 4, 17, 18


@inlined
def _between(params: Float, at: int, u: float) -> float:
    """A number of the range at a place."""
    return float(params[at] + u * (params[at + 1] - params[at]))


@inlined
def _of_list(params: Float, u: float, b: int, state: Float) -> None:
    at = _LIST
    while params[at] < u:
        at += 4
    for k in range(3):
        state[b, _MARKET + k] = params[at + 1 + k]


@inlined
def _of_ranges(params: Float, draws: Float, b: int, state: Float) -> None:
    kind, sign = draws[b, 0], 1.0 if draws[b, 2] < 0.5 else -1.0
    state[b, _MARKET], state[b, _MARKET + 1], state[b, _MARKET + 2] = 0.0, 0.0, 1.0
    if kind >= params[6]:
        state[b, _MARKET + 1] = _between(params, 9, draws[b, 1])
        state[b, _MARKET + 2] = _between(params, 11, draws[b, 3])
    elif kind >= params[5]:
        state[b, _MARKET + 1] = sign * _between(params, 9, draws[b, 1])
    elif kind >= params[4]:
        state[b, _MARKET] = sign * _between(params, 7, draws[b, 1])


@compiled
def _begin(active: Bool, draws: Float, params: Float, state: Float) -> None:
    for b in range(len(active)):
        if active[b]:
            if params[3] > 0.0:
                _of_list(params, draws[b, 0], b, state)
            else:
                _of_ranges(params, draws, b, state)
            state[b, 7], state[b, 8] = _between(params, 13, draws[b, 4]), _between(params, 15, draws[b, 5])
            state[b, 0], state[b, 1], state[b, 2] = 0.0, 0.0, 0.0
            state[b, 3] = -1.0 if state[b, 6] < 1.0 and draws[b, 6] < 0.5 else 1.0


@compiled
def _move(active: Bool, actions: Float, draws: Float, params: Float, state: Float, rewards: Float, ended: Bool) -> None:
    for b in range(len(active)):
        if active[b]:
            held, spread = actions[b, 0] - 1.0, state[b, 7]
            paid = state[b, 8] * abs(held - state[b, 0])
            expected = state[b, 3] * state[b, 5] * spread + state[b, 4] * state[b, 1]
            seen = expected + spread * normal(draws[b, 0], draws[b, 1])
            rewards[b] = held * (seen if params[0] != 0.0 else expected) - paid - abs(held) * params[_RISK] * spread
            state[b, 0], state[b, 1], state[b, 2] = held, seen, held * seen - paid
            if draws[b, 2] >= state[b, 6]:
                state[b, 3] = -state[b, 3]


@compiled
def _show(params: Float, state: Float, out: Single) -> None:
    for b in range(len(out)):
        out[b, 0] = state[b, 0]
        for k in range(1, 3):
            out[b, k] = min(max(state[b, k] / params[1], -BOUND), BOUND)
        for k in range(out.shape[1] - 3):
            unit = params[1] if k >= 3 else 1.0
            out[b, 3 + k] = min(max(state[b, _MARKET + k] / unit, -BOUND), BOUND)


def _params(c: Config) -> Float:
    kinds = np.cumsum(np.array(c.kinds)) / sum(c.kinds)
    shares = np.cumsum([point.weight for point in c.listed]) / max(sum(point.weight for point in c.listed), 1e-300)
    rows = np.array([[share, p.rho, p.drift, p.stay] for share, p in zip(shares, c.listed, strict=True)]).reshape(-1, 4)
    rows[-1:, :1] = 1.0
    head = [float(c.reward_mode == "sampled"), c.unit, float(c.shown), float(len(rows)), *kinds[:3]]
    return np.array(
        [*head, *c.rho, *c.drift, *c.stay, *c.volatilities, *c.costs, c.risk, *rows.ravel()], dtype=np.float64
    )


@lru_cache(maxsize=4)
def _solved(config: Config) -> BeliefOptimum | None:
    """The Bayes-adaptive optimum; None where it is not known, see `qframe_rl.theory.beliefs.listed`."""
    if not config.exact:
        return None
    points = np.array([[p.weight, p.rho, p.drift, p.stay] for p in config.listed])
    models = listed(points, config.costs[0] / config.volatilities[0], config.risk)
    return None if models is None else solve_beliefs(models, config.episode_steps)


class FullInformation(NamedTuple):
    """What the market is worth to one who is told its parameters: no policy that is not earns more on average."""

    value: float
    """A bar, long after the start."""
    episode: float
    """A bar of an episode."""


@lru_cache(maxsize=4)
def full_information(config: Config) -> FullInformation:
    """Mean of what each market of the prior is worth: of a list with one volatility and cost all, else of a sample.

    Parameters
    ----------
    config
        The prior. A sample has 1,024 markets, spread evenly over it.
    """
    c = config
    if c.exact:
        markets = np.array([[p.rho, p.drift, p.stay, c.volatilities[0], c.costs[0]] for p in c.listed])
        weight = np.array([p.weight for p in c.listed])
    else:
        markets, weight = _spread(c), np.ones(_SAMPLED_MARKETS)
    weight = weight / weight.sum()
    known = KnownMarkets(markets, c.risk, c.episode_steps, _LONG)
    return FullInformation(float(weight @ known.growth), float(weight @ known.total) / c.episode_steps)


def _spread(config: Config) -> Float:
    """(n, 5) markets drawn with evenly spread instead of random numbers, by multiples of powers of a root."""
    n, root = _SAMPLED_MARKETS, 1.1127756842787055  # of x^7 = x + 1, see Roberts, 2018
    steps = np.arange(n)[:, None] * root ** -np.arange(1.0, 7.0)
    draws = np.concatenate([(np.arange(n)[:, None] + 0.5) / n, (0.5 + steps) % 1.0], axis=1)
    state = np.zeros((n, 9))
    _begin(np.ones(n, dtype=np.bool_), draws, _params(config), state)
    return state[:, _MARKET:].copy()


class _Follow:
    """A policy of the theory in the environment: actions and observations in its own units."""

    def __init__(self, config: Config, begin: Callable[[Single], tuple[BeliefPolicy | KnownPolicy, Float]]):
        self._unit, self._begin = config.unit, begin
        self._policy: BeliefPolicy | KnownPolicy | None = None

    def __call__(self, observations: Single) -> NDArray[Any]:
        """(B,) actions; the first call of all shows no return yet."""
        if self._policy is None:
            self._policy, self._noise = self._begin(observations)
        seen = observations[:, 1].astype(np.float64) * self._unit / self._noise
        return self._policy.act(seen, observations[:, 0].astype(np.float64)) + 1


def _unknowing(config: Config, observations: Single) -> tuple[BeliefPolicy, Float]:
    solved, n = _solved(config), len(observations)
    if solved is None:
        raise UserError("unknown_market: the best policy of this prior is not known; with shown=true it is.")
    return BeliefPolicy(solved, np.zeros(n, dtype=np.int64)), np.full(n, config.volatilities[0])


def _knowing(config: Config, observations: Single) -> tuple[KnownPolicy, Float]:
    markets = observations[:, 3:].astype(np.float64)
    markets[:, 3:] *= config.unit
    return KnownMarkets(markets, config.risk, config.episode_steps).policy(), markets[:, 3]


def _theory(config: Config) -> Theory:
    plain = config.model_copy(update={"reward_mode": "expected", "shown": False})
    bound = full_information(plain)
    solved = None if config.shown else _solved(plain)
    begin = partial(_knowing if config.shown else _unknowing, plain)
    episode = bound.episode
    if solved is not None:
        episode = float(solved.total[0]) * config.volatilities[0] / config.episode_steps
    return Theory(bound.value, episode, partial(_Follow, plain, begin))


class Conduct(NamedTuple):
    """How a policy behaved in B episodes."""

    market: Float
    """(B, 5) autocorrelation, drift, probability of staying, volatility and cost of each."""
    exposure: Float
    """(B,) mean size of the position."""
    costs: Float
    """(B,) costs paid, a bar."""
    quarters: Float
    """(B, 4) reward of a bar, mean over each quarter of the episode."""

    @property
    def edge(self) -> Bool:
        """(B,) whether there was anything to be earned in the market, before costs."""
        return np.asarray((self.market[:, 0] != 0.0) | (self.market[:, 1] != 0.0))


def conduct(config: Config, act: Act, n_episodes: int, seed: int) -> Conduct:
    """Play episodes and keep what gates ask for; what is hidden from the policy is read here.

    Parameters
    ----------
    config
        The problem.
    act
        A policy that has not acted yet.
    n_episodes, seed
        Episode k has seed ``seed + k``: all policies meet the same markets and the same returns.
    """
    episodes, steps = make(config).episodes(n_episodes), config.episode_steps
    everyone = np.ones(n_episodes, dtype=np.bool_)
    episodes.seed_with(seed)
    episodes.reset(everyone)
    market = episodes.state[:, _MARKET:].copy()
    exposure, turnover, quarters = np.zeros(n_episodes), np.zeros(n_episodes), np.zeros((n_episodes, 4))
    for t in range(steps):
        held = episodes.state[:, 0].copy()
        rewards, _, _ = episodes.step(act(episodes.observe()), everyone)
        exposure += np.abs(episodes.state[:, 0])
        turnover += np.abs(episodes.state[:, 0] - held)
        quarters[:, 4 * t // steps] += rewards
    bars = np.bincount(4 * np.arange(steps) // steps, minlength=4)
    return Conduct(market, exposure / steps, market[:, 4] * turnover / steps, quarters / np.maximum(bars, 1))


def _portrait(config: Config, act: Act) -> tuple[Curve, ...]:
    """Exposure after bars of a made market: against the last return, the autocorrelation and the mean of the bars."""
    size, last, mean = np.linspace(-0.7, 0.7, 57), np.linspace(-3.0, 3.0, 61), np.linspace(-0.5, 0.5, 41)
    kinds = [(rho, 0.0, x) for rho in (-0.4, 0.0, 0.4) for x in last]
    kinds += [(rho, 0.0, 1.0) for rho in size] + [(0.0, m, 0.0) for m in mean]
    held = _after(config, act, np.array(kinds))
    n = len(last)
    bars = f"After {min(_PORTRAIT_BARS, config.episode_steps - 1)} bars of an autocorrelation"
    curves = [
        Curve(bars, f"{rho:+.1f}" if rho else "0", "last return (units)", "exposure", last, held[k * n : (k + 1) * n])
        for k, rho in enumerate((-0.4, 0.0, 0.4))
    ]
    tail = held[3 * n :]
    curves.append(Curve("After a return of one unit", "", "autocorrelation of the bars", "exposure", size, tail[:57]))
    curves.append(Curve("After a return of 0", "", "mean of the bars (units)", "exposure", mean, tail[57:]))
    return tuple(curves)


def _after(config: Config, act: Act, kinds: Float) -> Float:
    """(n,) exposures after made bars: (n, 3) their autocorrelation and mean, and the last return."""
    steps, n = min(_PORTRAIT_BARS, config.episode_steps - 1), len(kinds)
    noise = np.random.default_rng(_PORTRAIT_SEED).standard_normal(steps)
    noise = (noise - noise.mean()) / noise.std()
    rows = np.zeros((n, 8 if config.shown else 3), dtype=np.float32)
    if config.shown:
        rows[:, 3:] = np.stack([kinds[:, 0], kinds[:, 1], np.ones(n), np.ones(n), np.full(n, config.costs[0])], axis=1)
    act(rows.copy())
    seen = np.zeros(n)
    for t in range(steps):
        seen = kinds[:, 1] + kinds[:, 0] * seen + noise[t] if t < steps - 1 else kinds[:, 2]
        rows[:, 1] = seen
        chosen = act(rows.copy())
    return np.asarray(chosen, dtype=np.float64).reshape(-1) - 1.0


def make(config: Config) -> Problem:
    """Make the problem. Observation: position, last return, and what the last bar earned after costs, both in units.

    Action: 0, 1 or 2 for short, flat or long.
    """
    c = config
    return Problem(
        name="unknown_market",
        observation_space=spaces.Box(-BOUND, BOUND, (8 if c.shown else 3,), np.float32),
        action_space=spaces.Discrete(3),
        params=_params(c),
        n_state=9,
        n_draws=7,
        begin=_begin,
        move=_move,
        show=_show,
        episode_steps=c.episode_steps,
        score="average",
        discount=1.0,
        theory=partial(_theory, c),
        portrait=partial(_portrait, c),
    )
