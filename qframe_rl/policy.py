"""Actor-critic networks in two parts: a market encoder, and a head that knows the account.

The market does not care what anybody holds: what there is to say about a bar is the same for every account that stands
on it. So the encoder sees the market alone and each distinct bar need be encoded only once, while the head, which adds
the account, is small. For a plain multilayer perceptron nothing is lost by that: the first layer is linear, so its
market part and its account part may be computed apart and added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from gymnasium import Space, spaces
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from qframe_rl.config import UserError
from qframe_rl.jit import compiled
from qframe_rl.types import Int

_BLOCK = 64
"""Contiguous bars that a recurrent encoder says something about in one go."""
Torso = Literal["mlp", "cnn", "lstm", "gru"]


class Shape(NamedTuple):
    """What a network is given."""

    n_rows: int
    """Bars of the market's window; 0 = there is no market, only numbers."""
    width: int
    """Numbers of a bar."""
    n_account: int
    """Numbers beside the window."""


class Choices(nn.Module):
    """Independent categorical choices, ``n_parts`` of ``n_options`` each."""

    def __init__(self, n_parts: int, n_options: int):
        super().__init__()
        self.n_parts, self.n_options = n_parts, n_options
        self.n_outputs = n_parts * n_options

    def sample(self, out: Tensor, generator: torch.Generator) -> Tensor:
        """(B, n_parts) drawn by the Gumbel trick from (B, n_outputs) logits."""
        u = torch.rand(out.shape, generator=generator, device=out.device)
        return self.best(out - torch.log(-torch.log(u.clamp_(1e-20, 1.0 - 6e-8))))

    def best(self, out: Tensor) -> Tensor:
        """(B, n_parts) most likely."""
        return out.view(-1, self.n_parts, self.n_options).argmax(dim=-1)

    def judge(self, out: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) log-probabilities of actions and (B,) entropies."""
        options_first = out.float().view(-1, self.n_parts, self.n_options).permute(2, 0, 1).contiguous()
        log_p = F.log_softmax(options_first, dim=0)  # 2.5 times as fast along the long axes
        chosen = log_p.gather(0, actions.unsqueeze(0)).squeeze(0)
        return chosen.sum(-1), -(log_p.exp() * log_p).sum((0, 2))


class Gauss(nn.Module):
    """Independent normal distributions with a standard deviation that does not depend on the state."""

    def __init__(self, n_parts: int, log_std: float):
        super().__init__()
        self.n_outputs = n_parts
        self.log_std = nn.Parameter(torch.full((n_parts,), log_std))

    def sample(self, out: Tensor, generator: torch.Generator) -> Tensor:
        """(B, n_outputs) drawn around the means."""
        z = torch.randn(out.shape, generator=generator, device=out.device)
        return out.float() + z * self.log_std.exp()

    def best(self, out: Tensor) -> Tensor:
        """(B, n_outputs) the means."""
        return out.float()

    def judge(self, out: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) log-densities of actions and (B,) entropies."""
        z = (actions - out.float()) * torch.exp(-self.log_std)
        constant = self.log_std.sum() + 0.5 * self.n_outputs * math.log(2.0 * math.pi)
        log_p = -0.5 * z.square().sum(-1) - constant
        return log_p, (constant + 0.5 * self.n_outputs).expand_as(log_p)


def chance_of(space: Space[Any], log_std: float) -> Choices | Gauss:
    """The distribution over a space of actions.

    Raises
    ------
    UserError
        For a space that is neither a Box, nor Discrete, nor a MultiDiscrete with equal parts.
    """
    if isinstance(space, spaces.Discrete):
        return Choices(1, int(space.n))
    if isinstance(space, spaces.MultiDiscrete) and len(set(space.nvec.ravel().tolist())) == 1:
        return Choices(int(space.nvec.size), int(space.nvec.flat[0]))
    if isinstance(space, spaces.Box):
        return Gauss(math.prod(space.shape), log_std)
    raise UserError(f"the action space {space} is none of Box, Discrete and MultiDiscrete with equal parts.")


