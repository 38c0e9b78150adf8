"""Pictures of a market that its traders make: its ladder, trades, one agent's orders, and depth over time.

Drawn pixel by pixel: a frame of an episode's film costs milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qframe_rl.arena import state as s
from qframe_rl.arena.crowd import Crowd
from qframe_rl.arena.state import empty_markets
from qframe_rl.book.core import levels, match
from qframe_rl.book.state import AT, BUY, FILLED, MAKER_OWNER, SELL, TAKER_OWNER, TAKER_SIDE
from qframe_rl.types import Int

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

Pixels = NDArray[np.uint8]
WIDTH, HEIGHT = 960, 640
_TOP, _MAP, _GAP = 28, 640, 70
"""Height of the headline; width of the heat map; place for prices between it and the ladder."""
_STEPS = 128
"""Steps that a film's frame looks back."""
_PAPER, _INK, _FAINT = (255, 255, 255), (34, 34, 34), (150, 150, 150)
_BID, _ASK, _OWN = (0, 114, 178), (213, 94, 0), (230, 159, 0)


class BookFrame(NamedTuple):
    """A market after a step, as one agent has it."""

    bids: Int
    """(n, 2) ticks and lots, the best first."""
    asks: Int
    mid: float
    """Ticks."""
    quotes: Int
    """(2, 2) tick and lots of the agent's bid and ask, 0 lots = none."""
    trades: Int
    """(m, 4) of the step: tick, lots, 1 = who took bought, whether the agent was in it."""
    stock: int
    """Lots that the agent holds."""
    worth: float
    """Ticks times lots, at the mid price."""


class BookFilm:
    """Watches the first market of a batch; its messages are matched again, which tells what was traded.

    Parameters
    ----------
    crowd
        The batch; it writes messages down from its next reset on.
    agent
        Whose orders are shown.
    """

    def __init__(self, crowd: Crowd, agent: int):
        crowd.keep_log()
        self.crowd, self.agent = crowd, agent
        self.frames: list[BookFrame] = []
        self._books, self._done = self._empty(), 0

    def begin(self) -> None:
        """Begin anew, after the market's reset."""
        self.frames, self._books, self._done = [], self._empty(), 0
        self._matched()
        self.frames.append(self._frame(np.zeros((0, 4), np.int64)))

    def look(self) -> None:
        """Remember the market as it is after a step."""
        fills = self._matched()
        own = (fills[:, MAKER_OWNER] == self.agent) | (fills[:, TAKER_OWNER] == self.agent)
        bought = fills[:, TAKER_SIDE] == BUY
        self.frames.append(self._frame(np.stack([fills[:, AT], fills[:, FILLED], bought, own], axis=1)))

    def picture(self, *, whole: bool = False) -> Pixels:
        """(640, 960, 3) the market now; see `draw`."""
        return draw(self.frames, whole=whole)

    def _empty(self) -> Any:
        return empty_markets(1, self.crowd.state.accounts.shape[1], self.crowd.n_agents, 0)[0]

    def _matched(self) -> Int:
        """(n, 8) fills since the last call, own orders that expired left out."""
        log = self.crowd.log()
        fills = match(self._books, log[self._done :]).fills
        self._done = len(log)
        return fills[fills[:, FILLED] > 0]

    def _frame(self, trades: Int) -> BookFrame:
        state, i = self.crowd.state, self.agent
        quote = state.quotes[0, i]
        quotes = np.stack([quote[:, s.AT], np.where(quote[:, s.LIVE] >= 0, quote[:, s.LEFT], 0)], axis=1)
        bids, asks = levels(self._books)
        stock, worth = int(state.accounts[0, i, s.STOCK]), float(self.crowd.worth()[0, i])
        return BookFrame(bids, asks, 0.5 * float(state.marks[0, s.MID2]), quotes, trades, stock, worth)


