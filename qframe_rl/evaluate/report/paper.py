"""A report on paper: words, charts and tables as things of a known height, laid out on the pages of a PDF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from qframe_rl.evaluate.plot import FAINT, INK, PALETTE, WARNING
from qframe_rl.evaluate.provenance import MARK
from qframe_rl.evaluate.report.chart import Chart, Report, Section, Table
from qframe_rl.evaluate.report.layout import Item, arrange
from qframe_rl.evaluate.report.paint import CHART, draw, legend_lines
from qframe_rl.evaluate.report.rows import HEIGHT, LEFT, RIGHT, TALLEST, WIDTH, Grid, put

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TOP, _BOTTOM = 11.1, 0.75
"""Of what is on a page, inches above its lower edge."""
_COLOURS = {"good": PALETTE[2], "bad": WARNING, "open": PALETTE[4]}
_LINE = 0.19
_NOTE_LETTERS = 122
_FIRST_ROWS, _LAST_ROWS = 4, 3
"""Rows of a table that stay together with its head, and at its end."""
_COLUMNED = 12
"""Rows from which a narrow table goes on beside itself."""
_APART = 0.03
"""Between two tables side by side, a share of the page's width."""


class _Style(NamedTuple):
    size: float
    weight: str
    colour: str
    letters: int
    """In a line."""


def pages(reports: Sequence[Report]) -> Iterator[Figure]:
    """Lay reports out on pages."""
    for report in reports:
        found = arrange(list(_items(report)), _TOP - _BOTTOM)
        for number, page in enumerate(found):
            sheet, y = _sheet(report, number + 1, len(found)), _TOP
            for k, item in enumerate(page.items):
                item.draw(sheet, y, item.chart * page.scale, k == 0)
                y -= item.fixed + item.chart * page.scale + item.again * (k == 0)
            yield sheet


def write_pdf(reports: Sequence[Report], path: Path) -> int:
    """Write a PDF, whole or not at all; return its number of pages."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_pdf import PdfPages

    fresh = path.with_name(f".{path.name}.part")
    count = 0
    with rc_context({"pdf.compression": 9}), PdfPages(fresh, metadata={"CreationDate": None}) as book:
        for figure in pages(reports):
            book.savefig(figure)
            count += 1
    fresh.replace(path)
    return count


def _sheet(report: Report, number: int, count: int) -> Figure:
    """An empty page with its foot."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(WIDTH, HEIGHT), dpi=110, facecolor="white")
    colour = WARNING if MARK in report.note else FAINT
    page.text(LEFT, 0.038, "\n".join(wrap(report.note, _NOTE_LETTERS)), fontsize=7, color=colour, va="bottom")
    where = f"{report.title}, page {number} of {count}"
    page.text(RIGHT, 0.022, where, fontsize=7, color=FAINT, ha="right", va="bottom")
    return page


def _items(report: Report) -> Iterator[Item]:
    """Everything in a report, in order."""
    yield _text(report.title, _Style(20, "bold", INK, 50))
    yield _text(report.headline, _Style(13, "bold", _COLOURS[report.colour], 66), above=0.1, bound=True)
    for k, reason in enumerate(report.reasons):
        yield _text(reason, _Style(9.5, "normal", INK, 102), above=0.05 * (k == 0), bullet=True)
    for section in report.sections:
        yield from _section(section)


def _section(section: Section) -> Iterator[Item]:
    yield _text(section.title, _Style(14, "bold", INK, 80), above=0.28, spare=0.28)
    for text in section.text:
        yield _text(text, _Style(9.0, "normal", INK, 110), bound=True)
    charts = [[_chart(chart)] for chart in section.charts]
    tables = [list(_tables(grids)) for grids in _beside(section.tables)]
    rest = [*tables, *charts] if section.tables_first else [*charts, *tables]
    for k, (first, *more) in enumerate(rest):
        yield replace(first, bound=k == 0)
        yield from more


def _text(
    text: str, style: _Style, *, above: float = 0.0, spare: float = 0.0, bullet: bool = False, bound: bool = False
) -> Item:
    """Words; ``spare`` is what of the height above them is not needed at the top of a page."""
    lines, step = wrap(text, style.letters), _LINE * style.size / 9.5

    def drawn(page: Figure, top: float, _: float, first: bool) -> None:
        y = top - above + spare * first
        for k, line in enumerate(lines):
            y -= step
            if bullet and k == 0:
                put(page, LEFT, y, "•", style.size, style.colour, weight=style.weight)
            put(page, LEFT + 0.018 * bullet, y, line, style.size, style.colour, weight=style.weight)

    return Item(drawn, above + step * len(lines) + 0.05, again=-spare, bound=bound)


def _chart(chart: Chart) -> Item:
    above, below = 0.32 + 0.2 * legend_lines(chart), 0.3 + 0.16 * bool(chart.x_label)

    def drawn(page: Figure, top: float, height: float, _: bool) -> None:
        bottom = top - above - height
        draw(page.add_axes((LEFT + 0.02, bottom / HEIGHT, RIGHT - LEFT - 0.02, height / HEIGHT)), chart)

    return Item(drawn, above + below, chart=CHART * chart.height)


def _beside(tables: Sequence[Table]) -> Iterator[tuple[Grid, ...]]:
    """Tables by twos where two have room beside each other; a long narrow one goes on beside itself."""
    left = [part for table in tables for part in _halves(table)]
    while left:
        one, *left = left
        grid = Grid(one, LEFT)
        other = _right_of(grid, left[0]) if left else None
        if other is None:
            yield (grid,)
        else:
            left = left[1:]
            yield grid, other


def _right_of(grid: Grid, table: Table) -> Grid | None:
    """A table beside another, in the right half where that is possible; None where there is no room."""
    for place in (max(grid.right + _APART, (LEFT + RIGHT) / 2.0), grid.right + _APART):
        other = Grid(table, place)
        if other.right <= RIGHT and max(grid.height(), other.height()) <= TALLEST:
            return other
    return None


def _halves(table: Table) -> Iterator[Table]:
    """The table, or its halves if it is long and has room beside itself."""
    n = len(table.rows)
    half = -(-n // 2)
    if n < _COLUMNED or _right_of(Grid(table.part(0, half), LEFT), table.part(half, n)) is None:
        yield table
    else:
        yield table.part(0, half)
        yield table.part(half, n)


def _tables(grids: tuple[Grid, ...]) -> Iterator[Item]:
    """Tables beside each other as one thing; of a single one every row may begin a page but the first and last."""
    first = grids[0]
    n = len(first.table.rows)
    if len(grids) > 1 or n < _FIRST_ROWS + _LAST_ROWS:

        def drawn(page: Figure, top: float, _: float, __: bool) -> None:
            for grid in grids:
                grid.draw(page, top, 0, len(grid.table.rows))

        yield Item(drawn, max(grid.height() for grid in grids))
        return
    yield _rows(first, 0, _FIRST_ROWS, bound=False)
    for k in range(_FIRST_ROWS, n):
        yield _rows(first, k, k + 1, bound=k > n - _LAST_ROWS)


def _rows(grid: Grid, start: int, stop: int, *, bound: bool) -> Item:
    """Some rows of a table, under its head if they are the first or begin a page."""

    def drawn(page: Figure, top: float, _: float, first: bool) -> None:
        grid.draw(page, top, start, stop, headed=first or start == 0)

    fixed = grid.height(stop - start) if start == 0 else grid.below(stop - start)
    again = 0.0 if start == 0 else grid.above
    return Item(drawn, fixed, again=again, bound=bound)
