"""Times that commands took to be obeyed: kept in a file, one cell a line, and shown as the tables of a document."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

BEGIN, END = "<!-- switch: python -m tests.soak.switch --record FILE --document FILE -->", "<!-- /switch -->"
SLOW_S = 2.0
"""Within so long a command is to be obeyed, seconds."""


@dataclass(frozen=True)
class Cell:
    """One fault in one place, and the commands that were given while it stayed."""

    place: str
    kind: str
    took: dict[str, float] = field(default_factory=dict)
    """Seconds until each was obeyed."""
    failed: str = ""
    """Why it ended before the last of them; empty if it did not."""
    load: float = 0.0
    """Processes that ran or waited for a core at its end, mean of a minute."""


class Times:
    """All cells that were run.

    Parameters
    ----------
    path
        They are appended to it, and those in it are not run again unless they failed; None = nothing is kept.
    """

    def __init__(self, path: Path | None = None):
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
        self.cells = [Cell(**json.loads(line)) for line in lines]
        """In the order in which they were run; one that failed and was run again is there twice."""

    def add(self, cell: Cell) -> None:
        """Keep a cell."""
        self.cells.append(cell)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(cell)) + "\n")

    def has(self, place: str, kind: str) -> bool:
        """Whether a cell was run to its end."""
        return any((cell.place, cell.kind, cell.failed) == (place, kind, "") for cell in self.cells)

    def table(self, places: Sequence[str], words: Sequence[str]) -> str:
        """Places by commands, kinds by places, and in words how many there were, which were slow and which failed."""
        last = {(cell.place, cell.kind): cell for cell in self.cells}
        parts = [_by_word(last.values(), places, words), _by_kind(last, places), self._summary(places)]
        return "\n\n".join(parts)

    def _summary(self, places: Sequence[str]) -> str:
        last = list({(cell.place, cell.kind): cell for cell in self.cells if cell.place in places}.values())
        times = [(s, f"{c.place}, {c.kind}: {word} {s:.1f} s") for c in last for word, s in c.took.items()]
        slow = [text for seconds, text in sorted(times, reverse=True) if seconds > SLOW_S]
        failed = [cell for cell in self.cells if cell.failed and cell.place in places]
        still = sum(1 for cell in last if cell.failed)
        loads = [cell.load for cell in last] or [0.0]
        which = f" ({'; '.join(slow)})" if slow else ""
        lines = [
            f"{len(times)} commands in {len(last)} set-ups, with {min(loads):.0f} to {max(loads):.0f} processes that",
            f"ran or waited for a core; {len(slow)} took more than {SLOW_S:g} s{which}.",
        ]
        if failed:
            why = "; ".join(f"{cell.place}, {cell.kind}: {cell.failed}" for cell in failed)
            lines.append(f"Set-ups that failed: {len(failed)} ({why}); run again, {still} of them failed at last.")
        else:
            lines.append("No set-up failed.")
        return textwrap.fill(" ".join(lines), 120)


def _by_word(cells: Iterable[Cell], places: Sequence[str], words: Sequence[str]) -> str:
    kept = list(cells)
    lines = ["| fault in | faults | " + " | ".join(words) + " |", "|---|---|" + "---|" * len(words)]
    for place in places:
        here = [cell for cell in kept if cell.place == place]
        if here:
            each = ([cell.took[word] for cell in here if word in cell.took] for word in words)
            shown = (f"{np.median(times):.2f}, {max(times):.2f}" if times else "" for times in each)
            lines.append(f"| {place} | {len(here)} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _by_kind(last: dict[tuple[str, str], Cell], places: Sequence[str]) -> str:
    kinds = list(dict.fromkeys(kind for _, kind in last))
    lines = ["| fault | " + " | ".join(places) + " |", "|---|" + "---|" * len(places)]
    for kind in kinds:
        shown = []
        for place in places:
            cell = last.get((place, kind))
            worst = "" if cell is None or not cell.took else f"{max(cell.took.values()):.2f}"
            shown.append(worst + (" failed" if cell is not None and cell.failed else ""))
        lines.append(f"| {kind} | " + " | ".join(one.strip() for one in shown) + " |")
    return "\n".join(lines)


def document(path: Path, table: str) -> None:
    """Write a table into a document, between the comments that mark its place."""
    text = path.read_text(encoding="utf-8")
    place = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not place.search(text):
        raise SystemExit(f"{path}: there is no place for the table; put {BEGIN} and {END} into it")
    path.write_text(place.sub(lambda _: f"{BEGIN}\n\n{table}\n\n{END}", text), encoding="utf-8")
