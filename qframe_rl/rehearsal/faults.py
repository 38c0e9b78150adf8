"""What goes wrong on purpose: a script of faults for requests, dials and streams, with its dice seeded."""

from __future__ import annotations

import random
import tomllib
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import Field, field_validator

from qframe_rl.config import Base, UserError, build, nearest

BEFORE: dict[str, str] = {
    "429": "refused with 429 and Retry-After: too many requests",
    "418": "refused with 418 and Retry-After: banned",
    "403": "refused with 403 and a page of HTML: a firewall",
    "404": "refused with 404",
    "408": "refused with 408",
    "451": "refused with 451: a blocked country",
    "500": "refused with 500",
    "502": "refused with 502 and a page of HTML",
    "503": "refused with 503 and plain text",
    "504": "refused with 504",
    "520": "refused with 520",
    "529": "refused with 529, a status that CCXT does not know",
    "unknown-before": "503 with code -1006 (status unknown), and nothing was done",
    "drop": "the connection is cut and nothing was done",
    "black-hole": "no answer ever, and nothing was done",
    "late": "handled only after so many seconds",
}
"""Faults of requests that take no effect, or take it late."""
AFTER: dict[str, str] = {
    "drop-after": "done, and the connection is cut instead of an answer",
    "black-hole-after": "done, and no answer ever",
    "unknown-after": "done, and answered with 503 and code -1006 (status unknown)",
    "timeout-after": "done, and answered with 504",
    "slow": "done, and answered after so many seconds",
    "cut": "done, and half of the body comes",
    "empty": "done, and answered with 200 and nothing",
    "malformed": "done, and answered with 200 and broken JSON",
    "html": "done, and answered with 200 and a page of HTML",
    "null": "done, and answered with 200 and null",
    "list": "done, and answered with 200 and []",
    "object": "done, and answered with 200 and {}",
}
"""Faults of requests that took effect."""
DIALS: dict[str, str] = {
    "refuse": "a websocket cannot be opened: the connection is cut",
    "503-dial": "a websocket cannot be opened: 503",
}
"""Faults of opening a websocket."""
STREAMS: dict[str, str] = {
    "close": "a close frame",
    "reset": "the connection is reset",
    "silent": "nothing more is sent, pings are answered",
    "stalled": "a black hole: nothing more is sent, pings are not answered, nothing is closed",
    "truncated": "the message arrives cut in half",
    "nulls": "the message arrives with its inner object null",
    "text": "a frame of plain text comes before the message",
    "unknown-event": "an event that nobody knows comes before the message",
    "error-frame": "an error frame with code 5000 comes before the message",
    "lost": "the message does not arrive",
    "twice": "the message arrives twice",
    "delayed": "the message arrives so many seconds late, after others",
}
"""Faults of messages on a websocket."""
KINDS = {**BEFORE, **AFTER, **DIALS, **STREAMS}


class Fault(Base):
    """One line of the script.

    Requests are named ``spot.order.post``, ``usdm.positionRisk`` and so on, dials ``spot.dial.market``,
    ``usdm.dial.user``, ``spot.dial.api``, messages ``spot.kline``, ``usdm.user``: see ``docs/rehearsal.md``.
    """

    kind: str
    """What goes wrong."""
    at: str = "*"
    """Names that it applies to; ``*`` and ``?`` stand for any characters."""
    skip: int = Field(default=0, ge=0)
    """How many matches pass unharmed first."""
    times: int | None = Field(default=1, ge=1)
    """How many matches are hit; none = all of them."""
    chance: float = Field(default=1.0, gt=0.0, le=1.0)
    """Probability that a match is hit."""
    seconds: float = Field(default=0.5, ge=0.0)
    """Length of a delay, wall seconds; what ``Retry-After`` says, rounded up."""

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"unknown fault {kind!r}{nearest(kind, KINDS)}")
        return kind


def _storm() -> tuple[Fault, ...]:
    """Everything at once, a few times in a hundred requests and in a thousand messages."""
    lasting = {"black-hole", "black-hole-after", "418"}
    requests = [Fault(kind=kind, times=None, chance=0.002 if kind in lasting else 0.006) for kind in (*BEFORE, *AFTER)]
    dials = [Fault(kind=kind, times=None, chance=0.05) for kind in DIALS]
    ending = {"close", "reset", "silent", "stalled", "truncated", "nulls", "error-frame"}
    streams = [Fault(kind=kind, times=None, chance=0.0003 if kind in ending else 0.002) for kind in STREAMS]
    # Public listings stay readable, so that a client can begin at all; they are hit by name where that is wanted.
    return (*requests, *dials, *streams)


PRESETS: dict[str, tuple[Fault, ...]] = {
    "none": (),
    "storm": _storm(),
    "orders": tuple(
        Fault(kind=kind, at=at, times=None, chance=chance)
        for at, chance in (("*.order.post", 0.05), ("*.order.get", 0.0166))
        for kind in ("drop", "drop-after", "cut", "empty", "malformed", "unknown-after")
    ),
    "streams": tuple(Fault(kind=kind, times=None, chance=0.002) for kind in STREAMS),
}
"""Scripts by name: ``orders`` hits 30 % of new orders and 10 % of queries."""


def script_of(text: str) -> tuple[Fault, ...]:
    """Faults of a preset's name, of a TOML file with a table ``[[fault]]`` for each, or of bare kinds ``429,drop``.

    Raises
    ------
    UserError
        For an unknown name, a missing or broken file, or a wrong field in it.
    """
    if text in PRESETS:
        return PRESETS[text]
    if text.endswith(".toml"):
        return _read(Path(text))
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts:
        if part not in KINDS:
            what = f"neither a preset ({', '.join(PRESETS)}), a .toml file nor a kind of fault"
            raise UserError(f"faults {text!r}: {part!r} is {what}{nearest(part, (*PRESETS, *KINDS))}")
    return tuple(Fault(kind=part) for part in parts)


def _read(path: Path) -> tuple[Fault, ...]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not TOML: {error}.") from None
    tables = tree.get("fault")
    if not isinstance(tables, list) or set(tree) != {"fault"}:
        raise UserError(f"{path}: a script of faults has tables [[fault]] and nothing else.")
    return tuple(build(Fault, table, f"{path}: fault {n + 1}") for n, table in enumerate(tables))


class Script:
    """Draws faults.

    Parameters
    ----------
    faults
        Lines of the script, the first that applies wins.
    seed
        Root of its dice.
    """

    def __init__(self, faults: Sequence[Fault] = (), seed: int = 0):
        self._dice = random.Random(f"faults {seed}")
        self.lines: list[_Line] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        """How often each kind hit each name."""
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Append lines."""
        self.lines += [_Line(fault) for fault in faults]

    def clear(self) -> None:
        """Forget all lines; the counts stay."""
        self.lines = []

    def draw(self, name: str, kinds: dict[str, str]) -> Fault | None:
        """The fault that hits something now, of those that can."""
        for line in self.lines:
            if line.fault.kind in kinds and line.hits(name, self._dice):
                self.counts[line.fault.kind, name] += 1
                return line.fault
        return None


class _Line:
    def __init__(self, fault: Fault):
        self.fault = fault
        self.skip, self.left = fault.skip, fault.times

    def hits(self, name: str, dice: random.Random) -> bool:
        if self.left == 0 or not fnmatchcase(name, self.fault.at):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.fault.chance < 1.0 and dice.random() >= self.fault.chance:
            return False
        if self.left is not None:
            self.left -= 1
        return True
