"""The seam through which bars come in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from qframe_rl.types import Bar, Instrument


class Feed(Protocol):
    """Where bars come from."""

    instruments: tuple[Instrument, ...]
    columns: tuple[str, ...]
    bar_ns: int

    def __iter__(self) -> Iterator[Bar]:
        """Closed bars with strictly increasing times; a live feed blocks until the next one closes."""
