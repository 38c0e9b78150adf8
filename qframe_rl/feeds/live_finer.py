"""What the bars of a live feed consist of: asked for once they have closed, and joined as loading joins them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qframe_rl.config import UserError
from qframe_rl.feeds.clock import Clock
from qframe_rl.feeds.download import bar_pages
from qframe_rl.feeds.exchange import Note
from qframe_rl.feeds.finer import Joined, check_length, join
from qframe_rl.feeds.live_line import LiveLine
from qframe_rl.feeds.panel import Leg, panel
from qframe_rl.feeds.parquet import Series
from qframe_rl.types import History, iso, timeframe_ns

_TRIES = 5
"""How often finer candles are asked for that do not add up yet: some come a moment after the bar."""
_PAUSE_S = 1.0


class LiveFiner:
    """Finer candles of an exchange.

    Parameters
    ----------
    timeframe
        Of the finer candles.
    bar_ns
        Length of a bar, ns.
    clock
        The exchange's.
    note
        Told in a line of bars that are looked at as a whole.

    Raises
    ------
    UserError
        If a bar is no whole multiple of them.
    """

    def __init__(self, timeframe: str, bar_ns: int, clock: Clock, note: Note | None):
        self._timeframe, self._ns = timeframe, timeframe_ns(timeframe)
        self._clock, self._note = clock, note or (lambda text: None)
        check_length(self._ns, bar_ns)

    def joined(self, history: History, lines: Sequence[LiveLine], there: Sequence[LiveLine]) -> History:
        """Closed bars with what they consist of.

        Parameters
        ----------
        history
            The bars.
        lines
            Their A instruments.
        there
            Those of them that the exchange lists.
        """
        for n in range(_TRIES):
            if n:
                self._clock.wait(_PAUSE_S)
            found = self._asked(history, lines, there)
            if not found.alone.any():
                break
        for t, a in zip(*found.alone.nonzero(), strict=True):
            self._note(
                f"{history.symbols[a]}: the candles of {self._timeframe} do not add up to the bar of "
                f"{iso(int(history.time[t]) - history.bar_ns)[:16]}, which is looked at as a whole"
            )
        return found.history

    def _asked(self, history: History, lines: Sequence[LiveLine], there: Sequence[LiveLine]) -> Joined:
        since, until = int(history.time[0]) - history.bar_ns, int(history.time[-1])
        legs = []
        for line in lines:
            pages = bar_pages(self._page(line), since, until, self._ns, _unknown) if line in there else ()
            got = Series.joined([Series.empty(5), *pages]).whole().between(since, until)
            legs.append(Leg(line.instrument, got))
        return join(history, panel(legs, self._ns, history.source))

    def _page(self, line: LiveLine) -> Callable[[int], Series]:
        def page(start: int) -> Series:
            return line.exchange.candles(line.listing, self._timeframe, start, self._ns, now=self._clock.now())

        return page


def refuse_venues(orders: str, fills: str) -> None:
    """Refuse what does not fill by the rule for bars.

    Raises
    ------
    UserError
        For orders that go to an exchange, or fills by order books: there is nothing to resolve.
    """
    if orders != "paper" or fills != "bar":
        raise UserError(
            "env.detail resolves orders that fill by the rule for bars: with --orders testnet or real, or --fills "
            "book, others fill them; trade on paper, or take a checkpoint that was made without."
        )


def _unknown() -> None:
    """Where a market began is not asked: a live feed starts long after."""
