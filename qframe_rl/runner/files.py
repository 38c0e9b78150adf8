"""What runs leave behind: JSON written whole or not at all, and spans of time in words."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qframe_rl.config import UserError
from qframe_rl.types import History, Segments, iso


def write_json(path: Path, value: object) -> None:
    """Write plain data; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(value, indent=1, sort_keys=True, default=_plain, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text; the file appears whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file of a run; raises UserError where there is none, or it is damaged."""
    if not path.is_file():
        raise UserError(f"{path} is missing: the run did not finish; run it again.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); run it again.") from None


def _plain(value: object) -> object:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else str(value)  # type: ignore[call-overload]


def period(history: History, segments: Segments) -> list[list[str]]:
    """Spans of segments in time: open of the first bar, close of the last."""
    return [[iso(int(history.time[s.start]) - history.bar_ns), iso(int(history.time[s.stop - 1]))] for s in segments]


def span(history: History, parts: Iterable[Segments]) -> str:
    """From the first to the last moment of several parts, to the minute."""
    segments = [segment for part in parts for segment in part]
    first = min(int(history.time[s.start]) - history.bar_ns for s in segments)
    last = max(int(history.time[s.stop - 1]) for s in segments)
    return f"{iso(first)[:16]} to {iso(last)[:16]}"
