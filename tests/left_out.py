"""Tests that ask for a file of the catalogue which is not there are skipped, so that any of them can be deleted.

What ships is listed in ``tests/catalogue.txt``. Of a file that is missing, a test is skipped that names it: in its own
text, or in a function, class or constant that it goes through in its module or elsewhere in ``tests``. A module that
imports the file is left out as a whole.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

NEEDS = {"agents/meta": {"agents/ppo", "envs/unknown_market"}}
"""Files of the catalogue that are nothing without others."""
TESTS = Path(__file__).parent
ROOT = TESTS.parent


@cache
def missing() -> frozenset[str]:
    """Names of files that ship and are not there, or lack what they need: ``agents/momentum``."""
    listed = (TESTS / "catalogue.txt").read_text().split()
    gone = {name for name in listed if not (ROOT / f"{name}.py").is_file()}
    return frozenset(gone | {name for name, others in NEEDS.items() if gone & others})


def imports_what_is_missing(path: Path) -> bool:
    """Whether a module of tests cannot be imported without a file that is missing, at any depth among tests."""
    return bool(missing()) and any(_imports(path, frozenset()))


def _imports(path: Path, seen: frozenset[Path]) -> list[str]:
    found = []
    for name in _modules(path):
        if name.replace(".", "/") in missing():
            found.append(name)
        place = ROOT / f"{name.replace('.', '/')}.py"
        if name.startswith("tests.") and place.is_file() and place not in seen:
            found += _imports(place, seen | {path})
    return found


@cache
def _modules(path: Path) -> tuple[str, ...]:
    """Modules that are imported at the top of a file."""
    names: list[str] = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(names)


def named_by(path: Path, function: str, params: Mapping[str, object]) -> str | None:
    """The missing file that a test names, in its text or in its parameters, if there is one."""
    texts = [*_reached(path, function, frozenset()), repr(dict(params))]
    for name in sorted(missing()):
        folder, _, word = name.partition("/")
        if any(re.search(rf"(?<![\w.-])(?:{folder}[./])?{word}(?![\w-])", text) for text in texts):
            return name
    return None


def _reached(path: Path, name: str, seen: frozenset[tuple[Path, str]]) -> list[str]:
    """Texts of a definition and of all that it goes through in its module and in other modules of tests."""
    if (path, name) in seen:
        return []
    seen |= {(path, name)}
    source, definitions, imported = _read(path)
    if name not in definitions:
        return _reached(*imported[name], seen) if name in imported else []
    node = definitions[name]
    texts = [ast.get_source_segment(source, node) or ""]
    used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    used |= {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
    for other in used - {name}:
        texts += _reached(path, other, seen)
    return texts


@cache
def _read(path: Path) -> tuple[str, dict[str, ast.stmt], dict[str, tuple[Path, str]]]:
    """Source of a module, its top-level definitions by name, and what it takes from other modules of tests."""
    source = path.read_text()
    definitions: dict[str, ast.stmt] = {}
    imported: dict[str, tuple[Path, str]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
            definitions |= dict.fromkeys(names, node)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
            place = ROOT / f"{str(node.module).replace('.', '/')}.py"
            if place.is_file():
                imported |= {alias.asname or alias.name: (place, alias.name) for alias in node.names}
    return source, definitions, imported
