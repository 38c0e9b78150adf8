"""Which tests run: those marked ``long`` wait for their turn where the whole suite is asked for.

A run of folders leaves them out; one that names their file, or ``--long``, takes them. ``.ci/run`` takes a sixth of
them where the commit's hash picks it (``make long ARGS="--slice HASH"``), and ``make long ARGS=suite`` takes all.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

PARTS = 6
_ASKED = re.compile(rf"all|[0-{PARTS - 1}]")


def has_turn(name: str, *, long: bool, asked: str | None, places: Sequence[str]) -> bool:
    """Whether a test runs.

    Parameters
    ----------
    name
        Its id.
    long
        Whether it is marked so.
    asked
        What ``--long`` says: ``all`` of the long ones, a number for one of the `PARTS`; None = not given.
    places
        What the run was asked to look through.

    Raises
    ------
    ValueError
        For another ``--long``.
    """
    if asked is None:
        return not long or not all(Path(place).is_dir() for place in places)
    if not _ASKED.fullmatch(asked):
        raise ValueError(f"--long {asked!r} is neither all nor a number below {PARTS}")
    return long and (asked == "all" or zlib.crc32(name.encode()) % PARTS == int(asked))
