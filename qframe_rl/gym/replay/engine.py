"""A batch of accounts on recorded books: the arrays, and the compiled functions that move them one decision on.

What an account lives through follows from its seed, the number of its episode and its actions, not from how many there
are. Nothing is allocated per step but what is handed out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qframe_rl.book.accounts import (
    CASH,
    MAKER_LOTS,
    MAKER_TURNOVER,
    N_SENT,
    TAKER_LOTS,
    TAKER_TURNOVER,
    Walk,
    begin,
    new_walk,
)
from qframe_rl.book.accounts import POSITION as LOTS_HELD
from qframe_rl.book.closing import close
from qframe_rl.book.funding import FundingDues, advance_paid
from qframe_rl.book.known import DONE, AccountKnowledge, forget, learn, nothing_known
from qframe_rl.book.tape import Tape
from qframe_rl.book.wish import pursue
from qframe_rl.config import UserError
from qframe_rl.gym.chance import draw
from qframe_rl.gym.lanes import Lanes
from qframe_rl.gym.replay.packed import PackedTicks
from qframe_rl.interface.books import N_TASK, TARGET, QuotingInterface, checked
from qframe_rl.jit import apart
from qframe_rl.types import Bool, Float, Int, Single

WORTH, MONEY, HELD, MID, FEES, MADE, TOOK, SENT, UNSHOWN, PASSED, FUNDING = range(11)
"""Columns of the ledger, the exchange's truth: worth at the mid price less fees, and money without them, ticks times
lots, both less funding; lots held; mid price, ticks; fees; lots that filled as maker and as taker; messages sent; lots
that a close took beyond what was displayed; seconds since the decision before; funding paid."""
N_LEDGER = 11
N_DRAWS = 4
Begin = Callable[[Bool, Float, Float, Float, Int], None]
"""``begin(active (B,), draws (B, 4), params, ledger (B, 11), task (B, 4))`` writes the task of a new episode."""
Over = Callable[[Bool, Float, Float, Int, Bool, Bool], None]
"""``over(active, params, ledger, task, last (B,), terminated (B,))``: which episodes end by themselves; ``last`` are at
their last moment."""
Pay = Callable[[Bool, Float, Float, Float, Int, Float], None]
"""``pay(active, params, before (B, 11), after (B, 11), task, rewards (B,))``."""


@dataclass(frozen=True)
class Objective:
    """What an environment of books is about."""

    begin: Begin
    over: Over
    pay: Pay
    params: Float
    """(P,) numbers that the three are handed."""


@dataclass(frozen=True)
class ReplayRules:
    """What holds for every account."""

    power: float
    """Of the queue, see `qframe_rl.book.queue.exponent`."""
    maker_fee: float
    """Share of turnover."""
    taker_fee: float
    episode_steps: int
    """Decisions of an episode; 0 = whole spans."""
    ends: bool
    """Whether an account knows of its episode's end: else it quotes as if there was none."""


