"""Direct reinforcement: a recurrent trader trained by gradients through its own profit and loss, costs included.

Moody & Saffell, "Learning to trade via direct reinforcement" (2001). There is no value function and no sampling: the
market's moves do not depend on the trader, so the gradient of what it earns is computed exactly, back through its
own past positions. It sees the market's features of each instrument and what it holds; all instruments share the
weights. Saturated, it is a threshold rule with a no-trade band, which is what is optimal under linear costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qframe_rl.agent import Log, MarketSpec, Memoryless, State, Task, View
from qframe_rl.config import Base, UserError
from qframe_rl.interface import MarketInterface, rebalance
from qframe_rl.types import YEAR, History, Orders

if TYPE_CHECKING:
    import torch


class Config(Base):
    """What is maximised, and how."""

    objective: Literal["sharpe", "differential_sharpe", "log_growth"] = "sharpe"
    """sharpe: of a minibatch's returns. differential_sharpe: its online form. log_growth: of equity."""
    eta: float = Field(default=0.01, gt=0.0, lt=1.0)
    """Weight of the newest return in the moments of the differential Sharpe ratio."""
    exposure: float = Field(default=1.0, gt=0.0, le=1e6)
    """Share of equity that positions of 1 in all instruments come to; the leverage caps it."""
    hidden: int = Field(default=0, ge=0, le=4096)
    """Width of a tanh layer before the position; 0 = none, as in the paper, which overfits least."""
    sequence_bars: int = Field(default=128, ge=2, le=1_000_000)
    """Bars that gradients flow back through; more sees longer holding periods."""
    batch_size: int = Field(default=32, ge=1, le=10_000_000)
    """Stretches of bars in a minibatch."""
    learning_rate: float = Field(default=0.02, gt=0.0, le=100.0)
    """Step size of Adam."""
    max_gradient: float = Field(default=1.0, gt=0.0, le=1e6)
    """Norm that gradients are cut to."""
    decay: float = Field(default=1e-4, ge=0.0, le=1e6)
    """Weight of the squared weights in the loss."""
    epochs: int = Field(default=60, ge=1, le=1_000_000)
    """Passes over the training bars at most."""
    patience: int = Field(default=20, ge=1, le=1_000_000)
    """Passes without a better Sharpe ratio on the tail of training after which it stops; the best weights are kept."""
    warm_up: int = Field(default=10, ge=0, le=1_000_000)
    """Passes over which the cost in the loss rises from nothing: met at once, it teaches not to trade at all."""
    band: float = Field(default=0.05, ge=0.0, le=1000.0)
    """No trade while an exposure is within this share of a full position of its target."""


QUICK = {"sequence_bars": 16, "epochs": 3}
"""Parameters of a training that takes a second: for a first try, and for tests."""


class _Piece(NamedTuple):
    """Tensors of one piece of history, row t being decided at its close."""

    inputs: torch.Tensor
    """(T, A, F)."""
    tradable: torch.Tensor
    """(T, A)."""
    gap: torch.Tensor
    """(T, A) `UnitReturns` of the bar after each row."""
    body: torch.Tensor


