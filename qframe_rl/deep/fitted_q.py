"""Fitted Q iteration where a row tells what every choice would have paid, whatever was held and chosen.

Orders of a price taker do not move the price, so a row of history has the reward of each pair of what was held and what
is wanted. The targets ``y = reward + gamma max Q'(next)`` are reckoned for all pairs at once (Ernst, Geurts & Wehenkel,
2005, with the slow copy Q' of Lillicrap et al., 2016): there is nothing to explore, to replay or to correct for. What
happens later enters through the network's own forecast, never through the path that came about: the best choice on that
path knows the noise to come, and a network trained on its values waits where nobody should.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from qframe_rl.agent import Log, Task
from qframe_rl.deep.training import Loop, Schedule
from qframe_rl.jit import compiled
from qframe_rl.types import Int


class QNet(nn.Module):
    """Values of K choices for each of R things held: tanh layers, then R x K numbers.

    Parameters
    ----------
    n_inputs
        Numbers seen.
    hidden
        Widths of the layers.
    held, choices
        R and K; R is 1 where what is held is among the numbers seen.
    """

    def __init__(self, n_inputs: int, hidden: tuple[int, ...], held: int, choices: int):
        super().__init__()
        self.shape = (held, choices)
        widths = (n_inputs, *hidden)
        layers = [layer for n, m in pairwise(widths) for layer in (nn.Linear(n, m), nn.Tanh())]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], held * choices))

    def forward(self, seen: Tensor) -> Tensor:
        """(..., R, K) values from (..., F) numbers."""
        out: Tensor = self.layers(seen)
        return out.reshape(*seen.shape[:-1], *self.shape)


class Drawn(NamedTuple):
    """N rows, and what becomes of them."""

    seen: Tensor
    """(N, F)."""
    reward: Tensor
    """(N, R, K), of the order of one."""
    after: Tensor
    """(N, F) what is seen next where choices do not matter to it, and then R is K; else (N, K, F)."""
    alive: Tensor | None = None
    """(N, K) 1 where something comes after, else 0; None = always."""


class Rows(Protocol):
    """What there is to learn from."""

    def __len__(self) -> int:
        """How many rows."""

    def draw(self, at: Int) -> Drawn:
        """Those numbered ``at``."""


class QSchedule(NamedTuple):
    """How a network is fitted."""

    gamma: float
    """Discount a step."""
    steps: int
    """Gradient steps in all."""
    passes: int
    """Times that the network is scored on the way."""
    batch_size: int
    """Rows of a step."""
    learning_rate: float
    """Step size of Adam at the beginning; it falls to ``last_rate`` by a constant factor a step."""
    last_rate: float
    target_rate: float
    """Part of the way that the slow copy goes towards the network in a step."""
    max_gradient: float
    """Norm that gradients are cut to."""
    seed: int
    """Root of all randomness."""


class Followed(nn.Module):
    """A network and the slow copy of it that targets are reckoned with."""

    def __init__(self, net: QNet):
        super().__init__()
        self.net = net
        self._names = [name for name, _ in net.named_parameters()]
        for k, parameter in enumerate(net.parameters()):
            self.register_buffer(f"slow_{k}", parameter.detach().clone())

    def slow(self, seen: Tensor) -> Tensor:
        """(..., R, K) values of the slow copy."""
        weights = {name: self.get_buffer(f"slow_{k}") for k, name in enumerate(self._names)}
        out: Tensor = torch.func.functional_call(self.net, weights, (seen,))
        return out

    def follow(self, rate: float) -> None:
        """Take the slow copy a part of the way."""
        for k, parameter in enumerate(self.net.parameters()):
            self.get_buffer(f"slow_{k}").lerp_(parameter.detach(), rate)


def targets(rows: Drawn, slow: Callable[[Tensor], Tensor], gamma: float) -> Tensor:
    """(N, R, K) what each choice pays, and what the best of the next ones is worth then.

    Parameters
    ----------
    rows
        N of them.
    slow
        Values of the next choices.
    gamma
        Discount a step.
    """
    with torch.no_grad():
        ahead = slow(rows.after).amax(-1)
        ahead = ahead if rows.after.dim() == rows.seen.dim() else ahead[..., 0]
        ahead = ahead if rows.alive is None else ahead * rows.alive
        return rows.reward + gamma * ahead[:, None, :]


Targets = Callable[[Int, Drawn, Callable[[Tensor], Tensor], float], Tensor]
"""As `targets`, which it usually is, told the numbers of the rows as well."""


def _usual(at: Int, rows: Drawn, slow: Callable[[Tensor], Tensor], gamma: float) -> Tensor:
    return targets(rows, slow, gamma)


def fit_q(
    net: QNet, rows: Rows, fit: QSchedule, task: Task, log: Log, score: Callable[[], float], aims: Targets = _usual
) -> None:
    """QSchedule a network in place; the weights of the highest score are kept.

    Parameters
    ----------
    net
        What is fitted.
    rows
        To learn from.
    fit
        How.
    task, log
        As in `qframe_rl.deep.training.Loop`.
    score
        Of the network, higher being better. Those of the first half do not count: values have not come to rest there.
    aims
        What the network's values are drawn to.
    """
    whole = Followed(net)
    each = max(1, fit.steps // fit.passes)
    total = each * fit.passes
    rest = (fit.passes + 1) // 2
    schedule = Schedule(fit.passes, fit.passes, fit.learning_rate, fit.max_gradient, fit.seed, rest)
    loop = Loop(whole, schedule, task, log)

    def losses(epoch: int, rng: np.random.Generator) -> Iterator[Tensor]:
        for k in range(each):
            done = ((epoch - 1) * each + k) / total
            loop.adam.param_groups[0]["lr"] = fit.learning_rate * (fit.last_rate / fit.learning_rate) ** done
            at = rng.integers(0, len(rows), fit.batch_size)
            drawn = rows.draw(at)
            yield ((net(drawn.seen) - aims(at, drawn, whole.slow, fit.gamma)) ** 2).mean()
            whole.follow(fit.target_rate)

    loop(losses, score)


@compiled
def walk(best: Int, held: Int, chosen: Int) -> None:
    """Follow the best choices from row to row.

    Parameters
    ----------
    best
        (T, A, R) the choice for each thing held.
    held
        (A,) what is held before the first row.
    chosen
        (T, A) written.
    """
    for a in range(best.shape[1]):
        at = held[a]
        for t in range(best.shape[0]):
            at = best[t, a, at]
            chosen[t, a] = at


def greedy(values: Tensor) -> Int:
    """(..., K) the best of K choices for each of as many things held; where none is better, what is held stays."""
    kept = values.diagonal(dim1=-2, dim2=-1)
    most, choice = values.max(-1)
    stay = torch.arange(values.shape[-1]).expand_as(choice)
    best: Int = torch.where(most > kept, choice, stay).numpy()
    return best