def draw(frames: list[BookFrame], *, whole: bool = False) -> Pixels:
    """Draw depth over time as a heat map, and the last ladder beside it.

    Bids are blue and asks are red, the deeper the darker. The line is the mid price, a dot a trade (filled where the
    agent was in it), a dash an order of the agent; the ladder has lots by price, the agent's in yellow.

    Parameters
    ----------
    frames
        Of an episode, the last one is that of the ladder.
    whole
        Whether the heat map has all of them, or the last 128.

    Returns
    -------
    Pixels
        (640, 960, 3).
    """
    from PIL import Image, ImageDraw

    shown = frames if whole else frames[-_STEPS:]
    low, high = _range(shown)
    per_tick = (HEIGHT - _TOP) / (high - low + 1)
    across = _MAP / (len(shown) if whole else _STEPS)

    def y(tick: float) -> float:
        return _TOP + (high - tick + 0.5) * per_tick

    image = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
    heat = Image.fromarray(_heat(shown, low, high))
    image.paste(heat.resize((max(round(across * len(shown)), 1), HEIGHT - _TOP), Image.Resampling.NEAREST), (0, _TOP))
    pen = ImageDraw.Draw(image)
    for k, frame in enumerate(shown):
        _mark(pen, frame, k * across, across, y)
    mids = [((k + 0.5) * across, y(frame.mid)) for k, frame in enumerate(shown)]
    if len(mids) > 1:
        pen.line(mids, fill=_INK, width=2)
    _ladder(pen, frames[-1], low, high, per_tick, y)
    last = frames[-1]
    told = f"step {len(frames) - 1}   mid {last.mid:.1f}   holds {last.stock:+d}   worth {last.worth:+.1f}"
    pen.text((8, 8), told, fill=_INK)
    pixels: Pixels = np.array(image, np.uint8)
    return pixels


def _range(shown: list[BookFrame]) -> tuple[int, int]:
    """Lowest and highest price: those of the mid price, and twelve ticks or most of the ladder's best twelve levels."""
    low, high = min(f.mid for f in shown), max(f.mid for f in shown)
    last = shown[-1]
    edges = [int(side[min(len(side), 12) - 1, 0]) for side in (last.bids, last.asks) if len(side)]
    return int(min([low - 12.0, *edges])), int(max([high + 12.0, *edges])) + 1


def _heat(shown: list[BookFrame], low: int, high: int) -> Pixels:
    """(prices, steps, 3) colours, the highest price first."""
    depth = np.zeros((2, high - low + 1, len(shown)))
    for k, frame in enumerate(shown):
        for side, part in ((BUY, frame.bids), (SELL, frame.asks)):
            inside = part[(part[:, 0] >= low) & (part[:, 0] <= high)]
            depth[side, high - inside[:, 0], k] = inside[:, 1]
    shade = np.log1p(depth) / max(float(np.log1p(depth.max())), 1e-9)
    paper, found = np.array(_PAPER, np.float64), np.full((*depth.shape[1:], 3), 255.0)
    for side, colour in ((BUY, _BID), (SELL, _ASK)):
        found += shade[side][..., None] * 0.8 * (np.array(colour) - paper)
    pixels: Pixels = np.clip(found, 0.0, 255.0).astype(np.uint8)
    return pixels


def _mark(pen: ImageDraw, frame: BookFrame, x: float, across: float, y: Any) -> None:
    """Trades of a step, and the agent's orders after it."""
    for tick, lots in frame.quotes:
        if lots > 0:
            pen.line([(x, y(tick)), (x + max(across, 1.0), y(tick))], fill=_OWN, width=3)
    for tick, lots, bought, own in frame.trades:
        r, at = 1.0 + min(float(lots) ** 0.5, 5.0), (x + 0.5 * across, y(tick))
        colour = _BID if bought else _ASK
        box = [at[0] - r, at[1] - r, at[0] + r, at[1] + r]
        pen.ellipse(box, fill=_OWN if own else None, outline=colour)


def _ladder(pen: ImageDraw, frame: BookFrame, low: int, high: int, per_tick: float, y: Any) -> None:
    """Lots by price, the agent's part first."""
    left = _MAP + _GAP
    most = max([1, *frame.bids[:, 1].tolist(), *frame.asks[:, 1].tolist()])
    scale = (WIDTH - left - 8) / most
    for side, part, colour in ((BUY, frame.bids, _BID), (SELL, frame.asks, _ASK)):
        tick_of_own, own = frame.quotes[side]
        for tick, lots in part:
            if low <= tick <= high:
                top, bottom = y(tick) - 0.5 * per_tick + 0.5, y(tick) + 0.5 * per_tick - 0.5
                mine = int(own) if tick == tick_of_own else 0
                pen.rectangle([left, top, left + scale * float(lots), max(bottom, top)], fill=colour)
                if mine:
                    pen.rectangle([left, top, left + scale * mine, max(bottom, top)], fill=_OWN)
    every = 5 * max(1, round(16.0 / (5 * per_tick)))
    for tick in range(low - low % every + every, high + 1, every):
        pen.text((_MAP + 8, y(tick) - 6), str(tick), fill=_FAINT)
