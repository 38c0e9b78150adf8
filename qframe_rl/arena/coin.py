"""One coin that several traders of bars push: their orders fill in the kernel, at a price that all of them move.

The price is ``fundamental + permanent x what all hold + transient``. A bar's net order Q moves it before it fills: the
permanent part is linear in what all hold together; the transient part grows by Q, too, and decays from bar to bar.

- **Nobody profits from a round trip by himself.** At a flat fundamental the orders of a round trip cost
  ``permanent / 2 x sum q²`` and ``transient / 2 x (sum over s, t of decay^|s-t| q_s q_t + sum q²)``, neither below 0:
  a linear permanent part is the only one without such a profit (Huberman & Stanzl, 2004), and an exponential decay is
  a positive definite kernel (Gatheral, 2010; Alfonsi, Schied & Slynko, 2012).
- **Nobody is paid for pushing his own mark.** In the last step everything is closed, at the price that this makes.

Sources: Huberman & Stanzl, Price manipulation and quasi-arbitrage, Econometrica 72 (2004); Gatheral, No-dynamic-
arbitrage and market impact, Quantitative Finance 10 (2010); Alfonsi, Schied & Slynko, Order book resilience, price
manipulation, and the positive portfolio problem, SIAM Journal on Financial Mathematics 3 (2012).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import Field, model_validator

from qframe_rl.arena.game import ActionSpace, GameConfig, check_markets, checked, space_of
from qframe_rl.config import UserError
from qframe_rl.gym.chance import Words, draw, normal
from qframe_rl.gym.lanes import Lanes
from qframe_rl.interface import BOUND
from qframe_rl.jit import compiled
from qframe_rl.kernel.columns import EQUITY, MARK, N_BAR, N_FILLS, N_ORDER, POSITION, QUANTITY, RUINED, opened
from qframe_rl.kernel.lanes import scratch
from qframe_rl.kernel.rows import settle_rows
from qframe_rl.kernel.rules import Rules, rules_of
from qframe_rl.types import CLOSE, OPEN, VOLUME, Bool, Float, Instrument, Int, Single

FIRST = 100.0
"""First price, quote currency."""
_FAR = math.log(4.0)
"""The fundamental's logarithm is reflected so far from the first price."""
_OUTSIDE = 1e6
"""Volume of others in a bar, in whole accounts of base units: orders are never a large part of it."""
_ROOM = 0.125
"""Of the first price: what traders can move the price by, at the most; the fundamental stays above a quarter of it."""
FUNDAMENTAL, DRIFT, HELD, TRANSIENT, NET = range(5)
"""Columns of a market: fundamental price; its predictable part, of variance 1; base units that all hold; transient part
of the price; base units of the last bar's net order."""
N_MARKET = 5
SEEN = ("return:1", "return:4", "return:16", "return:64", "exposure", "gained", "left", "flow")
"""Names of an observation's numbers."""


class CoinConfig(GameConfig):
    """What can be set of a coin that its traders push."""

    traders: int = Field(default=3, ge=1, le=64)
    """Agents."""
    rivals: int = Field(default=0, ge=0, le=64)
    """Agents more, alike in all but that they are a role of their own: who learns meets somebody else there."""
    episode_bars: int = Field(default=200, ge=2, le=100_000)
    """Decisions of an episode; in the last bar all is closed."""
    warmup_bars: int = Field(default=480, ge=65, le=10_000)
    """Bars before it, in which nobody trades: what strategies look back on, those of the catalogue 442 at the most."""
    path: Literal["walk", "trending", "reverting"] = "walk"
    """The fundamental: a walk; a walk with a drift that lasts; or a price that returns to the first one."""
    volatility: float = Field(default=0.01, ge=0.0, le=0.1)
    """Standard deviation of the fundamental's change in a bar, share of the price."""
    persistence: float = Field(default=0.95, ge=0.0, lt=1.0)
    """Share of a drift, or of a distance from the first price, that is left after a bar."""
    predictable: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of the variance that the drift of a trending path has."""
    permanent_bps: float = Field(default=5.0, ge=0.0, le=500.0)
    """By how much the price moves for good when one account's whole first money is bought, basis points of the first
    price."""
    transient_bps: float = Field(default=20.0, ge=0.0, le=500.0)
    """And for now."""
    decay: float = Field(default=0.7, ge=0.0, lt=1.0)
    """Share of the transient part that is left after a bar."""
    max_exposure: float = Field(default=1.0, gt=0.0, le=3.0)
    """Share of equity that an action of 1 holds, -1 the same short; and at most twice that in shares of the first
    money, however much was gained."""
    cash: float = Field(default=10_000.0, gt=0.0, le=1e12)
    """Quote currency that each begins with."""
    taker_fee: float = Field(default=0.0005, ge=0.0, le=0.05)
    """Share of what is traded."""
    half_spread_bps: float = Field(default=1.0, ge=0.0, le=500.0)
    """Half of the spread that an order pays, basis points."""

    @model_validator(mode="after")
    def _positive(self) -> CoinConfig:
        moved = 1e-4 * self.n_agents * 2.0 * self.max_exposure * (self.permanent_bps + 2.0 * self.transient_bps)
        if moved > _ROOM:
            raise ValueError(
                f"together the traders could move the price by {moved:.3g} of its first value, more than {_ROOM}; "
                "lower permanent_bps, transient_bps, max_exposure, traders or rivals"
            )
        return self

    @property
    def n_agents(self) -> int:
        """Traders and rivals."""
        return self.traders + self.rivals

    @property
    def unit(self) -> float:
        """Base units that one account's first money buys at the first price."""
        return self.cash / FIRST

    @property
    def instrument(self) -> Instrument:
        """What is traded: a perpetual without funding."""
        return Instrument("COIN/USDT:USDT", "perpetual", taker_fee=self.taker_fee, maintenance=0.005)

    def rules(self) -> Rules:
        """The kernel's rules; impact is the market's and not the kernel's own."""
        return rules_of(
            (self.instrument,), half_spread=1e-4 * self.half_spread_bps, volume_share=1.0, liquidation_fee=0.005,
            leverage=1.0 + 2.0 * self.max_exposure, shorting=True,
        )  # fmt: skip


