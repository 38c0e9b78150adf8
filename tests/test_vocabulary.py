"""One word, one meaning."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = [
    p for package in ("qframe_rl", "agents", "envs", "experiments") for p in sorted((ROOT / package).rglob("*.py"))
]


def test_a_public_class_name_is_used_once_in_the_house() -> None:
    found = defaultdict(list)
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name != "Config":
                found[node.name].append(str(path.relative_to(ROOT)))
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_what_an_author_meets_first_is_the_name_of_nothing_else() -> None:
    """Neither of a class nor of a type elsewhere: View, Orders, Listener and the like."""
    rooms = ("agent", "quoter", "types", "orders", "listeners", "session")
    first = {f"qframe_rl/{room}.py" for room in rooms}
    trees = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in FILES}
    met = {node.name for place in first for node in trees[place].body if isinstance(node, ast.ClassDef)}
    types = [
        (place, name.id)
        for place, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.Assign)
        for name in node.targets
        if isinstance(name, ast.Name)
    ]
    assert {"View", "Orders", "Listener"} <= met
    assert [(place, name) for place, name in types if name in met and place not in first] == []
