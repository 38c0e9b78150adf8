"""How a process that was started ended, in a sentence."""

from __future__ import annotations

import signal
from pathlib import Path

_TAIL = 8192


def last_error(log: Path) -> str | None:
    """The last sentence that a door said of what was wrong; None if it said none, or there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    errors = [line for line in lines if line.startswith("error: ")]
    return errors[-1].removeprefix("error: ")[:500] if errors else None


def ending(code: int) -> str:
    """The status of a process, or the signal that ended it."""
    return f"status {code}" if code >= 0 else signal.Signals(-code).name
