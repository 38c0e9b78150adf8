"""A router that is learned: fitted Q whose choices are strategies.

What a strategy holds at a row, and what that earns until the next one, is known for every strategy whichever is
followed; so `qframe_rl.deep.fitted_q` learns all pairs of followed and wanted at once, at the cost of going from the
position of the one to that of the other. It sees the market's features, what each strategy holds, and gains that decay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from qframe_rl.agent import Log, State, Task, View
from qframe_rl.deep.fitted_q import Drawn, QNet, QSchedule, fit_q, greedy, walk
from qframe_rl.deep.training import arrays, own_randomness, restored
from qframe_rl.members import member_channel
from qframe_rl.types import OPEN, Account, Fills, Float, History, Int, Segments, Single

SPANS = (5, 15, 50, 150, 500)
"""Bars over which gains decay."""
Parts = Sequence[tuple[History, Segments]]
"""Histories, and the rows of each that may be looked at."""
_HIDDEN = (64, 64)


class Practice(NamedTuple):
    """What M strategies did on T bars in a row; A instruments."""

    seen: Float
    """(T, S) features at each close."""
    gains: Float
    """(T, M) net return of each strategy over the bar that ended; 0 in the first."""
    exposure: Float
    """(T, M, A) what each wants to hold from then on."""
    moves: Float
    """(T, A) return from the next open to the one after, funding paid; 0 where it is not known."""


class LearnedRouter:
    """Picks a strategy at every bar.

    Parameters
    ----------
    shape
        M, A and S.
    cost_rate
        Cost of one unit of turnover.
    seed
        Root of its randomness.
    steps
        Gradient steps of its training.
    """

    def __init__(self, shape: tuple[int, int, int], cost_rate: float, seed: int, steps: int):
        self.shape, self.cost_rate, self.seed, self.steps = shape, cost_rate, seed, steps
        self.unit = 1.0
        self._net: QNet | None = None
        self.begin()

    def begin(self) -> None:
        """Forget what was lived through, at the start of a session."""
        self.decayed: Float = np.zeros((len(SPANS), self.shape[0]))
        self.followed = 0

    def step(self, gains: Float) -> None:
        """Take (M,) net returns of a bar in."""
        keep = 1.0 - 1.0 / np.array(SPANS)[:, None]
        self.decayed = keep * self.decayed + (1.0 - keep) * (gains - gains.mean()) / self.unit

    def pick(self, seen: Float, exposure: Float) -> Float:
        """(M,) 1 for the strategy to follow, from (S,) features and the (M, A) exposures that each wants."""
        if self._net is None:
            raise RuntimeError("train or restore the agent before it decides")
        with torch.inference_mode():
            best = greedy(self._net(torch.from_numpy(self._numbers(seen, exposure))))
        self.followed = int(best[self.followed])
        picked: Float = np.eye(self.shape[0])[self.followed]
        return picked

    def fit(self, learn: Sequence[Practice], stop: Sequence[Practice], task: Task, log: Log) -> None:
        """Learn from stretches, and choose the best weights by others.

        Parameters
        ----------
        learn, stop
            Stretches of bars.
        task, log
            As in `qframe_rl.deep.training.Loop`.
        """
        self.unit = max(float(np.concatenate([one.gains for one in learn]).std()), 1e-12)
        rows, tail = _Stretches(self, learn), [_Stretches(self, [one]) for one in stop]
        schedule = QSchedule(0.99, self.steps, 20, 1024, 1e-3, 5e-5, 0.01, 10.0, self.seed)
        with own_randomness(self.seed):
            net = self._network()
            self._net = net
            fit_q(net, rows, schedule, task, log, lambda: float(np.mean([one.earned(net) for one in tail])))

    def state(self) -> State:
        """Weights, and the unit of gains."""
        return {**(arrays(self._net) if self._net is not None else {}), "unit": np.array([self.unit])}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take them over."""
        self.unit = float(state["unit"][0])
        self._net = restored(self._network, {name: value for name, value in state.items() if name != "unit"})

    def memory(self) -> dict[str, NDArray[Any]]:
        """What it remembers of a session."""
        return {"decayed": self.decayed.copy(), "followed": np.array([self.followed])}

    def carry(self, memory: Mapping[str, NDArray[Any]]) -> None:
        """Take that over."""
        self.decayed, self.followed = np.array(memory["decayed"]), int(memory["followed"][0])

    def numbers(self, one: Practice) -> Single:
        """(T, N) what the network sees along a stretch."""
        self.begin()
        rows = []
        for seen, gains, exposure in zip(one.seen, one.gains, one.exposure, strict=True):
            self.step(gains)
            rows.append(self._numbers(seen, exposure))
        self.begin()
        return np.stack(rows)

    def _numbers(self, seen: Float, exposure: Float) -> Single:
        trend = self.decayed * np.sqrt(SPANS)[:, None]
        return np.concatenate([trend.ravel(), seen, exposure.ravel()]).astype(np.float32)

    def _network(self) -> QNet:
        m, a, s = self.shape
        return QNet(len(SPANS) * m + s + m * a, _HIDDEN, m, m)


