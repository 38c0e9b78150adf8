"""Actor-critic networks in two parts: a market encoder, and a head that knows the account.

The market does not care what anybody holds: what there is to say about a bar is the same for every account that stands
on it. So the encoder sees the market alone and each distinct bar need be encoded only once, while the head, which adds
the account, is small. For a plain multilayer perceptron nothing is lost by that: the first layer is linear, so its
market part and its account part may be computed apart and added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from gymnasium import Space
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from qframe_rl.config import UserError
from qframe_rl.policy.chance import chance_of

LEAN = 0.05
"""Above the noise of a new actor's logits; a first training moves them farther."""
Torso = Literal["mlp", "cnn", "lstm", "gru", "shared"]
Span = Literal["window", "episode"]
"""How long a recurrent network remembers."""


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


class EpisodeEncoder(nn.Module):
    """A recurrent network along a whole episode, and what the first layer of actor and critic makes of it.

    Parameters
    ----------
    n_inputs
        Numbers of an observation: all that is seen of market and account.
    torso
        ``lstm`` or ``gru``.
    units
        Of the recurrent network.
    n_outputs
        Width of the encoding.
    """

    def __init__(self, n_inputs: int, torso: Torso, units: int, n_outputs: int):
        super().__init__()
        self.units = units
        self.memory = (nn.LSTM if torso == "lstm" else nn.GRU)(n_inputs, units, batch_first=True)
        self.out = nn.Linear(units + n_inputs, n_outputs)  # what is seen now need not pass through the memory

    @property
    def n_memory(self) -> int:
        """Numbers that are remembered of an episode."""
        return self.units * (2 if isinstance(self.memory, nn.LSTM) else 1)

    def run(self, rows: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """(n, L, n_inputs) successive observations to (n, L, n_outputs), and what is remembered after them.

        Parameters
        ----------
        rows
            Of n episodes.
        before
            (n, n_memory) what is remembered of them; zeros at their beginning.
        """
        parts = tuple(part.unsqueeze(0).contiguous() for part in torch.split(before, self.units, dim=1))
        said, after = self.memory(rows, parts if len(parts) == 2 else parts[0])
        left = torch.cat([part[0] for part in (after if len(parts) == 2 else (after,))], dim=1)
        return self.out(torch.cat([said, rows.to(said.dtype)], dim=2)), left


def lean_to(idle: Sequence[int], last: nn.Module) -> None:
    """Raise the logits of idle options, one for each choice, in a new actor's last layer (choices x options wide)."""
    with torch.no_grad():
        for logits, option in zip(last.get_parameter("bias").view(len(idle), -1), idle, strict=True):
            logits[option] += LEAN  # by views: to make an index of a network without memory takes PyTorch two seconds


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
    span
        How long a recurrent torso remembers: the window that is seen, or the episode.
    idle
        Of each choice the option that asks for the least: a new policy, whose logits differ by hundredths, leans to it
        by `LEAN` instead of choosing by noise. None for continuous actions, or where all options are alike.

    Raises
    ------
    UserError
        For a space of actions that has no distribution, a torso that needs a market or more bars, or one that has no
        memory to last.
    """

    def __init__(
        self, shape: InputShape, space: Space[Any], torso: Torso, units: int, hidden: Sequence[int], log_std: float,
        span: Span = "window", idle: Sequence[int] = (),
    ):  # fmt: skip
        super().__init__()
        self.shape = shape
        self.chance = chance_of(space, log_std)
        n = 2 * hidden[0]
        self.encoder = _encoder(shape, torso, units, n, span)
        self.account = nn.Linear(shape.n_account, n, bias=self.encoder is None)
        self._end(hidden, self.chance.n_outputs)
        self._begin(idle)

    def _end(self, hidden: Sequence[int], n_outputs: int) -> None:
        """Make the layers of actor and critic behind the first one."""
        self.actor, self.critic = (
            nn.ModuleList(nn.Linear(a, b) for a, b in zip(hidden, (*hidden[1:], last), strict=True))
            for last in (n_outputs, 1)
        )

    def _begin(self, idle: Sequence[int]) -> None:
        """Give all layers the weights that a new network has."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Conv1d):
                nn.init.orthogonal_(layer.weight, math.sqrt(2.0))
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.orthogonal_(self.actor[-1].weight, 0.01)  # type: ignore[arg-type]
        nn.init.orthogonal_(self.critic[-1].weight, 1.0)  # type: ignore[arg-type]
        if idle:
            lean_to(idle, self.actor[-1])

    def forward(self, encoding: Tensor | None, account: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n) encodings, if there is a market, and (B, n_account) to the actor's outputs and (B,) values."""
        z = self.account(account)
        of_actor, of_critic = torch.tanh(z if encoding is None else z + encoding).chunk(2, dim=-1)
        return through(self.actor, of_actor), through(self.critic, of_critic).float().squeeze(-1)

    @property
    def episodic(self) -> EpisodeEncoder | None:
        """The encoder whose memory lasts an episode, if it is one."""
        return self.encoder if isinstance(self.encoder, EpisodeEncoder) else None

    def see(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Whole observations (B, n_numbers), windows first, to the actor's outputs and (B,) values."""
        return self.recall(observations, None)[:2]

    def lead(self, observations: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The actor's part of `recall`: its outputs and what is remembered after; half the work for an mlp."""
        encoder, n = self.encoder, self.shape.n_rows * self.shape.width
        if not isinstance(encoder, Encoder) or encoder.torso != "mlp":
            out, _, after = self.recall(observations, before)
            return out, after
        half = self.account.out_features // 2  # what the first layer tells the actor, see `forward`
        z = F.linear(observations[:, :n], encoder.out.weight[:half], encoder.out.bias[:half])
        z = z + F.linear(observations[:, n:], self.account.weight[:half])
        return through(self.actor, torch.tanh(z)), None

    def recall(self, observations: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """`see` with (B, n_memory) of what was remembered before and is after; None = nothing."""
        n, after = self.shape.n_rows * self.shape.width, None
        if self.encoder is None:
            encoding = None
        elif (encoder := self.episodic) is not None:
            before = observations.new_zeros(len(observations), encoder.n_memory) if before is None else before
            rows, after = encoder.run(observations.unsqueeze(1), before)
            encoding = rows[:, 0]
        else:
            encoding = self.encoder(observations[:, :n])
        out, value = self(encoding, observations[:, n:])
        return out, value, after


def looking(state: Mapping[str, NDArray[Any]], n: int) -> dict[str, NDArray[Any]]:
    """Weights of a network of numbers alone, as of one that sees the first of them as a window: the same function.

    Parameters
    ----------
    state
        By name, of a `Net` without a market.
    n
        Numbers of the window.

    Raises
    ------
    KeyError
        If they are those of another network.
    """
    weight, bias = state["account.weight"], state["account.bias"]
    others = {name: value for name, value in state.items() if name not in ("account.weight", "account.bias")}
    window = {"encoder.out.weight": weight[:, :n].copy(), "encoder.out.bias": bias}
    return {**others, **window, "account.weight": weight[:, n:].copy()}


def _encoder(
    shape: InputShape, torso: Torso, units: int, n_outputs: int, span: Span
) -> Encoder | EpisodeEncoder | None:
    """What looks at the bars, if there are any, or remembers the episode."""
    if span == "episode":
        if torso not in ("lstm", "gru"):
            raise UserError(f"network {torso} has no memory that could last an episode; take network lstm or gru.")
        return EpisodeEncoder(shape.n_rows * shape.width + shape.n_account, torso, units, n_outputs)
    if not shape.n_rows and torso != "mlp":
        raise UserError(f"network {torso} needs a market with bars; take network mlp, or memory episode.")
    return Encoder(shape, torso, units, n_outputs) if shape.n_rows else None


def through(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Layers with a hyperbolic tangent between each two."""
    *inner, last = layers
    for layer in inner:
        x = torch.tanh(layer(x))
    return last(x)  # type: ignore[no-any-return]
