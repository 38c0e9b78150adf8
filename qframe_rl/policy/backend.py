"""A network on one thread of training: its parameters in a row, and a gradient of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from qframe_rl.policy.bars import Minibatch
from qframe_rl.policy.loss import Loss
from qframe_rl.policy.net import Net

BETAS, EPSILON = (0.9, 0.999), 1e-5
"""Of Adam (Kingma & Ba, 2015)."""
LONGEST = 0.5
"""Norm of the gradient, at most."""


class NetworkBackend(ABC):
    """What a training asks of a network; its arithmetic is `qframe_rl.policy.Dense`'s or `Graph`'s.

    All parameters, and all gradients, are made to lie in a row, so that an optimiser needs few calls.

    Parameters
    ----------
    net
        Whose parameters; they become views of `flat`.
    loss
        To be learned from.
    first
        Lane of a network of the same shape, whose parameters this one takes over and shares; its gradients are its own.
    """

    def __init__(self, net: Net, loss: Loss, first: NetworkBackend | None = None):
        self.net, self.loss = net, loss
        parameters = list(net.parameters())
        self.flat: Tensor = torch.cat([p.detach().ravel() for p in parameters]) if first is None else first.flat
        self.grad = torch.zeros_like(self.flat)
        if first is None:
            self.flat.grad = self.grad
        start = 0
        for p in parameters:
            span = slice(start, start := start + p.numel())
            p.data, p.grad = self.flat[span].view_as(p), self.grad[span].view_as(p)

    def _gathered(self, others: Sequence[NetworkBackend]) -> Tensor:
        """Add the gradients of others to this one's, and return it."""
        for other in others:
            self.grad.add_(other.grad)
        return self.grad

    @abstractmethod
    def step(self, others: Sequence[NetworkBackend], rate: float) -> None:
        """Take a step of Adam along the sum of this one's gradient and others', no longer than `LONGEST`.

        To be called of the first lane alone.
        """

    @abstractmethod
    def see(self, encodings: Tensor | None, spot: Tensor | None, account: Tensor, outs: Tensor, values: Tensor) -> None:
        """Write the actor's outputs and the values.

        Parameters
        ----------
        encodings
            (k, n) of bars; None without a market.
        spot
            (B,) which of them is whose; None = each has its own.
        account
            (B, n_account).
        outs, values
            (B, n_outputs) and (B,), written.
        """

    @abstractmethod
    def learn(
        self, encodings: Tensor | None, batch: Minibatch, samples: Tensor, n: int, barred: Tensor | None = None
    ) -> Tensor:
        """Write the gradient of the loss over a part of a minibatch of ``n`` samples to `grad`.

        Parameters
        ----------
        encodings
            (k, n) of the part's bars, with the way back to the parameters of the encoder; None without a market.
        batch
            The part.
        samples
            All samples: account, actions, advantage, return and log-probability, a row each.
        n
            Samples of the whole minibatch: every part divides by it, so that the gradients of the parts add up.
        barred
            Of all samples, (N, n_outputs) bool: choices that were forbidden; None = none ever was.

        Returns
        -------
        Tensor
            (5,) of this part the parts of the loss, divided by ``n``, see `Loss`.
        """

    @abstractmethod
    def moments(self) -> list[Tensor]:
        """What the optimiser remembers: running means of gradients and of their squares, and (1,) steps taken.

        To be called of the first lane alone.
        """

    @abstractmethod
    def take_over(self, moments: Sequence[Tensor]) -> None:
        """Go on with `moments` of another process, after the weights were written into the network."""


class Graph(NetworkBackend):
    """The network as PyTorch differentiates it, on any device.

    Parameters
    ----------
    net, loss
        As in `NetworkBackend`.
    dtype
        Of the products; what is not float32 is left to autocast.
    """

    def __init__(self, net: Net, loss: Loss, dtype: torch.dtype = torch.float32):
        super().__init__(net, loss)
        self._dtype = dtype
        self._adam = torch.optim.Adam([self.flat], betas=BETAS, eps=EPSILON, fused=True)

    def step(self, others: Sequence[NetworkBackend], rate: float) -> None:
        """Step along the gradient, see `NetworkBackend`."""
        gradient = self._gathered(others)
        size = torch.linalg.vector_norm(gradient)
        gradient.mul_((LONGEST / (size + 1e-6)).clamp_(max=1.0))
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()

    @torch.no_grad()
    def see(self, encodings: Tensor | None, spot: Tensor | None, account: Tensor, outs: Tensor, values: Tensor) -> None:
        """Write the actor's outputs and values, see `NetworkBackend`."""
        out, value = self._through(encodings, spot, account)
        outs.copy_(out)
        values.copy_(value)

    def learn(
        self, encodings: Tensor | None, batch: Minibatch, samples: Tensor, n: int, barred: Tensor | None = None
    ) -> Tensor:
        """Write the gradient of a minibatch's part, see `NetworkBackend`."""
        self.grad.zero_()
        account, facts = samples.index_select(0, batch.pick).tensor_split([self.net.shape.n_account], dim=1)
        out, value = self._through(encodings, batch.spot, account)
        if barred is not None:
            out = out.masked_fill(barred.index_select(0, batch.pick), -torch.inf)
        loss, told = self.loss(self.net.chance, out, value, facts)
        torch.autograd.backward(loss / n)
        return told / n

    def moments(self) -> list[Tensor]:
        """What Adam remembers, see `NetworkBackend`."""
        state = self._adam.state[self.flat]
        if not state:
            return [torch.zeros_like(self.flat), torch.zeros_like(self.flat), torch.zeros(1)]
        return [state["exp_avg"].clone(), state["exp_avg_sq"].clone(), state["step"].reshape(1).clone()]

    def take_over(self, moments: Sequence[Tensor]) -> None:
        """Go on, see `NetworkBackend`."""
        mean, square, steps = (x.to(self.flat) for x in moments)
        if steps > 0:
            self._adam.state[self.flat] = {"step": steps[0].clone(), "exp_avg": mean, "exp_avg_sq": square}

    def _through(self, encodings: Tensor | None, spot: Tensor | None, account: Tensor) -> tuple[Tensor, Tensor]:
        shared = encodings if encodings is None or spot is None else encodings.index_select(0, spot)
        enabled = self._dtype is not torch.float32
        with torch.autocast(account.device.type, self._dtype, enabled, cache_enabled=False):
            out, value = self.net(shared, account)
        return out.float(), value