class DirectRl(Memoryless):
    """One trader for all instruments; what it holds is read from the account."""

    def __init__(self, config: Config, spec: MarketSpec):
        if not isinstance(spec.interface, MarketInterface):
            raise UserError("agent 'direct_rl' needs a market whose interface observes features.")
        self.config, self.spec = config, spec
        self.observer = spec.interface.observer
        self.window = self.observer.lookback
        self.full = min(config.exposure, spec.leverage) / len(spec.instruments)
        self._net: Any = None

    def fit(self, task: Task, log: Log) -> None:
        """Train from scratch, from what was restored, or from where an interrupted training came to."""
        from qframe_rl.deep.training import Loop, Schedule, own_randomness

        config = self.config
        learn, stop = ([(self._piece(h), segments) for h, segments in parts] for parts in (task.train, task.validation))
        n = config.sequence_bars
        starts = [
            (p, s)
            for p, (_, segments) in enumerate(learn)
            for segment in segments
            for s in range(segment.start, segment.stop - n, n)
        ]
        if not starts:
            raise UserError(f"agent 'direct_rl' needs training periods of more than its sequence_bars, {n}.")
        with own_randomness(self.spec.seed):
            self._net = self._net or self._network()
            schedule = Schedule(
                config.epochs, config.patience, config.learning_rate, config.max_gradient, self.spec.seed
            )
            pieces = [piece for piece, _ in learn]
            Loop(self._net, schedule, task, log)(
                lambda epoch, rng: self._losses(pieces, starts, self._cost(epoch), rng), lambda: self._score(stop)
            )

    def decide(self, view: View) -> Orders:
        """Answer the trader's positions."""
        import torch

        if self._net is None:
            raise RuntimeError("train or restore the agent before it decides")
        shown = self.observer.scaler(self.observer.raw(view.bars, view.times, len(view.bars) - 1))[0]
        exposure = view.account.exposure
        held = np.clip(exposure / self.full, -1.0, 1.0).astype(np.float32)
        with torch.inference_mode():
            position = self._net(torch.from_numpy(shown), torch.from_numpy(held)).numpy().astype(np.float64)
        near = np.abs(position * self.full - exposure) <= self.config.band * self.full
        return rebalance(view, np.where(near, np.nan, position * self.full))

    def state(self) -> State:
        """Weights of the trader."""
        from qframe_rl.deep.training import arrays

        return arrays(self._net)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take trained weights over."""
        from qframe_rl.deep.training import restored

        self._net = restored(self._network, state)

    def _network(self) -> Any:
        from qframe_rl.deep.policies import Trader

        return Trader(len(self.observer.features), self.config.hidden, self.spec.shorting)

    def _piece(self, history: History) -> _Piece:
        import torch

        from qframe_rl.deep.book import moves

        gap, body, traded = moves(history)
        shown = self.observer.matrix(history).reshape(*traded.shape, -1)
        after = [np.concatenate([m[1:], np.zeros_like(m[:1])]).astype(np.float32) for m in (gap, body)]
        return _Piece(*(torch.from_numpy(field) for field in (shown, traded, *after)))

    def _cost(self, epoch: int) -> float:
        """Cost of a unit of turnover in the loss of an epoch, numbered from 1."""
        return self.spec.cost_rate * min(1.0, (epoch - 1) / max(1, self.config.warm_up))

    def _returns(self, piece: _Piece, held: torch.Tensor, cost: float) -> torch.Tensor:
        """(B, T) net returns of walks that begin with (B, A) positions; the fields of ``piece`` have a batch axis."""
        import torch

        from qframe_rl.deep.book import net_returns

        exposure = self._net.walk(piece.inputs, piece.tradable, held) * self.full
        before = torch.cat([held[:, None] * self.full, exposure[:, :-1]], 1)
        net: torch.Tensor = net_returns(exposure, before, piece.gap, piece.body, cost)
        return net.sum(-1)

    def _losses(
        self, pieces: list[_Piece], starts: list[tuple[int, int]], cost: float, rng: np.random.Generator
    ) -> Iterator[torch.Tensor]:
        """Loss of each minibatch of stretches, begun at other bars in each epoch and from random positions."""
        import torch

        n, size = self.config.sequence_bars, self.config.batch_size
        shift, low = int(rng.integers(0, n)), -1.0 if self.spec.shorting else 0.0
        order = rng.permutation(len(starts))
        for k in range(0, len(order), size):
            cut = []
            for i in order[k : k + size]:
                p, start = starts[i]
                s = min(start + shift, len(pieces[p].inputs) - n)
                cut.append([field[s : s + n] for field in pieces[p]])
            batch = _Piece(*(torch.stack(field) for field in zip(*cut, strict=True)))
            held = torch.from_numpy(rng.uniform(low, 1.0, (len(cut), batch.gap.shape[2])).astype(np.float32))
            weights = torch.stack([(w**2).sum() for w in self._net.parameters()]).sum()
            yield self.config.decay * weights - self._utility(self._returns(batch, held, cost))

    def _utility(self, returns: torch.Tensor) -> torch.Tensor:
        """What is maximised, of (B, T) returns."""
        import torch

        from qframe_rl.deep.book import differential_sharpe, sharpe

        per_year = YEAR / self.spec.bar_ns
        if self.config.objective == "log_growth":
            growth: torch.Tensor = torch.log1p(returns.clamp(min=-0.99)).mean() * per_year
            return growth
        unit = returns / (returns.detach().std() + 1e-9)
        if self.config.objective == "sharpe":
            return sharpe(unit, per_year)
        known = unit.detach()
        first, second = known.mean().expand(len(unit)), (known**2).mean().expand(len(unit))
        return differential_sharpe(unit, first, second + 1e-6, self.config.eta).mean()

    def _score(self, parts: list[tuple[_Piece, Any]]) -> float:
        """Annual Sharpe ratio after costs over all segments, each begun with nothing held."""
        import torch

        from qframe_rl.deep.book import sharpe

        found = []
        for piece, segments in parts:
            for segment in segments:
                rows = slice(max(0, segment.start - 1), segment.stop - 1)
                batch = _Piece(*(field[rows][None] for field in piece))
                found.append(self._returns(batch, torch.zeros_like(batch.gap[:, 0]), self.spec.cost_rate)[0])
        returns = torch.cat(found)
        return float(sharpe(returns / (returns.std() + 1e-9), YEAR / self.spec.bar_ns))


def make(config: Config, spec: MarketSpec) -> DirectRl:
    """Make the agent."""
    return DirectRl(config, spec)
