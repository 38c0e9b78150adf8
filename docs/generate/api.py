"""Pages of the API: one for each room of the library, with all its modules; mkdocstrings fills them from docstrings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {
    "For a strategy": (
        "agent",
        "quoter",
        "types",
        "orders",
        "times",
        "amounts",
        "interface",
        "features",
        "alpha",
        "text",
        "coarser",
        "members",
        "estimate",
        "theory",
        "policy",
        "deep",
        "sb3",
        "rllib",
    ),
    "Environments": ("gym", "arena", "kernel", "book", "feeds", "instruments", "exchanges", "risk"),
    "Truth": ("baselines", "evaluate", "runner", "offline", "checkpoint", "manifest", "refit"),
    "Live": (
        "session",
        "execution",
        "venues",
        "live",
        "journal",
        "listeners",
        "alerts",
        "watch",
        "deploy",
        "rehearsal",
        "portfolio",
        "relay",
        "service",
        "chat",
    ),
    "Foundations": (
        "config",
        "home",
        "custom",
        "digests",
        "syntax",
        "catalog",
        "jit",
        "threads",
        "versions",
        "servers",
        "postgres",
        "bench",
    ),
}
"""Rooms by what a reader comes for; a room that is in none is an error."""


def nav() -> list[dict[str, Any]]:
    """The table of contents."""
    return [
        {title: [{room: _path(room)} for name in names for room in _parts(name)]} for title, names in GROUPS.items()
    ]


def pages() -> dict[str, str]:
    """Path of each page to its text."""
    named = {name for names in GROUPS.values() for name in names}
    there = {path.stem for path in (ROOT / "qframe_rl").iterdir() if path.suffix == ".py" or _is_room(path)}
    if missing := there - named - {"__init__"}:
        raise ValueError(f"docs/generate/api.py: GROUPS lacks {', '.join(sorted(missing))}")
    return {_path(room): _page(room) for name in sorted(named) for room in _parts(name)}


def _parts(name: str) -> list[str]:
    """A room and the rooms inside it, by dotted names."""
    folder = ROOT / "qframe_rl" / name
    if not folder.is_dir():
        return [name]
    inner = sorted(path for path in folder.rglob("*") if _is_room(path))
    return [name, *(".".join(path.relative_to(ROOT / "qframe_rl").parts) for path in inner)]


def _is_room(path: Path) -> bool:
    return (path / "__init__.py").is_file()


def _path(room: str) -> str:
    return f"api/{room}.md"


def _page(room: str) -> str:
    folder = ROOT / "qframe_rl" / Path(*room.split("."))
    names = [f"qframe_rl.{room}"]
    if folder.is_dir():
        names += [f"qframe_rl.{room}.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
    title, *modules = names
    if not modules:
        return f"# `{title}`\n\n::: {title}\n    options:\n      show_root_heading: false\n"
    top = f"# `{title}`\n\n::: {title}\n    options:\n      show_root_heading: false\n      members: false\n"
    return "\n".join([top, *(f"::: {name}\n" for name in modules)])