class ReplayEngine(Lanes):
    """B accounts, each in an episode of its own.

    Parameters
    ----------
    ticks
        The market.
    interface
        Observations and actions.
    objective
        Tasks, ends and rewards.
    rules
        Fees, queue, length of episodes.
    n_envs
        B.
    n_fills
        Own fills that are written down, of all accounts.
    """

    _STATE = ("row", "last", "first", "span", "seed", "episode", "task", "ledger")

    def __init__(
        self, ticks: PackedTicks, interface: QuotingInterface, objective: Objective, rules: ReplayRules, n_envs: int,
        n_fills: int = 0,
    ):  # fmt: skip
        self.ticks, self.interface, self.objective, self.rules, self.n_envs = ticks, interface, objective, rules, n_envs
        self.walk, self.known = new_walk(n_envs, n_fills), nothing_known(n_envs)
        self.row, self.first, self.last, self.span = (np.zeros(n_envs, np.int64) for _ in range(4))
        self.seed, self.episode = np.zeros(n_envs, np.uint64), np.zeros(n_envs, np.uint64)
        self.task, self.ledger = np.zeros((n_envs, N_TASK), np.int64), np.zeros((n_envs, N_LEDGER))
        self._before, self._draws = np.zeros((n_envs, N_LEDGER)), np.zeros((n_envs, N_DRAWS))
        self._quotes, self._take = np.zeros((n_envs, 2, 2), np.int64), np.zeros((n_envs, 3), np.int64)
        self._starts = self._firsts()

    def reset(self, mask: Bool, start: Int | None = None) -> None:
        """Begin a new episode for the masked accounts.

        Parameters
        ----------
        mask
            (B,) whose.
        start
            (B,) moments that they begin at; None = those that their seeds draw next.

        Raises
        ------
        UserError
            For a moment after which there is none.
        """
        self.episode[mask] += np.uint64(1)
        draw(mask, self.seed, self.episode, np.zeros(self.n_envs, np.int64), self._draws)
        count = len(self._starts)
        rows = self._starts[np.minimum((self._draws[:, 0] * count).astype(np.int64), count - 1)]
        rows = rows if start is None else np.asarray(start)
        ends = self.ticks.starts[1:]
        span = np.searchsorted(ends, rows, side="right")
        wrong = mask & ((rows < 0) | (rows >= self.ticks.n) | (rows + 1 >= ends[np.minimum(span, len(ends) - 1)]))
        if wrong.any():
            raise UserError(f"no episode can begin at moment {rows[wrong][0]}: it is the last of its run, or is none.")
        steps = self.rules.episode_steps
        stop = ends[span] - 1
        self.row[mask], self.first[mask], self.span[mask] = rows[mask], rows[mask], span[mask]
        self.last[mask] = (np.minimum(rows + steps, stop) if steps else stop)[mask]
        for k, part in enumerate(self.ticks.spans):
            _begin(
                part.tape, part.heard, self.walk, self.known, mask, self.span, k, self.row, self.last, self.ticks.at,
                self.ticks.best, self.ticks.mid2, self.rules.power, self.rules.ends, self.ledger,
            )  # fmt: skip
        self.objective.begin(mask, self._draws, self.objective.params, self.ledger, self.task)

    def step(self, actions: NDArray[Any], active: Bool) -> tuple[Float, Bool, Bool]:
        """Take the active accounts to their next moment.

        Where an episode ends by itself, or its run does, it is closed at what taking costs. One that is cut off by its
        length alone is not: what is held there is worth what comes after, which is for the learner to estimate.

        Returns
        -------
        tuple[Float, Bool, Bool]
            (B,) rewards, terminated and truncated; 0 and False for the inactive.

        Raises
        ------
        ValueError
            For actions of another shape than the space's, or one outside it that counts; nothing has moved then.
        """
        doing = self.interface.actions
        chosen = checked(actions, active, doing.space)
        doing.wish(active, chosen, doing.params, self.known.told, self.task, self._quotes, self._take)
        return self.pursue(self._quotes, self._take, active)

    def pursue(self, quotes: Int, take: Int, active: Bool) -> tuple[Float, Bool, Bool]:
        """The same for wishes.

        Parameters
        ----------
        quotes, take
            (B, 2, 2) and (B, 3), as in `qframe_rl.quoter.Wishes`.
        active
            (B,) whose count.

        Returns
        -------
        tuple[Float, Bool, Bool]
            As of `step`.

        Raises
        ------
        ValueError
            For arrays of another shape.
        """
        if quotes.shape != (self.n_envs, 2, 2) or take.shape != (self.n_envs, 3):
            raise ValueError(f"wishes of {self.n_envs} accounts are wanted, not {quotes.shape} and {take.shape}")
        quotes, take = np.ascontiguousarray(quotes, np.int64), np.ascontiguousarray(take, np.int64)
        np.copyto(self._before, self.ledger)
        ticks, rules = self.ticks, self.rules
        for k, part in enumerate(ticks.spans):
            _live(
                part.tape, part.dues, part.heard, self.walk, self.known, active, self.span, k, self.row, ticks.at,
                ticks.best, ticks.mid2, ticks.entry_ns, ticks.answer_ns, quotes, take, rules.power, rules.maker_fee,
                rules.taker_fee, self.ledger,
            )  # fmt: skip
        last = active & (self.row >= self.last)
        terminated, rewards = np.zeros(self.n_envs, np.bool_), np.zeros(self.n_envs)
        own = self.objective
        own.over(active, own.params, self.ledger, self.task, last, terminated)
        truncated = last & ~terminated
        closed = terminated | (truncated & (self.row >= ticks.starts[self.span + 1] - 1))
        if closed.any():
            for k, part in enumerate(ticks.spans):
                _close(
                    part.tape, self.walk, closed, self.span, k, self.row, ticks.at, ticks.mid2, self.task,
                    rules.maker_fee, rules.taker_fee, self.ledger,
                )  # fmt: skip
        own.pay(active, own.params, self._before, self.ledger, self.task, rewards)
        return rewards, terminated, truncated

    def point(self) -> tuple[NDArray[np.int32], Single]:
        """Where each account stands, (B,) rows of the features, and (B, n) what it sees of itself."""
        return self.row.astype(np.int32), self._own()

    def observe(self) -> Single:
        """(B, n) observations in a fresh array."""
        n_rows, n_features = self.interface.market_shape
        out = np.zeros((self.n_envs, n_rows * n_features + self.interface.actions.n_account), np.float32)
        _gather(self.ticks.features, self.row, self.ticks.starts[self.span], n_rows, out)
        out[:, n_rows * n_features :] = self._own()
        return out

    def _kept(self) -> dict[str, NDArray[Any]]:
        parts = {f"walk_{name}": field for name, field in self.walk._asdict().items()}
        parts |= {f"known_{name}": field for name, field in self.known._asdict().items()}
        return parts | {name: getattr(self, name) for name in self._STATE}

    def _market(self) -> tuple[object, ...]:
        return self.ticks.digest, self.interface, self.objective, self.rules

    def _own(self) -> Single:
        doing = self.interface.actions
        out = np.empty((self.n_envs, doing.n_account), np.float32)
        doing.show(doing.params, self.known.told, self.known.queue, self.task, out)
        return out

    def _firsts(self) -> Int:
        """Moments at which episodes may begin: so that they are whole, where a span is long enough."""
        steps, n_rows = self.rules.episode_steps, self.interface.n_rows
        found = []
        for start, end in zip(self.ticks.starts[:-1], self.ticks.starts[1:], strict=True):
            first = min(int(start) + n_rows - 1, int(end) - 2)
            latest = max(int(end) - 1 - steps, first) if steps else first
            found.append(np.arange(first, latest + 1))
        return np.concatenate(found)


