"""The head of a network with its gradient written out.

Small networks on small minibatches are bound by the bookkeeping of automatic differentiation, not by arithmetic, and
large ones by passes over activations. Written out, the head of actor and critic takes about thirty calls forward and
back, in place where it can, and its samples may come in parts small enough for the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from qframe_rl.policy.net import Net

_Layers = list[tuple[nn.Linear, Tensor, Tensor]]
"""Layers, with their weights and biases for the products: those before the last are doubled."""


class Head:
    """A network's arithmetic in training.

    All its parameters, and all their gradients, are made to lie in a row, so that an optimiser needs few calls.

    Parameters
    ----------
    net
        Whose parameters; they become views of `flat`.
    dtype
        Of the products; parameters and gradients stay in float32.
    first
        Head of a network of the same shape, whose parameters this one takes over and shares; its gradients are its own.
    """

    def __init__(self, net: Net, dtype: torch.dtype, first: Head | None = None):
        self.net, self.dtype = net, dtype
        parameters = list(net.parameters())
        self.flat: Tensor = torch.cat([p.detach().ravel() for p in parameters]) if first is None else first.flat
        self.grad = torch.zeros_like(self.flat)
        if first is None:
            self.flat.grad = self.grad
        scale = torch.ones_like(self.flat)
        self._low: Tensor = torch.empty_like(self.flat, dtype=dtype) if first is None else first._low
        doubled = {id(p) for p in net.account.parameters()}
        doubled |= {id(p) for part in (net.actor, net.critic) for layer in part[:-1] for p in layer.parameters()}
        low, start = {}, 0
        for p in parameters:
            span = slice(start, start := start + p.numel())
            p.data, p.grad = self.flat[span].view_as(p), self.grad[span].view_as(p)
            low[id(p)] = self._low[span].view_as(p)
            scale[span] = 2.0 if id(p) in doubled else 1.0
        self._scale = scale
        self.encoding_weight = 0.5 ** len(net.actor)
        self._first = low[id(net.account.weight)].t()
        self._bias = None if net.account.bias is None else low[id(net.account.bias)]
        self._parts: list[_Layers] = [
            [(cast(nn.Linear, layer), low[id(layer.weight)], low[id(layer.bias)]) for layer in part]
            for part in (net.actor, net.critic)
        ]
        self.refresh()

    def refresh(self) -> None:
        """Take over what an optimiser made of the parameters."""
        torch.mul(self.flat, self._scale, out=self._low)

    def gather(self, others: Sequence[Head]) -> Tensor:
        """Add the gradients of others to this one's, and return it."""
        for other in others:
            self.grad.add_(other.grad)
        return self.grad

    @torch.no_grad()
    def forward(self, encoding: Tensor | None, account: Tensor) -> tuple[Tensor, Tensor, list[list[Tensor]]]:
        """What `Net.forward` says, and what `backward` wants to know.

        Parameters
        ----------
        encoding
            (B, n) of each sample, overwritten; None without a market.
        account
            (B, n_account).

        Returns
        -------
        tuple
            (B, n_outputs) and (B,) float32, and activations.
        """
        account = account.to(self.dtype)
        if encoding is None:
            z = account @ self._first if self._bias is None else torch.addmm(self._bias, account, self._first)
        else:
            z = encoding.addmm_(account, self._first)
        x = _tanh_(z)
        n = x.shape[1] // 2
        kept, told = [[account, x]], []
        for part, half in zip(self._parts, (x[:, :n], x[:, n:]), strict=True):
            seen = [x := half]
            for _, weight, bias in part[:-1]:
                seen.append(x := _tanh_(torch.addmm(bias, x, weight.t())))
            told.append(torch.addmm(part[-1][2], x, part[-1][1].t()).float())
            kept.append(seen)
        return told[0], told[1].squeeze(-1), kept

    @torch.no_grad()
    def backward(self, kept: list[list[Tensor]], of_out: Tensor, of_value: Tensor, of_encoding: Tensor) -> None:
        """Add the slopes of a loss along the head's parameters to their gradients.

        Parameters
        ----------
        kept
            What `forward` returned.
        of_out, of_value
            (B, n_outputs) and (B,) slopes of the loss along what it returned.
        of_encoding
            (B, n), written: slopes along the encodings, 1 / `encoding_weight` times too large.
        """
        (account, first), *both = kept
        n = first.shape[1] // 2
        for part, seen, g, out in zip(
            self._parts, both, (of_out, of_value.unsqueeze(-1)), (of_encoding[:, :n], of_encoding[:, n:]), strict=True
        ):
            _back(part, seen, g.to(self.dtype), out)
        layer, weight = self.net.account, 2.0 * self.encoding_weight
        _add(layer.weight, of_encoding.t() @ account, weight)
        if layer.bias is not None:
            _add(layer.bias, of_encoding.sum(0), weight)


def _back(part: _Layers, seen: list[Tensor], g: Tensor, out: Tensor) -> None:
    """Through actor or critic, to ``out``; each inner layer doubles the slopes, since its weights are doubled."""
    weight = 1.0
    for i in range(len(part) - 1, -1, -1):
        layer, low, _ = part[i]
        _add(layer.weight, g.t() @ seen[i], weight)
        _add(layer.bias, g.sum(0), weight)
        if i < len(part) - 1:
            weight *= 0.5
        g = g @ low
        if i:
            g = torch.ops.aten.tanh_backward(g, seen[i])
    torch.ops.aten.tanh_backward.grad_input(g, seen[0], grad_input=out)


def _add(parameter: Tensor, slope: Tensor, weight: float) -> None:
    cast(Tensor, parameter.grad).add_(slope, alpha=weight)


def _tanh_(doubled: Tensor) -> Tensor:
    """tanh(x) of 2x, in place: 2 sigmoid(2x) - 1, a tenth of the cost of a tanh on a CPU."""
    return doubled.sigmoid_().mul_(2.0).sub_(1.0)
