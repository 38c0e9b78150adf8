"""Walk a quoting strategy over spans of ticks, decision by decision, as it would have been asked live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from qframe_rl.agent import Solver
from qframe_rl.book.accounts import F_SIDE, F_TICK, F_TIME, QUOTED
from qframe_rl.book.arrived import markouts
from qframe_rl.book.known import AHEAD, N_OWN, OWN, SHOWN
from qframe_rl.book.queue import QueueRule
from qframe_rl.book.tape import NO_ASK, NO_BID, Tape
from qframe_rl.config import UserError
from qframe_rl.evaluate.quoting import HORIZONS_S, QuotingRecord
from qframe_rl.gym.replay.engine import FEES, HELD, MID, SENT, UNSHOWN, WORTH, ReplayEngine
from qframe_rl.gym.replay.market import BookMarket
from qframe_rl.gym.replay.packed import PackedTicks, TickSpan
from qframe_rl.interface.books import TARGET, view_of
from qframe_rl.quoter import BookInterface, BookView, Quoter, Wishes, checked_wishes
from qframe_rl.types import Float, Int, Single

Act = Callable[[Single], NDArray[Any]]
_ONE = np.ones(1, np.bool_)


class PolicyQuoter:
    """A policy over plain numbers, such as that of ``ppo``, as a `Quoter`.

    Parameters
    ----------
    solver
        Trained on the interface's numbers.
    interface
        What it sees, and what its actions mean.
    """

    def __init__(self, solver: Solver, interface: BookInterface):
        self.solver, self.interface, self.window = solver, interface, interface.window
        self._act: Act | None = None

    def quote(self, view: BookView) -> Wishes:
        """What the policy's action means here."""
        if view.first or self._act is None:
            self._act = self.solver.policy()
        return self.interface.wishes(self._act(self.interface.observe(view)[None])[0], view)


def as_quoter(agent: Any, interface: BookInterface) -> Quoter:
    """What quotes for an agent of the catalogue: itself, or its policy.

    Raises
    ------
    UserError
        If it can do neither.
    """
    if isinstance(agent, Quoter):
        return agent
    if hasattr(agent, "policy"):
        return PolicyQuoter(cast(Solver, agent), interface)
    raise UserError(f"{type(agent).__module__.rpartition('.')[2]} trades bars; it cannot quote in an order book.")


def stretches(market: BookMarket, spans: Sequence[TickSpan]) -> list[PackedTicks]:
    """Spans laid out to be walked, each by itself; the same for every strategy and queue rule."""
    return market.pack_each(spans)


def replay(
    market: BookMarket, quoter: Quoter, walked: Sequence[PackedTicks], queue: QueueRule | None = None
) -> list[QuotingRecord]:
    """Walk stretches: a maker each in one go, what has a deadline in blocks one after the other.

    Parameters
    ----------
    market
        Fitted.
    quoter
        The strategy.
    walked
        From `stretches`.
    queue
        Rule of the queue in place of the market's own.

    Returns
    -------
    list[QuotingRecord]
        Of each stretch, or block.

    Raises
    ------
    UserError
        If the strategy wishes what is no whole number, or out of range.
    """
    if queue is not None:
        market = replace(market, config=market.config.model_copy(update={"queue": queue}))
    if not market.ends:
        market = replace(market, config=market.config.model_copy(update={"episode_steps": None}))
    found = []
    for ticks in walked:
        steps = market.horizon or ticks.n - 1
        starts = range(0, max(ticks.n - steps, 1), steps)
        seeds = _seeds(market, ticks)
        found += [_walked(market, quoter, ticks, start, seed) for start in starts for seed in seeds]
    return found


def _seeds(market: BookMarket, ticks: PackedTicks) -> tuple[int, ...]:
    """Of two seeds those that ask for something else: a block to be bought and one to be sold, or what is given once.

    The same block twice would count as two, and make the interval of a score too narrow.
    """
    engine = market.engine(ticks, 2)
    engine.seed_with(0)
    engine.reset(np.ones(2, np.bool_), np.zeros(2, np.int64))
    return (0, 1) if engine.task[0, TARGET] != engine.task[1, TARGET] else (0,)


def _walked(market: BookMarket, quoter: Quoter, ticks: PackedTicks, start: int, seed: int) -> QuotingRecord:
    """One episode from a moment on."""
    n_fills = 1024
    while True:
        engine = market.engine(ticks, 1, n_fills)
        engine.seed_with(seed)
        engine.reset(_ONE, np.array([start]))
        record = _record(market, quoter, engine, ticks)
        if record is not None:
            return record
        n_fills *= 4


def _record(market: BookMarket, quoter: Quoter, engine: ReplayEngine, ticks: PackedTicks) -> QuotingRecord | None:
    """Walk; None if there was no room for the fills. Raises UserError for wishes that are none."""
    rows, ledger, rewards, ahead = [int(engine.row[0])], [engine.ledger[0].copy()], [], []
    over, window = False, max(quoter.window, market.interface.window)
    begins, name = int(engine.row[0]), type(quoter).__module__.rpartition(".")[2]
    while not over:
        row = int(engine.row[0])
        view = view_of(
            engine.known.told[0], engine.known.queue[0], engine.task[0], ticks.raw[max(row - window + 1, 0) : row + 1],
            row == begins,
        )  # fmt: skip
        own = engine.known.told[0, OWN:].reshape(2, N_OWN)
        shown = np.maximum(engine.known.queue[0, :, SHOWN], 1.0)
        ahead.append(np.where(own[:, 1] > 0, np.minimum(engine.known.queue[0, :, AHEAD] / shown, 1.0), np.nan))
        wishes = checked_wishes(quoter.quote(view), name)
        paid, ended, cut = engine.pursue(wishes.quotes[None], wishes.take[None], _ONE)
        over = bool(ended[0] or cut[0])
        rewards.append(float(paid[0]))
        rows.append(int(engine.row[0]))
        ledger.append(engine.ledger[0].copy())
    n = int(engine.walk.n_fills[0])
    if n > len(engine.walk.fills):
        return None
    tape, fills, told = ticks.spans[0].tape, engine.walk.fills[:n].copy(), np.array(ledger)
    later = [round(h * 1e9) for h in HORIZONS_S]
    return QuotingRecord(
        ticks.at[rows], told[:, MID], told[:, WORTH], told[:, HELD], told[:, FEES], np.array(rewards), np.array(ahead),
        int(told[-1, SENT]), int(engine.walk.account[0, QUOTED]), fills, _mid_at(tape, fills[:, F_TIME]),
        markouts(tape, fills[:, F_TIME], fills[:, F_SIDE], fills[:, F_TICK], later), int(told[-1, UNSHOWN]),
        market.config.size, market.config.size * market.config.limit,
        market.instrument.tick * market.instrument.lot, market.ends,
    )  # fmt: skip


def _mid_at(tape: Tape, at: Int) -> Float:
    """(F,) mid price just before each moment; NaN where the book lacked a side."""
    row = np.searchsorted(tape.exchange_ns, at, side="left") - 1
    bid, ask = tape.bid[row], tape.ask[row]
    told = (row >= 0) & (bid != NO_BID) & (ask != NO_ASK)
    return np.where(told, 0.5 * (bid + ask), np.nan)
