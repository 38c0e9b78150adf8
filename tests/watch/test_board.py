"""Curves that TensorBoard can read, whatever the disk did meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qframe_rl.types import HOUR
from qframe_rl.watch.scalars import FILE, ScalarWriter
from tests.alerts.test_alerts import NOTHING, view


def curve(folder: Path) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    curves.Reload()
    return [(point.step, point.value) for point in curves.Scalars("live/equity")]


class Full:
    """A file on a disk that took a part of what was written."""

    def __init__(self, file: Any, part: int):
        self._file, self._part = file, part

    def write(self, data: bytes) -> int:
        return int(self._file.write(data[: self._part]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("part", [0, 3, 100])
def test_a_bar_that_could_not_be_written_lacks_and_nothing_else(tmp_path: Path, part: int) -> None:
    board = ScalarWriter(tmp_path, lambda: 2.5)
    board.started(view(0, 100.0))
    board.settled(view(HOUR, 101.0), NOTHING)
    events = board._file
    events._file = Full(events._file, part)
    for k in (2, 3):
        with pytest.raises(OSError, match="no space left"):
            board.settled(view(k * HOUR, 100.0 + k), NOTHING)
    events._file = events._file._file
    board.settled(view(4 * HOUR, 104.0), NOTHING)
    board.ended(view(4 * HOUR, 104.0))
    assert curve(tmp_path) == [(0, 100.0), (1, 101.0), (4, 104.0)]


def test_a_place_that_cannot_be_written_is_tried_at_each_bar(tmp_path: Path) -> None:
    (tmp_path / "board").touch()
    board = ScalarWriter(tmp_path / "board", lambda: None)
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        board.started(view(0, 100.0))
    (tmp_path / "board").unlink()
    board.settled(view(HOUR, 101.0), NOTHING)
    board.close()
    assert curve(tmp_path / "board") == [(1, 101.0)]


def test_another_process_goes_on_and_what_was_written_of_later_bars_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1.old").write_bytes(b"what another session left")
    first = ScalarWriter(tmp_path, lambda: None)
    first.started(view(0, 100.0))
    assert [p.name for p in tmp_path.iterdir()] == [FILE]
    first.settled(view(HOUR, 101.0), NOTHING)
    memory = json.loads(json.dumps(first.carried()))
    for k in (2, 3):
        first.settled(view(k * HOUR, 999.0), NOTHING)
    first.close()
    later = ScalarWriter(tmp_path, lambda: None)
    later.carry(memory, view(HOUR, 101.0))
    for k in (2, 3, 4):
        later.settled(view(k * HOUR, 100.0 + k), NOTHING)
    later.close()
    assert curve(tmp_path) == [(0, 100.0), (1, 101.0), (2, 102.0), (3, 103.0), (4, 104.0)]
