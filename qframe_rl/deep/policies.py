"""Policies that are trained through the book itself: what they hold depends on what they held."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Trader(nn.Module):
    """F_t = tanh(w · x_t + u F_{t-1} + b), the recurrent trader of Moody & Saffell (2001, eq. 1), for all instruments.

    Parameters
    ----------
    n_inputs
        Numbers seen of an instrument.
    hidden
        Width of a tanh layer between inputs and position; 0 = none, as in the paper.
    shorting
        Whether positions lie in (-1, 1); else they lie in (0, 1).
    """

    def __init__(self, n_inputs: int, hidden: int, shorting: bool):
        super().__init__()
        self.shorting = shorting
        self.inner = nn.Sequential(nn.Linear(n_inputs, hidden), nn.Tanh()) if hidden else nn.Identity()
        self.outer = nn.Linear(hidden or n_inputs, 1)
        self.keep = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Tensor, held: Tensor) -> Tensor:
        """(...) positions from (..., F) inputs and the (...) positions held."""
        return self._next(self.score(inputs), held)

    def score(self, inputs: Tensor) -> Tensor:
        """(...) what the inputs say by themselves."""
        out: Tensor = self.outer(self.inner(inputs))
        return out.squeeze(-1)

    def walk(self, inputs: Tensor, tradable: Tensor, held: Tensor) -> Tensor:
        """Hold positions along a stretch of steps; what is not tradable stays as it is.

        Parameters
        ----------
        inputs
            (B, T, A, F) what is seen of each instrument at each step.
        tradable
            (B, T, A) bool.
        held
            (B, A) positions before the first step.

        Returns
        -------
        Tensor
            (B, T, A) positions after each step, with the way back to the parameters through all steps before.
        """
        scores, steps = self.score(inputs), []
        for t in range(inputs.shape[1]):
            held = torch.where(tradable[:, t], self._next(scores[:, t], held), held)
            steps.append(held)
        return torch.stack(steps, 1)

    def _next(self, score: Tensor, held: Tensor) -> Tensor:
        position = torch.tanh(score + self.keep * held)
        return position if self.shorting else 0.5 * (position + 1.0)


class Allocator(nn.Module):
    """Ensemble of identical independent evaluators: one small network scores each coin, a softmax divides the money.

    Jiang, Xu & Liang (2017), figure 2, convolutional: coins share the weights and meet in the softmax alone.

    Parameters
    ----------
    n_bars
        n bars of each coin that are seen.
    first, second
        Channels after each convolution.
    """

    def __init__(self, n_bars: int, first: int, second: int):
        super().__init__()
        self.short = nn.Conv2d(3, first, (1, 3))
        self.long = nn.Conv2d(first, second, (1, n_bars - 2))
        self.vote = nn.Conv2d(second + 1, 1, 1)
        self.cash = nn.Parameter(torch.zeros(1))

    def forward(self, prices: Tensor, held: Tensor, tradable: Tensor) -> Tensor:
        """Divide the money.

        Parameters
        ----------
        prices
            (B, 3, A, n) closes, highs and lows over the last close.
        held
            (B, A) weights before the decision.
        tradable
            (B, A) whether anything can be put into a coin.

        Returns
        -------
        Tensor
            (B, 1 + A) weights that sum to 1, cash first; 0 where not tradable.
        """
        seen = self.long(self.short(prices - 1.0).relu()).relu()
        votes = self.vote(torch.cat([seen, held[:, None, :, None]], 1))[:, 0, :, 0].masked_fill(~tradable, -torch.inf)
        return torch.cat([self.cash.expand(len(votes), 1), votes], 1).softmax(1)
