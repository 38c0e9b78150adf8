"""A memory that lasts an episode: run along a rollout step by step, and learned from in contiguous pieces of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qframe_rl.policy.bars import Minibatch, group, lay_out
from qframe_rl.policy.net import EpisodeEncoder
from qframe_rl.types import Bool, Int


class EpisodeMemory:
    """What accounts see and remember in a rollout of (n_steps, B) samples.

    A piece is a stretch of successive steps of one environment within one episode, at most ``length`` long. It begins
    with what was remembered there when the rollout was collected, or with nothing where the episode began; the gradient
    goes back to its beginning and no further.

    Parameters
    ----------
    features
        (T, width) float32 of the market at each cursor; None where there is none.
    n_rows
        Bars that are seen at once.
    n_steps, n_envs
        Of the rollout.
    length
        Of a piece, at most.
    encoder
        Whose memory.
    device
        Where all lies.
    """

    def __init__(
        self, features: NDArray[np.float32] | None, n_rows: int, n_steps: int, n_envs: int, length: int,
        encoder: EpisodeEncoder, device: torch.device,
    ):  # fmt: skip
        self.length, self.device, self.first = min(length, n_steps), device, n_rows - 1
        self.windows: Tensor | None = None
        if features is not None:
            rows = torch.from_numpy(features).to(device).contiguous()
            n, width = rows.shape
            self.windows = rows.as_strided((n - n_rows + 1, n_rows * width), (width, 1))
        self.now = torch.zeros(n_envs, encoder.n_memory, device=device)
        self._begun = torch.zeros(-(-n_steps // self.length), n_envs, encoder.n_memory, device=device)
        self._inputs: tuple[Tensor | None, Tensor] = (None, self.now)
        self._pieces: tuple[Tensor, Tensor] = (self.now, self.now)

    @torch.no_grad()
    def see(self, cursor: Tensor, account: Tensor, before: Tensor, encoder: EpisodeEncoder) -> tuple[Tensor, Tensor]:
        """Go a step on.

        Parameters
        ----------
        cursor
            (B,) bars; not looked at without a market.
        account
            (B, n_account) the rest of what is seen.
        before
            (B, n_memory) what was remembered.
        encoder
            Of now.

        Returns
        -------
        tuple
            (B, n_outputs) encodings, and (B, n_memory) what is remembered after them.
        """
        encodings, after = encoder.run(self._seen(cursor, account).unsqueeze(1), before)
        return encodings[:, 0], after

    def mark(self, t: int) -> None:
        """Keep what is remembered before step ``t``, if a piece may begin with it."""
        if t % self.length == 0:
            self._begun[t // self.length] = self.now

    def go_on(self, after: Tensor, over: Bool) -> None:
        """Remember ``after`` (B, n_memory), and nothing where the episode is over."""
        self.now = torch.where(torch.from_numpy(over).to(self.device).unsqueeze(1), 0.0, after)

    def shuffle(
        self, cursor: Int, account: Tensor, over: Bool, generator: torch.Generator
    ) -> tuple[Tensor, Callable[[Tensor], Minibatch]]:
        """Put samples in a random order of pieces, each whole and in order of time; see `EncodedBars.shuffle`.

        Parameters
        ----------
        cursor, account
            (n_steps, B) bars, and (n_steps, B, n_account) the rest of what was seen.
        over
            (n_steps, B) whether the episode ended with the step.
        generator
            Of the order.

        Returns
        -------
        tuple
            (n_steps x B,) the order, and what makes a `Minibatch` of a piece of it, in any thread.
        """
        row, first, count = _pieces(over, self.length)
        n_envs = over.shape[1]
        steps = np.minimum(np.arange(self.length), count[:, None] - 1) * n_envs + first[:, None]
        fresh = (first // n_envs) % self.length != 0
        begun = self._begun[first // n_envs // self.length, first % n_envs]
        begun[torch.from_numpy(fresh)] = 0.0
        self._pieces = torch.from_numpy(steps).to(self.device), begun
        cursors = None if self.windows is None else torch.from_numpy(cursor.ravel()).to(self.device)
        self._inputs = cursors, account.flatten(0, 1)
        place = torch.randperm(len(first), generator=generator, device=self.device).cpu().numpy()
        order = np.empty(len(row), dtype=np.int64)
        group(row, place, self.length, np.zeros(len(first) * self.length, dtype=np.int64), order)
        return torch.from_numpy(order), lambda part: self._laid_out(row, part.numpy())

    def encode(self, units: Tensor, encoder: EpisodeEncoder) -> Tensor:
        """Encodings (k x length, n_outputs) of k pieces, with the way back to the encoder."""
        steps, begun = self._pieces
        of = steps.index_select(0, units)
        cursors, accounts = self._inputs
        flat = of.ravel()
        seen = self._seen(flat if cursors is None else cursors.index_select(0, flat), accounts.index_select(0, flat))
        return encoder.run(seen.view(*of.shape, -1), begun.index_select(0, units))[0].flatten(0, 1)

    def _seen(self, cursor: Tensor, account: Tensor) -> Tensor:
        if self.windows is None:
            return account
        return torch.cat([self.windows.index_select(0, cursor - self.first), account], dim=1)

    def _laid_out(self, row: Int, chosen: Int) -> Minibatch:
        units, spot = np.zeros(len(chosen), dtype=np.int64), np.empty_like(chosen)
        k = lay_out(row, chosen, self.length, units, spot)
        return Minibatch(*(torch.from_numpy(x).to(self.device) for x in (chosen, units[:k], spot)))


def _pieces(over: Bool, length: int) -> tuple[Int, Int, Int]:
    """Cut a rollout into pieces.

    Returns
    -------
    tuple
        (n_steps x B,) piece x ``length`` + place in it of each sample; (P,) first sample of each piece, and its steps.
    """
    n_steps, n_envs = over.shape
    begins = np.zeros((n_envs, n_steps), dtype=np.bool_)
    begins[:, ::length] = True
    begins[:, 1:] |= over[:-1].T
    starts = np.flatnonzero(begins)
    piece = np.cumsum(begins.ravel()) - 1
    row = piece * length + np.arange(begins.size) - starts[piece]
    first = starts % n_steps * n_envs + starts // n_steps
    count = np.diff(starts, append=begins.size)
    return np.ascontiguousarray(row.reshape(n_envs, n_steps).T).ravel(), first, count
