"""Values of formulas over a panel of bars: each part computed once, in memory that is used again.

Formulas of a batch share their parts by identity of text: one that was computed stays resident until room is needed,
the one that was not asked for longest going first. Arrays are rows by instruments, instruments side by side.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qframe_rl.alpha.cells import BINARY, SHIFT, UNARY, binary, channel, shift, unary, with_constant
from qframe_rl.alpha.cross import rank, universe, zscore
from qframe_rl.alpha.operators import COLUMN, LEAVES
from qframe_rl.alpha.ordered import mean_distance, median, rank_of_newest
from qframe_rl.alpha.rolling import CODES, N_STATES, decay_of, roll, weight_of
from qframe_rl.alpha.tree import CONSTANT, Formula
from qframe_rl.config import UserError
from qframe_rl.times import iso
from qframe_rl.types import CLOSE, HIGH, LOW, OHLCV, VOLUME, Bool, Float, Int

_BYTES = 256 * 2**20
_CELLS = 2**20
"""Cells of a piece in which `FormulaRows` walks a history."""


class Evaluator:
    """Computes formulas over one panel.

    Parameters
    ----------
    bars
        (T, A, C) channels, NaN where an instrument did not trade.
    times
        (T,) closes, ns UTC, strictly increasing.
    bar_ns
        Length of a bar, ns.
    columns
        Names of the channels after the first five.
    members
        (T, A) the universe that ranks range over; None takes all instruments of `qframe_rl.alpha.cross.universe`.
    most_bytes
        Memory for parts of formulas that stay resident.

    Raises
    ------
    UserError
        If two bars are closer than a bar's length.
    """

    def __init__(
        self,
        bars: Float,
        times: Int,
        bar_ns: int,
        columns: Sequence[str] = (),
        members: Bool | None = None,
        most_bytes: int = _BYTES,
    ):
        self.bars, self.columns, self.shape = bars, tuple(columns), bars.shape[:2]
        self._slots = times // bar_ns
        if (close := np.flatnonzero(np.diff(self._slots) <= 0)).size:
            raise UserError(
                f"two bars lie closer than a bar's length from {iso(int(times[close[0]]))} on; formulas need one bar "
                f"in each stretch of that length."
            )
        self._members = members
        self._begins: dict[int, Int] = {}
        self._resident: OrderedDict[str, Float] = OrderedDict()
        self._free: list[Float] = []
        self._scratch = np.empty(0)
        self._most = max(1, most_bytes // max(1, 8 * self.shape[0] * self.shape[1]))

    @property
    def members(self) -> Bool:
        """(T, A) the universe that ranks range over."""
        if self._members is None:
            self._members = universe(self.bars)
        return self._members

    def value(self, tree: Formula) -> Float:
        """Values of a formula.

        Parameters
        ----------
        tree
            The formula; its columns must be the panel's.

        Returns
        -------
        Float
            (T, A), the caller's own; NaN where a row of its window is missing, or before its lookback.

        Raises
        ------
        UserError
            For a column that the panel does not have.
        """
        return self.shown(tree).copy()

    def values(self, trees: Iterable[Formula]) -> Iterator[Float]:
        """Values of one formula after another, as `shown` gives them."""
        for tree in trees:
            yield self.shown(tree)

    def shown(self, tree: Formula) -> Float:
        """Values of a formula (T, A), read-only, and only until the next formula is computed."""
        if tree.text not in self._resident:
            for node in tree.nodes():
                if node.op != CONSTANT and node.text not in self._resident:
                    self._resident[node.text] = self._computed(node)
                self._touch(node)
            self._shrink()
        self._touch(tree)
        view = self._resident[tree.text].view()
        view.flags.writeable = False
        return view

    def keep(self, trees: Iterable[Formula]) -> None:
        """Forget everything but the values of these formulas and their parts."""
        kept = {node.text for tree in trees for node in tree.nodes()}
        for text in [text for text in self._resident if text not in kept]:
            self._free.append(self._resident.pop(text))

    @property
    def n_resident(self) -> int:
        """Formulas and parts of them whose values are in memory."""
        return len(self._resident)

    def _touch(self, node: Formula) -> None:
        if node.text in self._resident:
            self._resident.move_to_end(node.text)

    def _shrink(self) -> None:
        while len(self._resident) > self._most:
            self._free.append(self._resident.popitem(last=False)[1])

    def _new(self) -> Float:
        return self._free.pop() if self._free else np.empty(self.shape)

    def _room(self, *shape: int) -> Float:
        """Memory to work in."""
        size = int(np.prod(shape))
        if self._scratch.size < size:
            self._scratch = np.empty(size)
        return self._scratch[:size].reshape(shape)

    def _blocks(self, w: int) -> Int:
        """Rows at which blocks of ``w`` bars begin, and T."""
        if w not in self._begins:
            block = self._slots // w
            begins = np.flatnonzero(np.diff(block, prepend=block[:1] - 1))
            self._begins[w] = np.append(begins, len(block)).astype(np.int64)
        return self._begins[w]

    def _computed(self, node: Formula) -> Float:
        out, one = self._new(), node.operator
        if one is None:
            self._leaf(node.op, out)
            return out
        x = self._resident[node.parts[0].text]
        match one.kind:
            case "unary":
                unary(UNARY[node.op], x, out)
            case "cross":
                (rank if node.op == "rank" else zscore)(x, self.members, self._room(1, self.shape[1]), out)
            case "binary" if node.parts[1].op == CONSTANT:
                with_constant(BINARY[node.op], x, node.parts[1].value, out)
            case "binary":
                y = self._resident[node.parts[1].text]
                binary(BINARY[node.op], x, y, self._room(1, self.shape[1]), out)
            case "shift":
                shift(SHIFT[node.op], x, node.window, out)
            case _:
                self._roll(node, x, self._resident[node.parts[-1].text], out)
        return out

    def _roll(self, node: Formula, x: Float, y: Float, out: Float) -> None:
        w, n = node.window, self.shape[1]
        if w > len(x):
            out.fill(np.nan)
        elif node.op == "med":
            median(x, w, self._room(w + 1, n), out)
        elif node.op == "tsrank":
            rank_of_newest(x, w, out)
        else:
            code, kind = CODES["mean" if node.op == "mad" else node.op]
            scratch = self._room(w + 4, N_STATES[kind], n)
            weight = weight_of("mean" if node.op == "mad" else node.op, w)
            roll(code, kind, x, y, self._blocks(w), w, weight, decay_of(w), scratch, out)
            if node.op == "mad":
                mean_distance(x, w, self._room(1, n), out)

    def _leaf(self, op: str, out: Float) -> None:
        if op in OHLCV:
            channel(self.bars, OHLCV.index(op), out)
        elif op.startswith(COLUMN):
            name = op.removeprefix(COLUMN)
            if name not in self.columns:
                raise UserError(f"a formula reads the column {name!r}, which the data do not have.")
            channel(self.bars, VOLUME + 1 + self.columns.index(name), out)
        elif op == "ret1":
            channel(self.bars, CLOSE, out)
            before = self._new()
            shift(SHIFT["ret"], out, 1, before)
            out[:] = before
            self._free.append(before)
        else:
            assert op in LEAVES
            high, low, close, volume = (self.bars[:, :, c] for c in (HIGH, LOW, CLOSE, VOLUME))
            out[:] = (high + low + close) / 3.0 if op == "typical" else close * volume
            out[~np.isfinite(out)] = np.nan


@dataclass(frozen=True)
class FormulaRows:
    """Rows of a formula, each from the rows of its lookback alone, as `qframe_rl.features.Feature` asks for them."""

    tree: Formula
    bar_ns: int
    columns: tuple[str, ...]

    def __call__(self, bars: Float, times: Int, first: int, lookback: int, params: Float, out: Float) -> None:
        """Write rows ``first`` to the end.

        Parameters
        ----------
        bars, times
            As `Evaluator` has them.
        first
            Row to begin with, at least ``lookback - 1``.
        lookback
            The formula's.
        params
            None are needed.
        out
            (T - first, A) written. Long histories are walked in pieces, which gives the same bits.
        """
        before = lookback - 1
        step = max(4 * before, _CELLS // max(1, bars.shape[1]))
        for begin in range(first, len(bars), step):
            end = min(begin + step, len(bars))
            part = slice(begin - before, end)
            evaluator = Evaluator(bars[part], times[part], self.bar_ns, self.columns)
            out[begin - first : end - first] = evaluator.shown(self.tree)[before:]
