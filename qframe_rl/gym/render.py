"""A picture of an episode: prices with trades, exposures, equity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qframe_rl.types import CLOSE, Float, Single, iso

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass
class Trace:
    """What the picture is drawn from, bar by bar."""

    symbols: tuple[str, ...]
    time: list[int] = field(default_factory=list)
    close: list[Float] = field(default_factory=list)
    traded: list[Float] = field(default_factory=list)
    exposure: list[Float] = field(default_factory=list)
    equity: list[float] = field(default_factory=list)

    def clear(self) -> None:
        """Forget the last episode."""
        for rows in (self.time, self.close, self.traded, self.exposure, self.equity):
            rows.clear()

    def append(self, time: int, bar: Float, traded: Float, exposure: Float, equity: float) -> None:
        """Remember one bar.

        Parameters
        ----------
        time
            Its close, ns UTC.
        bar
            (A, 5) open to volume.
        traded
            (A,) quantities filled, signed base units.
        exposure
            (A,) shares of equity after it.
        equity
            After it, quote currency.
        """
        self.time.append(time)
        self.close.append(bar[:, CLOSE].copy())
        self.traded.append(traded.copy())
        self.exposure.append(exposure.copy())
        self.equity.append(float(equity))


def picture(trace: Trace, *, show: bool = False, size: tuple[int, int] = (960, 640)) -> NDArray[np.uint8]:
    """Draw a trace.

    Parameters
    ----------
    trace
        The episode so far, at least one bar.
    show
        Also show it in a window (or in the notebook).
    size
        Width and height in pixels.

    Returns
    -------
    NDArray[np.uint8]
        (height, width, 3).
    """
    figure = _figure(size)
    prices, exposures, equities = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 2))
    bars = np.arange(len(trace.time))
    close, traded, exposure = (np.stack(rows) for rows in (trace.close, trace.traded, trace.exposure))
    names = trace.symbols or tuple(str(a) for a in range(close.shape[1]))
    base = close[0] if len(names) > 1 else np.ones(1)
    for a, name in enumerate(names):
        (line,) = prices.plot(bars, close[:, a] / base[a], lw=1.0, label=name)
        for side, marker in ((1, "^"), (-1, "v")):
            at = np.flatnonzero(np.sign(traded[:, a]) == side)
            colour = "tab:green" if side > 0 else "tab:red"
            prices.plot(at, close[at, a] / base[a], marker, color=colour, ms=5, ls="none")
        exposures.step(bars, exposure[:, a], where="post", lw=1.0, color=line.get_color())
    equities.plot(bars, trace.equity, color="black", lw=1.2)
    prices.set_ylabel("price" if len(names) == 1 else "price / first")
    exposures.set_ylabel("exposure")
    equities.set_ylabel("equity")
    equities.set_xlabel(f"bars since {iso(trace.time[0])} UTC")
    prices.legend(loc="upper left", frameon=False, ncols=4)
    return _drawn(figure, (prices, exposures, equities), show=show)


def steps_picture(
    steps: Sequence[tuple[Single, Float, float]], *, show: bool = False, size: tuple[int, int] = (960, 640)
) -> NDArray[np.uint8]:
    """Draw an episode that has no prices.

    Parameters
    ----------
    steps
        What was seen after each step (n,), the action (K,) and its reward; may be none yet.
    show
        Also show it in a window (or in the notebook).
    size
        Width and height in pixels.

    Returns
    -------
    NDArray[np.uint8]
        (height, width, 3).
    """
    figure = _figure(size)
    panels = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 2))
    paid = np.cumsum([reward for _, _, reward in steps])
    rows_of = ([seen for seen, _, _ in steps], [done for _, done, _ in steps], paid)
    for axes, rows, label in zip(panels, rows_of, _PANELS, strict=True):
        if steps:
            axes.plot(np.arange(1, len(steps) + 1), np.array(rows), lw=1.0)
        axes.set_ylabel(label)
    panels[-1].set_xlabel("step")
    return _drawn(figure, panels, show=show)


_PANELS = ("seen", "action", "rewards, summed")


def _figure(size: tuple[int, int]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] / 100, size[1] / 100), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _drawn(figure: Figure, panels: Iterable[Axes], *, show: bool) -> NDArray[np.uint8]:
    """Pixels of a figure, which is also shown if asked for."""
    import matplotlib.pyplot as plt

    for axes in panels:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    canvas: Any = figure.canvas
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
    if show:
        window = plt.figure("QFrame RL", figsize=figure.get_size_inches())
        window.clear()
        window.figimage(image)
        plt.pause(0.001)
    return image
