"""Bars on the device, each encoded once for all who stand on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from qframe_rl.jit import compiled, fused
from qframe_rl.policy.net import Encoder, InputShape
from qframe_rl.types import Int

_BLOCK = 64
"""Contiguous bars that a recurrent encoder says something about in one go."""


Encode = Callable[[Tensor], Tensor]
"""Units to their encodings."""


class Minibatch(NamedTuple):
    """A minibatch of samples."""

    pick: Tensor
    """(B,) which samples."""
    units: Tensor | None = None
    """What is to be encoded for them, see `Bars.encode`; None without a market."""
    spot: Tensor | None = None
    """(B,) which encoding is whose, in ascending order; None = each sample has its own."""


class EncodedBars:
    """The bars of a tape on the device, and their encodings.

    Parameters
    ----------
    shape
        Of the windows.
    recurrent
        Whether they are encoded in blocks, see `Encoder.recurrent`.
    features
        (T, width) float32, what there is to see at each cursor.
    device
        Where they lie.
    """

    _CHUNK = 16384
    """Bars encoded at a time while the table is filled."""
    _AT_LEAST = 256
    """Bars of a minibatch are a multiple of this: the library of products prepares itself for each new size."""

    def __init__(self, shape: InputShape, recurrent: bool, features: NDArray[np.float32], device: torch.device):
        n_rows, width, _ = shape
        rows = torch.from_numpy(features)
        self.recurrent = recurrent
        if recurrent:
            self.block, self.first = _BLOCK, 0
            n_units = -(-len(rows) // _BLOCK)
            rows = F.pad(rows, (0, 0, n_rows - 1, n_units * _BLOCK - len(rows)))
            rows = rows.to(device).contiguous()
            self.units = rows.as_strided((n_units, _BLOCK + n_rows - 1, width), (_BLOCK * width, width, 1))
        else:
            self.block, self.first = 1, n_rows - 1
            rows = rows.to(device).contiguous()
            self.units = rows.as_strided((len(rows) - n_rows + 1, n_rows * width), (width, 1))
        self._table: Tensor | None = None

    def encode(self, units: Tensor, encoder: Encoder) -> Tensor:
        """Encodings (k x block, n_outputs) of k units: bars, or blocks of contiguous ones for a recurrent encoder.

        In a block each bar is encoded with at least the window that it is seen with when the agent acts, and up to a
        block more of the past.
        """
        shown = self.units.index_select(0, units)
        if self.recurrent:
            return encoder.run(shown, self.block).flatten(0, 1)
        return encoder(shown)  # type: ignore[no-any-return]

    def refresh(self, n_samples: int, encode: Encode, each: Callable[..., list[Tensor]]) -> None:
        """Encode all bars after a change of weights, if that is less work than encoding ``n_samples`` one by one.

        Parameters
        ----------
        n_samples
            How many will be asked for until the weights change again.
        encode
            The encoder of now.
        each
            Maps a function over arguments, as `map` does, perhaps on several threads.
        """
        self._table = None
        n, at_once = len(self.units), max(1, self._CHUNK // self.block)
        if self.recurrent or n <= n_samples:
            units = torch.split(torch.arange(n, device=self.units.device), at_once)
            self._table = torch.cat(each(encode, units)).float()

    def at(self, cursor: Tensor, encode: Encode) -> tuple[Tensor, Tensor | None]:
        """Encodings of bars, and which are those of (B,) cursors, None = each its own; after `refresh`."""
        cursor = cursor - self.first
        return (encode(cursor), None) if self._table is None else (self._table, cursor)

    def shuffle(self, cursor: Int, generator: torch.Generator) -> tuple[Tensor, Callable[[Tensor], Minibatch]]:
        """Put samples in a random order, in which they are to be learned from.

        Where samples share bars, those of a bar, or of a block, come together, so that it is encoded once.

        Parameters
        ----------
        cursor
            (n,) bars of the samples.
        generator
            Of the order.

        Returns
        -------
        tuple
            (n,) the order, and what makes a `Minibatch` of a piece of it, in any thread.
        """
        device, n = self.units.device, len(cursor)
        row = cursor - self.first
        if self.block == 1 and 2 * np.count_nonzero(np.bincount(row, minlength=len(self.units))) > n:
            where = torch.from_numpy(row).to(device)
            return torch.randperm(n, generator=generator, device=device), lambda part: Minibatch(part, where[part])
        place = torch.randperm(len(self.units), generator=generator, device=device).cpu().numpy()
        order = np.empty(n, dtype=np.int64)
        group(row, place, self.block, np.zeros(len(self.units) * self.block, dtype=np.int64), order)
        return torch.from_numpy(order), lambda part: self._laid_out(row, part.numpy())

    def _laid_out(self, row: Int, chosen: Int) -> Minibatch:
        """Samples in the order of their units and bars."""
        units, spot = np.zeros(len(chosen) + self._AT_LEAST, dtype=np.int64), np.empty_like(chosen)
        k = lay_out(row, chosen, self.block, units, spot)
        k += -k % max(1, self._AT_LEAST // self.block)  # by units that nobody looks at
        return Minibatch(*(torch.from_numpy(x).to(self.units.device) for x in (chosen, units[:k], spot)))


@compiled
def group(row: Int, place: Int, block: int, start: Int, order: Int) -> None:
    """Order samples by the place of their unit and within it, by counting.

    Parameters
    ----------
    row
        (n,) unit x ``block`` + place in it, of each sample.
    place
        (units,) place of each unit in the order.
    block
        Samples of a unit, at the most.
    start
        (units x ``block``,) zeros, for scratch.
    order
        (n,) written.
    """
    for r in row:
        start[place[r // block] * block + r % block] += 1
    total = 0
    for p in range(len(start)):
        total, start[p] = total + start[p], total
    for i in range(len(row)):
        p = place[row[i] // block] * block + row[i] % block
        order[start[p]] = i
        start[p] += 1


@fused
def lay_out(row: Int, chosen: Int, block: int, units: Int, spot: Int) -> int:
    """Write which units are seen, and where in their encodings each chosen sample's is; return how many units.

    Parameters
    ----------
    row
        (n,) unit x ``block`` + place in it, of each sample.
    chosen
        (m,) samples, those of a unit one after another.
    block
        Samples of a unit, at the most.
    units, spot
        (m,) written; of ``units`` as many as are returned.
    """
    k, before = -1, -1
    for i in range(len(chosen)):
        unit = row[chosen[i]] // block
        if unit != before:
            k, before = k + 1, unit
            units[k] = unit
        spot[i] = k * block + row[chosen[i]] % block
    return k + 1