class Encoder(nn.Module):
    """Turns windows of bars into twice what the first layer of actor and critic makes of them (see `_through`).

    Parameters
    ----------
    shape
        Of the windows.
    torso
        ``mlp``: the window as it is; ``cnn``: two convolutions along the bars; ``lstm``, ``gru``: a recurrent network
        along the bars, of which the last output counts.
    units
        Channels of the convolutions or of the recurrent network.
    n_outputs
        Width of the encoding.
    """

    def __init__(self, shape: Shape, torso: Torso, units: int, n_outputs: int):
        super().__init__()
        self.shape, self.torso = shape, torso
        if torso != "mlp" and shape.n_rows < 5:
            raise UserError(f"network {torso} looks at bars in a row, but n_rows is {shape.n_rows}; set n_rows to 32.")
        n = shape.n_rows * shape.width
        if torso == "cnn":
            self.first = nn.Conv1d(shape.width, units, 3)
            self.second = nn.Conv1d(units, units, 3, stride=2)
            n = units * ((shape.n_rows - 5) // 2 + 1)
        elif torso != "mlp":
            self.memory = (nn.LSTM if torso == "lstm" else nn.GRU)(shape.width, units, batch_first=True)
            n = units
        self.out = nn.Linear(n, n_outputs)

    @property
    def recurrent(self) -> bool:
        """Whether contiguous bars are best encoded together, by `run`."""
        return self.torso in ("lstm", "gru")

    def forward(self, windows: Tensor) -> Tensor:
        """(n, n_rows x width) windows to (n, n_outputs)."""
        if self.torso == "mlp":
            return _twice(self.out, windows)
        rows = windows.view(-1, self.shape.n_rows, self.shape.width)
        if self.recurrent:
            return _twice(self.out, self.memory(rows)[0][:, -1])
        x = F.relu(self.first(rows.transpose(1, 2)))
        return _twice(self.out, F.relu(self.second(x)).flatten(1))

    def run(self, rows: Tensor, n_last: int) -> Tensor:
        """(n, L, width) contiguous bars to (n, n_last, n_outputs): what the recurrent network says at each last bar."""
        return _twice(self.out, self.memory(rows)[0][:, -n_last:])


class Net(nn.Module):
    """Actor and critic.

    Parameters
    ----------
    shape
        What is seen.
    space
        What may be done.
    torso, units
        As in `Encoder`.
    hidden
        Units of the hidden layers of actor and critic each, tanh.
    log_std
        Where the logarithm of the standard deviation of continuous actions begins.

    Raises
    ------
    UserError
        For a space of actions that has no distribution, or a torso that needs a market or more bars.
    """

    def __init__(
        self, shape: Shape, space: Space[Any], torso: Torso, units: int, hidden: Sequence[int], log_std: float
    ):
        super().__init__()
        if not shape.n_rows and torso != "mlp":
            raise UserError(f"network {torso} needs a market with bars; take network mlp.")
        self.shape = shape
        self.chance = chance_of(space, log_std)
        n = 2 * hidden[0]
        self.encoder = Encoder(shape, torso, units, n) if shape.n_rows else None
        self.account = nn.Linear(shape.n_account, n, bias=self.encoder is None)
        self.actor, self.critic = (
            nn.ModuleList(nn.Linear(a, b) for a, b in zip(hidden, (*hidden[1:], last), strict=True))
            for last in (self.chance.n_outputs, 1)
        )
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Conv1d):
                nn.init.orthogonal_(layer.weight, math.sqrt(2.0))
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.orthogonal_(self.actor[-1].weight, 0.01)  # type: ignore[arg-type]
        nn.init.orthogonal_(self.critic[-1].weight, 1.0)  # type: ignore[arg-type]

    def forward(self, encoding: Tensor | None, account: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n) encodings, if there is a market, and (B, n_account) to the actor's outputs and (B,) values."""
        z = _twice(self.account, account)
        of_actor, of_critic = torch.sigmoid(z if encoding is None else z + encoding).chunk(2, dim=-1)
        return _through(self.actor, of_actor), _through(self.critic, of_critic).float().squeeze(-1)

    def see(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Whole observations (B, n_numbers), windows first, to the actor's outputs and (B,) values."""
        if self.encoder is None:
            return self(None, observations)  # type: ignore[no-any-return]
        n = self.shape.n_rows * self.shape.width
        return self(self.encoder(observations[:, :n]), observations[:, n:])  # type: ignore[no-any-return]


def _twice(layer: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, 2.0 * layer.weight, None if layer.bias is None else 2.0 * layer.bias)


def _through(layers: Iterable[nn.Module], s: Tensor) -> Tensor:
    """Layers with a hyperbolic tangent before each, which the first finds done as far as s = sigmoid(2x).

    tanh(x) = 2 sigmoid(2x) - 1, and a sigmoid costs a tenth of a tanh on a CPU. The factors and the difference are put
    into the weights, which are few.
    """
    *inner, last = (cast(nn.Linear, layer) for layer in layers)
    for layer in inner:
        weight = 4.0 * layer.weight
        s = torch.sigmoid(F.linear(s, weight, 2.0 * layer.bias - 0.5 * weight.sum(dim=1)))
    return F.linear(s, 2.0 * last.weight, last.bias - last.weight.sum(dim=1))


class Bars:
    """The bars of a tape on the device, and their encodings.

    Parameters
    ----------
    encoder
        What encodes them.
    features
        (T, width) float32, what there is to see at each cursor.
    device
        Where they lie.
    """

    _CHUNK = 16384
    """Bars encoded at a time while the table is filled."""

    def __init__(self, encoder: Encoder, features: NDArray[np.float32], device: torch.device):
        n_rows, width, _ = encoder.shape
        self.encoder = encoder
        rows = torch.from_numpy(features)
        if encoder.recurrent:
            self.block, self.first = _BLOCK, 0
            n_units = -(-len(rows) // _BLOCK)
            rows = F.pad(rows, (0, 0, n_rows - 1, n_units * _BLOCK - len(rows)))
            rows = rows.to(device).contiguous()
            self.units = rows.as_strided((n_units, _BLOCK + n_rows - 1, width), (_BLOCK * width, width, 1))
        else:
            self.block, self.first = 1, n_rows - 1
            rows = rows.to(device).contiguous()
            self.units = rows.as_strided((len(rows) - n_rows + 1, n_rows * width), (width, 1))
        self._table: Tensor | None = None

    def encode(self, units: Tensor) -> Tensor:
        """Encodings (k x block, n_outputs) of k units: bars, or blocks of contiguous ones for a recurrent encoder.

        In a block each bar is encoded with at least the window that it is seen with when the agent acts, and up to a
        block more of the past.
        """
        shown = self.units.index_select(0, units)
        if self.encoder.recurrent:
            return self.encoder.run(shown, self.block).flatten(0, 1)
        return self.encoder(shown)  # type: ignore[no-any-return]

    def refresh(self, n_samples: int) -> None:
        """Encode all bars after a change of weights, if that is less work than encoding ``n_samples`` one by one."""
        self._table = None
        n, at_once = len(self.units), max(1, self._CHUNK // self.block)
        if self.encoder.recurrent or n <= n_samples:
            chunks = torch.split(torch.arange(n, device=self.units.device), at_once)
            self._table = torch.cat([self.encode(chunk) for chunk in chunks])

    def at(self, cursor: Tensor) -> Tensor:
        """Encodings (B, n_outputs) of the bars at (B,) cursors, after `refresh`."""
        cursor = cursor - self.first
        return self.encode(cursor) if self._table is None else self._table.index_select(0, cursor)

    def minibatches(
        self, cursor: NDArray[np.int64], size: int, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Callable[[], Tensor]]]:
        """Split samples at random into minibatches; with each comes a function that encodes its bars.

        Where samples share bars, those of a bar, or of a block, come together, so that it is encoded once.
        """
        device, n = self.units.device, len(cursor)
        row = cursor - self.first
        unit = row // self.block
        counts = np.bincount(unit, minlength=len(self.units))
        if self.block == 1 and 2 * np.count_nonzero(counts) > n:
            where = torch.from_numpy(row).to(device)
            for pick in torch.split(torch.randperm(n, generator=generator, device=device), size):
                yield pick, lambda pick=pick: self.encode(where[pick])  # type: ignore[misc]
            return
        place = torch.randperm(len(counts), generator=generator, device=device).cpu().numpy()
        order = np.empty(n, dtype=np.int64)
        _group(unit, place, counts, np.empty_like(counts), order)
        for first in range(0, n, size):
            chosen = order[first : first + size]
            begins = np.flatnonzero(np.diff(unit[chosen], prepend=-1))
            which = np.repeat(np.arange(len(begins)), np.diff(begins, append=len(chosen)))
            units = torch.from_numpy(unit[chosen[begins]]).to(device)
            spot = torch.from_numpy(which * self.block + row[chosen] % self.block).to(device)
            yield (
                torch.from_numpy(chosen).to(device),
                lambda units=units, spot=spot: self.encode(units).index_select(0, spot),  # type: ignore[misc]
            )


@compiled
def _group(unit: Int, place: Int, counts: Int, start: Int, order: Int) -> None:
    """Order samples by the place of their unit, by counting; ``start`` (units,) is scratch."""
    for u in range(len(place)):
        start[place[u]] = counts[u]
    total = 0
    for p in range(len(place)):
        total, start[p] = total + start[p], total
    for i in range(len(unit)):
        p = place[unit[i]]
        order[start[p]] = i
        start[p] += 1
