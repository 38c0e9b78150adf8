"""Other libraries on this project's environments, in environments of Python of their own, and what came of it.

``python -m tests.conformance.libraries`` makes what lacks (``.venv-conformance``, from pip's registry), runs every tool
and prints what failed; ``--write`` writes docs/conformance.md, from what each tool told when it ran last. A check that
fails on ours and on each of Gymnasium's own environments that it ran on is the tool's own affair; any other failure
ends it with status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.conformance.libraries.environments import HOME, PLACE, python
from tests.conformance.libraries.page import written

PATIENCE_S = 1800.0
Row = dict[str, Any]


class Tool(NamedTuple):
    """A script, and the environment that it runs in."""

    environment: str
    script: str


TOOLS = {
    "gymnasium-lowest": Tool("lowest", "with_gymnasium"),
    "gymnasium": Tool("latest", "with_gymnasium"),
    "sb3": Tool("latest", "with_sb3"),
    "torchrl": Tool("latest", "with_torchrl"),
    "tianshou": Tool("latest", "with_tianshou"),
    "rllib": Tool("rllib", "with_rllib"),
    "minari": Tool("latest", "with_minari"),
    "agilerl": Tool("agilerl", "with_agilerl"),
}


def told(name: str) -> list[Row]:
    """What a tool told; one that ends early tells that too."""
    tool = TOOLS[name]
    argv = [str(python(tool.environment)), "-m", f"tests.conformance.libraries.{tool.script}"]
    settings = os.environ | {"PYTHONWARNINGS": "ignore", "MPLBACKEND": "agg", "SDL_VIDEODRIVER": "dummy"}
    with subprocess.Popen(argv, cwd=HOME, env=settings, stdout=subprocess.PIPE, text=True) as running:
        try:
            said, _ = running.communicate(timeout=PATIENCE_S)
            why = f"status {running.returncode}" if running.returncode else ""
        except subprocess.TimeoutExpired:
            running.kill()
            said, why = running.communicate()[0], f"not done after {PATIENCE_S:.0f} s"
    rows: list[Row] = [json.loads(line) for line in said.splitlines() if line.startswith('{"tool"')]
    if why:  # what it told until then stands
        lost = {"tool": name, "version": "", "what": "to its end", "part": "", "case": "Spot-v1", "control": False}
        rows.append(lost | {"why": why})
    kept(name).write_text(json.dumps(rows), encoding="utf-8")
    return rows


def kept(name: str) -> Path:
    """Where lies what a tool told when it ran last."""
    return PLACE / f"{name}.json"


def main() -> int:
    """Run the tools."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.libraries", description=__doc__)
    parser.add_argument("--only", choices=list(TOOLS), action="append", help="one tool (may be repeated)")
    parser.add_argument("--write", action="store_true", help="write docs/conformance.md")
    given = parser.parse_args()
    rows = [row for name in given.only or TOOLS for row in told(name)]
    _, ours = written(rows)
    if given.write:
        ran = [name for name in TOOLS if kept(name).exists()]
        all_rows = [row for name in ran for row in json.loads(kept(name).read_text(encoding="utf-8"))]
        text, _ = written(all_rows, [name for name in TOOLS if name not in ran])
        (HOME / "docs" / "conformance.md").write_text(text, encoding="utf-8")
    for row in ours:
        print(f"{row['tool']} {row['version']}, {row['what']} {row['part']} on {row['case']}: {row['why']}")
    return int(bool(ours))


if __name__ == "__main__":
    sys.exit(main())
