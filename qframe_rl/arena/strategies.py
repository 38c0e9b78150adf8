"""Strategies of the catalogue in the seats of a coin that its traders push: each sees bars, as anywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qframe_rl import catalog
from qframe_rl.agent import Agent, MarketSpec, View
from qframe_rl.arena.coin import CoinMarket
from qframe_rl.arena.game import Game
from qframe_rl.arena.rules import NoSeat
from qframe_rl.arena.seats import BatchPolicy
from qframe_rl.config import UserError, build
from qframe_rl.gym.problem import Numbers
from qframe_rl.kernel.columns import ABSORBED, CASH, EARNED, MARK, POSITION
from qframe_rl.types import HOUR, VOLUME, Account, Fills, Float, Int, Orders, Single


def strategy(
    game: CoinMarket, agent: int, name: str, params: Mapping[str, Any] | None = None, seed: int = 0
) -> BatchPolicy:  # fmt: skip
    """A strategy of the catalogue as the policy of one seat, one of its own in each market.

    Parameters
    ----------
    game
        The markets that are played; what the strategy sees is read from them, not from the seat's observation.
    agent
        Number of the seat.
    name, params
        Of the strategy. Hours stand for bars.
    seed
        Root of its randomness in the first market.

    Returns
    -------
    BatchPolicy
        (B, n) observations, one of each market, to (B, 1) actions.

    Raises
    ------
    NoSeat
        If it trades no bars, or needs more than one coin, or must be trained first.
    UserError
        If there is no such strategy, or it looks back on more bars than the warm-up has; when it acts, if it sends an
        order with a limit or a stop.
    """
    if "." not in name and name in catalog.quoters():
        raise NoSeat(f"{name} quotes in order books and trades no bars.")
    module = catalog.load("agents", name)
    config = build(module.Config, params or {}, f"agent {name}")
    try:
        made: list[Agent] = [module.make(config, _spec(game, seed + b)) for b in range(game.n_markets)]
    except UserError as error:
        raise NoSeat(f"{name} cannot trade this one coin: {error}") from None
    if hasattr(made[0], "fit"):
        raise NoSeat(f"{name} must be trained first; it can sit here as a policy over observations alone.")
    if made[0].window > (there := game.config.warmup_bars):
        raise UserError(f"{name} looks back on {made[0].window} bars, and the warm-up has {there}; set warmup_bars.")

    def act(seen: Single) -> Float:
        if len(seen) != game.n_markets:
            raise ValueError(f"{len(seen)} observations for the seat of {game.n_markets} markets")
        views = [_view(game, b, agent, one.window) for b, one in enumerate(made)]
        orders = [one.decide(view) for one, view in zip(made, views, strict=True)]
        return np.array([[_action(game, name, view, order)] for view, order in zip(views, orders, strict=True)])

    return act


class StrategySeat:
    """A strategy of the catalogue in the seats of traders, whichever markets are played; an agent has its own.

    Parameters
    ----------
    game
        Some market of the kind.
    name, params, seed
        As in `strategy`.

    Raises
    ------
    NoSeat, UserError
        As `strategy`.
    """

    def __init__(self, game: CoinMarket, name: str, params: Mapping[str, Any], seed: int):
        self.name, self.params, self.seed = name, dict(params), seed
        strategy(CoinMarket(game.config, 1), 0, name, params, seed)

    def __call__(self, seen: Single) -> Float:
        """Refuse: it sees bars, which the rows of seats do not show."""
        raise RuntimeError(f"{self.name} looks at the market: it acts there by sit(game, agents)")

    def sit(self, game: Game, agents: Int) -> BatchPolicy:
        """What acts for some agents of a market, see `qframe_rl.arena.seats.sitting`."""
        assert isinstance(game, CoinMarket)
        n = len(agents)
        acts = [strategy(game, int(k), self.name, self.params, self.seed + (int(k) << 32)) for k in agents]

        def act(seen: Single) -> Float:
            rows = np.stack([one(seen[k::n]) for k, one in enumerate(acts)], axis=1)
            return rows.reshape(len(seen), -1)

        return act


def _spec(game: CoinMarket, seed: int) -> MarketSpec:
    c = game.config
    numbers = Numbers(game.observation_space, game.action_space(0))
    cost = c.taker_fee + 1e-4 * c.half_spread_bps
    return MarketSpec((c.instrument,), (), HOUR, c.max_exposure, True, cost, numbers, seed)


def _view(game: CoinMarket, b: int, agent: int, window: int) -> View:
    """What a seat knows before it acts."""
    end = game.config.warmup_bars + int(game.clock[b])
    bars = game.bars[b, end - window : end, None, : VOLUME + 1].copy()
    times = HOUR * (1 + np.arange(end - window, end))
    money, holding = game.money[b, agent], game.holding[b, agent]
    account = Account(np.array(money[CASH]), holding[:, POSITION].copy(), holding[:, MARK].copy())
    fills = Fills.of(game.fills[b, agent].copy(), np.array(money[ABSORBED]), np.array(money[EARNED]))
    bars.setflags(write=False)
    return View(int(times[-1]), times, bars, account, fills, first=bool(game.clock[b] == 0))


def _action(game: CoinMarket, name: str, view: View, orders: Orders) -> float:
    """The exposure that an order asks for, over the largest one."""
    quantity, priced = float(orders.quantity[0]), not np.isnan([orders.limit[0], orders.stop[0]]).all()
    if quantity != 0.0 and priced:
        raise UserError(f"{name} sends an order with a limit or a stop; market orders alone can sit here.")
    equity, mark = float(view.account.equity), float(view.account.mark[0])
    if equity <= 0.0:
        return 0.0
    wanted = (float(view.account.position[0]) + quantity) * mark / equity / game.config.max_exposure
    return min(max(wanted, -1.0), 1.0)
