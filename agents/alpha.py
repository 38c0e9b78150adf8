"""RL Alpha: a pool of formulas that a search finds on the training bars, held as one book of ranks.

Searches write formulas token by token and are paid by what a formula adds to a pool after costs, as in Yu et al.,
"Generating synergistic formulaic alpha collections via reinforcement learning" (2023). A pool ranks the coins; of fewer
coins than can be ranked, each against its own past. What is held is the mean of the last decisions, each as long as the
labels look ahead. Formulas never see the tail of the training bars: it chooses among pools, and nothing is traded where
none of them earned there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from qframe_rl.agent import Log, MarketSpec, Memoryless, Resumable, State, Task, View
from qframe_rl.alpha.cross import universe
from qframe_rl.alpha.ground import Ground, funding_rates, usual_ahead
from qframe_rl.alpha.net import held_book, moves, positions
from qframe_rl.alpha.operators import CROSS_ROWS, LEAST_MEMBERS, TRAILING
from qframe_rl.alpha.panel import Evaluator
from qframe_rl.alpha.parser import number
from qframe_rl.alpha.said import said, said_together
from qframe_rl.alpha.score import dates_of
from qframe_rl.alpha.search import SearchName
from qframe_rl.alpha.tree import Formula
from qframe_rl.config import Base, UserError
from qframe_rl.interface import rebalance
from qframe_rl.types import YEAR, Bool, Float, Int, Orders

if TYPE_CHECKING:
    from qframe_rl.alpha.mine import MiningPoint

_CELLS = 2**21
"""Cells of a piece in which a long history is walked."""


class Config(Base):
    """How formulas are searched for, and how their pool is held."""

    search: SearchName = "genetic"
    """``random`` draws formulas, the baseline; ``genetic`` crosses and changes the best; ``policy`` is a recurrent
    network trained by PPO on what its formulas added; ``risk`` the same, on the best tenth of them alone."""
    n_formulas: int = Field(default=1000, ge=1, le=10_000_000)
    """Distinct formulas that each pool is made from. More fit the training bars better, by luck above all: see the
    tables of docs/alphas.md."""
    n_pools: int = Field(default=3, ge=1, le=1000)
    """Searches, each from random numbers of its own; the pool that earned most on the tail of training is kept."""
    horizon_bars: int = Field(default=0, ge=0, le=1_000_000)
    """Bars that a label looks ahead and a decision is held. 0 = a day of bars that are shorter than one, else five."""
    judged_by: Literal["net", "ic"] = "net"
    """What a formula is paid for: ``net`` the pool's Sharpe ratio after costs, ``ic`` its correlations."""
    weighing: Literal["ridge", "nonnegative", "l1"] = "ridge"
    """How formulas are weighed: least squares with a ridge, without negative weights, or at a price on sizes."""
    n_largest: int = Field(default=0, ge=0, le=1_000_000)
    """Coins that are ranked: those with the largest median turnover of 30 bars. 0 = all."""
    leader: bool = False
    """Whether formulas may read the market's leader, the coin of the largest turnover, beside each coin: what a coin's
    returns are to its (``beta(ret1,leader(ret1),20)``), and how they follow (``corr(ret1,ref(leader(ret1),1),20)``)."""
    lookback_bars: int = Field(default=120, ge=3, le=100_000)
    """Most bars that a formula may look back."""
    formulas: tuple[str, ...] = ()
    """A pool of your own, each as in ``alpha:TEXT``: nothing is searched for, only the weights are fitted."""
    gross: float = Field(default=1.0, gt=0.0, le=1e6)
    """Sum of absolute exposures at most; the leverage caps it. Without shorting all of it is in the better half."""
    band: float = Field(default=0.0, ge=0.0, le=1000.0)
    """No trade while an exposure is within this of its target."""

    @field_validator("formulas")
    @classmethod
    def _formulas(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        texts = tuple(text.removeprefix("alpha:") for text in value)
        if len({"".join(text.split()) for text in texts}) < len(texts):
            raise ValueError("a formula is named twice")
        return texts


QUICK = {"n_formulas": 40, "n_pools": 1, "lookback_bars": 20, "horizon_bars": 2, "n_largest": 0}
"""Parameters of a training that takes a second: for a first try, and for tests."""


class Pool(NamedTuple):
    """Formulas that decide together."""

    trees: tuple[Formula, ...]
    weights: Float
    """(K,)."""


class Alpha(Memoryless):
    """A book of what the formulas of a pool say together."""

    def __init__(self, config: Config, spec: MarketSpec):
        n = len(spec.instruments)
        if 0 < config.n_largest < LEAST_MEMBERS:
            raise UserError(f"agent.alpha.n_largest: ranks need {LEAST_MEMBERS} coins or more; set it to 0 for all.")
        self.config, self.spec = config, spec
        self.horizon = config.horizon_bars or usual_ahead(spec.bar_ns)
        self.most_rows = config.lookback_bars + (TRAILING - 1 if n < LEAST_MEMBERS else 0)
        self.window = max(self.most_rows, CROSS_ROWS) + self.horizon - 1
        self.band = config.band
        self.gross = min(config.gross, spec.leverage)
        self.own = tuple(self._tree(text) for text in config.formulas)
        self.pool: Pool | None = None

    def fit(self, task: Task, log: Log) -> None:
        """Search for pools, or go on where an interrupted training came to; keep the one that earns on the tail."""
        c = self.config
        pieces = [history for history, _ in task.train]
        ground = Ground.joined(pieces, self.horizon, self.spec.cost_rate, c.n_largest)
        ground = replace(ground, leads=c.leader)
        if ground.crosses and not dates_of(ground.seen).any():
            log.progress(1, 1, f"no training bar has {LEAST_MEMBERS} coins to rank: nothing is traded")
            self.pool = Pool((), np.zeros(0))
            return
        if self.own:
            from qframe_rl.alpha.mine import weighed

            self.pool = Pool(self.own, weighed(ground, self.own, c.weighing))
            return
        found = self._pools(task.recall()) if isinstance(task, Resumable) else []
        for k in range(len(found), c.n_pools):
            found.append(self._searched(ground, k, log))
            if isinstance(task, Resumable):
                task.remember(_state(found))
        self.pool = self._chosen(found, task, log)

    def decide(self, view: View) -> Orders:
        """Hold the mean of the last decisions."""
        return rebalance(view, self.targets(view.bars, view.times, len(view.bars) - 1)[0], self.band)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """(T - first, A) exposures, as `qframe_rl.agent.Planner` has them."""
        out = np.zeros((len(bars) - first, bars.shape[1]))
        if not self._known().trees:
            return out
        step = max(self.window, _CELLS // bars.shape[1])
        for begin in range(first, len(bars), step):
            rows = slice(begin - self.window + 1, min(begin + step, len(bars)))
            says = self._says(bars[rows], times[rows])
            held = positions(says, self.horizon, shorting=self.spec.shorting)[self.window - 1 :]
            out[begin - first : begin - first + len(held)] = self.gross * held
        return out

    def state(self) -> State:
        """Texts and weights of the pool."""
        return _state([self._known()])

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take a pool over."""
        (self.pool,) = self._pools(state)

    def _known(self) -> Pool:
        if self.pool is None:
            raise RuntimeError("train or restore the agent before it decides")
        return self.pool

    def _tree(self, text: str) -> Formula:
        tree, n = number(text, self.spec.columns), len(self.spec.instruments)
        if n < tree.least:
            raise UserError(f"agent.alpha: {text} compares coins; that takes {tree.least} or more, not {n}.")
        if tree.lookback > self.config.lookback_bars:
            raise UserError(
                f"agent.alpha: {text} looks back {tree.lookback} bars; agent.alpha.lookback_bars allows "
                f"{self.config.lookback_bars}."
            )
        return tree

    def _searched(self, ground: Ground, k: int, log: Log) -> Pool:
        """The pool of search ``k``."""
        from qframe_rl.alpha.mine import mine, mined_formulas

        c, before = self.config, k * self.config.n_formulas

        def told(point: MiningPoint) -> None:
            done = before + min(point.distinct, c.n_formulas)
            log.progress(done, c.n_pools * c.n_formulas, f"pool {k + 1}, J {point.value:+.3f}")
            log.scalar("pool/value", point.value, before + point.distinct)

        made = mine(
            ground, c.search, c.n_formulas, self.spec.seed + k, c.judged_by, c.weighing, told, most_rows=self.most_rows
        )
        trees = mined_formulas(made.members, self.spec.columns)
        return Pool(tuple(trees), np.array([m.weight for m in made.members]))

    def _chosen(self, found: Sequence[Pool], task: Task, log: Log) -> Pool:
        """The pool that earned most on the tail of training; an empty one where none earned anything there."""
        best, best_score = Pool((), np.zeros(0)), 0.0
        for k, pool in enumerate(found):
            self.pool = pool
            score = self._earned(task) if pool.trees else 0.0
            log.scalar("pool/validation_sharpe", score, k)
            if score > best_score:
                best, best_score = pool, score
        return best

    def _earned(self, task: Task) -> float:
        """Sharpe ratio a year of the pool on the tail of training, after costs.

        Without shorts all that can be held rises and falls with the market; the long and short book tells the ranking
        from it.
        """
        if self.spec.shorting:
            return task.validate(self)
        returns = []
        for history, segments in task.validation:
            says = self._says(history.values, history.time)
            moved = moves(history.values, funding_rates(history))
            book = held_book(says, moved, self.horizon, self.spec.cost_rate)
            returns += [book.returns[segment.start : segment.stop] for segment in segments]
        earned = np.concatenate(returns)
        spread = float(earned.std())
        return float(earned.mean()) / spread * math.sqrt(YEAR / self.spec.bar_ns) if spread > 0.0 else 0.0

    def _pools(self, state: Mapping[str, NDArray[Any]]) -> list[Pool]:
        """Pools of a state; none of an empty one."""
        if not state:
            return []
        text, weights, sizes = state["formulas"], state["weights"], state["sizes"]
        if text.dtype != np.uint8 or weights.dtype != np.float64 or sizes.dtype != np.int64:
            raise ValueError("formulas, weights and sizes are of other kinds")
        trees = [self._tree(line) for line in text.tobytes().decode().splitlines()]
        if (sizes < 0).any() or not sizes.sum() == len(trees) == len(weights) or weights.ndim != 1:
            raise ValueError("there are not as many weights as formulas")
        ends = np.cumsum(sizes).tolist()
        parts = [slice(end - size, end) for end, size in zip(ends, sizes.tolist(), strict=True)]
        return [Pool(tuple(trees[part]), weights[part]) for part in parts]

    def _says(self, bars: Float, times: Int) -> Float:
        """(T, A) what the pool says; rows before the window is full are not to be used."""
        pool = self._known()
        members: Bool = universe(bars, self.config.n_largest)
        evaluator = Evaluator(bars, times, self.spec.bar_ns, self.spec.columns, members)
        stands = [said(values, members) for values in evaluator.values(pool.trees)]
        return said_together(stands, pool.weights, members)


def _state(pools: Sequence[Pool]) -> State:
    """Pools as arrays: formulas as text, a line each, which no code is made of; weights; how many each pool has."""
    text = "\n".join(tree.text for pool in pools for tree in pool.trees)
    return {
        "formulas": np.frombuffer(text.encode(), dtype=np.uint8).copy(),
        "weights": np.concatenate([pool.weights for pool in pools]),
        "sizes": np.array([len(pool.trees) for pool in pools]),
    }


def make(config: Config, spec: MarketSpec) -> Alpha:
    """Make the agent."""
    return Alpha(config, spec)
