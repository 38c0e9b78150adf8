"""What sits in a seat without learning: nothing, chance, and strategies that quote in order books."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from qframe_rl.arena import state as s
from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.arena.game import ActionSpace, Game
from qframe_rl.arena.roles import IDLE, SEEN
from qframe_rl.arena.seats import BatchPolicy, seats_of
from qframe_rl.book import core
from qframe_rl.book.intensity import Intensity, fit_reach
from qframe_rl.book.state import AT, BUY, FILLED, SELL, empty_books
from qframe_rl.config import UserError
from qframe_rl.interface.books import N_TASK
from qframe_rl.quoter import BookSpec, BookView, Quoter, Wishes
from qframe_rl.types import Float, Int, Single

MakeQuoter = Callable[[BookSpec], Quoter]
PLAIN = ("idle", "noise")
"""Rules of the house's own."""
SECOND = 1_000_000_000
"""A step of a market is a second to strategies that count in seconds."""
_AT = {name: k for k, name in enumerate(SEEN)}
_UNIT = 1_000
_FACT_STEPS, _FACT_SEED = 400, 1 << 41


class NoSeat(UserError):
    """A policy does not do what the seats of a role are for; whatever its parameters, it does not sit there."""


def plain_rule(name: str, game: Game, role: str) -> BatchPolicy:
    """One of `PLAIN` for the agents of a role; raises NoSeat if nobody knows what doing nothing is there."""
    space = game.action_space(int(seats_of(game, role)[0]))
    if name == "noise":
        return noise(space)
    if not isinstance(game, Crowd):
        raise NoSeat(f"{role}: what doing nothing means is known of order books alone; take noise.")
    still = np.array(IDLE[game.role_names.index(role)])
    return lambda seen: np.tile(still, (len(seen), 1))


