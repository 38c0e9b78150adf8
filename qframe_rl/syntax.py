"""Source code as it counts for an identity: by its syntax tree, and whether it is a user's own."""

from __future__ import annotations

import ast
import site
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any


def plain(node: Any) -> Any:
    """A syntax tree as nested tuples: no positions, no texts that stand alone, and no fields that are empty."""
    if isinstance(node, list):
        return tuple(plain(one) for one in node if not _is_text(one))
    if not isinstance(node, ast.AST):
        return node
    fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
    return type(node).__name__, tuple((name, plain(value)) for name, value in fields)


def _is_text(node: Any) -> bool:
    """Whether it is a docstring, or a text after a field that describes it."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def is_installed(place: str) -> bool:
    """Whether a file or folder lies where distributions are installed."""
    return any(Path(place).resolve().is_relative_to(folder) for folder in _site_folders())


@cache
def _site_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    folders = [paths["purelib"], paths["platlib"], site.getusersitepackages(), *site.getsitepackages()]
    return tuple(Path(folder).resolve() for folder in dict.fromkeys(folders))