class CoinMarket(Lanes):
    """B markets of one coin and N traders; see `qframe_rl.arena.game.Game`, which it is.

    Parameters
    ----------
    config
        What holds in every market.
    n_markets
        B.

    Raises
    ------
    UserError
        For fewer markets than one.
    """

    terminates = True

    def __init__(self, config: CoinConfig, n_markets: int):
        check_markets(n_markets)
        self.config, self.n_markets, self.kernel = config, n_markets, config.rules()
        n = self.n_agents = config.n_agents
        counts = (config.traders, config.rivals)
        self.role_names: tuple[str, ...] = ("trader", "rival")
        self.names = tuple(f"{role}_{k}" for role, n in zip(self.role_names, counts, strict=True) for k in range(n))
        self.roles, self.choices = np.repeat(np.arange(2), counts), np.zeros(n, np.int64)
        self.mask, self.acting = np.ones((n, 1), np.bool_), np.ones((n_markets, n), np.bool_)
        self.observation_space = spaces.Box(-BOUND, BOUND, (len(SEEN),), np.float32)
        self.seed, self.episode = np.zeros(n_markets, np.uint64), np.zeros(n_markets, np.uint64)
        self.clock = np.zeros(n_markets, np.int64)
        """(B,) steps since the episode began."""
        self.market = np.zeros((n_markets, N_MARKET))
        self.bars = np.zeros((n_markets, config.warmup_bars + config.episode_bars, N_BAR))
        """(B, T, 8) bars so far, as the kernel has them; the first are those of the warm-up."""
        self.money = np.zeros((n_markets, n, self.kernel.n_columns))
        self.holding = np.zeros((n_markets, n, 1, 2))
        self.fills = np.zeros((n_markets, n, 1, N_FILLS))
        """(B, N, 1, 9) of the last bar."""
        self._draws, self._orders = np.zeros((n_markets, 2)), np.zeros((n_markets, n, 1, N_ORDER))
        self._step, self._prices = np.zeros(n_markets, np.int64), np.zeros((2, n_markets))
        self._bar, self._row = np.zeros((n_markets, 1, N_BAR)), np.repeat(np.arange(n_markets), n)
        self._work = scratch(1)
        c = config
        path = float(("walk", "trending", "reverting").index(c.path))
        self._params = np.array([
            path, c.volatility, c.persistence, c.predictable, 1e-4 * c.permanent_bps * FIRST / c.unit,
            1e-4 * c.transient_bps * FIRST / c.unit, c.decay, c.max_exposure, 2.0 * c.max_exposure * c.unit,
            _OUTSIDE * c.unit,
        ])  # fmt: skip

    def action_space(self, agent: int) -> ActionSpace:
        """A new space of one agent: the exposure that it wants, over the largest one."""
        return space_of(0, 1)

    def reset(self, mask: Bool) -> None:
        """Begin a new episode in the masked (B,) markets: bars of the fundamental alone, and full accounts."""
        self.episode[mask] += np.uint64(1)
        self.clock[mask] = 0
        self.market[mask], self.bars[mask], self.holding[mask], self.fills[mask] = 0.0, 0.0, 0.0, 0.0
        self.market[mask, FUNDAMENTAL] = FIRST
        self.money[mask] = opened(self.config.cash, 1, self.kernel.n_columns)
        _warm_up(
            mask, self.config.warmup_bars, self.seed, self.episode, self._step, self._draws, self._params, self.market,
            self._prices, self._bar, self.bars,
        )  # fmt: skip
        self.holding[mask, :, 0, MARK] = self.bars[mask, self.config.warmup_bars - 1, CLOSE][:, None]

    def step(self, actions: NDArray[Any], active: Bool) -> tuple[Float, Bool]:
        """Take the active markets a bar on.

        A reward is the change of an agent's equity, in shares of its first money; raises as
        `qframe_rl.arena.game.Game.step`.
        """
        chosen = checked(self, actions, active)
        if (active & ((self.episode == 0) | (self.clock >= self.config.episode_bars))).any():
            raise UserError("an episode is over, or was never begun: reset(mask) first.")
        at = self.config.warmup_bars + self.clock
        draw(active, self.seed, self.episode, at, self._draws)
        before, held = self.money[:, :, EQUITY].copy(), self.holding[:, :, 0, POSITION].copy()
        last = self.clock == self.config.episode_bars - 1
        _order(active, last, chosen, self._params, self.money, self.holding, self._orders, self.market)
        filled = _price(self.market, self._params)
        _wander(active, self._draws, self._params, self.market)
        _fade(active, self._params, self.market)
        _bar(active, filled, _price(self.market, self._params), self._params, self.market, self._bar)
        n = self.n_markets * self.n_agents
        settle_rows(
            self.money.reshape(n, -1), self.holding.reshape(n, 1, 2), self._orders.reshape(n, 1, N_ORDER), self._bar,
            self._row, np.repeat(active, self.n_agents), self.kernel.table, self.kernel.leverage, self.kernel.shorting,
            self.fills.reshape(n, 1, N_FILLS), self._work,
        )  # fmt: skip
        _reconcile(active, held, self._params, self.holding, self._orders, self.market)
        self.bars[active, at[active]] = self._bar[active, 0]
        np.add(self.clock, 1, out=self.clock, where=active)
        rewards = np.where(active[:, None], self.money[:, :, EQUITY] - before, 0.0) / self.config.cash
        return rewards, active & (self.clock >= self.config.episode_bars)

    def observe(self) -> Single:
        """(B, N, 8) what agents see, `SEEN`, in a fresh array."""
        c, out = self.config, np.zeros((self.n_markets, self.n_agents, len(SEEN)), np.float32)
        at = np.maximum(c.warmup_bars + self.clock - 1, 64)
        scales = np.array([c.max_exposure, c.cash, c.unit * c.n_agents, c.episode_bars])
        _show(at, self.clock, self.bars, self.money, self.holding, self.market, scales, out)
        return np.clip(out, -BOUND, BOUND, out=out)

    def _kept(self) -> dict[str, NDArray[Any]]:
        names = ("bars", "money", "holding", "fills", "clock", "seed", "episode")
        return {name: getattr(self, name) for name in names} | {"prices": self.market}

    def _market(self) -> tuple[object, ...]:
        return (self.config,)


