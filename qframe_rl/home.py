"""Where the user's own state lies: what programs remember beside their folders."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path, user_state_path


def user_state() -> Path:
    """The user's folder: below XDG_STATE_HOME, or else where the platform keeps what programs remember."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    return given / "qframe-rl" if given.is_absolute() else user_state_path("qframe-rl", appauthor=False)


def user_cache() -> Path:
    """What can be made again: below XDG_CACHE_HOME, or else where the platform keeps such things."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return given / "qframe-rl" if given.is_absolute() else user_cache_path("qframe-rl", appauthor=False)
