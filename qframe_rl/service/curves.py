"""Curves of trainings as TensorBoard's files have them, read without TensorBoard, while they are written.

A file is a row of records: eight bytes of length, four of checksum, the record, four of checksum; a record is a message
of protocol buffers (tensorflow/core/util/event.proto): 1 = wall time, 2 = step, 5 = summary; in that 1 = value, in that
1 = tag and 2 = number.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl.service.projection import thinned

_LONGEST = 1 << 20
"""Bytes of a record that is read; longer ones are pictures."""
_FILES = 400


class CurvePoint(NamedTuple):
    """A point of a curve."""

    step: int
    value: float
    wall: float
    """When it was written, seconds since 1970."""


class Curves:
    """Curves below folders of trainings; what was read of a file is not read again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[int, dict[str, list[CurvePoint]]]] = {}

    def of(self, folder: Path, points: int) -> dict[str, list[dict[str, Any]]]:
        """Curves of each training, by its name.

        Parameters
        ----------
        folder
            ``tensorboard`` of a run.
        points
            How many of each curve at most.
        """
        found: dict[str, dict[str, list[CurvePoint]]] = {}
        with self._lock:
            there = folder.is_dir() and not folder.is_symlink()
            for path in sorted(folder.rglob("events.out.tfevents.*"))[:_FILES] if there else []:
                if path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
                    continue
                name = path.parent.relative_to(folder).as_posix()
                for tag, more in self._known(path).items():
                    found.setdefault(name, {}).setdefault(tag, []).extend(more)
        return {
            name: [_told(tag, sorted(curve), points) for tag, curve in sorted(curves.items())]
            for name, curves in sorted(found.items())
        }

    def _known(self, path: Path) -> dict[str, list[CurvePoint]]:
        at, curves = self._read.get(path, (0, {}))
        try:
            with path.open("rb") as file:
                file.seek(at)
                rest = file.read()
        except OSError:  # gone since it was listed
            return curves
        for length, record in _records(rest):
            at += length
            for tag, point in _points(record):
                curves.setdefault(tag, []).append(point)
        self._read[path] = (at, curves)
        return curves


def _told(tag: str, curve: list[CurvePoint], points: int) -> dict[str, Any]:
    steps, values, walls = (list(column) for column in zip(*thinned(curve, points, 1), strict=True))
    return {"tag": tag, "steps": steps, "values": values, "walls": walls}


def _records(rest: bytes) -> Iterator[tuple[int, bytes]]:
    """Records that are there whole, each with the bytes that it takes; those that are too long are empty."""
    at = 0
    while len(rest) - at >= 16:
        (length,) = struct.unpack_from("<Q", rest, at)
        if length > len(rest) - at - 16:
            return
        yield length + 16, rest[at + 12 : at + 12 + length] if length <= _LONGEST else b""
        at += length + 16


def _points(record: bytes) -> Iterator[tuple[str, CurvePoint]]:
    step, wall, summaries = 0, 0.0, []
    for number, value in _fields(record):
        if number == 1 and isinstance(value, bytes) and len(value) == 8:
            (wall,) = struct.unpack("<d", value)
        elif number == 2 and isinstance(value, int):
            step = value
        elif number == 5 and isinstance(value, bytes):
            summaries.append(value)
    for summary in summaries:
        for _, one in _fields(summary):
            tag, scalar = "", None
            for number, value in _fields(one) if isinstance(one, bytes) else ():
                if number == 1 and isinstance(value, bytes):
                    tag = value.decode("utf-8", "replace")
                elif number == 2 and isinstance(value, bytes) and len(value) == 4:
                    (scalar,) = struct.unpack("<f", value)
            if tag and scalar is not None and scalar == scalar and abs(scalar) != float("inf"):
                yield tag, CurvePoint(step, scalar, wall)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a message's fields; it ends where it is none."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size, at = _varint(message, at)
        if size is None or at + size > len(message):
            return
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    return number, at
