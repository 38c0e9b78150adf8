"""Feature extractors that see a window of bars as a sequence."""

from __future__ import annotations

from abc import abstractmethod

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class _Sequence(BaseFeaturesExtractor):
    """Splits a flat observation into (B, rows, width) and what is left of it (the account), which passes unchanged."""

    def __init__(self, space: spaces.Box, rows: int, width: int, features: int):
        self.rows, self.width = rows, width
        super().__init__(space, features + space.shape[0] - rows * width)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """(B, features) of (B, n) observations."""
        n = self.rows * self.width
        window = observations[:, :n].view(-1, self.rows, self.width)
        return torch.cat([self.read(window), observations[:, n:]], dim=1)

    @abstractmethod
    def read(self, window: torch.Tensor) -> torch.Tensor:
        """(B, features) of a (B, rows, width) window, oldest bar first."""


class Convolutions(_Sequence):
    """Two causal convolutions along time; the last bar's channels and their mean over time.

    Parameters
    ----------
    space
        Flat observations: ``rows`` times ``width`` numbers, then the account.
    rows, width
        Bars of the window and numbers of each.
    channels
        Channels of both convolutions.
    """

    def __init__(self, space: spaces.Box, rows: int, width: int, channels: int = 32):
        super().__init__(space, rows, width, 2 * channels)
        self.first, self.second = nn.Conv1d(width, channels, 3), nn.Conv1d(channels, channels, 3)

    def read(self, window: torch.Tensor) -> torch.Tensor:
        """Convolve."""
        x = window.transpose(1, 2)
        for layer in (self.first, self.second):
            x = torch.relu(layer(nn.functional.pad(x, (2, 0))))
        return torch.cat([x[:, :, -1], x.mean(dim=2)], dim=1)


class LstmExtractor(_Sequence):
    """The last state of an LSTM that reads the window (Hochreiter & Schmidhuber, 1997).

    Its memory is the window: for one that lasts an episode take the algorithm ``recurrent_ppo``.

    Parameters
    ----------
    space, rows, width
        As in `Convolutions`.
    units
        Units of the state.
    """

    def __init__(self, space: spaces.Box, rows: int, width: int, units: int = 32):
        super().__init__(space, rows, width, units)
        self.lstm = nn.LSTM(width, units, batch_first=True)

    def read(self, window: torch.Tensor) -> torch.Tensor:
        """Read."""
        states, _ = self.lstm(window)
        last: torch.Tensor = states[:, -1]
        return last


EXTRACTORS: dict[str, type[_Sequence]] = {"cnn": Convolutions, "lstm": LstmExtractor}
"""By name; ``mlp`` needs none."""
