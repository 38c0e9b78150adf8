"""Tables of a report on paper: columns as wide as their longest text, heads in at most two lines."""

from __future__ import annotations

from itertools import accumulate
from textwrap import wrap
from typing import TYPE_CHECKING

from qframe_rl.evaluate.plot import FAINT, GRID, INK, PALETTE
from qframe_rl.evaluate.report.chart import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 8.27, 11.69
"""A4, inches."""
LEFT, RIGHT = 0.09, 0.96
"""Of what is on a page, shares of its width."""
TALLEST = 6.5
"""Tables higher than this are not put beside each other, inches."""
_ROW, _TITLE, _AFTER = 0.165, 0.32, 0.12
_LETTER = 0.0073
"""Width of a letter of 7.5 points, as a share of the page's."""
_LONGEST, _SPARE = 60, 2.0
"""Letters of a cell that are shown, and that a column has more than its longest text."""
_SHORT = 7
"""Letters that a line of a head has at least before it is broken."""


def put(
    page: Figure, x: float, y: float, text: str, size: float, colour: str, *, weight: str = "normal", left: bool = True
) -> None:
    """Write a line of text.

    Parameters
    ----------
    page
        What is written on.
    x, y
        Where: a share of the page's width, and inches above its lower edge.
    text, size, colour, weight
        What, in points, and as Matplotlib names them.
    left
        Whether ``x`` is where the text begins; else it is where it ends.
    """
    side = "left" if left else "right"
    page.text(x, y / HEIGHT, text, fontsize=size, fontweight=weight, color=colour, va="bottom", ha=side)


class Grid:
    """A table at a place of a page's width."""

    def __init__(self, table: Table, left: float):
        self.table, self.left = table, left
        cells = [max((len(row[k]) for row in table.rows), default=0) for k in range(len(table.head))]
        self._heads = [_broken(text, n) for text, n in zip(table.head, cells, strict=True)]
        longest = [max(n, *map(len, lines)) for n, lines in zip(cells, self._heads, strict=True)]
        need = [max(3, min(n, _LONGEST)) + _SPARE for n in longest]
        wanted = _LETTER * sum(need)
        self._size = 7.5 * min(1.0, (RIGHT - LEFT) / wanted)
        shrunk = min(wanted, RIGHT - LEFT) / sum(need)
        self._edges = [left + shrunk * n for n in accumulate(need, initial=0.0)]
        self._lines = max(map(len, self._heads)) if any(table.head) else 0
        self.above = _TITLE + _ROW * self._lines + 0.02
        """Height of title and head, inches."""

    @property
    def right(self) -> float:
        """Right end, a share of the page's width; titles may be longer than their tables."""
        return max(self._edges[-1], self.left + 1.35 * _LETTER * len(self.table.title))

    def height(self, rows: int | None = None) -> float:
        """Inches of title, head and so many rows, or all."""
        return self.above + self.below(len(self.table.rows) if rows is None else rows)

    def below(self, rows: int) -> float:
        """Inches of rows alone."""
        return _ROW * rows + _AFTER * (rows == len(self.table.rows))

    def draw(self, page: Figure, top: float, start: int, stop: int, *, headed: bool = True) -> None:
        """Draw some rows of the table.

        Parameters
        ----------
        page
            What is drawn on.
        top
            Inches above the page's lower edge, below which they stand.
        start, stop
            Rows from ``start`` to ``stop``, exclusive.
        headed
            Draw title and head above them.
        """
        y = top
        if headed:
            title = self.table.title + (" (continued)" if start else "")
            put(page, self.left, y - _TITLE, title, 9.5, INK, weight="bold")
            for k in range(self._lines):
                line = tuple(one[k - self._lines] if k >= self._lines - len(one) else "" for one in self._heads)
                self._cells(page, y - _TITLE - _ROW * (k + 1), line, FAINT)
            y -= self.above
            self._rule(page, y)
        for k in range(start, stop):
            y -= _ROW
            self._shade(page, y, k)
            self._cells(page, y, self.table.rows[k], INK)

    def _cells(self, page: Figure, y: float, row: tuple[str, ...], colour: str) -> None:
        for k, text in enumerate(row):
            left = k < self.table.left
            x = self._edges[k] + 0.003 if left else self._edges[k + 1] - 0.004
            shown = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
            put(page, x, y, shown, self._size, colour, left=left)

    def _rule(self, page: Figure, y: float) -> None:
        from matplotlib.lines import Line2D

        page.add_artist(Line2D([self.left, self._edges[-1]], [y / HEIGHT] * 2, color=GRID, linewidth=0.8))

    def _shade(self, page: Figure, y: float, row: int) -> None:
        from matplotlib.patches import Rectangle

        for k, value in enumerate(self.table.heat[row] if self.table.heat is not None else ()):
            if value:
                colour = PALETTE[2] if value > 0.0 else PALETTE[1]
                box = Rectangle(
                    (self._edges[k], y / HEIGHT - 0.001), self._edges[k + 1] - self._edges[k], _ROW / HEIGHT,
                    linewidth=0, color=colour, alpha=0.45 * abs(value), zorder=0, transform=page.transFigure,
                )  # fmt: skip
                page.add_artist(box)


def _broken(head: str, cell: int) -> list[str]:
    """A head in one line, or between its words in two if it is longer than its cells."""
    if len(head) <= max(cell, _SHORT):
        return [head]
    ways = [wrap(head, n, break_long_words=False, break_on_hyphens=False) for n in range(_SHORT, len(head) + 1)]
    return min(ways, key=lambda lines: (len(lines) > 2, max(map(len, lines))))
