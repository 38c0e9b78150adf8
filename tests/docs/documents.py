"""What tests read of the documents: their lines, links, blocks of code and commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "generate" not in path.parts),
]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


class Block(NamedTuple):
    """A fenced block of code."""

    language: str
    line: int
    text: str


def blocks(name: str) -> list[Block]:
    """All fenced blocks of a document."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return [
        Block(found[2], text.count("\n", 0, found.start()) + 1, found[3])
        for found in re.finditer(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
    ]


def prose(name: str) -> str:
    """A document without its fenced blocks."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE)


def spans(name: str) -> list[str]:
    """Inline code, a line's end within it as a space."""
    return [" ".join(found.split()) for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(name))]


def commands(name: str) -> Iterator[str]:
    """Lines of blocks that are typed into a shell, continued ones joined, without comments; then inline code."""
    for block in blocks(name):
        if block.language not in ("", "bash", "sh"):
            continue
        for line in re.sub(r"\\\n\s*", "", block.text).splitlines():
            yield re.sub(r"(^|\s)#.*", "", line).strip()
    yield from spans(name)


def anchors(path: Path) -> set[str]:
    """What a link into a document may end in."""
    text = re.sub(r"^( *)```.*?^\1```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
