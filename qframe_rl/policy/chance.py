"""Distributions over actions, with the gradients of what is learned from them written out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from gymnasium import Space, spaces
from torch import Tensor, nn
from torch.nn import functional as F

from qframe_rl.config import UserError

Weighed = tuple[Tensor, Tensor, Callable[[Tensor, float], Tensor]]
"""(B,) log-probabilities of actions, (B,) entropies, and a function to be called once: from the slopes of a loss along
each log-probability, (B,), and along the entropy of any sample, to its slopes along the outputs, (B, n_outputs)."""


class Choices(nn.Module):
    """Independent categorical choices, ``n_parts`` of ``n_options`` each."""

    def __init__(self, n_parts: int, n_options: int):
        super().__init__()
        self.n_parts, self.n_options = n_parts, n_options
        self.n_outputs = n_parts * n_options

    def noise(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """What `sample` takes: Gumbel's distribution, at the given shape."""
        u = torch.rand(shape, generator=generator, device=generator.device).clamp_(1e-20, 1.0 - 6e-8)
        return u.log_().neg_().log_().neg_()

    def sample(self, out: Tensor, noise: Tensor) -> Tensor:
        """(B, n_parts) drawn from (B, n_outputs) logits, by the Gumbel trick."""
        return self.best(out + noise)

    def best(self, out: Tensor) -> Tensor:
        """(B, n_parts) most likely."""
        return out.view(-1, self.n_parts, self.n_options).argmax(dim=-1)

    def judge(self, out: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) log-probabilities of actions and (B,) entropies."""
        options_first = out.float().view(-1, self.n_parts, self.n_options).permute(2, 0, 1).contiguous()
        log_p = F.log_softmax(options_first, dim=0)  # 2.5 times as fast along the long axes
        chosen = log_p.gather(0, actions.unsqueeze(0)).squeeze(0)
        return chosen.sum(-1), -(log_p.exp() * log_p).sum((0, 2))

    def weigh(self, out: Tensor, actions: Tensor) -> Weighed:
        """What `judge` says, and the way back from it."""
        n = len(out)
        logits = out.view(n, self.n_parts, self.n_options).permute(2, 1, 0)
        log_p = F.log_softmax(logits.to(torch.float32, memory_format=torch.contiguous_format), dim=0)
        p, index = log_p.exp(), actions.t().unsqueeze(0)
        chosen, mess = log_p.gather(0, index), -(p * log_p).sum(0)

        def back(of_log_p: Tensor, of_entropy: float) -> Tensor:
            slope = p * (log_p.add_(mess).mul_(-of_entropy).sub_(of_log_p))
            slope.scatter_add_(0, index, of_log_p.expand_as(chosen))
            return slope.permute(2, 1, 0).reshape(n, self.n_outputs)

        return chosen.sum((0, 1)), mess.sum(0), back


class Gauss(nn.Module):
    """Independent normal distributions with a standard deviation that does not depend on the state."""

    def __init__(self, n_parts: int, log_std: float):
        super().__init__()
        self.n_outputs = n_parts
        self.log_std = nn.Parameter(torch.full((n_parts,), log_std))

    def noise(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """What `sample` takes: the standard normal distribution, at the given shape."""
        return torch.randn(shape, generator=generator, device=generator.device)

    def sample(self, out: Tensor, noise: Tensor) -> Tensor:
        """(B, n_outputs) drawn around the means."""
        return torch.addcmul(out, noise, self.log_std.exp())

    def best(self, out: Tensor) -> Tensor:
        """(B, n_outputs) the means."""
        return out.float()

    def judge(self, out: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) log-densities of actions and (B,) entropies."""
        z = (actions - out.float()) * torch.exp(-self.log_std)
        constant = self.log_std.sum() + 0.5 * self.n_outputs * math.log(2.0 * math.pi)
        log_p = -0.5 * z.square().sum(-1) - constant
        return log_p, (constant + 0.5 * self.n_outputs).expand_as(log_p)

    @torch.no_grad()
    def weigh(self, out: Tensor, actions: Tensor) -> Weighed:
        """What `judge` says, and the way back from it, which adds the slope along ``log_std`` to its ``grad``."""
        n, narrow = len(out), torch.exp(-self.log_std)
        z = (actions - out) * narrow
        squares = z.square()
        constant = self.log_std.sum() + 0.5 * self.n_outputs * math.log(2.0 * math.pi)
        log_p = squares.sum(-1).mul_(-0.5).sub_(constant)

        def back(of_log_p: Tensor, of_entropy: float) -> Tensor:
            weight = of_log_p.unsqueeze(1)
            slope = (squares.sub_(1.0) * weight).sum(0).add_(of_entropy * n)
            cast(Tensor, self.log_std.grad).add_(slope)
            return z.mul_(weight).mul_(narrow)

        return log_p, (constant + 0.5 * self.n_outputs).expand_as(log_p), back


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
