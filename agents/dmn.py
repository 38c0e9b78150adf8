"""Deep momentum network: one network sizes every instrument by its own trend, trained on the Sharpe ratio after costs.

Lim, Zohren & Roberts, "Enhancing time series momentum strategies using deep neural networks" (2019); inputs and
schedule as in Wood, Roberts & Zohren, "Slow momentum with fast reversion" (2021). The network sees normalised returns
and MACDs of one instrument and answers a position in (-1, 1), or (0, 1) where shorting is not allowed; the position
is scaled to a volatility target, and the portfolio is the mean over the instruments. All instruments share the weights.

Inputs are computed from the bars of the window alone, exponential means beginning at its first one. What an LSTM
remembers begins ``sequence_bars`` before the session and is carried from bar to bar.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from qframe_rl.agent import Log, MarketSpec, State, Task, View
from qframe_rl.config import Base
from qframe_rl.interface import rebalance
from qframe_rl.types import YEAR, Bool, Float, History, Orders, Segments

if TYPE_CHECKING:
    import torch

    from qframe_rl.deep.networks import Memory

_ENOUGH = 100_000
"""Bars of all instruments together below which the training is told to be short: see `Config`."""


class Config(Base):
    """Inputs, network and training.

    It needs much data: on planted trends of 0.1 daily deviations, 24 instruments of 2,200 bars were too few
    (ALGORITHMS, 4.3). Below 100,000 bars in all, the progress says so.
    """

    horizons: tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...] = Field(
        default=(1, 21, 63, 126, 252), min_length=1, max_length=100
    )
    """Bars of each normalised return; the default is a day to a year of daily bars."""
    macd: tuple[str, ...] = Field(default=("8:24", "16:48", "32:96"), max_length=100)
    """Short and long time scale of each MACD, bars."""
    price_bars: int = Field(default=63, ge=2, le=1_000_000)
    """Bars of the standard deviation of the price, which a MACD is divided by."""
    macd_bars: int = Field(default=252, ge=20, le=1_000_000)
    """Bars of the standard deviation of a MACD, which it is divided by then."""
    volatility_bars: int = Field(default=60, ge=2, le=1_000_000)
    """Span of the exponentially weighted volatility; a younger instrument is not traded."""
    winsor_bars: int = Field(default=252, ge=1, le=1_000_000)
    """Half-life of the exponential mean and deviation by which closes are winsorised before the inputs are computed."""
    winsor_deviations: float = Field(default=5.0, gt=0.0, le=1e6)
    """Closes are moved to within this many deviations of their mean; profit and loss are never winsorised."""
    changepoint_bars: tuple[Annotated[int, Field(ge=10, le=100_000)], ...] = Field(default=(), max_length=100)
    """Look-backs, each of which adds two inputs: how likely the trend broke within it, and where (Wood et al., 2021,
    take one of 10, 21, 63, 126 or 252). Empty = none."""
    volatility_target: float = Field(default=0.15, gt=0.0, le=1000.0)
    """Standard deviation a year that a position of 1 in each instrument aims at; exposures stay within the leverage."""
    network: Literal["lstm", "mlp", "transformer"] = "lstm"
    """lstm remembers; mlp sees the last bar's inputs alone; transformer (one decoder block, 4 heads) attends to the
    inputs of the last sequence_bars bars."""
    hidden: int = Field(default=20, ge=1, le=4096)
    """Width of the network; a multiple of 4 for the transformer."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of activations dropped in training; more resists overfitting."""
    sequence_bars: int = Field(default=63, ge=2, le=1_000_000)
    """Length of a training sequence, and of the warm-up before the first decision."""
    loss: Literal["sharpe", "mse"] = "sharpe"
    """sharpe: of all positions in a minibatch, after costs. mse: forecast of the next bar's normalised return, of which
    the sign is held; for comparison."""
    cost_multiplier: float = Field(default=1.0, ge=0.0, le=1e6)
    """Cost of turnover in the loss, in units of the market's taker fee plus half-spread; more trades less."""
    batch_size: int = Field(default=128, ge=1, le=10_000_000)
    """Sequences of a minibatch."""
    learning_rate: float = Field(default=0.01, gt=0.0, le=100.0)
    """Step size of Adam."""
    max_gradient: float = Field(default=1.0, gt=0.0, le=1e6)
    """Norm that gradients are cut to."""
    epochs: int = Field(default=100, ge=1, le=1_000_000)
    """Passes over the training bars at most."""
    patience: int = Field(default=25, ge=1, le=1_000_000)
    """Passes without a better Sharpe ratio on the tail of training after which it stops; the best weights are kept."""
    band: float = Field(default=0.1, ge=0.0, le=1000.0)
    """No trade while an exposure is within this share of a full position of its target."""

    @field_validator("macd")
    @classmethod
    def _pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            short, colon, long = text.partition(":")
            if not (colon and _whole(short) and _whole(long) and 1 <= int(short) < int(long)):
                raise ValueError("each is SHORT:LONG, whole numbers of bars, such as 8:24")
        return value