def lived(parts: Parts, window: int, practise: Callable[[View], tuple[Float, Float, Float]]) -> list[Practice]:
    """Let strategies practise on stretches of history, each begun with nothing held.

    Parameters
    ----------
    parts
        Histories, and the rows of each.
    window
        Bars of a view.
    practise
        Given the views one after the other: the (S,) features, the (M,) gains of the bar and the (M, A) exposures of a
        row. A view's fills have the funding of one unit.
    """
    found = []
    for history, segments in parts:
        ahead, n = moves_ahead(history), history.final.shape[1]
        for segment in segments:
            rows: list[tuple[Float, Float, Float]] = []
            for t in range(max(segment.start, window - 1), segment.stop):
                shown = slice(t - window + 1, t + 1)
                account = Account(np.array(1e4), np.zeros(n), history.marks[t])
                fills = Fills.none(n)._replace(funding=history.funding[t], forced=1.0 * history.final[t])
                bars = history.values[shown]
                view = View(
                    int(history.time[t]), history.time[shown], bars, account, fills, not rows,
                    member=member_channel(history.columns),
                )  # fmt: skip
                rows.append(practise(view))
            if len(rows) > 2:
                seen, gains, exposure = (np.stack(part) for part in zip(*rows, strict=True))
                found.append(Practice(seen, gains, exposure, ahead[segment.stop - len(rows) : segment.stop]))
    return found


def moves_ahead(history: History) -> Float:
    """(T, A) return from the open after each row to the open after that, funding paid; 0 where it is not known."""
    opening, out = history.values[:, :, OPEN], np.zeros(history.final.shape)
    out[:-2] = (opening[2:] - history.funding[2:]) / opening[1:-1] - 1.0
    return np.nan_to_num(out)


class _Stretches:
    """Rows of several stretches; `qframe_rl.deep.fitted_q.Rows`.

    Parameters
    ----------
    router
        Whose they are.
    parts
        The stretches; the last two rows of each have no sequel, and its first row follows nothing.
    """

    def __init__(self, router: LearnedRouter, parts: Sequence[Practice]):
        rewards, rows, base = [], [], 0
        for one in parts:
            before = np.concatenate([np.zeros_like(one.exposure[:1]), one.exposure[:-1]])
            turnover = np.abs(one.exposure[:, None] - before[:, :, None]).sum(axis=-1)
            gain = (one.exposure * one.moves[:, None]).sum(axis=-1)
            rewards.append(gain[:, None] - router.cost_rate * turnover)
            rows.append(base + np.arange(max(0, len(one.moves) - 2)))
            base += len(one.moves)
        self.reward, self.at = np.concatenate(rewards), np.concatenate(rows)
        self.numbers = torch.from_numpy(np.concatenate([router.numbers(one) for one in parts]))
        unit = max(float(self.reward.std()), 1e-12)
        self.scaled = torch.from_numpy((self.reward / unit).astype(np.float32))

    def __len__(self) -> int:
        return len(self.at)

    def draw(self, at: Int) -> Drawn:
        """Rows as tensors."""
        rows = torch.from_numpy(self.at[at])
        return Drawn(self.numbers[rows], self.scaled[rows], self.numbers[rows + 1])

    def earned(self, net: QNet) -> float:
        """Mean reward a bar over its deviation, of following the network."""
        best = greedy(net(self.numbers))
        chosen = np.empty((len(best), 1), dtype=np.int64)
        walk(np.ascontiguousarray(best[:, None]), np.zeros(1, dtype=np.int64), chosen)
        before = np.concatenate([[0], chosen[:-1, 0]])
        found = self.reward[np.arange(len(best)), before, chosen[:, 0]]
        return float(found.mean() / (found.std() + 1e-12))
