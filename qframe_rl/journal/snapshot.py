"""What a journal keeps besides its events: the session as it stood after one of them."""

from __future__ import annotations

from typing import NamedTuple


class Snapshot(NamedTuple):
    """All that a session consisted of after one event, so that it need not be run again from its first bar."""

    seq: int
    """The event, which holds the hash of ``state``."""
    made: str
    """Fingerprint of the code and the libraries that made it."""
    state: str
    """Canonical JSON of what the session goes on from."""
    watchers: str
    """Canonical JSON of what those remember who look on; it is not part of the record."""
