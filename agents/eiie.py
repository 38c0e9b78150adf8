"""Portfolio policy gradient: identical evaluators score the coins, and growth after costs is climbed directly.

Jiang, Xu & Liang, "A deep reinforcement learning framework for the financial portfolio management problem" (2017).
Each coin's closes, highs and lows of the last bars pass the same convolutions; a softmax over the scores and a cash
bias gives the weights. Minibatches are stretches of successive bars, drawn so that recent ones come more often; the
weights held before each bar come from a memory of the policy's own earlier answers.

The memory is filled anew at the beginning of each pass by two sweeps of the policy over the training bars, so that a
training can be interrupted. Weights are long-only; what the paper calls the end of a period is a bar's close, and the
gap to the next open, where orders fill, is left out of the training (not of any score).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qframe_rl.agent import Log, MarketSpec, Memoryless, State, Task, View
from qframe_rl.config import Base, UserError
from qframe_rl.interface import rebalance
from qframe_rl.types import CLOSE, HIGH, LOW, YEAR, Bool, Float, History, Orders, Segments

if TYPE_CHECKING:
    import torch


class Config(Base):
    """Network and training; the paper's numbers, but for a step size and a length that fit one core."""

    n_bars: int = Field(default=50, ge=4, le=1_000_000)
    """Bars of each coin that the network sees."""
    first: int = Field(default=2, ge=1, le=4096)
    """Channels after the first convolution, over 3 bars."""
    second: int = Field(default=20, ge=1, le=4096)
    """Channels after the second, over all bars that are left."""
    batch_bars: int = Field(default=50, ge=2, le=1_000_000)
    """Successive bars of a minibatch."""
    batches: int = Field(default=60, ge=1, le=10_000_000)
    """Minibatches of a pass."""
    recency: float = Field(default=5e-5, ge=0.0, lt=1.0)
    """A stretch that begins k bars before the last one is drawn with weight (1 - recency)^k."""
    learning_rate: float = Field(default=1e-3, gt=0.0, le=100.0)
    """Step size of Adam; the paper takes 3e-5 and two million steps."""
    max_gradient: float = Field(default=1.0, gt=0.0, le=1e6)
    """Norm that gradients are cut to."""
    decay: float = Field(default=1e-6, ge=0.0, le=1e6)
    """Weight of the squared weights in the loss."""
    epochs: int = Field(default=60, ge=1, le=1_000_000)
    """Passes at most."""
    patience: int = Field(default=15, ge=1, le=1_000_000)
    """Passes without better growth over the training part's tail after which it stops; the best weights are kept."""
    band: float = Field(default=0.01, ge=0.0, le=1000.0)
    """No trade while a weight is within this of its target."""


QUICK = {"n_bars": 12, "batch_bars": 16, "batches": 4, "epochs": 3}
"""Parameters of a training that takes a second: for a first try, and for tests."""


class _Piece(NamedTuple):
    """Tensors of one piece of history, row t being decided at its close."""

    prices: torch.Tensor
    """(T, 3, A, n)."""
    tradable: torch.Tensor
    """(T, A)."""
    rise: torch.Tensor
    """(T, 1 + A) close over the last close of each row, cash first; 1 where a coin does not trade."""


