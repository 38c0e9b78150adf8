"""Networks that turn a sequence of inputs into a sequence of scores, each seeing its own step and those before it.

All take (B, T, F) and give (B, T). `begin` and `step` give the last score alone and carry what is remembered, so a
live decision costs one step; both ways agree to a few units in the last place of a float32 (tests/deep).
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

Memory = tuple[Tensor, ...]
Kind = Literal["lstm", "mlp", "transformer"]


class Sequence(Protocol):
    """What a network does beside being a module."""

    def __call__(self, inputs: Tensor) -> Tensor:
        """(B, T) scores of (B, T, F) inputs, nothing being remembered before the first."""

    def begin(self, inputs: Tensor) -> tuple[Tensor, Memory]:
        """(B,) score of the last of T steps, and the memory after it."""

    def step(self, inputs: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """(B,) score of one further step (B, F), and the memory after it."""


class Lstm(nn.Module):
    """One LSTM layer and a linear score at every step.

    Parameters
    ----------
    n_inputs
        F, numbers per step.
    hidden
        Width of the cells.
    dropout
        Share of inputs, and of what the cells say, that is dropped in training.
    """

    def __init__(self, n_inputs: int, hidden: int, dropout: float):
        super().__init__()
        self.cells = nn.LSTM(n_inputs, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(hidden, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores of whole sequences."""
        out: Tensor = self.score(self.dropout(self.cells(self.dropout(inputs))[0]))
        return out.squeeze(-1)

    def begin(self, inputs: Tensor) -> tuple[Tensor, Memory]:
        """Last score and the cells' state."""
        out, state = self.cells(inputs)
        return self.score(out[:, -1]).squeeze(-1), state

    def step(self, inputs: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Next score and the cells' state."""
        out, state = self.cells(inputs[:, None], memory)
        return self.score(out[:, 0]).squeeze(-1), state


class Mlp(nn.Module):
    """Two layers on the inputs of one step alone: the inputs look back by themselves.

    Parameters
    ----------
    n_inputs
        F, numbers per step.
    hidden
        Width of both layers.
    dropout
        Share of each layer's outputs that is dropped in training.
    """

    def __init__(self, n_inputs: int, hidden: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_inputs, hidden), nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.Tanh(),
            nn.Dropout(dropout), nn.Linear(hidden, 1),
        )  # fmt: skip

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores of whole sequences."""
        out: Tensor = self.layers(inputs)
        return out.squeeze(-1)

    def begin(self, inputs: Tensor) -> tuple[Tensor, Memory]:
        """Score of the last step; nothing is remembered."""
        return self(inputs[:, -1]), ()

    def step(self, inputs: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Score of the next step."""
        return self(inputs), ()


class Transformer(nn.Module):
    """One decoder block: causal attention over the last ``reach`` steps with learned weights of distance.

    With one block, what a step sees are the inputs of ``reach`` steps and nothing else, so a memory of as many inputs
    is exact.

    Parameters
    ----------
    n_inputs
        F, numbers per step.
    hidden
        Width of the block, a multiple of ``heads``.
    dropout
        Share that is dropped in training, of what the attention and the layers after it add.
    reach
        Steps that a score sees, its own among them.
    heads
        Patterns of attention side by side.
    """

    def __init__(self, n_inputs: int, hidden: int, dropout: float, reach: int, heads: int = 4):
        super().__init__()
        self.reach, self.heads = reach, heads
        self.embed = nn.Linear(n_inputs, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.queries = nn.Linear(hidden, 3 * hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.distance = nn.Parameter(torch.zeros(heads, reach))
        self.feed = nn.Sequential(
            nn.LayerNorm(hidden), nn.Linear(hidden, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, hidden)
        )
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(hidden, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores of whole sequences."""
        n = inputs.shape[1]
        blocks = -(-n // self.reach)
        inputs = nn.functional.pad(inputs, (0, 0, 0, blocks * self.reach - n))
        x: Tensor = self.embed(inputs)
        x = x + self.dropout(self.mix(self._attend(self.queries(self.norm(x)))))
        x = x + self.dropout(self.feed(x))
        out: Tensor = self.score(x)
        return out.squeeze(-1)[:, :n]

    def _attend(self, packed: Tensor) -> Tensor:
        """Attention of each block of ``reach`` steps over itself and the block before it."""
        b, n, width = packed.shape[0], packed.shape[1], packed.shape[2] // 3
        blocks = packed.view(b, n // self.reach, self.reach, 3, self.heads, width // self.heads)
        query, key, value = blocks.permute(3, 0, 1, 4, 2, 5)
        key, value = (torch.cat([nn.functional.pad(k, (0, 0, 0, 0, 0, 0, 1, 0))[:, :-1], k], -2) for k in (key, value))
        weight = query @ key.transpose(-1, -2) / math.sqrt(width // self.heads)
        back = torch.arange(self.reach)[:, None] + self.reach - torch.arange(2 * self.reach)
        seen = (back >= 0) & (back < self.reach)
        weight = (weight + self.distance[:, back.clamp(0, self.reach - 1)]).masked_fill(~seen, -torch.inf)
        first = torch.arange(2 * self.reach) < self.reach
        weight[:, 0] = weight[:, 0].masked_fill(first, -torch.inf)
        out: Tensor = weight.softmax(-1) @ value
        return out.transpose(2, 3).reshape(b, n, width)

    def begin(self, inputs: Tensor) -> tuple[Tensor, Memory]:
        """Last score, and the inputs of the last ``reach`` steps."""
        recent = inputs[:, -self.reach :]
        return self(recent)[:, -1], (recent,)

    def step(self, inputs: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Next score, and the inputs of the last ``reach`` steps."""
        return self.begin(torch.cat([memory[0], inputs[:, None]], 1))


def network(kind: Kind, n_inputs: int, hidden: int, dropout: float, reach: int) -> Lstm | Mlp | Transformer:
    """Make an untrained network from torch's generator.

    Parameters
    ----------
    kind
        Which.
    n_inputs, hidden
        F and the width; a transformer's is a multiple of its 4 heads.
    dropout
        Share of activations that are dropped in training.
    reach
        Steps that a transformer sees.
    """
    if kind == "lstm":
        return Lstm(n_inputs, hidden, dropout)
    if kind == "mlp":
        return Mlp(n_inputs, hidden, dropout)
    return Transformer(n_inputs, hidden, dropout, reach)
