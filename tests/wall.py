"""A contract of import-linter that names what may be imported, so that a new room is closed until it is let in."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from importlinter import Contract, ContractCheck, fields, output

BY_NAME = {"builtins", "importlib", "pkgutil", "runpy", "tests", "docs"}
"""What imports by a text, which no graph shows, and what is of this project and in no graph."""


class Allowed(Contract):
    """Modules below ``importers`` import of this project what ``allowed`` and ``excepted`` name, not even each other.

    A package's name opens all below it; an exception reads ``importer -> package``. Foreign libraries are not
    looked at, but for those that import by a text. A file that the graph lacks, for its folder has no
    ``__init__.py``, is no module there.
    """

    importers = fields.ListField(subfield=fields.StringField())
    allowed = fields.ListField(subfield=fields.StringField())
    excepted = fields.ListField(subfield=fields.StringField(), required=False)

    def check(self, graph: Any, verbose: bool) -> ContractCheck:
        """Look at every import of every module below ``importers``."""
        found = []
        for module in sorted(m for m in graph.modules if _below(m, self.importers)):
            pairs = [one.split(" -> ") for one in self.excepted or ()]  # type: ignore[attr-defined]
            opened = [*self.allowed, *(package for importer, package in pairs if importer == module)]  # type: ignore[misc]
            imported = sorted(graph.find_modules_directly_imported_by(module))
            found += [f"{module} -> {one}" for one in imported if not _below(one, opened)]
        for module, file in _files(self.importers):  # type: ignore[arg-type]
            unseen = [] if module in graph.modules else ["nothing, for its folder has no __init__.py"]
            found += [f"{module} -> {one}" for one in (*unseen, *_ways_round(file))]
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print each import that is not allowed."""
        for line in check.metadata["found"]:
            output.print_error(f"{line}: not among what may be imported there (pyproject.toml, allowed)")


def _below(module: str, packages: Iterable[str] | Any) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _files(packages: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Modules that lie below packages, and their files."""
    for package in packages:
        (folder,) = (Path(place) for place in find_spec(package).submodule_search_locations)  # type: ignore
        for file in sorted(folder.rglob("*.py")):
            parts = [package, *file.relative_to(folder).with_suffix("").parts]
            yield ".".join(part for part in parts if part != "__init__"), file


def _ways_round(file: Path) -> Iterator[str]:
    """What a file reaches other modules by, besides imports of this project's packages."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.partition(".")[0] in BY_NAME)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            if node.module.partition(".")[0] in BY_NAME:
                yield node.module
            elif node.module == "sys" and any(one.name == "modules" for one in node.names):
                yield "sys.modules"
        elif isinstance(node, ast.Name) and node.id in ("__import__", "__builtins__", "eval", "exec"):
            yield node.id
        elif isinstance(node, ast.Attribute) and node.attr == "modules" and ast.unparse(node.value) == "sys":
            yield "sys.modules"