def _price(market: Float, params: Float) -> Float:
    """(B,) what it is now."""
    found: Float = market[:, FUNDAMENTAL] + params[4] * market[:, HELD] + market[:, TRANSIENT]
    return found


# Parameters: path, volatility, persistence, share of the drift, permanent and transient impact of a base unit, decay,
# largest exposure, most base units of an account, outside volume.
@compiled
def _wander(active: Bool, draws: Float, params: Float, market: Float) -> None:
    """Move fundamentals a bar on."""
    for b in range(len(active)):
        if active[b]:
            z, far = normal(draws[b, 0], draws[b, 1]), math.log(market[b, FUNDAMENTAL] / FIRST)
            if params[0] == 2.0:
                far = params[2] * far + params[1] * z
            elif params[0] == 1.0:
                lasting = params[2] * market[b, DRIFT]
                far += params[1] * (math.sqrt(1.0 - params[3]) * z + math.sqrt(params[3]) * market[b, DRIFT])
                # The next drift is drawn from the same bar's second number, which the first one's angle leaves free.
                other = math.sqrt(-2.0 * math.log(draws[b, 0])) * math.sin(2.0 * math.pi * draws[b, 1])
                market[b, DRIFT] = lasting + math.sqrt(1.0 - params[2] * params[2]) * other
            else:
                far += params[1] * z
            if far > _FAR:
                far = 2.0 * _FAR - far
            if far < -_FAR:
                far = -2.0 * _FAR - far
            market[b, FUNDAMENTAL] = FIRST * math.exp(far)


