"""Pictures are drawn once for all who show them, and a file of one is whole or as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from qframe_rl.evaluate.painted import pixels, write_png


class Counted(Figure):
    """Says how often it was drawn."""

    drawn = 0

    def draw(self, renderer: object) -> None:
        self.drawn += 1
        super().draw(renderer)


def figure() -> Counted:
    made = Counted(figsize=(2.0, 1.0), dpi=100, layout="constrained")
    made.subplots().plot([1.0, 3.0, 2.0])
    return made


def test_it_is_drawn_once_and_again_when_it_changed(tmp_path: Path) -> None:
    one = figure()
    seen = pixels(one).copy()
    assert seen.shape == (100, 200, 4)
    with Image.open(write_png(one, tmp_path / "one.png")) as picture:
        assert np.array_equal(np.asarray(picture), seen)
    assert one.drawn == 1
    one.axes[0].set_title("more")
    assert not np.array_equal(pixels(one), seen)
    assert one.drawn == 2


def test_a_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write_png(figure(), tmp_path / "one.png")
    before = place.read_bytes()

    def torn(image: Image.Image, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", torn)
    with pytest.raises(OSError, match="disk full"):
        write_png(figure(), place)
    assert place.read_bytes() == before
