"""A batch of episodes on one tape: the arrays, and the compiled functions that move them one bar on.

The engine allocates nothing per step but what it hands out. Each account has its own seed, and the start of its n-th
episode is a hash of that seed and n, so what an account lives through does not depend on how many there are.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qframe_rl.digests import digest
from qframe_rl.gym import beside
from qframe_rl.gym.finer import FinerMoves
from qframe_rl.gym.lanes import Lanes
from qframe_rl.gym.packed import FIRST, LAST, PackedHistory
from qframe_rl.gym.panels import AccountPanels
from qframe_rl.gym.reward import N_STATE, Reward
from qframe_rl.gym.slots import board_of
from qframe_rl.interface import BOUND, MarketInterface, SlotScheme, see_rows
from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel.columns import (
    BEFORE,
    CASH,
    EARNED,
    EQUITY,
    LEFT,
    MARK,
    MOVING,
    N_ACCOUNT,
    N_FILLS,
    POSITION,
    RUINED,
    opened,
)
from qframe_rl.kernel.lanes import scratch
from qframe_rl.kernel.rows import advance_rows
from qframe_rl.kernel.rules import Rules
from qframe_rl.risk.columns import watch_for
from qframe_rl.risk.guard import protecting
from qframe_rl.risk.limits import Limits
from qframe_rl.risk.rows import begin_rows, guarded_rows
from qframe_rl.types import CLOSE, NO_FINER, Bool, Float, Int, Single

TERMINATED, TRUNCATED, OVER = range(3)
"""Rows of what `BatchEngine.step` says of ends; an episode is over for either reason."""
_SMALL = 1 << 14
"""Bytes below which a fresh array is cheaper than a recycled one."""


class BatchEngine(Lanes):
    """B accounts, each in an episode of its own.

    Parameters
    ----------
    tape
        The bars.
    interface
        Observations and actions.
    rules
        The market rules.
    reward
        What a step is worth.
    cash
        Quote currency at the start of an episode.
    episode_bars
        Length of an episode, which starts at a random bar; None = whole runs from their first bar.
    n_envs
        B.
    recorded
        Whether ``fills`` is kept.
    limits
        That every account is held to, as by the risk engine of a session; a new episode begins ACTIVE.
    """

    def __init__(
        self,
        tape: PackedHistory,
        interface: MarketInterface,
        rules: Rules,
        reward: Reward,
        cash: float,
        episode_bars: int | None,
        n_envs: int,
        *,
        recorded: bool = False,
        limits: Limits | None = None,
    ):
        n = tape.bars.shape[1]
        self.tape, self.interface, self.rules, self.reward = tape, interface, rules, reward
        self.start_cash, self.episode_bars = cash, episode_bars or 0
        self.n_envs, self.recorded, self._tiered = n_envs, recorded, rules.tiered
        self.account = opened(cash, n_envs, rules.n_columns)
        self.holding = np.zeros((n_envs, n, 2))
        self.row, self.last = np.zeros(n_envs, dtype=np.int64), np.zeros(n_envs, dtype=np.int64)
        self.seed, self.episode = np.zeros(n_envs, dtype=np.uint64), np.zeros(n_envs, dtype=np.uint64)
        self.memory = np.zeros((n_envs, N_STATE))
        self.limits = limits or Limits()
        self.watch = watch_for(self.limits, rules.table, n_envs)
        self._board = board_of(interface.scheme, n_envs, n)
        self._inside = FinerMoves(tape, rules, n_envs) if rules.detail_ns else None
        filled = recorded or self.watch is not None or self._board is not None or self._inside is not None
        self.fills = np.zeros((n_envs if filled else 0, n, N_FILLS))
        self._work, self._panels = scratch(n), AccountPanels(interface.observer, n_envs)
        self._everybody = np.ones(n_envs, dtype=np.bool_)
        self._shown = Recycler((n_envs, interface.observer.n_numbers), np.float32)

    @property
    def equity(self) -> Float:
        """(B,) equity of each account; a view."""
        return self.account[:, EQUITY]

    @property
    def cash(self) -> Float:
        """(B,) cash of each account; a view."""
        return self.account[:, CASH]

    @property
    def position(self) -> Float:
        """(B, A) positions; a view."""
        return self.holding[:, :, POSITION]

    @property
    def mark(self) -> Float:
        """(B, A) marks; a view."""
        return self.holding[:, :, MARK]

    def reset(self, mask: Bool, start: Int | None = None) -> None:
        """Begin a new episode for the masked accounts.

        Parameters
        ----------
        mask
            (B,) whose.
        start
            (B,) rows of the tape that they begin on, from `PackedHistory.row_of`; None = those that their seeds draw
            next.

        Raises
        ------
        ValueError
            For a mask or starts of another shape, or a row that is not on the tape or too near its beginning.
        """
        if mask.shape != (self.n_envs,) or mask.dtype != np.bool_:
            raise ValueError(f"a mask of {self.n_envs} environments is wanted, not {mask.dtype} {mask.shape}")
        n, least = len(self.tape.time), self.interface.observer.n_rows - 1
        if start is not None and (start.shape != mask.shape or ((start < least) | (start >= n))[mask].any()):
            raise ValueError(f"(B,) = ({self.n_envs},) rows of the tape are wanted to start on, not {start}")
        rows = self._drawn(mask)
        rows[mask] = rows[mask] if start is None else start[mask]
        self.tape.ready(rows[mask])
        _begin(
            mask, rows, self.episode, self.tape.runs, self.episode_bars, self.tape.bars, self.start_cash,
            self.account, self.holding, self.row, self.last, self.memory,
        )  # fmt: skip
        if self.tape.growing:
            self.tape.expect(self._drawn(mask)[mask])
        if self.watch is not None:
            begin_rows(mask, self.account, self.holding, self.tape.time, self.row, self.watch)
        if self.recorded:
            self.fills[mask] = 0.0
        if self._board is not None:
            self._board.slots[mask] = 0.0
        beside.wait()

    def _drawn(self, mask: Bool) -> Int:
        """(B,) rows on which the next episodes of the masked accounts begin by their seeds."""
        rows = np.zeros(self.n_envs, dtype=np.int64)
        _draw(mask, self.seed, self.episode, self.tape.runs, self.episode_bars, rows)
        return rows

    def step(self, actions: NDArray[Any], active: Bool) -> tuple[Float, Bool, bool]:
        """Move the active accounts one bar on.

        Returns
        -------
        tuple[Float, Bool, bool]
            (B,) rewards; (3, B) terminated (liquidated or ruined), truncated (episode or data ended) and either; and
            whether there is any of these. 0 and False for the inactive.

        Raises
        ------
        ValueError
            For actions of another shape than the space's, or one outside it that counts; nothing has moved then.
        """
        self._order(actions, active)
        ends = np.empty((3, self.n_envs), dtype=np.bool_)
        rewards = self.reward.pay(self.account, self.holding, active, self.memory)
        return rewards, ends, _end(active, self.account, self.row, self.last, ends)

    def _order(self, actions: NDArray[Any], active: Bool) -> None:
        """Order what actions mean, and settle the next bar."""
        scheme, tape = self.interface.scheme, self.tape
        if self._board is None or not isinstance(scheme, SlotScheme):
            return self._advance(*scheme.targets(actions, self.account, self.holding, active), active)
        asked = scheme.slots(actions, self.account, self.holding, tape.bars, self.row, active)
        self._board.advance(
            asked, self.account, self.holding, tape.bars, tape.time, self.row, active, self.rules, self.watch,
            self.fills, NO_FINER if self._inside is None else tape.finer,
        )  # fmt: skip
        return None

    def _advance(self, target: Float, offset: Float, active: Bool) -> None:
        band, rules, bars = self.interface.scheme.band, self.rules, self.tape.bars
        if self._inside is not None:
            self._inside.advance(
                target, offset, band, self.account, self.holding, self.row, active, self.watch, self.fills, self._work
            )  # fmt: skip
        elif self.watch is None:
            advance_rows(
                target, offset if self._tiered or len(offset) else None, band, self.account, self.holding, bars,
                self.row, active, rules.table, rules.leverage, rules.shorting, self.recorded, self.fills, self._work,
            )  # fmt: skip
        else:
            guarded_rows(
                target, offset, band, self.account, self.holding, bars, self.tape.time, self.row, active,
                rules.table, rules.leverage, rules.shorting, self.watch, self.fills, self._work,
            )  # fmt: skip

    def observe(self, mask: Bool | None = None) -> Single:
        """(B, n_numbers) observations, in an array that nobody else holds; only masked rows are sure to be written."""
        out: Single = self._shown.take()
        observer, tape, mask = self.interface.observer, self.tape, self._everybody if mask is None else mask
        copy_windows(tape.features, self.row, observer.n_rows, mask, out)
        first = observer.n_rows * tape.features.shape[1]
        see_rows(self.account, self.holding, tape.bars, self.row, mask, BOUND, first, out)
        self._panels.write(self.account, self.holding, self.watch, self._board, mask, first, out)
        return out

    def point(self, mask: Bool | None = None) -> tuple[NDArray[np.int32], Single]:
        """Where each account stands on the tape, (B,), and what a policy sees of it, (B, 2A): `observe` uncopied."""
        panels = self.interface.observer.n_panels
        account = np.empty((self.n_envs, panels * self.holding.shape[1]), dtype=np.float32)
        mask = self._everybody if mask is None else mask
        see_rows(self.account, self.holding, self.tape.bars, self.row, mask, BOUND, 0, account)
        self._panels.write(self.account, self.holding, self.watch, self._board, mask, 0, account)
        return self.row.astype(np.int32), account

    _STATE = ("account", "holding", "row", "last", "seed", "episode", "memory", "fills")

    def _check(self, state: Mapping[str, NDArray[Any]]) -> None:
        super()._check(state)
        if ((state["row"] < 0) | (state["row"] >= len(self.tape.time))).any():
            raise ValueError("a snapshot of other bars: a row of it is not on this tape")
        self.tape.ready(state["row"])

    def _kept(self) -> dict[str, NDArray[Any]]:
        kept = {name: getattr(self, name) for name in self._STATE}
        kept |= {} if self._board is None else {"slots": self._board.slots}
        if self.watch is None:
            return kept
        guard = {f"guard_{name}": value for name, value in self.watch.guard._asdict().items() if name != "rules"}
        return kept | {"risk": self.watch.state, "sent": self.watch.sent} | (guard if protecting(self.limits) else {})

    def _market(self) -> tuple[object, ...]:
        rules, reward = self.rules, self.reward
        own = None if reward.own is None else digest(reward.own)
        return (
            self.tape.digest, self.interface.describe(), rules.table, float(rules.leverage), bool(rules.shorting),
            reward.kernel, reward.params, own, float(self.start_cash), self.episode_bars, self.limits,
        )  # fmt: skip


class Recycler:
    """Hands out arrays of one shape, and hands one out again only when nobody holds it or a view of it any more.

    A fresh megabyte costs more in page faults than the copy into it; a buffer reused while somebody still reads it
    shows him the future.
    """

    def __init__(self, shape: tuple[int, ...], dtype: type[np.generic]):
        self.shape, self.dtype = shape, dtype
        self._held: list[NDArray[Any]] = []
        self._small = int(np.prod(shape)) * np.dtype(dtype).itemsize < _SMALL

    def take(self) -> NDArray[Any]:
        """Return an array with unspecified content."""
        if self._small:
            return np.empty(self.shape, self.dtype)
        for k in range(len(self._held)):
            if sys.getrefcount(self._held[k]) == 2:  # the list and the call's own argument
                return self._held[k]
        self._held.append(np.empty(self.shape, self.dtype))
        return self._held[-1]


@inlined
def _mix(seed: np.uint64, episode: np.uint64) -> np.uint64:
    """Hash a seed and a counter to 64 bits (SplitMix64; Steele, Lea & Flood, 2014)."""
    z = seed * np.uint64(0xD1342543DE82EF95) + (episode + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inlined
def _n_starts(run: Int, r: int, bars: int) -> int:
    """How many rows of run ``r`` an episode can start on."""
    return max(1, run[r, LAST] - run[r, FIRST] - bars + 1) if bars > 0 else 1


@compiled
def _draw(
    mask: Bool, seed: NDArray[np.uint64], episode: NDArray[np.uint64], runs: Int, bars: int, out: Int
) -> None:  # fmt: skip
    total = 0
    for r in range(len(runs)):
        total += _n_starts(runs, r, bars)
    for b in range(len(mask)):
        if mask[b]:
            pick = np.int64(_mix(seed[b], episode[b]) % np.uint64(total))
            r = 0
            while pick >= _n_starts(runs, r, bars):
                pick -= _n_starts(runs, r, bars)
                r += 1
            out[b] = runs[r, FIRST] + pick


@compiled
def _begin(
    mask: Bool,
    start: Int,
    episode: NDArray[np.uint64],
    runs: Int,
    bars: int,
    tape: Float,
    cash: float,
    account: Float,
    holding: Float,
    row: Int,
    last: Int,
    memory: Float,
) -> None:
    for b in range(len(mask)):
        if mask[b]:
            episode[b] += np.uint64(1)
            row[b], r = start[b], 0
            while r + 1 < len(runs) and row[b] > runs[r, LAST]:
                r += 1
            last[b] = min(row[b] + bars, runs[r, LAST]) if bars > 0 else runs[r, LAST]
            account[b, CASH] = account[b, EQUITY] = account[b, BEFORE] = cash
            account[b, MOVING] = account[b, LEFT] = account[b, EARNED] = 0.0
            account[b, N_ACCOUNT:] = 0.0
            memory[b, :] = 0.0
            for a in range(holding.shape[1]):
                holding[b, a, POSITION] = 0.0
                holding[b, a, MARK] = tape[row[b], a, CLOSE]


@compiled
def _end(active: Bool, account: Float, row: Int, last: Int, ends: Bool) -> bool:
    """Write (3, B) terminated, truncated and either; return whether there is any."""
    some = False
    for b in range(len(active)):
        ruined = active[b] & (account[b, RUINED] != 0.0)
        cut = active[b] & (not ruined) & (row[b] >= last[b])
        ends[TERMINATED, b] = ruined
        ends[TRUNCATED, b] = cut
        ends[OVER, b] = ruined | cut
        some = some | ruined | cut
    return some


@compiled
def copy_windows(features: Single, row: Int, n_rows: int, mask: Bool, out: Single) -> None:
    """Copy what each environment sees of the market into its observation.

    Parameters
    ----------
    features
        (T, F) of all rows.
    row
        (B,) row that each stands on, at least ``n_rows - 1``.
    n_rows
        Rows of a window: ``row[b] - n_rows + 1`` to ``row[b]``.
    mask
        (B,) whose observations are written.
    out
        (B, at least n_rows x F) written from the first column on.
    """
    width = features.shape[1]
    flat = features.reshape(features.size)
    for b in range(len(row)):
        if mask[b]:
            start = np.uintp((row[b] - n_rows + 1) * width)
            shown = flat[start : start + np.uintp(n_rows * width)]
            to = out[b]
            for k in range(len(shown)):
                to[k] = shown[k]
