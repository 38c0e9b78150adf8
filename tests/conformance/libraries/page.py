"""The page of what the tools came to: docs/conformance.md."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
HEAD = """\
# Conformance

Other libraries on this project's environments, each in an environment of Python made for it. Written by the command
that runs them, `python -m tests.conformance.libraries --write`; `make long ARGS="libraries"` runs them without writing.
`python -m tests.conformance.libraries.environments` makes the environments alone.

- **yes**: every part ran. `3 of 4`: the others failed, and the list under the table says how. An empty cell is no
  combination (an algorithm for other actions).
- CartPole and Pendulum are Gymnasium's own and stand here as controls: what fails on them alike is the tool's own.
- Every environment has episodes of 40 steps. `Spot-v1` has discrete actions (`levels`) and bars by recipe,
  `Portfolio-v2` a box (`simplex`) over several coins, `Ar1Signal-v0` is a problem with a known optimum.
- A wrapped native batch must give, step by step, what the same wrapper gives round Gymnasium's batch of single
  environments, with the statistics of ended episodes.

"""


def written(rows: Sequence[Row], lacking: Sequence[str] = ()) -> tuple[str, list[Row]]:
    """The page, and the failures that are not the tool's own."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    lines = ["| tool | what ran | parts | " + " | ".join(cases) + " |", "|---|---|---|" + "---|" * len(cases)]
    for tool, version, what in dict.fromkeys((row["tool"], row["version"], row["what"]) for row in rows):
        of = [row for row in rows if (row["tool"], row["version"], row["what"]) == (tool, version, what)]
        parts = ", ".join(dict.fromkeys(row["part"] for row in of if row["part"]))
        cells = [_cell([row for row in of if row["case"] == case]) for case in cases]
        lines.append(f"| {tool} {version} | {what} | {parts} | " + " | ".join(cells) + " |")
    failed = [row for row in rows if row["why"] and not row["control"]]
    ours = [row for row in failed if not _alike(row, rows)]
    text = HEAD + "\n".join(lines) + "\n"
    theirs = [row for row in failed if row not in ours]
    if theirs:
        text += "\n## The tools' own\n\nWhat fails on ours and on the controls alike:\n\n" + _listed(theirs)
    alone = [row for row in rows if row["why"] and row["control"] and not _same(row, theirs)]
    if alone:
        text += "\n## On the controls alone\n\n" + _listed(alone)
    if lacking:
        text += f"\nNot in the table, for they have not run to their end here yet: {', '.join(lacking)}.\n"
    if ours:
        text += "\n## Ours\n\n" + _listed(ours)
    return text, ours


def _key(row: Row) -> tuple[str, ...]:
    return row["tool"], row["version"], row["what"], row["part"]


def _same(row: Row, others: Sequence[Row]) -> bool:
    return any(_key(row) == _key(other) for other in others)


def _alike(row: Row, rows: Sequence[Row]) -> bool:
    """Whether the check failed on every control that it ran on, with the same kind of error on one of them."""
    controls = [other for other in rows if _key(other) == _key(row) and other["control"]]
    kind = row["why"].partition(":")[0]
    return all(c["why"] for c in controls) and any(c["why"].partition(":")[0] == kind for c in controls)


def _cell(of: Sequence[Row]) -> str:
    good = sum(not row["why"] for row in of)
    return "" if not of else "yes" if good == len(of) else "**no**" if len(of) == 1 else f"{good} of {len(of)}"


def _listed(rows: Sequence[Row]) -> str:
    lines: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        lines.setdefault((*_key(row), _clean(row["why"])), []).append(row["case"])
    text = ""
    for (tool, version, what, part, why), cases in lines.items():
        named = f", {part}" if part else ""
        line = f"- {tool} {version}, {what}{named} ({', '.join(cases)}): {why}"
        text += textwrap.fill(line, 118, subsequent_indent="  ", break_on_hyphens=False) + "\n"
    return text


def _clean(why: str) -> str:
    """An error on one line without paths of a machine, colours and addresses."""
    why = re.sub(r"\x1b\[[0-9;]*m|0x[0-9a-f]+", "", why).replace("`", "'")
    return re.sub(r"(/[\w.+-]+){2,}", "...", why)[:200]
