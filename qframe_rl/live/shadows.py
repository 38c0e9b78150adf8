"""Sessions in the shadow of another one: how each stands to it, by their journals.

A shadow follows the session (`qframe_rl.live.followed`) with an account of its own: what it decides binds nobody. What
is compared is the log growth of both in each bar that both settled; transfers are no growth.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.amounts import UNITS
from qframe_rl.evaluate.inference.paired import PairedTest
from qframe_rl.journal.lock import corrupt
from qframe_rl.journal.shapes import parsed
from qframe_rl.journal.store import NAME, read
from qframe_rl.live.followed import FOLDER


class _Growth:
    """Log growth of a session's equity, by the close of each bar, as far as it was read from its journal."""

    def __init__(self, path: Path):
        self.path, self.bars, self.gone = path, dict[int, float](), False
        """``bars`` by the close, ns UTC; ``gone``: whether the account is."""
        self.bar_ns, self.passed = 0, 0
        """Length of a bar; close of the last one that was read."""
        self._seq, self._equity, self._units = 0, 0.0, 0

    def look(self) -> None:
        """Read what is new; nothing where there is no journal yet."""
        if not self.path.exists():
            return
        for event in read(self.path, self._seq):
            self._seq = event.seq
            if event.kind in ("session", "started", "settled", "transferred"):
                plain = parsed(self.path, event.seq, event.kind, event.payload)
                try:
                    self._take(event.kind, plain)
                except (LookupError, TypeError, ValueError):
                    raise corrupt(
                        self.path, f"event {event.seq}, a {event.kind}, is not what a session writes"
                    ) from None

    def _take(self, kind: str, plain: dict[str, Any]) -> None:
        if kind == "session":
            self.bar_ns = int(plain["bar_ns"])
        elif kind == "transferred":
            self._units += int(plain["units"]) if plain["state"] == "SETTLED" else 0
        else:
            held, self._equity = self._equity + self._units / UNITS, float(plain["account"]["equity"])
            self._units, self.passed = 0, int(plain["time"])
            self.gone = self.gone or bool(plain.get("terminated"))
            if kind == "settled" and held > 0.0 and self._equity > 0.0:
                self.bars[int(plain["time"])] = math.log(self._equity / held)


class Shadows:
    """How the shadows of a session stand to it.

    Parameters
    ----------
    session
        Its folder.
    names
        Of the shadows' folders below `FOLDER`; each is judged as one of so many.
    over
        Those among them that nobody runs any more.
    """

    def __init__(self, session: Path, names: Iterable[str], over: Collection[str] = ()):
        self._session, self._over = _Growth(session / NAME), over
        self._each = {name: _Growth(session / FOLDER / name / NAME) for name in names}
        self._tests: dict[str, PairedTest] = {}

    def look(self) -> dict[str, dict[str, Any]]:
        """Read what is new, and say how each stands that has begun: `PairedTest.plain`, with ``gone``.

        Raises
        ------
        UserError
            If a journal is corrupt.
        """
        self._session.look()
        for name, growth in self._each.items():
            growth.look()
            if growth.bar_ns and name not in self._tests:
                self._tests[name] = PairedTest(growth.bar_ns, at_once=len(self._each))
            for time in [time for time in growth.bars if time in self._session.bars]:
                self._tests[name].add(np.array([growth.bars.pop(time) - self._session.bars[time]]))
        self._forget()
        return {name: test.plain() | {"gone": self._each[name].gone} for name, test in self._tests.items()}

    def _forget(self) -> None:
        """Let go of the session's bars that every shadow has passed of which more will come."""
        coming = [one.passed for name, one in self._each.items() if not one.gone and name not in self._over]
        passed = min(coming, default=self._session.passed)
        self._session.bars = {time: grown for time, grown in self._session.bars.items() if time > passed}


def shadows_of(session: Path) -> list[str]:
    """Names of a session's shadows, by their folders."""
    return sorted(place.parent.name for place in (session / FOLDER).glob(f"*/{NAME}"))