class Eiie(Memoryless):
    """One evaluator for all coins; what it holds is read from the account."""

    def __init__(self, config: Config, spec: MarketSpec):
        self.config, self.spec = config, spec
        self.window = config.n_bars
        self._net: Any = None

    def fit(self, task: Task, log: Log) -> None:
        """Train from scratch, from what was restored, or from where an interrupted training came to."""
        from qframe_rl.deep.training import Loop, Schedule, own_randomness

        config = self.config
        starts = [
            (p, s)
            for p, (_, segments) in enumerate(task.train)
            for segment in segments
            for s in range(max(segment.start, config.n_bars), segment.stop - config.batch_bars)
        ]
        if not starts or min(len(history) for history, _ in task.validation) < config.n_bars:
            need = config.n_bars + config.batch_bars
            raise UserError(f"agent 'eiie' needs periods of more than its n_bars and batch_bars, {need}, together.")
        learn, stop = ([(self._piece(h), segments) for h, segments in parts] for parts in (task.train, task.validation))
        with own_randomness(self.spec.seed):
            self._net = self._net or self._network()
            schedule = Schedule(
                config.epochs, config.patience, config.learning_rate, config.max_gradient, self.spec.seed
            )
            pieces = [piece for piece, _ in learn]
            Loop(self._net, schedule, task, log)(
                lambda _, rng: self._losses(pieces, starts, rng), lambda: self._score(stop)
            )

    def decide(self, view: View) -> Orders:
        """Answer the network's weights."""
        import torch

        if self._net is None:
            raise RuntimeError("train or restore the agent before it decides")
        prices, tradable = _shown(view.bars[-self.config.n_bars :], self.config.n_bars)
        held = np.clip(view.account.exposure, 0.0, 1.0).astype(np.float32)[None]
        with torch.inference_mode():
            weights = self._net(*(torch.from_numpy(x) for x in (prices, held, tradable)))[0, 1:]
        return rebalance(view, weights.numpy().astype(np.float64), self.config.band)

    def state(self) -> State:
        """Weights of the network."""
        from qframe_rl.deep.training import arrays

        return arrays(self._net)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take trained weights over."""
        from qframe_rl.deep.training import restored

        self._net = restored(self._network, state)

    def _network(self) -> Any:
        from qframe_rl.deep.policies import Allocator

        return Allocator(self.config.n_bars, self.config.first, self.config.second)

    def _piece(self, history: History) -> _Piece:
        import torch

        prices, tradable = _shown(history.values, self.config.n_bars)
        marks = history.marks
        rise = np.ones((len(marks), 1 + marks.shape[1]), dtype=np.float32)
        rise[1:, 1:] = np.nan_to_num(marks[1:] / marks[:-1], nan=1.0)
        early = np.zeros((self.config.n_bars - 1, marks.shape[1]), dtype=np.bool_)
        blank = np.ones((len(early), *prices.shape[1:]), dtype=np.float32)
        both = (np.concatenate([blank, prices]), np.concatenate([early, tradable]), rise)
        return _Piece(*(torch.from_numpy(x) for x in both))

    def _drifted(self, weights: torch.Tensor, rise: torch.Tensor) -> torch.Tensor:
        """(..., 1 + A) weights after prices rose."""
        value = weights * rise
        return value / value.sum(-1, keepdim=True)

    def _memory(self, piece: _Piece) -> torch.Tensor:
        """(T, 1 + A) weights that the policy held after each row, found in two sweeps from equal weights."""
        import torch

        held = torch.full_like(piece.rise, 1.0 / piece.rise.shape[1])
        with torch.inference_mode():
            for _ in range(2):
                before = self._drifted(torch.cat([held[:1], held[:-1]]), piece.rise)
                held = self._net(piece.prices, before[:, 1:], piece.tradable)
        return held.clone()

    def _losses(
        self, pieces: list[_Piece], starts: list[tuple[int, int]], rng: np.random.Generator
    ) -> Iterator[torch.Tensor]:
        """Loss of each minibatch of successive bars."""
        import torch

        config = self.config
        memory = [self._memory(piece) for piece in pieces]
        weight = (1.0 - config.recency) ** np.arange(len(starts))[::-1]
        for k in rng.choice(len(starts), config.batches, p=weight / weight.sum()):
            p, s = starts[k]
            piece, rows = pieces[p], slice(s, s + config.batch_bars)
            before = self._drifted(memory[p][s - 1 : rows.stop - 1], piece.rise[rows])
            held = self._net(piece.prices[rows], before[:, 1:], piece.tradable[rows])
            memory[p][rows] = held.detach()
            size = torch.stack([(w**2).sum() for w in self._net.parameters()]).sum()
            yield config.decay * size - self._growth(before, held, piece.rise[s + 1 : rows.stop + 1]).mean()

    def _growth(self, before: torch.Tensor, held: torch.Tensor, rise: torch.Tensor) -> torch.Tensor:
        """(T,) log growth of each bar, the change of weights paid first."""
        import torch

        from qframe_rl.deep.book import remainder

        kept = remainder(before, held, self.spec.cost_rate, steps=3)
        growth: torch.Tensor = torch.log(kept * (held * rise).sum(-1))
        return growth

    def _score(self, parts: list[tuple[_Piece, Segments]]) -> float:
        """Log growth a year after costs, each segment begun with cash."""
        import torch

        found = []
        for piece, segments in parts:
            for segment in segments:
                held = torch.zeros((1, piece.rise.shape[1]))
                held[0, 0] = 1.0
                for t in range(max(0, segment.start - 1), segment.stop - 1):
                    before = self._drifted(held, piece.rise[t : t + 1])
                    held = self._net(piece.prices[t : t + 1], before[:, 1:], piece.tradable[t : t + 1])
                    found.append(self._growth(before, held, piece.rise[t + 1 : t + 2]))
        return float(torch.cat(found).mean()) * YEAR / self.spec.bar_ns


def _shown(bars: Float, n: int) -> tuple[NDArray[np.float32], Bool]:
    """What the network sees at the close of bars n - 1 to the end.

    Returns
    -------
    tuple[NDArray[np.float32], Bool]
        (T - n + 1, 3, A, n) closes, highs and lows over the last close, 1 where a bar is missing; and (T - n + 1, A)
        whether a coin trades in the last bar and in at least half of the others.
    """
    known = ~np.isnan(bars[:, :, CLOSE])
    windows = np.lib.stride_tricks.sliding_window_view(bars[:, :, [CLOSE, HIGH, LOW]], n, axis=0)
    ratio = np.moveaxis(windows / windows[:, :, :1, -1:], 2, 1)
    count = np.lib.stride_tricks.sliding_window_view(known, n, axis=0).sum(axis=2)
    shown = np.where(np.isnan(ratio), 1.0, ratio).astype(np.float32)
    return np.ascontiguousarray(shown), known[n - 1 :] & (2 * count >= n)


def make(config: Config, spec: MarketSpec) -> Eiie:
    """Make the agent."""
    return Eiie(config, spec)
