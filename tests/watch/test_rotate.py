"""A log that does not grow for ever, on a disk that may be full."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qframe_rl.config import UserError
from qframe_rl.watch.rotate import Lines


def content(folder: Path) -> dict[str, list[str]]:
    return {p.name: p.read_text().splitlines() for p in sorted(folder.iterdir())}


def test_a_full_file_becomes_the_first_of_those_that_are_kept(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "deep" / "log", 25, 2)
    for k in range(9):
        lines.write(f"line {k:04d}")  # ten bytes with its end
    assert content(tmp_path / "deep") == {
        "log": ["line 0008"],
        "log.1": ["line 0006", "line 0007"],
        "log.2": ["line 0004", "line 0005"],
    }
    lines.close()
    again = Lines(tmp_path / "deep" / "log", 25, 2)
    again.write("line 0009")
    again.write("x" * 99)
    again.write("line 0010")
    again.close()
    assert content(tmp_path / "deep") == {
        "log": ["line 0010"],
        "log.1": ["x" * 99],
        "log.2": ["line 0008", "line 0009"],
    }


def test_none_is_kept_where_none_is_wanted(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "log", 25, 0)
    for k in range(5):
        lines.write(f"line {k:04d}")
    lines.close()
    assert content(tmp_path) == {"log": ["line 0004"]}


def test_a_line_that_was_cut_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, write = Lines(tmp_path / "log", 1000, 1), os.write
    lines.write("first")
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:4]))
    with pytest.raises(OSError, match="No space left"):
        lines.write("second")
    monkeypatch.setattr(os, "write", lambda file, data: 0)
    with pytest.raises(OSError, match="No space left"):
        lines.write("nothing of this")
    monkeypatch.setattr(os, "write", write)
    lines.write("third")
    lines.close()
    assert (tmp_path / "log").read_text() == "first\nseco\nthird\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_device_is_tried_again_and_never_moved() -> None:
    lines = Lines(Path("/dev/full"), 10, 3)
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            lines.write("x" * 50)
    lines.close()
    assert Path("/dev/full").is_char_device()


def test_a_place_that_cannot_be_is_refused_and_a_full_disk_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="Is a directory; name a place that can be written"):
        Lines(tmp_path, 10, 1)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="name a place that can be written"):
        Lines(tmp_path / "file" / "log", 10, 1)
    real = os.open

    def full(path: object, *given: int) -> int:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(os, "open", full)
    lines = Lines(tmp_path / "log", 1000, 1)
    with pytest.raises(OSError, match="No space left"):
        lines.write("one")
    monkeypatch.setattr(os, "open", real)
    lines.write("two")
    lines.close()
    assert (tmp_path / "log").read_text() == "two\n"
