"""A network of one instrument that answers for each of them, so that what is learned of one holds for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import Space
from torch import Tensor, nn

from qframe_rl.config import UserError
from qframe_rl.policy.chance import Choices, chance_of
from qframe_rl.policy.net import Encoder, InputShape, Net, through


class SharedEncoder(Encoder):
    """Turns windows of A instruments into what the first layer makes of each.

    Parameters
    ----------
    shape
        Of the windows, in whose bars the numbers of an instrument lie side by side.
    n_instruments
        A.
    n_outputs
        Width of the encoding of one instrument.
    """

    def __init__(self, shape: InputShape, n_instruments: int, n_outputs: int):
        nn.Module.__init__(self)
        self.shape, self.torso, self.n_instruments = shape, "shared", n_instruments
        self.out = nn.Linear(shape.n_rows * shape.width // n_instruments, n_outputs)

    def forward(self, windows: Tensor) -> Tensor:
        """(n, n_rows x width) windows to (n, A x n_outputs)."""
        rows = windows.view(len(windows), self.shape.n_rows, self.n_instruments, -1)
        return self.out(rows.transpose(1, 2).flatten(2)).flatten(1)  # type: ignore[no-any-return]


class SharedNet(Net):
    """Actor and critic of one instrument, used for each of A.

    Each is seen by itself: its features, and its numbers of the account. The value is the mean of what the critic says
    of each; where there is one action more than instruments, cash, it follows from the mean of what the actor's last
    hidden layer says of each. So instruments in another order get the same answers in that order (Jiang, Xu & Liang
    2017, section 5, call such networks identical independent evaluators).

    Parameters
    ----------
    shape, space, hidden, log_std, idle
        As in `Net`; ``idle`` is alike for all instruments.
    n_instruments
        A.

    Raises
    ------
    UserError
        Without a market, or for a space of actions that has not as many for each instrument.
    """

    def __init__(
        self, shape: InputShape, space: Space[Any], n_instruments: int, hidden: Sequence[int], log_std: float,
        idle: Sequence[int] = (),
    ):  # fmt: skip
        nn.Module.__init__(self)
        if not shape.n_rows or not n_instruments:
            raise UserError("network shared looks at the instruments of a market; take network mlp.")
        self.shape, self.n_instruments, self.chance = shape, n_instruments, chance_of(space, log_std)
        each, over = divmod(self.chance.n_outputs, n_instruments)
        whole = self.chance.n_parts == n_instruments if isinstance(self.chance, Choices) else over < 2
        if not each or not whole:
            raise UserError(f"network shared needs as many actions for each instrument, not {space}; take network mlp.")
        width = 2 * hidden[0]
        self.encoder = SharedEncoder(shape, n_instruments, width)
        self.account = nn.Linear(shape.n_account // n_instruments, width, bias=False)
        self.of_cash = nn.Linear(hidden[-1], 1) if over else None
        self._end(hidden, each)
        self._begin(idle[:1])
        if self.of_cash is not None:
            nn.init.orthogonal_(self.of_cash.weight, 0.01)

    def forward(self, encoding: Tensor | None, account: Tensor) -> tuple[Tensor, Tensor]:
        """(B, A x n) encodings and (B, n_account) to the actor's outputs and (B,) values."""
        assert encoding is not None
        own = account.view(len(account), -1, self.n_instruments).transpose(1, 2)
        z = self.account(own) + encoding.view(len(account), self.n_instruments, -1)
        of_actor, of_critic = torch.tanh(z).chunk(2, dim=-1)
        said = of_actor
        for layer in self.actor[:-1]:
            said = torch.tanh(layer(said))
        out = self.actor[-1](said)
        laid = out.flatten(1) if isinstance(self.chance, Choices) else out.transpose(1, 2).flatten(1)
        if self.of_cash is not None:
            laid = torch.cat([laid, self.of_cash(said.mean(dim=1))], dim=1)
        return laid, through(self.critic, of_critic).float().mean(dim=1).squeeze(-1)