def noise(space: ActionSpace) -> BatchPolicy:
    """Uniform actions, each drawn from the bits of what is seen: the same sight, the same action, in any batch."""

    def act(seen: Single) -> NDArray[Any]:
        bits = np.ascontiguousarray(seen, np.float32).view(np.uint32).astype(np.uint64)
        key = np.zeros(len(seen), np.uint64)
        for column in bits.T:
            key = _mixed(key ^ column)
        if isinstance(space, spaces.Discrete):
            chosen: NDArray[Any] = (key % np.uint64(space.n)).astype(np.int64)
            return chosen
        parts = np.arange(1, 1 + space.shape[0], dtype=np.uint64)
        drawn: Float = (_mixed(key[:, None] + parts) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
        return drawn

    return act


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Bits that look drawn (SplitMix64; Steele, Lea & Flood, 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class QuoterSeat:
    """A strategy that quotes in order books in the seats of a maker or an execution, by what the seat sees alone.

    It is shown a book whose best bid stands at ``price_ticks``, as wide as the seat sees, with lots at the best prices
    in the proportion that it sees; no features, and a step as a second. What it wishes becomes the seat's action:
    quotes farther than the role reaches stand where it reaches to, and an execution rests what it does not take, as its
    role does.

    Parameters
    ----------
    make
        Makes the strategy; each agent has one of its own.
    config
        The market.
    role
        ``maker`` or ``execution``.

    Raises
    ------
    NoSeat
        If the strategy does not do what the role does.
    UserError
        If it needs features.
    """

    def __init__(self, name: str, make: MakeQuoter, config: CrowdConfig, role: str):
        self.config, self.role, self._make = config, role, make
        self._spec = book_spec(config, role)
        self._quoters: list[Quoter] = []
        _check_fits(name, make(self._spec), self, role)

    def __call__(self, seen: Single) -> NDArray[Any]:
        """(n, 18) to (n, 4) or (n, 2)."""
        while len(self._quoters) < len(seen):
            self._quoters.append(self._make(self._spec))
        acts = self._made if self.role == "maker" else self._worked
        rows = []
        for quoter, row in zip(self._quoters, seen, strict=False):
            view = self.view(row)
            rows.append(acts(quoter.quote(view), view))
        return np.array(rows)

    def sit(self, game: Game, agents: Int) -> BatchPolicy:
        """What acts in a market: it is shown what all see there, where makers see something else."""
        if not isinstance(game, Crowd) or game.sight is None:
            return self
        return lambda seen: self(game.seats_seen()[:, agents].reshape(len(seen), -1))

    def view(self, row: Single, target: int | None = None) -> BookView:
        """What a seat's row shows; of an execution with ``target`` lots to do, where they are given."""
        c = self.config
        seen = {name: float(row[k]) for name, k in _AT.items()}
        spread = max(round(seen["spread"] * c.reach_ticks), 1)
        lean = seen["imbalance"]
        best = np.array(
            [[c.price_ticks, round(_UNIT * (1 + lean))], [c.price_ticks + spread, round(_UNIT * (1 - lean))]]
        )
        quotes, mid = np.zeros((2, 4), np.int64), c.price_ticks + 0.5 * spread
        for side, sign, name in ((BUY, -1, "bid"), (SELL, 1, "ask")):
            quotes[side, 0] = round(mid + sign * seen[name] * c.reach_ticks)
            quotes[side, 1] = round(seen[f"{name}_lots"] * c.lots)
        position, task = round(seen["position"] * c.position_limit), np.zeros(N_TASK, np.int64)
        if self.role == "execution":
            left = round(seen["left"] * c.target_lots)
            task[0] = left + position if target is None else target
        done = round((1.0 - seen["time"]) * c.episode_steps)
        return BookView(
            done * SECOND, best, np.zeros((1, 0)), position, quotes, np.zeros((2, 2)), 0, task, done, c.episode_steps,
            done == 0,
        )  # fmt: skip

    def _made(self, wished: Wishes, view: BookView) -> list[float]:
        """A maker's action."""
        shares = [2.0 * min(int(wished.quotes[side, 1]), self.config.lots) / self.config.lots - 1.0 for side in (0, 1)]
        return [self._away(wished, view, BUY), self._away(wished, view, SELL), *shares]

    def _worked(self, wished: Wishes, view: BookView) -> list[float]:
        """An execution's action."""
        rest = view.target - view.position
        side, most = BUY if rest > 0 else SELL, min(abs(rest), self.config.lots)
        taken = min(int(wished.take[1]), most) if int(wished.take[0]) == side else 0
        return [self._away(wished, view, side), 2.0 * taken / most - 1.0 if most else -1.0]

    def _away(self, wished: Wishes, view: BookView, side: int) -> float:
        """The direction that means a quote's distance from the mid price; the farthest where there is no quote.

        One beyond the mid price, which a role does not reach, stands as near to it as the role's can.
        """
        if wished.quotes[side, 1] < 1:
            return 1.0
        away = (view.mid - float(wished.quotes[side, 0])) * (1.0 if side == BUY else -1.0)
        return float(np.clip(2.0 * (away - 0.5) / (self.config.reach_ticks - 0.5) - 1.0, -1.0, 1.0))


def _check_fits(name: str, quoter: Quoter, seat: QuoterSeat, role: str) -> None:
    """Refuse a strategy that does not do what a role does; raises NoSeat."""
    row = np.zeros(len(SEEN), np.float32)
    row[_AT["spread"]], row[_AT["time"]] = 4.0 / seat.config.reach_ticks, 0.5
    told = {t: quoter.quote(replace(seat.view(row), task=np.array([t, 0, 0, 0]))).quotes[:, 1] for t in (-50, 0, 50)}
    makes = bool((told[0] > 0).any())
    works = not makes and told[50][BUY] > 0 and told[-50][SELL] > 0
    if makes if role == "execution" else not makes:
        does = "works off a block" if works else "quotes both sides" if makes else "quotes nothing here"
        raise NoSeat(f"{role}={name}: {name} {does}, which is not what a seat of {role} is for.")


def book_spec(config: CrowdConfig, role: str) -> BookSpec:
    """What a strategy may know beforehand of the market that its seat is in; measured among the population alone."""
    volatility, fitted = _facts(config)
    limit = config.target_lots if role == "execution" else config.position_limit
    return BookSpec(
        (), (), 0, leverage=1.0, shorting=True, cost_rate=0.0, interface=None, size=config.lots, limit=limit,  # type: ignore[arg-type]
        decide_ns=SECOND, horizon=config.episode_steps if role == "execution" else 0, volatility=volatility,
        intensity=fitted.intensity, decay=fitted.decay,
    )  # fmt: skip


@cache
def _facts(config: CrowdConfig) -> tuple[float, Intensity]:
    """Volatility of the mid price a step, and how often trades reach how far, while no agent does anything."""
    steps = _FACT_STEPS
    own = config.model_copy(update={"episode_steps": steps, "maker_sees": "seat"})
    market = Crowd(own, 1)
    market.keep_log()
    market.seed_with(_FACT_SEED)
    everyone, still = np.ones(1, np.bool_), market.idle()
    market.reset(everyone)
    mids = []
    for _ in range(steps - 1):  # the last step has executions take
        market.step(still, everyone)
        mids.append(0.5 * float(market.state.marks[0, s.MID2]))
    books = empty_books(1, market.books.n_prices, market.books.n_places)
    reached = []
    for one in market.log():
        bid, ask = core.best(books)
        fills = core.match(books, one[None]).fills
        fills = fills[fills[:, FILLED] > 0]
        if len(fills) and bid is not None and ask is not None:
            reached.append(float(np.abs(fills[:, AT] - 0.5 * (bid + ask)).max()))
    return float(np.std(np.diff(mids))), fit_reach(np.array(reached), float(steps + own.warmup_steps))
