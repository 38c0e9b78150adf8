"""A contract of import-linter that names what may be imported, so that a new room is closed until it is let in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from importlinter import Contract, ContractCheck, fields, output


class Allowed(Contract):
    """Modules below ``importers`` import of this project what ``allowed`` and ``excepted`` name, not even each other.

    A package's name opens all below it; an exception reads ``importer -> package``. Foreign libraries are not
    looked at.
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
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print each import that is not allowed."""
        for line in check.metadata["found"]:
            output.print_error(f"{line}: not among what may be imported there (pyproject.toml, allowed)")


def _below(module: str, packages: Iterable[str] | Any) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
