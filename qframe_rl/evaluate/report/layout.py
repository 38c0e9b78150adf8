"""Where pages end: things in a row are put on pages of one height so that as little as possible stays blank.

The best of all ways to break the row is found by dynamic programming, as paragraphs are broken into lines (Knuth &
Plass, Breaking paragraphs into lines, Software: Practice and Experience 11, 1981). Charts are what stretches and
shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST, MOST = 0.7, 1.45
"""How far charts may shrink and stretch, as a share of their height."""
_BLANK, _BENT, _CUT = 10.0, 0.3, 0.03
"""Costs: of a page left blank, of charts bent by a factor of e, of a table that goes on overleaf."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Item:
    """A thing on a page; heights are inches."""

    draw: Callable[[Figure, float, float, bool], None]
    """Draws it: page, where its top is above the page's bottom, height of its chart, whether it begins the page."""
    fixed: float
    """Height of all but the chart."""
    chart: float = 0.0
    """Usual height of the chart."""
    again: float = 0.0
    """More height if it begins a page, such as a head that is said again."""
    bound: bool = False
    """Whether it stays on the page of what comes before it."""


class FilledPage(NamedTuple):
    """A page."""

    items: Sequence[Item]
    scale: float
    """Of its charts."""
    blank: float
    """Inches below the last item; negative where an item is too high for any page."""


def arrange(items: Sequence[Item], room: float) -> list[FilledPage]:
    """Break a row of items into pages of ``room`` inches.

    Parameters
    ----------
    items
        In order; not empty.
    room
        Height of a page.
    """
    best: list[tuple[float, int, FilledPage | None]] = [(0.0, 0, None)]
    for stop in range(1, len(items) + 1):
        best.append(_best_end(items, stop, room, best))
    found: list[FilledPage] = []
    stop = len(items)
    while stop:
        _, start, page = best[stop]
        assert page is not None
        found.insert(0, page)
        stop = start
    return found


def _best_end(
    items: Sequence[Item], stop: int, room: float, best: Sequence[tuple[float, int, FilledPage | None]]
) -> tuple[float, int, FilledPage | None]:
    """The cheapest last page of the items before ``stop``: cost of all pages, its first item, itself."""
    found: tuple[float, int, FilledPage | None] = (math.inf, stop - 1, None)
    for start in range(stop - 1, -1, -1):
        if start and items[start].bound:
            continue
        page = _page(items[start:stop], room)
        if page.blank < -_ROUNDING and found[2] is not None:
            break
        cost = best[start][0] + _cost(page, room)
        if cost < found[0]:
            found = (cost, start, page)
    return found


def _page(items: Sequence[Item], room: float) -> FilledPage:
    fixed = sum(one.fixed for one in items) + items[0].again
    charts = sum(one.chart for one in items)
    scale = min(MOST, max(LEAST, (room - fixed) / charts)) if charts else 1.0
    return FilledPage(items, scale, room - fixed - scale * charts)


def _cost(page: FilledPage, room: float) -> float:
    if page.blank < -_ROUNDING:
        return 1e3 * -page.blank
    bent = math.log(page.scale) ** 2 * sum(one.chart > 0.0 for one in page.items)
    return _BLANK * (page.blank / room) ** 2 + _BENT * bent + _CUT * (page.items[0].again > 0.0)