@compiled
def _fade(active: Bool, params: Float, market: Float) -> None:
    for b in range(len(active)):
        if active[b]:
            market[b, TRANSIENT] *= params[6]


@compiled
def _bar(active: Bool, opens: Float, closes: Float, params: Float, market: Float, bar: Float) -> None:
    """Write bars from the price at which orders fill to that after it."""
    for b in range(len(active)):
        if active[b]:
            for column in range(bar.shape[2]):
                bar[b, 0, column] = 0.0
            bar[b, 0, OPEN], bar[b, 0, CLOSE] = opens[b], closes[b]
            bar[b, 0, OPEN + 1], bar[b, 0, OPEN + 2] = max(opens[b], closes[b]), min(opens[b], closes[b])
            bar[b, 0, VOLUME] = params[9] + abs(market[b, NET])


@compiled
def _warm_up(
    active: Bool, n: int, seed: Words, episode: Words, step: Int, draws: Float, params: Float, market: Float,
    prices: Float, bar: Float, bars: Float,
) -> None:  # fmt: skip
    """Write n bars of the fundamental alone."""
    for t in range(n):
        for b in range(len(active)):
            step[b], prices[0, b] = t, market[b, FUNDAMENTAL]
        draw(active, seed, episode, step, draws)
        _wander(active, draws, params, market)
        for b in range(len(active)):
            prices[1, b] = market[b, FUNDAMENTAL]
        _bar(active, prices[0], prices[1], params, market, bar)
        for b in range(len(active)):
            if active[b]:
                for column in range(bar.shape[2]):
                    bars[b, t, column] = bar[b, 0, column]


@compiled
def _order(
    active: Bool, last: Bool, actions: Float, params: Float, money: Float, holding: Float, orders: Float, market: Float
) -> None:  # fmt: skip
    """Write the orders that exposures mean, and let the price take them in."""
    for b in range(len(active)):
        if active[b]:
            net = 0.0
            for i in range(actions.shape[1]):
                held, mark, equity = holding[b, i, 0, POSITION], holding[b, i, 0, MARK], money[b, i, EQUITY]
                wanted = 0.0 if last[b] else actions[b, i, 0] * params[7] * equity / mark
                wanted = min(max(wanted, -params[8]), params[8])
                quantity = 0.0 if money[b, i, RUINED] != 0.0 else wanted - held
                orders[b, i, 0, QUANTITY] = quantity
                orders[b, i, 0, QUANTITY + 1] = orders[b, i, 0, QUANTITY + 2] = math.nan
                net += quantity
            market[b, NET] = net
            market[b, HELD] += net
            market[b, TRANSIENT] += params[5] * net


@compiled
def _reconcile(
    active: Bool, held: Float, params: Float, holding: Float, orders: Float, market: Float
) -> None:  # fmt: skip
    """What the kernel did beyond the orders (liquidations) moves the price from the next bar on."""
    for b in range(len(active)):
        if active[b]:
            more = 0.0
            for i in range(held.shape[1]):
                more += holding[b, i, 0, POSITION] - held[b, i] - orders[b, i, 0, QUANTITY]
            market[b, HELD] += more
            market[b, TRANSIENT] += params[5] * more


@compiled
def _show(
    at: Int, clock: Int, bars: Float, money: Float, holding: Float, market: Float, scales: Float, out: Single
) -> None:  # fmt: skip
    for b in range(len(out)):
        t, squares = at[b], 0.0
        if bars[b, t, CLOSE] > 0.0:
            for k in range(t - 63, t + 1):
                squares += math.log(bars[b, k, CLOSE] / bars[b, k - 1, CLOSE]) ** 2
            deviation = math.sqrt(squares / 64.0) + 1e-6
            for i in range(out.shape[1]):
                for k in range(4):
                    span = 4**k
                    move = math.log(bars[b, t, CLOSE] / bars[b, t - span, CLOSE])
                    out[b, i, k] = move / (deviation * math.sqrt(span))
                equity = money[b, i, EQUITY]
                value = holding[b, i, 0, POSITION] * holding[b, i, 0, MARK]
                out[b, i, 4] = value / (equity * scales[0]) if equity > 0.0 else 0.0
                out[b, i, 5] = equity / scales[1] - 1.0
                out[b, i, 6] = (scales[3] - clock[b] + 1.0) / (scales[3] + 1.0)
                out[b, i, 7] = market[b, NET] / scales[2]
