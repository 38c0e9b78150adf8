"""Figures as pixels and files, drawn once for all places that show them: drawing is most of a short run's time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """What a figure looks like, at its own size; one that has not changed since is not drawn again.

    Returns
    -------
    numpy.ndarray
        (height, width, 4) red, green, blue and opacity.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        canvas, figure.stale = FigureCanvasAgg(figure), True
    if figure.stale:
        canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]


def write_png(figure: Figure, path: Path) -> Path:
    """Write a picture, whole or not at all, into a folder that is there; return its path."""
    from PIL import Image

    fresh = path.with_name(f".{path.name}")
    Image.fromarray(pixels(figure)).save(fresh, format="PNG")
    fresh.replace(path)
    return path