def _whole(text: str) -> bool:
    """Whether a text is a number of bars."""
    return text.isascii() and text.isdigit() and len(text) < 7


QUICK = {
    "horizons": (1, 5, 20), "macd": ("4:12",), "price_bars": 20, "macd_bars": 40, "volatility_bars": 20,
    "winsor_bars": 60, "sequence_bars": 16, "hidden": 8, "epochs": 3,
}  # fmt: skip
"""Parameters of a training that takes a second: for a first try, and for tests."""


class _Piece(NamedTuple):
    """What one piece of history shows and brings; axes (A, T), row t being decided at its close."""

    inputs: torch.Tensor
    """(A, T, F)."""
    size: torch.Tensor
    """Exposure of a position of 1, the mean over the instruments not taken; 0 where nothing can be held."""
    gap: torch.Tensor
    """`UnitReturns` of the bar after each row."""
    body: torch.Tensor
    sigma: torch.Tensor
    """Standard deviation of a bar's return, 1 where it is not known."""
    n: torch.Tensor
    """(T,) instruments that can be held, at least 1."""


class Dmn:
    """One network for all instruments, and what it remembers of each."""

    def __init__(self, config: Config, spec: MarketSpec):
        from qframe_rl.deep.changepoint import Changepoints
        from qframe_rl.deep.momentum import MomentumInputs

        self.config, self.spec = config, spec
        pairs = [text.split(":") for text in config.macd]
        momentum = MomentumInputs(
            config.horizons, tuple((int(s), int(n)) for s, n in pairs), config.price_bars, config.macd_bars,
            config.volatility_bars, config.winsor_bars, config.winsor_deviations,
        )  # fmt: skip
        self.inputs = Changepoints(momentum, config.changepoint_bars) if config.changepoint_bars else momentum
        self.window = self.inputs.lookback + config.sequence_bars - 1
        self.per_year = YEAR / spec.bar_ns
        self._net: Any = None
        self._memory: Memory = ()
        self._seen = -1

    def fit(self, task: Task, log: Log) -> None:
        """Train from scratch, from what was restored, or from where an interrupted training came to."""
        from qframe_rl.deep.training import Loop, Schedule, own_randomness

        config = self.config
        learn = [(self._piece(history), segments) for history, segments in task.train]
        stop = [(self._piece(history), segments) for history, segments in task.validation]
        starts = _starts([(_held(piece), segments) for piece, segments in learn], config.sequence_bars)
        n_bars = sum(int(_held(piece).sum()) for piece, _ in learn)
        note = "" if n_bars >= _ENOUGH else f"; only {n_bars:,} bars to learn from: expect little"
        with own_randomness(self.spec.seed):
            self._net = (self._net or self._network()).eval()
            schedule = Schedule(
                config.epochs, config.patience, config.learning_rate, config.max_gradient, self.spec.seed
            )
            if not starts:
                log.progress(config.epochs, config.epochs, "no tradable bars to learn from: left untrained")
                return
            loop = Loop(self._net, schedule, task, log)
            loop(lambda _, rng: self._losses([p for p, _ in learn], starts, rng), lambda: self._score(stop), note)

    def decide(self, view: View) -> Orders:
        """Answer the network's positions, scaled to the volatility target."""
        import torch

        if self._net is None:
            raise RuntimeError("train or restore the agent before it decides")
        begins = view.first or int(view.times[-2]) != self._seen
        bars = view.bars[-self.window :] if begins else view.bars[-self.inputs.lookback :]
        inputs, sigma, valid = self.inputs.rows(bars, self.inputs.lookback - 1)
        shown = torch.from_numpy(np.where(valid[:, :, None], inputs, 0.0).astype(np.float32).swapaxes(0, 1))
        with torch.inference_mode():
            score, self._memory = self._net.begin(shown) if begins else self._net.step(shown[:, 0], self._memory)
            position = self._positions(score).numpy().astype(np.float64)
        self._seen = view.time
        full = self._size(sigma[-1], valid[-1]) / max(1, int(valid[-1].sum()))
        target = position * full
        near = np.abs(target - view.account.exposure) <= self.config.band * full
        return rebalance(view, np.where(near & (target != 0.0), np.nan, target))

    def state(self) -> State:
        """Weights of the network."""
        from qframe_rl.deep.training import arrays

        return arrays(self._net)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take trained weights over."""
        from qframe_rl.deep.training import restored

        self._net = restored(self._network, state)

    def carried(self) -> State:
        """What the network remembers, and of which bar."""
        parts = {str(k): part.numpy().copy() for k, part in enumerate(self._memory)}
        return {**parts, "seen": np.array([self._seen])}

    def carry(self, memory: State) -> None:
        """Take the network's memory over."""
        import torch

        self._seen = int(memory["seen"][0])
        self._memory = tuple(torch.from_numpy(np.array(memory[str(k)])) for k in range(len(memory) - 1))

    def _network(self) -> Any:
        from qframe_rl.deep.networks import network

        config = self.config
        return network(config.network, self.inputs.n_inputs, config.hidden, config.dropout, config.sequence_bars)

    def _size(self, sigma: Float, valid: Bool) -> Float:
        """Exposure of a position of 1 at each volatility, before the mean over the instruments is taken."""
        yearly = sigma * math.sqrt(self.per_year)
        most = np.full_like(sigma, self.spec.leverage)
        size = np.divide(self.config.volatility_target, yearly, out=most, where=valid)
        return np.where(valid, np.minimum(size, self.spec.leverage), 0.0)

    def _piece(self, history: History) -> _Piece:
        import torch

        from qframe_rl.deep.book import moves

        inputs, sigma, valid = self.inputs.rows(history.values)
        gap, body, _ = moves(history)

        def tensor(rows: NDArray[Any]) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(rows.swapaxes(0, 1).astype(np.float32)))

        after = [np.concatenate([move[1:], np.zeros_like(move[:1])]) for move in (gap, body)]
        return _Piece(
            tensor(np.where(valid[:, :, None], inputs, 0.0)), tensor(self._size(sigma, valid)), tensor(after[0]),
            tensor(after[1]), tensor(np.where(valid, sigma, 1.0)),
            torch.from_numpy(np.maximum(valid.sum(axis=1), 1).astype(np.float32)),
        )  # fmt: skip

    def _positions(self, score: torch.Tensor) -> torch.Tensor:
        if self.config.loss == "mse":
            return score.sign() if self.spec.shorting else (score > 0.0).to(score.dtype)
        return score.tanh() if self.spec.shorting else score.sigmoid()

    def _losses(
        self, pieces: list[_Piece], starts: list[tuple[int, int, int]], rng: np.random.Generator
    ) -> Iterator[torch.Tensor]:
        """Loss of each minibatch of sequences, which begin up to half a sequence later in one epoch than in another."""
        import torch

        n, size = self.config.sequence_bars, self.config.batch_size
        room = max(pieces[p].size.shape[1] - n - s for p, _, s in starts)
        shift = min(int(rng.integers(0, n // 2 + 1)), room)  # later there is no sequence to learn from
        order = rng.permutation(len(starts))
        for k in range(0, len(order), size):
            chosen = [starts[i] for i in order[k : k + size]]
            cut = [
                [field[a, s + shift : s + shift + n] for field in pieces[p][:5]]
                for p, a, s in chosen
                if s + shift + n <= pieces[p].size.shape[1]
            ]
            if cut:
                yield self._loss(*(torch.stack(field) for field in zip(*cut, strict=True)))

    def _loss(
        self, inputs: torch.Tensor, size: torch.Tensor, gap: torch.Tensor, body: torch.Tensor, sigma: torch.Tensor
    ) -> torch.Tensor:
        """Loss of (B, T) sequences; the first step's position is had without cost."""
        import torch

        from qframe_rl.deep.book import net_returns, sharpe

        score, held = self._net(inputs), size > 0.0
        if self.config.loss == "mse":
            error: torch.Tensor = (score - (gap + body) / sigma)[held]
            return (error**2).mean()
        exposure = self._positions(score) * size
        before = torch.cat([exposure[:, :1], exposure[:, :-1]], 1)
        cost = self.spec.cost_rate * self.config.cost_multiplier
        return -sharpe(net_returns(exposure, before, gap, body, cost)[held], self.per_year)

    def _score(self, parts: list[tuple[_Piece, Segments]]) -> float:
        """Annual Sharpe ratio of the portfolio after costs over all segments, pooled."""
        import torch

        from qframe_rl.deep.book import net_returns, sharpe

        found = []
        for piece, segments in parts:
            for segment in segments:
                begin, first = max(0, segment.start - self.config.sequence_bars), max(0, segment.start - 1)
                rows = slice(begin, segment.stop - 1)
                exposure = self._positions(self._net(piece.inputs[:, rows])) * piece.size[:, rows] / piece.n[rows]
                before = torch.cat([torch.zeros_like(exposure[:, :1]), exposure[:, :-1]], 1)
                net = net_returns(exposure, before, piece.gap[:, rows], piece.body[:, rows], self.spec.cost_rate)
                found.append(net.sum(0)[first - begin :])
        return float(sharpe(torch.cat(found) / self.config.volatility_target, self.per_year))


def _held(piece: _Piece) -> NDArray[np.bool_]:
    held: NDArray[np.bool_] = (piece.size > 0.0).numpy()
    return held


def _starts(parts: list[tuple[NDArray[np.bool_], Segments]], n: int) -> list[tuple[int, int, int]]:
    """Piece, instrument and first row of sequences that do not overlap, at least half of each being tradable."""
    return [
        (p, a, s)
        for p, (held, segments) in enumerate(parts)
        for segment in segments
        for s in range(segment.start, segment.stop - n, n)
        for a in range(held.shape[0])
        if held[a, s : s + n].mean() >= 0.5
    ]


def make(config: Config, spec: MarketSpec) -> Dmn:
    """Make the agent."""
    return Dmn(config, spec)
