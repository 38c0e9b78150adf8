"""What quoting is measured by: doing nothing, and standing at the best prices."""

from __future__ import annotations

from qframe_rl.quoter import BookSpec, BookView, Wishes, around, towards_target, wishes

FLAT, JOINING = "flat", "joining"
YARDSTICKS = (FLAT, JOINING)


class NoQuotes:
    """Nothing: of a block, all is taken at its deadline."""

    window = 1

    def quote(self, view: BookView) -> Wishes:
        """No quote."""
        return wishes()


class Joining:
    """A whole quote at the best price, on both sides or on that of a block.

    Parameters
    ----------
    spec
        The book.
    """

    window = 1

    def __init__(self, spec: BookSpec):
        self.spec = spec

    def quote(self, view: BookView) -> Wishes:
        """At the best prices as they had arrived."""
        if self.spec.horizon:
            return towards_target(view, self.spec, 0, 0)
        return around(view, self.spec, 0.5 * view.spread, 0.5 * view.spread)


def yardstick(name: str, spec: BookSpec) -> NoQuotes | Joining:
    """One of `YARDSTICKS`."""
    return NoQuotes() if name == FLAT else Joining(spec)
