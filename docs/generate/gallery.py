"""Make the pictures of the gallery anew: ``python -m docs.generate.gallery [IMAGE ...]``."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docs.generate.tutorials import alone

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"


def pictures() -> list[dict[str, Any]]:
    """The entries of ``docs/gallery.toml``."""
    found: list[dict[str, Any]] = tomllib.loads((ROOT / "docs" / "gallery.toml").read_text(encoding="utf-8"))["picture"]
    return found


def page() -> str:
    """The gallery as Markdown."""
    lines = ["# Gallery", "Each picture with the command that makes it."]
    for entry in pictures():
        lines += [f"## {entry['title']}", entry["text"], f"```\n{entry['command']}\n```"]
        lines.append(f"![{entry['title']}](images/{entry['image']})")
    return "\n\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the commands and take what they draw; 1 if any failed."""
    here = [entry for entry in pictures() if entry.get("here", True)]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="*", help=f"which (default: all): {', '.join(e['image'] for e in here)}")
    chosen = parser.parse_args(argv).images
    failed = 0
    for command in dict.fromkeys(entry["command"] for entry in here if not chosen or entry["image"] in chosen):
        with tempfile.TemporaryDirectory() as place, alone(Path(place)):
            done = subprocess.run(command.split(), cwd=f"{place}/here", capture_output=True, text=True)
            for entry in (entry for entry in here if entry["command"] == command):
                made = list(Path(place, "here").glob(entry["made"]))
                print(f"{'ok  ' if made else 'FAIL'} {entry['image']}: {command}", flush=True)
                if made:
                    shutil.copyfile(made[0], IMAGES / entry["image"])
                else:
                    failed = 1
                    print(done.stderr[-2000:])
    return failed


if __name__ == "__main__":
    sys.exit(main())
