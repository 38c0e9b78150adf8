"""Values of formulas over a panel of bars: each part computed once, in memory that is used again.

Formulas of a batch share their parts by identity of text: one that was computed stays resident until room is needed,
the one that was not asked for longest going first. Arrays are rows by instruments, instruments side by side.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qframe_rl.alpha.cells import BINARY, SHIFT, UNARY, binary, channel, shift, unary, with_constant
from qframe_rl.alpha.cross import leaders, led, rank, universe, zscore
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
        Memory for the values of formulas and their parts. Only where it is less than one formula's `Formula.width` of
        arrays is more taken, and given back at once.

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
        self._members, self._leaders = members, np.zeros(0, dtype=np.int64)
        self._begins: dict[int, Int] = {}
        self._resident: OrderedDict[str, Float] = OrderedDict()
        self._free: list[Float] = []
        self._n_arrays = 0
        self._in_use: Counter[str] = Counter()
        self._scratch = np.empty(0)
        self._most = max(1, most_bytes // max(1, 8 * self.shape[0] * self.shape[1]))

    @property
    def members(self) -> Bool:
        """(T, A) the universe that ranks range over."""
        if self._members is None:
            self._members = universe(self.bars)
        return self._members

    @property
    def leader(self) -> Int:
        """(T,) which instrument leads the market, as `qframe_rl.alpha.cross.leaders` has it."""
        if len(self._leaders) < len(self.bars):
            self._leaders = leaders(self.bars, self.members)
        return self._leaders

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
        for name in tree.columns:
            if name not in self.columns:
                raise UserError(f"a formula reads the column {name!r}, which the data do not have.")
        self._in_use.clear()  # what a computation that was broken off had taken
        self._need(tree)
        self._let_go((tree,))
        view = self._resident[tree.text].view()
        view.flags.writeable = False
        return view

    def keep(self, trees: Iterable[Formula]) -> None:
        """Forget everything but the values of these formulas and their parts."""
        kept = {node.text for tree in trees for node in tree.nodes()}
        for text in [text for text in self._resident if text not in kept]:
            self._give_back(self._resident.pop(text))

    @property
    def n_resident(self) -> int:
        """Formulas and parts of them whose values are in memory."""
        return len(self._resident)

    @property
    def n_arrays(self) -> int:
        """Arrays in memory, those that are free to be used again among them."""
        return self._n_arrays

    def _need(self, node: Formula) -> None:
        """Have a node's values in memory until they are let go of; of its operands the one that needs most is first."""
        parts: list[Formula] = []
        if node.text not in self._resident:
            parts = [part for part in node.parts if part.op != CONSTANT]
            for part in sorted(parts, key=lambda part: -part.width):
                self._need(part)
            self._resident[node.text] = self._computed(node)
        self._resident.move_to_end(node.text)
        self._in_use[node.text] += 1
        self._let_go(parts)

    def _let_go(self, nodes: Sequence[Formula]) -> None:
        """These are needed no longer; what does not fit into the memory goes at once."""
        self._in_use.subtract(node.text for node in nodes)
        self._in_use += Counter()
        while self._n_arrays > self._most and (oldest := self._oldest()) is not None:
            self._give_back(self._resident.pop(oldest))

    def _oldest(self) -> str | None:
        """What was not asked for longest of what is not in use."""
        return next((text for text in self._resident if text not in self._in_use), None)

    def _give_back(self, array: Float) -> None:
        if self._n_arrays > self._most:
            self._n_arrays -= 1
        else:
            self._free.append(array)

    def _new(self) -> Float:
        if self._free:
            return self._free.pop()
        if self._n_arrays >= self._most and (oldest := self._oldest()) is not None:
            return self._resident.pop(oldest)
        self._n_arrays += 1
        return np.empty(self.shape)

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
            case "market":
                led(x, self.leader, out)
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
            channel(self.bars, VOLUME + 1 + self.columns.index(op.removeprefix(COLUMN)), out)
        elif op == "ret1":
            channel(self.bars, CLOSE, out)
            before = self._new()
            shift(SHIFT["ret"], out, 1, before)
            out[:] = before
            self._give_back(before)
        else:
            assert op in LEAVES
            high, low, close, volume = (self.bars[:, :, c] for c in (HIGH, LOW, CLOSE, VOLUME))
            if op == "typical":
                np.add(np.add(high, low, out=out), close, out=out)
                out /= 3.0
            else:
                np.multiply(close, volume, out=out)
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
            (T - first, A) written. Long histories are walked in pieces, which gives the same bits: of five lookbacks,
            or of fewer where these are too large for the memory, but never of less than two.
        """
        before, n = lookback - 1, max(1, bars.shape[1])
        fits = _BYTES // (8 * n * self.tree.width) - before
        step = max(min(4 * before, max(before, fits)), _CELLS // n, 1)
        for begin in range(first, len(bars), step):
            end = min(begin + step, len(bars))
            part = slice(begin - before, end)
            evaluator = Evaluator(bars[part], times[part], self.bar_ns, self.columns)
            out[begin - first : end - first] = evaluator.shown(self.tree)[before:]
