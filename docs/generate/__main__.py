"""Build the documents: ``python -m docs.generate [--sources]``.

Pages that are made from code and configuration are written beside a copy of ``docs/`` first, as plain Markdown that any
builder of MkDocs' family reads; what that one refuses ends it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from docs.generate import api, commands, gallery, keywords, tutorials

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "build" / "documents"
SITE = ROOT / "experiments" / "site"
OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Documents of the root and the pages that they become."""


def main() -> int:
    """Write the sources and build the site; the builder's exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", action="store_true", help="write the sources and stop")
    given = parser.parse_args()
    write()
    if given.sources:
        return 0
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(SOURCES / "mkdocs.yml")]
    if code := subprocess.run(command, cwd=SOURCES).returncode:
        return code
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.move(SOURCES / "site", SITE)
    for path in SITE.rglob("*.map"):  # only debuggers of the theme read them
        path.unlink()
    return 0


def write() -> None:
    """Write everything that a builder reads."""
    shutil.rmtree(SOURCES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", SOURCES / "docs", ignore=shutil.ignore_patterns("generate", "__pycache__", "*.toml"))
    reference = keywords.pages() | commands.pages()
    made = {page: inside((ROOT / name).read_text(encoding="utf-8")) for name, page in OUTSIDE.items()}
    made |= {path: text for path, (_, text) in reference.items()} | api.pages()
    texts, files = tutorials.pages()
    texts["gallery.md"] = gallery.page()
    for path, content in (made | texts | files).items():
        place = SOURCES / "docs" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
    settings = filled(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8")), reference)
    (SOURCES / "mkdocs.yml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def filled(settings: dict[str, Any], reference: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """The configuration with places on this machine and all of the table of contents."""
    plugins = {
        name: options for item in settings["plugins"] if isinstance(item, dict) for name, options in item.items()
    }
    plugins["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT)]
    below = {title: entry for item in settings["nav"] for title, entry in item.items()}
    below["Tutorials"] += [f"tutorials/{name}.md" for name in tutorials.names()]
    below["Reference"] += [{title: path} for path, (title, _) in reference.items()]
    below["API"] += api.nav()
    house = {title: entry for item in below["The house"] for title, entry in item.items()}
    house["Decisions"] += [f"decisions/{path.name}" for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    return settings | {"docs_dir": "docs", "site_dir": "site"}


def inside(text: str) -> str:
    """A document of the root as a page of the site: what it points to lies beside it there."""
    text = re.sub(r"\]\(docs/", "](", text)
    for name, page in OUTSIDE.items():
        text = text.replace(f"]({name}", f"]({page}")
    return text


if __name__ == "__main__":
    sys.exit(main())
