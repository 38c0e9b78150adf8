"""Actor-critic networks in two parts: a market encoder, and a head that knows the account.

The market does not care what anybody holds: what there is to say about a bar is the same for every account that stands
on it. So the encoder sees the market alone and each distinct bar need be encoded only once, while the head, which adds
the account, is small. For a plain multilayer perceptron nothing is lost by that: the first layer is linear, so its
market part and its account part may be computed apart and added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from gymnasium import Space
from torch import Tensor, nn
from torch.nn import functional as F

from qframe_rl.config import UserError
from qframe_rl.policy.chance import chance_of

Torso = Literal["mlp", "cnn", "lstm", "gru"]


class InputShape(NamedTuple):
    """What a network is given."""

    n_rows: int
    """Bars of the market's window; 0 = there is no market, only numbers."""
    width: int
    """Numbers of a bar."""
    n_account: int
    """Numbers beside the window."""


class Encoder(nn.Module):
    """Turns windows of bars into what the first layer of actor and critic makes of them.

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

    Raises
    ------
    UserError
        For convolutions or a recurrent network on fewer than 5 bars.
    """

    def __init__(self, shape: InputShape, torso: Torso, units: int, n_outputs: int):
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
            return self.out(windows)  # type: ignore[no-any-return]
        rows = windows.view(-1, self.shape.n_rows, self.shape.width)
        if self.recurrent:
            return self.out(self.memory(rows)[0][:, -1])  # type: ignore[no-any-return]
        x = F.relu(self.first(rows.transpose(1, 2)))
        return self.out(F.relu(self.second(x)).flatten(1))  # type: ignore[no-any-return]

    def run(self, rows: Tensor, n_last: int) -> Tensor:
        """(n, L, width) contiguous bars to (n, n_last, n_outputs): what the recurrent network says at each last bar."""
        return self.out(self.memory(rows)[0][:, -n_last:])  # type: ignore[no-any-return]


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
        self, shape: InputShape, space: Space[Any], torso: Torso, units: int, hidden: Sequence[int], log_std: float
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
        z = self.account(account)
        of_actor, of_critic = torch.tanh(z if encoding is None else z + encoding).chunk(2, dim=-1)
        return _through(self.actor, of_actor), _through(self.critic, of_critic).float().squeeze(-1)

    def see(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Whole observations (B, n_numbers), windows first, to the actor's outputs and (B,) values."""
        if self.encoder is None:
            return self(None, observations)  # type: ignore[no-any-return]
        n = self.shape.n_rows * self.shape.width
        return self(self.encoder(observations[:, :n]), observations[:, n:])  # type: ignore[no-any-return]


def _through(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Layers with a hyperbolic tangent between each two."""
    *inner, last = layers
    for layer in inner:
        x = torch.tanh(layer(x))
    return last(x)  # type: ignore[no-any-return]