@apart
def _begin(
    tape: Tape, rows: Int, walk: Walk, known: AccountKnowledge, mask: Bool, span: Int, k: int, row: Int, last: Int,
    at: Int, best: Int, mid2: Int, power: float, ends: bool, ledger: Float,
) -> None:  # fmt: skip
    for b in range(len(mask)):
        if mask[b] and span[b] == k:
            now = at[row[b]]
            begin(tape, walk, b, now)
            forget(known, b, last[b] - row[b] if ends else 0)
            learn(tape, rows, walk, known, b, now, best[row[b]], power)
            for column in range(N_LEDGER):
                ledger[b, column] = 0.0
            ledger[b, MID] = 0.5 * mid2[row[b]]


@apart
def _live(
    tape: Tape, dues: FundingDues, rows: Int, walk: Walk, known: AccountKnowledge, active: Bool, span: Int, k: int,
    row: Int, at: Int, best: Int, mid2: Int, entry_ns: Int, answer_ns: Int, quotes: Int, take: Int, power: float,
    maker: float, taker: float, ledger: Float,
) -> None:  # fmt: skip
    for b in range(len(active)):
        if active[b] and span[b] == k:
            now = row[b]
            pursue(walk, b, quotes[b], take[b], at[now], entry_ns[now])
            row[b] += 1
            then = row[b]
            advance_paid(tape, dues, walk, b, at[then], answer_ns[now], power)
            learn(tape, rows, walk, known, b, at[then], best[then], power)
            known.told[b, DONE] += 1
            _mark(walk, b, mid2[then], maker, taker, ledger)
            ledger[b, PASSED] = (at[then] - at[now]) / 1e9


@apart
def _close(
    tape: Tape, walk: Walk, over: Bool, span: Int, k: int, row: Int, at: Int, mid2: Int, task: Int, maker: float,
    taker: float, ledger: Float,
) -> None:  # fmt: skip
    for b in range(len(over)):
        if over[b] and span[b] == k:
            ledger[b, UNSHOWN] += close(tape, walk, b, at[row[b]], task[b, TARGET])
            _mark(walk, b, mid2[row[b]], maker, taker, ledger)


@apart
def _mark(walk: Walk, b: int, mid2: int, maker: float, taker: float, ledger: Float) -> None:
    account = walk.account[b]
    fees = maker * account[MAKER_TURNOVER] + taker * account[TAKER_TURNOVER]
    ledger[b, MID], ledger[b, FEES], ledger[b, MONEY] = 0.5 * mid2, fees, account[CASH] - walk.funding[b]
    ledger[b, HELD], ledger[b, FUNDING] = account[LOTS_HELD], walk.funding[b]
    ledger[b, WORTH] = account[CASH] + account[LOTS_HELD] * (0.5 * mid2) - fees - walk.funding[b]
    ledger[b, MADE], ledger[b, TOOK], ledger[b, SENT] = account[MAKER_LOTS], account[TAKER_LOTS], account[N_SENT]


@apart
def _gather(features: Single, row: Int, start: Int, n_rows: int, out: Single) -> None:
    """Write the features of the last moments of each account; zeros before its span."""
    n = features.shape[1]
    for b in range(len(row)):
        for j in range(n_rows):
            r = row[b] - n_rows + 1 + j
            if r >= start[b]:
                for f in range(n):
                    out[b, j * n + f] = features[r, f]
